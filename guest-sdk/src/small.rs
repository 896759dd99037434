//! An allocator of a few hundred bytes, for the feature `small`.
//!
//! Memory of one size class is never used for another, so a job whose sizes change as it goes needs more of it than
//! with Rust's own allocator; it takes a handful of instructions and eight kilobytes less of the module. Blocks have no
//! headers: the size comes back with the block.

/// Size classes of 16, 32, 48 and 64 bytes, and then four to each doubling: at most a quarter is wasted.
const CLASSES: usize = 104;

/// The class of a size from 1 to 2³¹, and the bytes that a block of this class has.
const fn class(size: usize) -> (usize, usize) {
    let below = size - 1;
    if size <= 64 {
        return (below / 16, (below / 16 + 1) * 16);
    }
    let doubling = below.ilog2() as usize;
    let quarter = (below >> (doubling - 2)) - 4;
    ((doubling - 5) * 4 + quarter, (quarter + 5) << (doubling - 2))
}

#[cfg(target_arch = "wasm32")]
mod allocator {
    #![allow(unsafe_code, reason = "an allocator hands out memory that it made of nothing")]

    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32::{memory_grow, memory_size};
    use core::ptr::{copy_nonoverlapping, null_mut};
    use core::sync::atomic::AtomicUsize;
    use core::sync::atomic::Ordering::Relaxed;

    use super::{CLASSES, class};

    const PAGE_BYTES: usize = 64 << 10;
    /// What every block is aligned to.
    const ALIGN: usize = 16;

    #[global_allocator]
    static SMALL: Small = Small;

    struct Small;

    /// The first free block of each class, which holds the address of the next. There is one thread, so these are
    /// ordinary variables.
    static FREE: [AtomicUsize; CLASSES] = [const { AtomicUsize::new(0) }; CLASSES];
    /// The first byte that was never handed out; 0 before the first block.
    static TOP: AtomicUsize = AtomicUsize::new(0);

    /// The list of a class. There is one for every size that memory has; to say so with an index would bring in the
    /// panic that it cannot have.
    fn list(class: usize) -> &'static AtomicUsize {
        FREE.get(class).unwrap_or(&FREE[CLASSES - 1])
    }

    /// Memory that was never handed out.
    fn fresh(bytes: usize, align: usize) -> *mut u8 {
        unsafe extern "C" {
            static __heap_base: u8;
        }
        let top = match TOP.load(Relaxed) {
            0 => (&raw const __heap_base).addr(),
            top => top,
        };
        // The alignment is a power of two.
        let start = (top + align - 1) & !(align - 1);
        let Some(end) = start.checked_add(bytes) else { return null_mut() };
        let (pages, needed) = (memory_size::<0>(), end.div_ceil(PAGE_BYTES));
        if needed > pages && memory_grow::<0>(needed - pages) == usize::MAX {
            return null_mut();
        }
        TOP.store(end, Relaxed);
        core::ptr::with_exposed_provenance_mut(start)
    }

    // SAFETY: a block is either fresh, or was given back and taken out of its list, which holds only blocks of its
    // class; so no byte belongs to two blocks, and each has at least the bytes of its class.
    unsafe impl GlobalAlloc for Small {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let (class, bytes) = class(layout.size());
            if layout.align() > ALIGN {
                return fresh(bytes, layout.align());
            }
            let free = list(class);
            match free.load(Relaxed) {
                0 => fresh(bytes, ALIGN),
                at => {
                    let block = core::ptr::with_exposed_provenance_mut::<u8>(at);
                    // SAFETY: a free block holds the address of the next.
                    free.store(unsafe { block.cast::<usize>().read() }, Relaxed);
                    block
                }
            }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            let (class, bytes) = class(layout.size());
            let at = block.expose_provenance();
            if at + bytes == TOP.load(Relaxed) {
                TOP.store(at, Relaxed);
            } else {
                // SAFETY: nobody uses the block any more, and it has room for an address.
                unsafe { block.cast::<usize>().write(list(class).load(Relaxed)) };
                list(class).store(at, Relaxed);
            }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            let ((old, old_bytes), (new, new_bytes)) = (class(layout.size()), class(size));
            if old == new {
                return block;
            }
            let at = block.expose_provenance();
            // What grows most is mostly what came last: it grows where it is.
            if new_bytes > old_bytes && at + old_bytes == TOP.load(Relaxed) {
                return if fresh(new_bytes - old_bytes, 1).is_null() { null_mut() } else { block };
            }
            // SAFETY: the caller's promises, passed on; the new block is another one and large enough.
            unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !moved.is_null() {
                    copy_nonoverlapping(block, moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_large_enough_and_a_quarter_too_large_at_most() {
        let mut last = (0, 16);
        for size in (1..5000).chain((13..31).flat_map(|bits| (1 << bits) - 1..=(1 << bits) + 1)) {
            let (class, bytes) = class(size);
            assert!(bytes >= size && bytes % 16 == 0, "{size}: {bytes}");
            assert!(size <= 64 || bytes <= size + size / 4, "{size}: {bytes}");
            assert!(class >= last.0 && (class == last.0) == (bytes == last.1), "{size}: {class}, {bytes}, {last:?}");
            last = (class, bytes);
        }
        assert_eq!(class(1 << 31).0, CLASSES - 1);
    }
}
