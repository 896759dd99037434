//! Memory for guests, used by one unit after the other and set back between them.
//!
//! What a unit touched is mostly a few pages. Giving all of a memory back to the system costs the next unit a page
//! fault for each of them, several times what a short unit takes; so Linux is asked which pages there are
//! (`PAGEMAP_SCAN`), and these are overwritten with zeros. Where it cannot be asked, everything is given back.
//!
//! The engine's own pool has the same idea, but its scan passes over pages that are swapped out or just being moved, and
//! the next unit would see what is in them (`bytecodealliance/wasmtime#14357`).
#![expect(unsafe_code, reason = "memory for guests is addresses, which only the system and the engine make safe")]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

pub use pagemap::Pagemap;

/// Memory that stays with this process between two units, in bytes: to write zeros over more of it would cost a short unit,
/// which comes after a large one, as much as it saves.
const RESIDENT_BYTES_MAX: usize = 1 << 20;

/// Makes memories, and takes them back. All of them are nothing but zeros when a guest gets them.
pub(crate) struct Memories {
    shared: Arc<Shared>,
}

struct Shared {
    pagemap: Option<Pagemap>,
    /// What no unit uses at the moment; each byte of it is zero.
    clean: Mutex<Vec<Region>>,
}

impl Memories {
    /// With `pagemap` memories are set back page by page, if the kernel is able to tell which.
    pub(crate) fn new(pagemap: Option<Pagemap>) -> Self {
        let pagemap = pagemap.filter(|pagemap| is_truthful(pagemap).unwrap_or(false));
        Self { shared: Arc::new(Shared { pagemap, clean: Mutex::default() }) }
    }

    /// Whether they are set back page by page.
    pub(crate) fn know_their_pages(&self) -> bool {
        self.shared.pagemap.is_some()
    }
}

// SAFETY: a region has as many bytes as are asked for and a guard behind them, belongs to one memory until that is dropped, and
// is all zeros when it comes back.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _: MemoryType,
        minimum: usize,
        _: Option<usize>,
        reserved_bytes: Option<usize>,
        guard_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let most = reserved_bytes.unwrap_or(minimum);
        let bytes = most.checked_add(guard_bytes).ok_or("more than there are addresses")?;
        let clean = self.shared.clean.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let ready = clean.filter(|region| region.bytes == bytes);
        let region = ready.map_or_else(|| Region::reserve(bytes), Ok).map_err(|error| error.to_string())?;
        let mut memory = Memory { region: Some(region), most, shared: Arc::clone(&self.shared) };
        memory.set_size(minimum).map_err(|error| error.to_string())?;
        Ok(Box::new(memory))
    }
}

/// What one guest uses.
struct Memory {
    /// None only while it is dropped.
    region: Option<Region>,
    /// Bytes that it may grow to.
    most: usize,
    shared: Arc<Shared>,
}

impl Memory {
    fn set_size(&mut self, bytes: usize) -> io::Result<()> {
        match &mut self.region {
            Some(region) if bytes <= self.most => region.set_accessible(bytes),
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

// SAFETY: the base never moves, what is said to be accessible is, and nobody else writes there while this lives.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.region.as_ref().map_or(0, |region| region.accessible)
    }

    fn byte_capacity(&self) -> usize {
        self.most
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        Ok(self.set_size(bytes)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.region.as_ref().map_or(std::ptr::null_mut(), |region| region.base.as_ptr().cast())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // What cannot be set back is unmapped; the next unit gets another one.
        if let Some(mut region) = self.region.take()
            && region.clear(self.shared.pagemap.as_ref()).is_ok()
        {
            self.shared.clean.lock().unwrap_or_else(PoisonError::into_inner).push(region);
        }
    }
}

/// Addresses, of which the first ones can be read and written.
struct Region {
    base: NonNull<c_void>,
    bytes: usize,
    accessible: usize,
}

// SAFETY: it is a mapping of the process, which belongs to no thread.
unsafe impl Send for Region {}
// SAFETY: nothing is written through a shared reference.
unsafe impl Sync for Region {}

impl Region {
    fn reserve(bytes: usize) -> io::Result<Self> {
        // SAFETY: the system chooses a place that nothing else is at.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)?
        };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes, accessible: 0 })
    }

    /// The address of a byte.
    fn at(&self, byte: usize) -> *mut c_void {
        self.base.as_ptr().wrapping_byte_add(byte)
    }

    /// Makes the first `bytes`, whole pages, accessible and nothing else.
    fn set_accessible(&mut self, bytes: usize) -> io::Result<()> {
        let (from, to, access) = if bytes > self.accessible {
            (self.accessible, bytes, MprotectFlags::READ | MprotectFlags::WRITE)
        } else {
            (bytes, self.accessible, MprotectFlags::empty())
        };
        if from < to {
            // SAFETY: it lies within this region, and no reference to what is in it outlives a unit.
            unsafe { mprotect(self.at(from), to - from, access)? };
            self.accessible = bytes;
        }
        Ok(())
    }

    /// Makes every byte zero.
    fn clear(&mut self, pagemap: Option<&Pagemap>) -> io::Result<()> {
        let mut done = 0;
        if let Some(pagemap) = pagemap {
            let mut left = RESIDENT_BYTES_MAX;
            while done < self.accessible && left > 0 {
                let mut touched = pagemap::Touched::default();
                let from = self.at(done).addr();
                let Ok(end) = pagemap.scan(from..self.at(self.accessible).addr(), left, &mut touched) else { break };
                for pages in touched.ranges() {
                    left = left.saturating_sub(pages.len());
                    // SAFETY: the kernel names pages between the addresses that it was asked about, all of which can be
                    // written; no guest uses them any more.
                    unsafe { self.at(pages.start - self.base.addr().get()).write_bytes(0, pages.len()) };
                }
                if end <= from {
                    break;
                }
                done = end - self.base.addr().get();
            }
        }
        if cfg!(not(target_os = "linux")) && self.accessible > 0 {
            // Elsewhere, memory that was given back keeps its contents as it likes.
            return Err(io::ErrorKind::Unsupported.into());
        }
        if done < self.accessible {
            // SAFETY: as above. Private memory of no file is all zeros afterwards.
            unsafe { madvise(self.at(done), self.accessible - done, Advice::LinuxDontNeed)? };
        }
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: nobody else knows of this mapping.
        let _nothing_to_do = unsafe { munmap(self.base.as_ptr(), self.bytes) };
    }
}

