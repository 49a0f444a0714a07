//! Stock Debian kernels: image, modules and headers, fetched as packages and
//! unpacked into the cache, so that nothing is installed on this machine.

use super::apt::BACKPORTS;
use crate::paths::{Paths, make_dir, read_text};
use crate::sh::Cmd;
use crate::ui::{Step, Ui};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The kernels that cellvisor is built and tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Kernel {
    /// Debian 12's own.
    #[serde(rename = "6.1")]
    V6_1,
    /// Debian 12's newer one, from backports.
    #[serde(rename = "6.12")]
    V6_12,
}

impl Kernel {
    /// All of them, oldest first.
    pub(crate) const ALL: &[Self] = &[Self::V6_1, Self::V6_12];

    /// Its version as people say it.
    pub(crate) const fn version(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// What makes apt take it: backports are taken only when they are named.
    const fn suite(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 => &[],
            Self::V6_12 => &["-t", BACKPORTS],
        }
    }

    fn dir(self, paths: &Paths) -> PathBuf {
        paths.cache.join("kernels").join(self.version())
    }
}

/// A kernel that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// What `uname -r` says on it.
    pub(crate) release: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`, with `modules.dep`.
    pub(crate) modules: PathBuf,
    /// What a module build takes as `KDIR`.
    pub(crate) headers: PathBuf,
}

/// The files of a kernel.
///
/// # Errors
///
/// It was not fetched.
pub(crate) fn files(paths: &Paths, kernel: Kernel) -> Result<Files> {
    let dir = kernel.dir(paths);
    let release = read_text(&dir.join("release"))
        .context("the kernel packages are not here: run `cargo xtask setup`")?;
    let release = release.trim().to_owned();
    Ok(Files {
        image: dir.join(format!("boot/vmlinuz-{release}")),
        modules: dir.join(format!("lib/modules/{release}")),
        headers: dir.join(format!("usr/src/linux-headers-{release}")),
        release,
    })
}

/// Fetches a kernel that is not in the cache; with `refresh`, also one that
/// is older than the newest.
///
/// # Errors
///
/// apt does not know the packages or cannot fetch them.
pub(crate) fn ensure(paths: &Paths, ui: &Ui, kernel: Kernel, refresh: bool) -> Result<()> {
    let have = files(paths, kernel).ok();
    if have.is_some() && !refresh {
        return Ok(());
    }
    let release = newest(kernel)?;
    if have.is_some_and(|files| files.release == release) {
        return Ok(());
    }
    ui.step(format!("Fetches the kernel {release}"), |step| {
        fetch(paths, kernel, &release, step)
    })
}

/// The newest release: the package that the meta package depends on.
fn newest(kernel: Kernel) -> Result<String> {
    let depends = depends(&[kernel.suite(), &["linux-image-amd64"]].concat())?;
    depends
        .iter()
        .find_map(|name| name.strip_prefix("linux-image-"))
        .map(str::to_owned)
        .with_context(|| {
            format!(
                "apt knows no kernel {}: run `apt-get update`",
                kernel.version()
            )
        })
}

fn depends(args: &[&str]) -> Result<Vec<String>> {
    let text = Cmd::new("apt-cache").arg("depends").args(args).read()?;
    let packages = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(packages.map(str::to_owned).collect())
}

fn fetch(paths: &Paths, kernel: Kernel, release: &str, step: &Step) -> Result<()> {
    let headers = format!("linux-headers-{release}");
    let wanted =
        |name: &String| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-");
    let mut packages = vec![format!("linux-image-{release}"), headers.clone()];
    packages.extend(depends(&[&headers])?.into_iter().filter(wanted));

    let debs = paths.cache.join("debs");
    make_dir(&debs)?;
    // A half-unpacked kernel must not be taken for a whole one.
    let fresh = paths
        .cache
        .join(format!("kernels/{}.new", kernel.version()));
    remove_dir(&fresh)?;
    make_dir(&fresh)?;
    for package in &packages {
        step.note(package);
        let deb = download(paths, &debs, package)?;
        Cmd::new("dpkg")
            .arg("-x")
            .args([&deb, &fresh])
            .run(paths, "dpkg-x")?;
    }
    complete(paths, &fresh, release)?;
    remove_dir(&kernel.dir(paths))?;
    std::fs::rename(&fresh, kernel.dir(paths)).context("cannot put the kernel into the cache")
}

fn download(paths: &Paths, debs: &Path, package: &str) -> Result<PathBuf> {
    let cached = |debs: &Path| -> Option<PathBuf> {
        let mut entries = std::fs::read_dir(debs)
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        let prefix = format!("{package}_");
        entries.find(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(".deb")
        })
    };
    if let Some(deb) = cached(debs) {
        return Ok(deb);
    }
    // Root's downloads go through another user, who cannot write here.
    Cmd::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "download", package])
        .dir(debs)
        .run(paths, "apt-download")?;
    cached(debs).with_context(|| format!("apt-get download of {package} left no package"))
}

/// Makes an unpacked tree usable where it is: paths of the headers, the
/// modules' index, the mark that all is there.
fn complete(paths: &Paths, dir: &Path, release: &str) -> Result<()> {
    let makefile = dir.join(format!("usr/src/linux-headers-{release}/Makefile"));
    // Debian's file names the common headers by their installed path.
    let text = read_text(&makefile)?;
    let relative = "include $(dir $(lastword $(MAKEFILE_LIST)))../";
    let fixed = text.replace("include /usr/src/", relative);
    if fixed == text {
        bail!(
            "{} has changed its form: no path of the common headers in it",
            makefile.display()
        );
    }
    std::fs::write(&makefile, fixed).context("cannot write the headers' Makefile")?;
    Cmd::new(crate::sh::find_program("depmod").unwrap_or_else(|| "depmod".into()))
        .arg("-b")
        .arg(dir)
        .arg(release)
        .run(paths, "depmod")?;
    std::fs::write(dir.join("release"), release).context("cannot write into the cache")
}

fn remove_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}
