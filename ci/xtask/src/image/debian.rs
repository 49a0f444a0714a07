//! Debian with systemd as a root system: a tree that Debian's own tools make, and a
//! disk of it, both in the cache until what they are made of changes.
//!
//! Making it takes root's rights, as dpkg runs in the tree.

use super::{ext4, trouble};
use crate::deb::Packages;
use crate::image::cell;
use crate::paths::{Paths, make_dir, read, read_text};
use crate::scenario::Scenario;
use crate::setup::apt;
use crate::setup::kernels::{self, Kernel};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Its kernel, with headers that its own compiler is the right one for.
pub(crate) const KERNEL: Kernel = Kernel::OF_THE_RELEASE;

/// Packages beside the essential ones: an init system, a kernel's needs, and what
/// builds the driver.
const PACKAGES: &str = "systemd-sysv,udev,dbus,polkitd,kmod,initramfs-tools,zstd,procps,adduser,curl,\
    dkms,gcc,make,pahole";

/// What it is customized by.
const FILES: &[&str] = &["ci/debian/customize", "ci/debian/scenario.service"];

/// Bytes of the disk, which is sparse.
const DISK: u64 = 4 << 30;

/// Room on a scenario's disk beside what is on it, in bytes.
const SLACK: u64 = 64 << 20;

/// A Debian system.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// All its files; not to be changed.
    pub(crate) tree: PathBuf,
    /// The same as an ext4 image.
    pub(crate) disk: PathBuf,
    /// Its initramfs.
    pub(crate) initramfs: PathBuf,
}

/// Why it cannot be made on this machine, if so.
///
/// # Errors
///
/// `id` cannot be run.
pub(crate) fn lacking() -> Result<Option<String>> {
    if !apt::is_root()? {
        return Ok(Some("a Debian tree needs root's rights".to_owned()));
    }
    let mounts = Cmd::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"])
        .read();
    Ok(mounts
        .err()
        .map(|_| "a Debian tree needs the right to mount".to_owned()))
}

/// The system, made unless it is there and what would be made today.
///
/// # Errors
///
/// A package cannot be fetched, or a file not be written.
pub(crate) fn ensure(paths: &Paths, ui: &Ui) -> Result<System> {
    let dir = paths.cache.join("debian");
    make_dir(&paths.cache)?;
    let lock = std::fs::File::create(paths.cache.join("debian.lock"))
        .context("cannot write into the cache")?;
    lock.lock().context("cannot lock the cache")?;
    kernels::ensure(paths, ui, KERNEL, false)?;
    let recipe = recipe(paths)?;
    if std::fs::read_to_string(dir.join("recipe")).unwrap_or_default() != recipe {
        ui.step("Makes a Debian system", |_| make(paths, &dir, &recipe))?;
    }
    system(paths, &dir)
}

fn system(paths: &Paths, dir: &Path) -> Result<System> {
    let release = kernels::files(paths, KERNEL)?.release;
    let tree = dir.join("tree");
    Ok(System {
        initramfs: tree.join(format!("boot/initrd.img-{release}")),
        disk: dir.join("disk.img"),
        tree,
    })
}

/// A command in a copy of the system's tree that is gone afterwards: `files` are at
/// /job there, the cache is where it is here. It needs a folder to mount the copy at.
pub(crate) fn in_tree(paths: &Paths, system: &System, scratch: &Path, files: &Path) -> Cmd {
    Cmd::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .arg(paths.repo("ci/debian/in-tree"))
        .args([&system.tree, scratch, files, &paths.cache])
}

fn make(paths: &Paths, dir: &Path, recipe: &str) -> Result<()> {
    if let Some(why) = lacking()? {
        bail!(why);
    }
    let fresh = paths
        .cache
        .join(format!("debian.new.{}", std::process::id()));
    let packages = fresh.join("packages");
    make_dir(&packages)?;
    for package in kernels::packages(paths, KERNEL)? {
        let name = package.file_name().context("a package without a name")?;
        std::fs::copy(&package, packages.join(name)).context("cannot copy a kernel's package")?;
    }
    let tree = fresh.join("tree");
    Cmd::new("mmdebstrap")
        .args(["--mode=root", "--variant=minbase", "--include", PACKAGES])
        .arg("--aptopt=APT::Install-Recommends \"0\"")
        .arg(format!(
            "--customize-hook={}",
            paths.repo("ci/debian/customize").display()
        ))
        .arg(apt::CODENAME)
        .arg(&tree)
        .arg(apt::mirror()?)
        .env("PACKAGES", &packages)
        .run(paths, "mmdebstrap")?;
    ext4::make(paths, &tree, &fresh.join("disk.img"), DISK, "debian")?;
    std::fs::remove_dir_all(&packages).context("cannot remove copies of packages")?;
    std::fs::write(fresh.join("recipe"), recipe).context("cannot write into the cache")?;
    if dir.exists() {
        std::fs::remove_dir_all(dir).context("cannot remove the old Debian system")?;
    }
    std::fs::rename(&fresh, dir).context("cannot put the Debian system into the cache")
}

/// All that decides what is made, as text.
fn recipe(paths: &Paths) -> Result<String> {
    let mut text = format!(
        "{} {PACKAGES} {DISK}\nkernel {}\n",
        apt::CODENAME,
        kernels::files(paths, KERNEL)?.release
    );
    for file in FILES {
        text.push_str(&read_text(&paths.repo(file))?);
    }
    Ok(text)
}

/// Makes the disk that a scenario's script, packages and cells come on.
///
/// # Errors
///
/// A file that goes onto it is missing, or `mke2fs` fails.
pub(super) fn job(
    paths: &Paths,
    scenario: &Scenario,
    packages: &Packages,
    dir: &Path,
) -> Result<PathBuf> {
    let tree = dir.join("job");
    make_dir(&tree)?;
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(tree.join(name), bytes).with_context(|| format!("cannot write {name}"))
    };
    let copy = |from: &Path| {
        let name = from.file_name().context("a file without a name")?;
        std::fs::copy(from, tree.join(name))
            .map(drop)
            .with_context(|| format!("cannot copy {}", from.display()))
    };
    copy(&paths.repo("ci/root/lib.sh"))?;
    copy(&paths.repo("ci/debian/begin"))?;
    for package in packages.all() {
        copy(package)?;
    }
    for slice in &scenario.cells.slices {
        copy(&paths.repo(slice))?;
    }
    if let Some(kernel) = scenario.cells.kernels.first() {
        let initramfs = cell::initramfs(paths, scenario, &[])?;
        write("initrd.img", &read(&initramfs)?)?;
        write("vmlinuz", &read(&kernels::files(paths, *kernel)?.image)?)?;
    }
    for (name, content) in scenario.files()? {
        write(&name, &content)?;
    }
    write("patience", scenario.patience.to_string().as_bytes())?;
    let steps: Vec<&str> = scenario.steps.iter().map(|step| &*step.name).collect();
    write("steps", steps.join("\n").as_bytes())?;
    write("trouble", trouble().as_bytes())?;
    let size = Cmd::new("du").arg("-sb").arg(&tree).read()?;
    let size: u64 = size
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .context("du tells no size")?;
    let disk = dir.join("job.img");
    let bytes = (size + size / 8 + SLACK).next_multiple_of(1 << 20);
    ext4::make(paths, &tree, &disk, bytes, "job")?;
    std::fs::remove_dir_all(&tree).context("cannot remove the job's tree")?;
    Ok(disk)
}
