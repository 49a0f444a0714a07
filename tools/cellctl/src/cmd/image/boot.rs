//! The kernel and the initial RAM disk that a disk boots with, found in its /boot.
//!
//! `debugfs` reads the file system: that needs no rights, and a disk from anywhere is
//! not mounted into this Linux. Names on it are never arguments: files are asked
//! for by the numbers of their inodes.

use super::partitions::{self, Ext4};
use super::tools::Tools;
use crate::error::{Error, Result};
use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::Path;

/// Most bytes of a kernel or an initial RAM disk: more is none.
const MOST: u64 = 1 << 30;

/// A file of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    inode: u64,
    name: String,
    size: u64,
}

/// What a disk boots with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    /// The file system that both are in.
    offset: u64,
    kernel: Entry,
    initrd: Option<Entry>,
    /// UUID of the root file system, if it is one that can be told.
    pub(super) root: Option<String>,
}

impl Boot {
    /// The kernel's version.
    pub(super) fn version(&self) -> &str {
        version(&self.kernel.name).unwrap_or_default()
    }
}

/// A disk image or a disk, and what reads it.
pub(super) struct Disk<'a> {
    pub(super) tools: &'a Tools,
    pub(super) path: &'a Path,
}

impl Disk<'_> {
    /// The newest kernel of the disk with its initial RAM disk.
    ///
    /// # Errors
    ///
    /// There is none in an ext4 file system; the disk cannot be read.
    pub(super) fn boot(&self) -> Result<Boot> {
        let help = "check the path";
        let failed = |e| Error::file("cannot read", self.path, &e, help);
        let disk = File::open(self.path).map_err(failed)?;
        let all = partitions::file_systems(&disk).map_err(failed)?;
        if all.is_empty() {
            return Err(self.none(
                "no ext4 file system is on it, nor in a partition of it",
                "take an image whose kernel is in an ext4 file system, as Debian's and Ubuntu's",
            ));
        }
        let mut root = None;
        let mut found = None;
        for fs in &all {
            let top = self.list(fs, "/")?;
            // A file system for /boot alone has kernels at its top.
            let in_boot = self.list(fs, "/boot")?;
            if root.is_none() && self.has_system(fs)? {
                root = Some(fs.uuid.clone());
            }
            let best = newest(&in_boot).or_else(|| newest(&top));
            found = found.or_else(|| best.map(|(kernel, initrd)| (fs.offset, kernel, initrd)));
        }
        let Some((offset, kernel, initrd)) = found else {
            return Err(self.none(
                "no file vmlinuz-VERSION is in /boot of its file systems",
                "take an image that boots by its own kernel, not a container's",
            ));
        };
        Ok(Boot {
            offset,
            kernel,
            initrd,
            root,
        })
    }

    fn none(&self, why: &str, help: &str) -> Error {
        let what = format!("cannot find a kernel on {}", self.path.display());
        Error::new(what, why, help)
    }

    /// True if a file system holds a whole system.
    fn has_system(&self, fs: &Ext4) -> Result<bool> {
        let etc = self.list(fs, "/etc")?;
        Ok(etc.iter().any(|entry| entry.name == "fstab"))
    }

    /// Writes the kernel and, if there is one, the initial RAM disk to new files.
    pub(super) fn extract(&self, boot: &Boot, kernel: &Path, initrd: &Path) -> Result<()> {
        self.copy(boot.offset, &boot.kernel, kernel)?;
        match &boot.initrd {
            Some(entry) => self.copy(boot.offset, entry, initrd),
            None => Ok(()),
        }
    }

    fn copy(&self, offset: u64, entry: &Entry, to: &Path) -> Result<()> {
        let what = format!("cannot read {} of {}", entry.name, self.path.display());
        let Some(target) = to.to_str().filter(|path| plain(path)) else {
            let why = format!("{} has characters that debugfs does not take", to.display());
            return Err(Error::new(
                what,
                why,
                "name a folder of letters, digits, - and _",
            ));
        };
        self.ask(offset, &format!("dump <{}> {target}", entry.inode))?;
        // It says nothing by its exit status.
        match fs::metadata(to) {
            Ok(written) if written.len() == entry.size => Ok(()),
            _ => Err(Error::new(
                what,
                format!("it is not {} bytes long, as its folder says", entry.size),
                "the file system is damaged: repair or download it again",
            )),
        }
    }

    /// Regular files of a folder; none if it is not there.
    fn list(&self, fs: &Ext4, folder: &str) -> Result<Vec<Entry>> {
        let text = self.ask(fs.offset, &format!("ls -p {folder}"))?;
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .filter_map(entry)
            .collect())
    }

    /// What debugfs answers to a request.
    fn ask(&self, offset: u64, request: &str) -> Result<Vec<u8>> {
        let device = format!("{}?offset={offset}", self.path.display());
        self.tools
            .read(self.tools.command("debugfs", ["-R", request, &device])?)
    }
}