/// Whether the kernel names a page that was written, and only that. One that does not know how, or a sandbox that does
/// not let it, says so with an error; here is who says nonsense.
fn is_truthful(pagemap: &Pagemap) -> io::Result<bool> {
    let page = pagemap.page_bytes();
    let mut region = Region::reserve(4 * page)?;
    region.set_accessible(3 * page)?;
    let all = region.at(0).addr()..region.at(3 * page).addr();
    let mut touched = pagemap::Touched::default();
    let clean = pagemap.scan(all.clone(), page, &mut touched)? == all.end && touched.ranges().next().is_none();
    // SAFETY: it lies within the region, which nobody else knows.
    unsafe { region.at(page).cast::<u8>().write_volatile(1) };
    let mut touched = pagemap::Touched::default();
    let end = pagemap.scan(all, 2 * page, &mut touched)?;
    let written = region.at(page).addr()..region.at(2 * page).addr();
    Ok(clean && end == region.at(3 * page).addr() && touched.ranges().eq([written]))
}

#[cfg(target_os = "linux")]
mod pagemap {
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::os::fd::AsRawFd as _;

    /// Tells which pages of this process there are.
    #[derive(Debug)]
    pub struct Pagemap {
        file: File,
        /// Asked for while files may be opened, which it takes.
        page_bytes: usize,
    }

