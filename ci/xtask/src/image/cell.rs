//! What cells boot from: an initramfs, and root file systems on NVMe
//! namespaces, made without privileges.

use super::archive::Mode;
use super::{
    BUSYBOX, add_link_tools, add_modules, add_programs, add_tools, applets, base, ext4, packages,
    trouble,
};
use crate::build::program;
use crate::paths::{Paths, make_dir, read};
use crate::scenario::Scenario;
use crate::setup::kernels;
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The first process of cells, in the initramfs and on a disk.
const INIT: &str = "cells/linux/init";

/// What cells do with their functions, as `io`, and a root to compare.
pub(super) const IO: &str = "cells/linux/io";

/// Labels of the disks: the cells whose root file systems they hold; the third
/// is the root's and empty.
const DISKS: &[&str] = &["net0", "net1", "root"];

/// Bytes of a disk.
const DISK: u64 = 256 << 20;

/// Makes the initramfs that a scenario's cells boot: busybox, an init that
/// tells facts, and what the scenario adds.
pub(super) fn initramfs(
    paths: &Paths,
    scenario: &Scenario,
    link_tools: &[PathBuf],
) -> Result<PathBuf> {
    make_dir(&paths.images())?;
    let file = paths.images().join("cell.cpio");
    let mut image = base(paths, INIT)?;
    if !scenario.cells.modules.is_empty() {
        image.dir("lib/modules")?;
        for kernel in &scenario.cells.kernels {
            let kernel = kernels::files(paths, *kernel)?;
            let folder = format!("lib/modules/{}", kernel.release);
            image.dir(&folder)?;
            add_modules(&mut image, &folder, &kernel, &scenario.cells.modules)?;
        }
    }
    image.file("bin/io", &read(&paths.repo(IO))?, Mode::Run)?;
    add_programs(paths, &mut image, &scenario.cells.programs)?;
    add_tools(&mut image, &scenario.cells.tools)?;
    packages::add(paths, &mut image, &scenario.cells.packages)?;
    for script in &scenario.cells.scripts {
        let name = Path::new(script).file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{script} is no script"))?;
        image.file(
            &format!("bin/{name}"),
            &read(&paths.repo(script))?,
            Mode::Run,
        )?;
    }
    add_link_tools(&mut image, scenario, link_tools)?;
    image.finish(&file)?;
    Ok(file)
}

/// Makes the disks of the NVMe controller in `dir`: sparse files, those of
/// cells with a root file system. The first cell's is a copy of `system`, if it has one.
///
/// # Errors
///
/// `mke2fs` fails, or a file cannot be written.
pub(super) fn disks(
    paths: &Paths,
    scenario: &Scenario,
    system: Option<&Path>,
    dir: &Path,
) -> Result<Vec<PathBuf>> {
    let tree = tree(paths, &scenario.cells.programs)?;
    let mut disks = Vec::new();
    for (number, label) in DISKS.iter().enumerate() {
        let disk = dir.join(format!("nvme-{label}.img"));
        if let (0, Some(system)) = (number, system) {
            Cmd::new("cp")
                .arg("--sparse=always")
                .args([system, &disk])
                .run(paths, "copy-system")?;
        } else if *label == "root" {
            ext4::empty(&disk, DISK)?;
        } else {
            put(&tree.join("etc/hostname"), label.as_bytes())?;
            ext4::make(paths, &tree, &disk, DISK, label)?;
        }
        disks.push(disk);
    }
    Ok(disks)
}

/// The tree that a root file system is made from.
fn tree(paths: &Paths, programs: &[String]) -> Result<PathBuf> {
    let tree = paths.images().join("rootfs");
    if tree.exists() {
        std::fs::remove_dir_all(&tree)
            .with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    for dir in ["bin", "sbin", "dev", "etc", "proc", "sys", "run", "tmp"] {
        make_dir(&tree.join(dir))?;
    }
    let busybox = read(Path::new(BUSYBOX))?;
    put(&tree.join("bin/busybox"), &busybox)?;
    put(&tree.join("bin/io"), &read(&paths.repo(IO))?)?;
    put(&tree.join("sbin/init"), &read(&paths.repo(INIT))?)?;
    put(&tree.join("trouble"), trouble().as_bytes())?;
    for source in programs {
        let program = program::build(paths, source)?;
        put(&tree.join("bin").join(program.name), &program.content)?;
    }
    for name in applets()? {
        symlink("busybox", tree.join("bin").join(&name))
            .with_context(|| format!("cannot make the link bin/{name}"))?;
    }
    Ok(tree)
}

/// Writes a file that can be run.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content)
        .and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}
