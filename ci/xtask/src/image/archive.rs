//! A cpio archive in the form that Linux unpacks as initramfs, uncompressed:
//! under an emulator, unpacking costs more than loading.

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};
use std::io::Write;
use std::path::Path;

/// What may be done with a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Read and written by its owner.
    Plain,
    /// Also run.
    Run,
}

/// The archive, as it grows in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// An empty archive.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a folder; its parents come first.
    pub(crate) fn dir(&mut self, path: &str) -> Result<()> {
        self.add(path, 0o040_755, &[])
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, content: &[u8], mode: Mode) -> Result<()> {
        let mode = match mode {
            Mode::Plain => 0o100_644,
            Mode::Run => 0o100_755,
        };
        self.add(path, mode, content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.add(path, 0o120_777, target.as_bytes())
    }

    /// Writes the archive to a file.
    ///
    /// # Errors
    ///
    /// What the file system says, with the path.
    pub(crate) fn finish(self, file: &Path) -> Result<()> {
        let bytes = trailer(self.bytes).context("cannot end a cpio archive")?;
        std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
    }

    fn add(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len())
            .with_context(|| format!("{path} is too large for a cpio archive (4 GiB)"))?;
        let mut writer = Builder::new(path)
            .ino(self.inode)
            .mode(mode)
            .nlink(1)
            .write(&mut self.bytes, size);
        writer
            .write_all(content)
            .and_then(|()| writer.finish().map(drop))
            .with_context(|| format!("cannot add {path} to a cpio archive"))
    }
}
