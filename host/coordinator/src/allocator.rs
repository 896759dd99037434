//! What is asked of the system's allocator.

/// Bytes from which on a piece of memory is given back as soon as it is freed, and free memory at the end of the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_BYTES: i32 = 128 << 10;

/// Makes the allocator give memory back after a flood. As it is, glibc lets these limits grow with what it sees, and
/// has eight heaps a processor: hundreds of MiB stay after an attack with long bodies (mallopt(3)). Call it before
/// there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn give_back_memory() {
    let wishes = [
        (libc::M_ARENA_MAX, 2),
        (libc::M_MMAP_THRESHOLD, GIVEN_BACK_BYTES),
        (libc::M_TRIM_THRESHOLD, GIVEN_BACK_BYTES),
    ];
    for (parameter, value) in wishes {
        // SAFETY: changes numbers inside the allocator; any value is allowed, and one that is refused changes nothing.
        #[expect(unsafe_code, reason = "glibc has no other way to say it but environment variables of the process")]
        let _accepted = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other systems' allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_memory() {}
