//! Files of packages in an initramfs: Debian's with all that they need, and our own.

use super::archive::{Archive, Mode};
use crate::build::monitor::Image;
use crate::deb;
use crate::paths::{Paths, make_dir, read};
use crate::scenario::Root;
use crate::setup::unpacked;
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Adds the packages of a root: Debian's, and ours.
///
/// # Errors
///
/// As [`add`]; ours does not build.
pub(super) fn add_roots(paths: &Paths, image: &mut Archive, root: &Root) -> Result<()> {
    add(paths, image, &root.packages)?;
    if !root.slurm && !root.redfish {
        return Ok(());
    }
    let packages = deb::build(paths, deb::VERSION, Image::Full)?;
    if root.slurm {
        add_ours(paths, image, &packages.slurm, "cellvisor-slurm")?;
    }
    if root.redfish {
        add_ours(paths, image, &packages.redfish, "cellvisor-redfish")?;
    }
    Ok(())
}

/// Adds the files of Debian packages, and of those that they need.
///
/// # Errors
///
/// A package cannot be fetched, or a file not be read.
pub(super) fn add(paths: &Paths, image: &mut Archive, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    add_tree(image, &unpacked::tree(paths, names)?, "")
}

/// Adds the files of a package of ours, as it is built from here.
fn add_ours(paths: &Paths, image: &mut Archive, package: &Path, name: &str) -> Result<()> {
    let tree = paths.images().join(name);
    if tree.exists() {
        std::fs::remove_dir_all(&tree)
            .with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    make_dir(&tree)?;
    Cmd::new("dpkg-deb")
        .arg("-x")
        .args([package, &tree])
        .run(paths, &format!("unpack-{name}"))?;
    add_tree(image, &tree, "")
}

/// Adds what is in a folder, and below it, under `at`.
fn add_tree(image: &mut Archive, folder: &Path, at: &str) -> Result<()> {
    let failed = || format!("cannot read {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(failed)?;
    let mut entries: Vec<_> = entries
        .collect::<std::io::Result<_>>()
        .with_context(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("{}: a name that is no text", folder.display()))?;
        let (from, to) = (entry.path(), format!("{at}{name}"));
        let data = entry.metadata().with_context(failed)?;
        if data.is_dir() {
            image.dir(&to)?;
            add_tree(image, &from, &format!("{to}/"))?;
        } else if data.is_symlink() {
            let target = std::fs::read_link(&from).with_context(failed)?;
            let target = target
                .to_str()
                .with_context(|| format!("{to} leads to a name that is no text"))?;
            image.link(&to, target)?;
        } else {
            let mode = match data.permissions().mode() & 0o111 {
                0 => Mode::Plain,
                _ => Mode::Run,
            };
            image.file(&to, &read(&from)?, mode)?;
        }
    }
    Ok(())
}
