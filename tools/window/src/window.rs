//! A link's memory, mapped.
#![expect(unsafe_code, reason = "mmap, and its memory as atomic words")]

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// A link's memory, mapped.
#[derive(Debug)]
pub struct Window {
    start: *mut c_void,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached by
// atomic accesses alone.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps stretches of `file` in a row: where each begins, and its bytes, whole pages.
    ///
    /// # Errors
    ///
    /// What opening or mapping says.
    pub fn map(file: &Path, stretches: &[(u64, usize)]) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(file)?;
        let size = stretches
            .iter()
            .try_fold(0usize, |sum, (_, size)| sum.checked_add(*size));
        let size = size.ok_or(io::ErrorKind::InvalidInput)?;
        let nothing = ProtFlags::empty();
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing
        // of ours.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), size, nothing, MapFlags::PRIVATE) }?;
        let window = Self { start, size };
        let (access, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED,
        );
        let mut at = 0;
        for (offset, size) in stretches {
            // SAFETY: the sizes add up to that of the mapping above, which is ours and
            // to which there is no reference yet. What is shown there is memory that
            // others write, and is handed out as atomic words alone.
            unsafe { mmap(start.byte_add(at), *size, access, flags, &file, *offset) }?;
            at += size;
        }
        Ok(window)
    }

    /// The memory, as words that anybody may write at any time.
    #[must_use]
    pub const fn words(&self) -> &[AtomicU64] {
        let count = self.size / size_of::<AtomicU64>();
        // SAFETY: the mapping has `size` bytes, begins at a page, and lives as long as
        // `self`. Every bit pattern is a valid word, and all accesses are atomic.
        unsafe { std::slice::from_raw_parts(self.start as *const AtomicU64, count) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: just this mapping, to which no reference is left.
        let _gone = unsafe { munmap(self.start, self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_show_one_memory() {
        let path = std::env::temp_dir().join(format!("window-{}", std::process::id()));
        std::fs::write(&path, vec![0; 4 * 4096]).expect("written");
        let map = |stretches: &[_]| Window::map(&path, stretches).expect("mapped");
        let (one, other) = (map(&[(4096, 8192)]), map(&[(8192, 4096), (0, 4096)]));
        assert_eq!((one.words().len(), other.words().len()), (1024, 1024));
        one.words()[512 + 3].store(77, Ordering::Relaxed);
        assert_eq!(other.words()[3].load(Ordering::Relaxed), 77);
        assert_eq!(other.words()[512].load(Ordering::Relaxed), 0);
        std::fs::remove_file(&path).expect("removed");
    }
}
