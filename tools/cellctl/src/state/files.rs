//! Files of the state folder.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Reads and writes the records, or in tests stands for that.
pub(crate) trait Files {
    /// Makes a folder, for its owner alone; does nothing if it is so.
    fn make(&self, dir: &Path) -> io::Result<()>;
    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces a file, as a whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// What is in a folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The real ones.
pub(super) struct Disk;

impl Files for Disk {
    fn make(&self, dir: &Path) -> io::Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made?;
        // One of an older cellctl let everybody open its locks.
        let now = fs::metadata(dir)?;
        if now.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if now.mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&next)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&next, path));
        if written.is_err() {
            let _ = fs::remove_file(&next);
        }
        written
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|e| e.path()))
            .collect()
    }
}
