//! Files of the state folder.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder with this bit gives its group to what is made in it. Whoever set it on
/// the state's folder (a tmpfiles.d of the packages) meant that group to look.
const SET_GROUP: u32 = 0o2000;

/// Reads and writes the records, or in tests stands for that.
pub(crate) trait Files {
    /// Makes a folder, for its owner alone, or finds one that is, or one that its
    /// group may look into.
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
        // In a folder that hands its group on, that group may look as well.
        let made = DirBuilder::new().recursive(true).mode(0o750).create(dir);
        made?;
        // One of an older cellctl let everybody open its locks.
        let now = fs::metadata(dir)?;
        if now.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        let wanted = match now.mode() & SET_GROUP {
            0 => 0o700,
            _ => SET_GROUP | 0o750,
        };
        if now.mode() & 0o7777 != wanted {
            fs::set_permissions(dir, Permissions::from_mode(wanted))?;
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
            .mode(0o640)
            .open(&next)?;
        // Whatever this user's mask is: the folder decides who gets here.
        let written = file
            .set_permissions(Permissions::from_mode(0o640))
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| fs::rename(&next, path));
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