/// True for a path that is one word of debugfs.
pub(super) fn plain(path: &str) -> bool {
    path.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._-+~@=,:".contains(&b))
}

/// A line of `ls -p`, `/INODE/MODE/UID/GID/NAME/SIZE/`, if it is of a regular file
/// that can be a kernel by its size.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.strip_prefix('/')?.strip_suffix('/')?.split('/');
    let inode = fields.next()?.parse().ok()?;
    let is_file = fields.next()?.starts_with("100");
    let name = fields.nth(2)?.to_owned();
    let size = fields.next()?.parse().ok().filter(|size| *size <= MOST)?;
    is_file.then_some(Entry { inode, name, size })
}

/// The version in a kernel's name.
fn version(name: &str) -> Option<&str> {
    name.strip_prefix("vmlinuz-")
}

/// The newest kernel of a folder and its initial RAM disk, as Debian, Fedora or SUSE
/// name it.
fn newest(folder: &[Entry]) -> Option<(Entry, Option<Entry>)> {
    let kernels = folder.iter().filter_map(|e| Some((version(&e.name)?, e)));
    let (version, kernel) = kernels.max_by(|(a, _), (b, _)| compare(a, b))?;
    let names = [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initrd-{version}"),
    ];
    let initrd = folder.iter().find(|e| names.contains(&e.name));
    Some((kernel.clone(), initrd.cloned()))
}

/// Compares versions as people do: numbers by their values.
fn compare(a: &str, b: &str) -> Ordering {
    pieces(a).cmp(&pieces(b))
}

/// Numbers, and what is between them.
fn pieces(version: &str) -> Vec<Result<u64, &str>> {
    let mut rest = version;
    let mut pieces = Vec::new();
    while let Some(first) = rest.chars().next() {
        let same = |c: char| c.is_ascii_digit() == first.is_ascii_digit();
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece.parse().map_err(|_| piece));
        rest = after;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, name: &str) -> Entry {
        Entry {
            inode,
            name: name.to_owned(),
            size: 5,
        }
    }

    #[test]
    fn newest_kernel_has_the_greatest_numbers_and_its_own_ram_disk() {
        let folder = [
            file(1, "vmlinuz-6.1.0-9-amd64"),
            file(2, "vmlinuz-6.1.0-56-amd64"),
            file(3, "initrd.img-6.1.0-9-amd64"),
            file(4, "initrd.img-6.1.0-56-amd64"),
            file(5, "vmlinuz-0-rescue-c0ffee"),
            file(6, "config-9.9.9"),
        ];
        let (kernel, initrd) = newest(&folder).expect("a kernel");
        assert_eq!((kernel.inode, initrd.map(|e| e.inode)), (2, Some(4)));
        let fedora = [
            file(7, "vmlinuz-6.5.6-300"),
            file(8, "initramfs-6.5.6-300.img"),
        ];
        assert_eq!(
            newest(&fedora).and_then(|(_, initrd)| initrd),
            Some(file(8, "initramfs-6.5.6-300.img"))
        );
        assert_eq!(newest(&folder[5..]), None);
    }

    #[test]
    fn only_regular_files_of_a_listing_count() {
        assert_eq!(
            entry("/13/100644/0/0/vmlinuz-1/5/"),
            Some(file(13, "vmlinuz-1"))
        );
        for other in [
            "/2/040755/0/0/..//",
            "/12/120777/0/0/vmlinuz-1/5/",
            "/12/100644/0/0/vmlinuz-1/99999999999/",
            "/x/100644/0/0/vmlinuz-1/5/",
            "debugfs 1.47.0",
            "",
        ] {
            assert_eq!(entry(other), None, "{other}");
        }
    }
}
