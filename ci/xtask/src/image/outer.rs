//! The outer system of the lanes `kvm-on-vmx` and `kvm-on-svm`: Debian's kernel
//! with KVM, and Debian's QEMU with all that it needs. Made without privileges
//! from files of installed and fetched packages, once, and kept in the cache.

use crate::emulators::{FIRMWARE, stock};
use crate::image::{self, ext4};
use crate::paths::{Paths, make_dir, read_text};
use crate::setup::kernels::{self, Kernel};
use crate::sh::libraries;
use crate::ui::Ui;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The outer kernel.
const KERNEL: Kernel = Kernel::STANDARD;

/// Its modules: disks, and KVM of either vendor. The file system asks for its
/// checksum by name.
const MODULES: &[&str] = &[
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "kvm_intel",
    "kvm_amd",
];

/// The first process.
const INIT: &str = "ci/outer/init";

/// Folders that are empty until something is mounted there.
const MOUNT_POINTS: &[&str] = &["dev", "job", "proc", "tmp"];

/// Room that the file system needs for itself, in bytes.
const SLACK: u64 = 32 << 20;

/// The outer system.
#[derive(Debug)]
pub(crate) struct Files {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The initramfs, which mounts the system and runs the job.
    pub(crate) initramfs: PathBuf,
    /// An ext4 image with QEMU.
    pub(crate) system: PathBuf,
}

/// The files, if they are there and what would be made today.
///
/// # Errors
///
/// They were not made, or of something else; QEMU or the kernel is missing.
pub(crate) fn files(paths: &Paths) -> Result<Files> {
    let dir = paths.cache.join("outer");
    let made = std::fs::read_to_string(dir.join("recipe")).unwrap_or_default();
    if made != recipe(paths, &contents()?)? {
        anyhow::bail!("the outer system is not made: `cargo xtask setup` makes it");
    }
    Ok(Files {
        kernel: kernels::files(paths, KERNEL)?.image,
        initramfs: dir.join("initrd.cpio"),
        system: dir.join("system.img"),
    })
}

/// Makes the outer system unless it is there and up to date.
///
/// # Errors
///
/// QEMU or the kernel is missing, `mke2fs` fails, a file cannot be written.
pub(crate) fn ensure(paths: &Paths, ui: &Ui) -> Result<()> {
    if files(paths).is_ok() {
        return Ok(());
    }
    ui.step("Makes the outer system for nested KVM", |_| make(paths))
}

fn make(paths: &Paths) -> Result<()> {
    let contents = contents()?;
    let dir = paths.cache.join("outer");
    // Others may be at it too: each makes its own, the last one stays.
    let fresh = paths
        .cache
        .join(format!("outer.new.{}", std::process::id()));
    make_dir(&fresh)?;
    let modules: Vec<String> = MODULES.iter().map(|name| (*name).to_owned()).collect();
    let kernel = kernels::files(paths, KERNEL)?;
    let initramfs = fresh.join("initrd.cpio");
    image::small_linux(paths, INIT, (&kernel, &modules), &["system"], &initramfs)?;
    let tree = fresh.join("tree");
    for point in MOUNT_POINTS {
        make_dir(&tree.join(point))?;
    }
    let mut size = SLACK;
    for file in &contents {
        size += copy(file, &tree)?;
    }
    ext4::make(
        paths,
        &tree,
        &fresh.join("system.img"),
        size + size / 8,
        "outer",
    )?;
    std::fs::remove_dir_all(&tree).context("cannot remove the outer system's tree")?;
    std::fs::write(fresh.join("recipe"), recipe(paths, &contents)?)
        .context("cannot write into the cache")?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).context("cannot remove the old outer system")?;
    }
    std::fs::rename(&fresh, &dir).context("cannot put the outer system into the cache")
}

/// All that the system is made of, as text: whoever finds another text makes it
/// anew.
fn recipe(paths: &Paths, contents: &[PathBuf]) -> Result<String> {
    let mut text = format!(
        "kernel {}\nmodules {}\n",
        kernels::files(paths, KERNEL)?.release,
        MODULES.join(" ")
    );
    for file in contents {
        let data = std::fs::metadata(file)
            .with_context(|| format!("cannot look at {}", file.display()))?;
        writeln!(text, "{} {} {}", file.display(), data.len(), data.mtime())?;
    }
    text.push_str(&read_text(&paths.repo(INIT))?);
    Ok(text)
}

/// QEMU, its libraries and its firmware, by their paths here and there.
fn contents() -> Result<Vec<PathBuf>> {
    let qemu = stock()?;
    let mut all = libraries(&qemu)?;
    all.push(qemu);
    for dir in FIRMWARE {
        let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {dir}"))?;
        all.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_file()),
        );
    }
    all.sort();
    Ok(all)
}

/// Copies a file to the same path below `tree`; its bytes.
fn copy(file: &Path, tree: &Path) -> Result<u64> {
    let to = tree.join(file.strip_prefix("/").unwrap_or(file));
    if let Some(parent) = to.parent() {
        make_dir(parent)?;
    }
    std::fs::copy(file, &to).with_context(|| format!("cannot copy {}", file.display()))
}
