//! File systems in images: ext4 made of a folder, without privileges.

use crate::paths::Paths;
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// Makes an image of `bytes` bytes with what is in `tree`, all of it root's. The
/// file is sparse.
///
/// # Errors
///
/// `mke2fs` fails (the tree does not fit, say), or the file cannot be written.
pub(crate) fn make(paths: &Paths, tree: &Path, file: &Path, bytes: u64, label: &str) -> Result<()> {
    empty(file, bytes)?;
    // Users do not have it in their paths.
    let mke2fs = find_program("mke2fs").unwrap_or_else(|| "mke2fs".into());
    // What is initialized now is not written behind a measurement's back.
    Cmd::new(mke2fs)
        .words("-q -F -t ext4 -m 0 -E root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0")
        .args(["-L", label, "-d"])
        .args([tree, file])
        .run(paths, "mke2fs")
        .map(drop)
}

/// Makes a sparse file of zeros.
///
/// # Errors
///
/// What the file system says, with the path.
pub(crate) fn empty(file: &Path, bytes: u64) -> Result<()> {
    File::create(file)
        .and_then(|file| file.set_len(bytes))
        .with_context(|| format!("cannot make the disk image {}", file.display()))
}