    /// The kernel's `struct page_region`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct PageRegion {
        start: u64,
        end: u64,
        categories: u64,
    }

    /// The kernel's `struct pm_scan_arg`.
    #[repr(C)]
    struct ScanArgument {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        vec: u64,
        vec_len: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    const PRESENT: u64 = 1 << 3;
    /// Swapped out, or on its way from one place to another.
    const SWAPPED: u64 = 1 << 4;
    /// The page of zeros that all processes share, where one only read.
    const ZERO: u64 = 1 << 5;

    /// Rows of pages that there are, as many as one question answers.
    #[derive(Default)]
    pub(super) struct Touched {
        regions: [PageRegion; 32],
        count: usize,
    }

    impl Touched {
        pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
            self.regions.iter().take(self.count).map(|region| region.start as usize..region.end as usize)
        }
    }

    #[cfg(test)]
    pub(super) fn of(file: File) -> Pagemap {
        Pagemap { file, page_bytes: rustix::param::page_size() }
    }

    impl Pagemap {
        /// `PAGEMAP_SCAN`, the one `ioctl` that this needs: it reads and writes 96 bytes, is of the kind `f`, and has the number 16.
        pub const REQUEST: u32 = 0xC060_6610;

        /// Of this process; children must open their own. None where the system has none.
        pub fn open() -> Option<Self> {
            let file = File::open("/proc/self/pagemap").ok()?;
            Some(Self { file, page_bytes: rustix::param::page_size() })
        }

        /// The number of its descriptor.
        pub fn descriptor(&self) -> i32 {
            self.file.as_raw_fd()
        }

        pub(super) fn page_bytes(&self) -> usize {
            self.page_bytes
        }

        /// Notes which pages between two addresses may hold something else than zeros, up to so many bytes of them, and returns
        /// where it stopped.
        pub(super) fn scan(&self, addresses: Range<usize>, bytes_max: usize, found: &mut Touched) -> io::Result<usize> {
            let mut argument = ScanArgument {
                size: size_of::<ScanArgument>() as u64,
                flags: 0,
                start: addresses.start as u64,
                end: addresses.end as u64,
                walk_end: 0,
                vec: found.regions.as_mut_ptr().expose_provenance() as u64,
                vec_len: found.regions.len() as u64,
                max_pages: (bytes_max / self.page_bytes) as u64,
                category_inverted: ZERO,
                category_mask: ZERO,
                category_anyof_mask: PRESENT | SWAPPED,
                return_mask: 0,
            };
            // SAFETY: the kernel reads the argument, writes its `walk_end`, and at most `vec_len` regions to `vec`. It changes no
            // page, since no flag is set.
            let count = unsafe { libc::ioctl(self.file.as_raw_fd(), Self::REQUEST as _, &raw mut argument) };
            found.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
            Ok(argument.walk_end as usize)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod pagemap {
    use std::convert::Infallible;
    use std::io;
    use std::ops::Range;

    /// Only Linux has one.
    #[derive(Debug)]
    pub struct Pagemap(Infallible);

    #[derive(Default)]
    pub(super) struct Touched;

    impl Touched {
        pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
            std::iter::empty()
        }
    }

    impl Pagemap {
        /// None.
        pub fn open() -> Option<Self> {
            None
        }

        pub(super) fn page_bytes(&self) -> usize {
            match self.0 {}
        }

        pub(super) fn scan(&self, _: Range<usize>, _: usize, _: &mut Touched) -> io::Result<usize> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const PAGE: usize = 64 << 10;

    /// Those that know their pages, where the kernel can tell, and those that do not.
    fn both() -> [Memories; 2] {
        [None, Pagemap::open()].map(Memories::new)
    }

    fn memory(memories: &Memories, bytes: usize) -> Box<dyn LinearMemory> {
        memories.new_memory(MemoryType::new(1, None), bytes, None, Some(64 * PAGE), PAGE).unwrap()
    }

    fn bytes(memory: &mut dyn LinearMemory) -> &mut [u8] {
        // SAFETY: it is as long as it says, and borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), memory.byte_size()) }
    }

    #[test]
    fn the_next_memory_is_all_zeros_whatever_was_written() {
        for memories in both() {
            let knows = memories.know_their_pages();
            let mut before: *mut u8 = std::ptr::null_mut();
            // One page, two far apart, more single ones than one answer of the kernel names, and more than stay resident.
            let every = |step: usize| (0..64 * PAGE).step_by(step).collect::<Vec<_>>();
            for places in [vec![0], vec![0, 60 * PAGE + 17], every(8192), every(1)] {
                let mut first = memory(&memories, PAGE);
                first.grow_to(64 * PAGE).unwrap();
                assert!(before.is_null() || before == first.as_ptr(), "the same addresses are used again");
                before = first.as_ptr();
                let written = bytes(&mut *first);
                assert!(written.iter().all(|byte| *byte == 0));
                places.iter().for_each(|place| written[*place] = 0xA5);
                drop(first);
                let mut next = memory(&memories, 64 * PAGE);
                let found = bytes(&mut *next).iter().position(|byte| *byte != 0);
                assert_eq!(found, None, "{} places, {knows}", places.len());
            }
        }
    }

    #[test]
    fn a_memory_has_the_size_that_was_asked_for_and_grows_up_to_what_is_reserved() {
        for memories in both() {
            memory(&memories, 64 * PAGE);
            let mut small = memory(&memories, PAGE);
            assert_eq!((small.byte_size(), small.byte_capacity()), (PAGE, 64 * PAGE));
            small.grow_to(3 * PAGE).unwrap();
            assert_eq!(bytes(&mut *small).len(), 3 * PAGE);
            assert!(small.grow_to(65 * PAGE).is_err());
            assert_eq!(small.byte_size(), 3 * PAGE);
            let other = memory(&memories, PAGE);
            assert_ne!(other.as_ptr(), small.as_ptr(), "each belongs to one");
        }
    }

    /// What is behind the last byte must not be there for a guest, or a read out of bounds would be no trap.
    #[cfg(target_os = "linux")]
    #[test]
    fn behind_the_end_nothing_can_be_read() {
        for memories in both() {
            memory(&memories, 64 * PAGE);
            let small = memory(&memories, PAGE);
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let end = small.as_ptr().addr() + PAGE;
            let rest = maps.lines().find(|line| line.starts_with(&format!("{end:x}-"))).unwrap();
            assert!(rest.contains(" ---p "), "{rest}");
        }
    }

    /// Here the kernel has the page but not in memory, or nowhere if nothing can be swapped out; both are the same to a guest.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_page_that_was_pushed_out_is_zeroed_too() {
        for memories in both() {
            let mut first = memory(&memories, 2 * PAGE);
            bytes(&mut *first).fill(1);
            // SAFETY: it is this test's own memory, whose contents stay.
            unsafe { madvise(first.as_ptr().cast(), 2 * PAGE, Advice::LinuxPageOut).unwrap() };
            drop(first);
            assert!(bytes(&mut *memory(&memories, 2 * PAGE)).iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn who_names_the_wrong_pages_is_not_asked() {
        assert!(!Memories::new(None).know_their_pages());
        #[cfg(target_os = "linux")]
        assert!(!Memories::new(Some(pagemap::of(std::fs::File::open("/dev/null").unwrap()))).know_their_pages());
    }
}
