//! Finding and mapping a link's memory.
#![expect(unsafe_code, reason = "mmap, and its memory as atomic words")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// Hardware id of the ACPI devices that stand for links.
const HARDWARE_ID: &str = "CLVS0001:";
const DEVICES: &str = "/sys/bus/acpi/devices";
const RANGES: &str = "/proc/iomem";
const MEMORY: &str = "/dev/mem";

/// Why a window cannot be had.
#[derive(Debug)]
pub enum Find {
    /// No link has this name here.
    Absent(String),
    /// The kernel shows its range to nobody but root.
    Hidden(String),
    /// The cell only reads it, and it was to be written.
    ReadOnly(String),
    /// A file cannot be read or mapped.
    File(&'static str, io::Error),
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(name) => write!(
                f,
                "no link is called \"{name}\" here: see {DEVICES}/{HARDWARE_ID}*/uid; a cell gets \
                 its links when it is created"
            ),
            Self::Hidden(name) => write!(
                f,
                "the address of link \"{name}\" is hidden: run this as root"
            ),
            Self::ReadOnly(name) => write!(
                f,
                "this cell only reads link \"{name}\": name it under `members` in its file"
            ),
            Self::File(path, error) => write!(f, "cannot use {path}: {error}; run this as root"),
        }
    }
}

impl std::error::Error for Find {}

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
    /// Maps the link of this name in a cell, to read and to write.
    ///
    /// # Errors
    ///
    /// There is none, or it may not be mapped; see [`Find`].
    pub fn find(name: &str) -> Result<Self, Find> {
        let failed = |e| Find::File(DEVICES, e);
        for entry in fs::read_dir(DEVICES).map_err(failed)? {
            let device = entry.map_err(failed)?.file_name();
            let device = device.to_string_lossy();
            let attribute = |name| {
                let path = Path::new(DEVICES).join(&*device).join(name);
                fs::read_to_string(path).unwrap_or_default()
            };
            if !device.starts_with(HARDWARE_ID) || attribute("uid").trim() != name {
                continue;
            }
            if !attribute("description").contains("written") {
                return Err(Find::ReadOnly(name.to_owned()));
            }
            let ranges = fs::read_to_string(RANGES).map_err(|e| Find::File(RANGES, e))?;
            let range = range(&ranges, &device).filter(|(start, _)| *start != 0);
            let (start, size) = range.ok_or_else(|| Find::Hidden(name.to_owned()))?;
            return Self::map(Path::new(MEMORY), start, size).map_err(|e| Find::File(MEMORY, e));
        }
        Err(Find::Absent(name.to_owned()))
    }

    /// Maps `size` bytes of `file` from `offset` on: on the root, a link's memory from
    /// the driver's file, at its physical address.
    ///
    /// # Errors
    ///
    /// What opening or mapping says.
    pub fn map(file: &Path, offset: u64, size: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(file)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing
        // of ours. What it shows is memory that others write, and is handed out as
        // atomic words alone.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                access,
                MapFlags::SHARED,
                &file,
                offset,
            )
        }?;
        Ok(Self { start, size })
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

/// Start and size of the range that has this device's name.
fn range(text: &str, device: &str) -> Option<(u64, usize)> {
    let named = |line: &&str| {
        line.split_once(" : ")
            .is_some_and(|(_, n)| n.trim() == device)
    };
    let (range, _) = text.lines().find(named)?.split_once(" : ")?;
    let (first, last) = range.trim().split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (first, last) = (number(first)?, number(last)?);
    let size = last.checked_sub(first)?.checked_add(1)?;
    Some((first, usize::try_from(size).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    const IOMEM: &str = "00001000-0009fbff : System RAM\n140000000-1403fffff : CLVS0001:00\n\
                         180000000-1801fffff : Reserved\n  180000000-1801fffff : CLVS0001:01\n";

    #[test]
    fn ranges_are_found_by_the_devices_names() {
        assert_eq!(range(IOMEM, "CLVS0001:00"), Some((0x1_4000_0000, 4 << 20)));
        assert_eq!(range(IOMEM, "CLVS0001:01"), Some((0x1_8000_0000, 2 << 20)));
        assert_eq!(range(IOMEM, "CLVS0001:0"), None);
        assert_eq!(range("nonsense : CLVS0001:00", "CLVS0001:00"), None);
        assert_eq!(range("2-1 : CLVS0001:00", "CLVS0001:00"), None);
    }

    #[test]
    fn two_mappings_show_one_memory() {
        let path = std::env::temp_dir().join(format!("window-{}", std::process::id()));
        fs::write(&path, vec![0; 8192]).expect("written");
        let map = || Window::map(&path, 4096, 4096).expect("mapped");
        let (one, other) = (map(), map());
        assert_eq!(one.words().len(), 512);
        one.words()[3].store(77, Ordering::Relaxed);
        assert_eq!(other.words()[3].load(Ordering::Relaxed), 77);
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_name_that_is_not_there_says_where_names_are() {
        let error = Window::find("no-such-link").expect_err("none");
        let text = error.to_string();
        assert!(text.contains("/sys/bus/acpi/devices"), "{text}");
    }
}
