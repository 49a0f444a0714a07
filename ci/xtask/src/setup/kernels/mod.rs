//! Stock Debian kernels: image, modules and headers, fetched as packages and
//! unpacked into the cache, so that nothing is installed on this machine.

pub(super) mod source;
mod table;
mod tree;

pub(crate) use table::{Kernel, Need};

use crate::paths::{Paths, lock_file, make_dir, read_text};
use crate::ui::{Step, Ui};
use anyhow::{Context, Result, anyhow};
use source::Source;
use std::path::{Path, PathBuf};
use table::Role;

/// A kernel that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// What `uname -r` says on it.
    pub(crate) release: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`, with `modules.dep`.
    pub(crate) modules: PathBuf,
    /// What a module build takes as `KDIR`; roots' kernels have it.
    pub(crate) headers: PathBuf,
    /// Programs that modules are built with, if they are not the system's.
    pub(crate) programs: Option<PathBuf>,
}

/// The files of a kernel.
///
/// # Errors
///
/// It was not fetched, or its tree was moved since.
pub(crate) fn files(paths: &Paths, kernel: Kernel) -> Result<Files> {
    let dir = dir(paths, kernel);
    let release = read_text(&dir.join("release")).with_context(|| {
        format!(
            "the kernel {} is not here: run `cargo xtask setup`",
            kernel.name()
        )
    })?;
    let release = release.trim().to_owned();
    let programs = match std::fs::read_to_string(dir.join("home")) {
        // The programs know their libraries by the tree's place.
        Ok(home) if Path::new(&home) == dir => Some(dir.join("usr/bin")),
        Ok(home) => anyhow::bail!("the kernel {} was moved from {home}", kernel.name()),
        Err(_) => None,
    };
    Ok(Files {
        image: dir.join(format!("boot/vmlinuz-{release}")),
        modules: dir.join(format!("lib/modules/{release}")),
        headers: dir.join(format!("usr/src/linux-headers-{release}")),
        release,
        programs,
    })
}

/// The files of a kernel that is in the cache, with an index of its modules.
fn have(paths: &Paths, kernel: Kernel) -> Option<Files> {
    let files = files(paths, kernel).ok();
    files.filter(|files| files.modules.join("modules.dep").exists())
}

fn dir(paths: &Paths, kernel: Kernel) -> PathBuf {
    paths.cache.join("kernels").join(kernel.name())
}

/// The packages of a kernel of this system's suites and of its headers, for a system
/// to install.
///
/// # Errors
///
/// The mirror does not have them any more.
pub(crate) fn packages(paths: &Paths, kernel: Kernel) -> Result<Vec<PathBuf>> {
    let release = files(paths, kernel)?.release;
    let suite = kernel.suites().first().context("a kernel of no suite")?;
    let source = Source::open(paths, suite)?;
    let debs = paths.cache.join("debs");
    let mut names = image_packages(&source, &release)?;
    names.extend(header_packages(&source, &release)?);
    let fetched = names.iter().map(|name| source.download(paths, &debs, name));
    fetched.collect()
}

/// Fetches a kernel that is not in the cache; with `refresh`, also one that
/// is older than the newest.
///
/// # Errors
///
/// The mirror does not have it any more, or it cannot be fetched.
pub(crate) fn ensure(paths: &Paths, ui: &Ui, kernel: Kernel, refresh: bool) -> Result<()> {
    if have(paths, kernel).is_some() && !refresh {
        return Ok(());
    }
    // Another run, or another check of this one, may be at it.
    make_dir(&paths.cache.join("kernels"))?;
    let _lock = lock_file(&paths.cache.join("kernels/lock"))?;
    let have = have(paths, kernel);
    if have.is_some() && !refresh {
        return Ok(());
    }
    let title = format!("Looks for the kernel {}", kernel.name());
    let (source, release) = ui.step(title, |_| newest(paths, kernel))?;
    if have.is_some_and(|files| files.release == release) {
        return Ok(());
    }
    ui.step(format!("Fetches the kernel {release}"), |step| {
        fetch(paths, kernel, &source, &release, step)
    })
}

/// Fetches a kernel that is not in the cache. Why it cannot be had is returned if
/// an ordinary run can do without.
///
/// # Errors
///
/// A kernel that every run needs cannot be had.
pub(crate) fn missing(paths: &Paths, ui: &Ui, kernel: Kernel) -> Result<Option<String>> {
    match ensure(paths, &ui.silent(), kernel, false) {
        Ok(()) => Ok(None),
        Err(why) if kernel.need() == Need::Always => Err(why),
        Err(why) => Ok(Some(format!("{why:#}"))),
    }
}

/// The newest release that a kernel's suites have, and where it is.
fn newest(paths: &Paths, kernel: Kernel) -> Result<(Source, String)> {
    let mut found: Option<(Source, String)> = None;
    let mut reasons = Vec::new();
    for suite in kernel.suites() {
        match newest_of(paths, kernel, suite) {
            Ok((_, release))
                if found
                    .as_ref()
                    .is_some_and(|(_, best)| version(best) >= version(&release)) => {}
            Ok(newer) => found = Some(newer),
            Err(why) => reasons.push(format!("{why:#}")),
        }
    }
    found.ok_or_else(|| {
        anyhow!(
            "the kernel {} cannot be had: {}",
            kernel.name(),
            reasons.join("; ")
        )
    })
}

/// The newest release of a suite: the package that the meta package depends on.
fn newest_of(paths: &Paths, kernel: Kernel, suite: &str) -> Result<(Source, String)> {
    let source = Source::open(paths, suite)?;
    let depends = source.depends(&kernel.package()).unwrap_or_default();
    let release = depends
        .iter()
        .find_map(|name| name.strip_prefix("linux-image-"))
        .map(str::to_owned);
    let release = release.with_context(|| {
        format!(
            "Debian's {suite} has no {} (or the index is old: run `apt-get update`)",
            kernel.package()
        )
    })?;
    Ok((source, release))
}

/// The numbers that a release begins with: 7.3.4+deb13-amd64 is 7, 3, 4.
fn version(release: &str) -> Vec<u32> {
    let end = release.find(|c: char| c != '.' && !c.is_ascii_digit());
    release[..end.unwrap_or(release.len())]
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn fetch(paths: &Paths, kernel: Kernel, source: &Source, release: &str, step: &Step) -> Result<()> {
    let home = dir(paths, kernel);
    // A half-unpacked kernel must not be taken for a whole one.
    let fresh = paths.cache.join(format!("kernels/{}.new", kernel.name()));
    remove_dir(&fresh)?;
    make_dir(&fresh)?;
    let is_root = kernel.role() == Role::Root;
    let debs = paths.cache.join("debs");
    let unpack = |package: &str| {
        step.note(package);
        let deb = source.download(paths, &debs, package)?;
        tree::unpack(paths, &deb, &fresh)
    };
    for package in image_packages(source, release)? {
        unpack(&package)?;
    }
    if is_root && source.is_system() {
        for package in header_packages(source, release)? {
            unpack(&package)?;
        }
    } else if is_root {
        step.note("the compiler");
        unpack_with_compiler(paths, source, release, &fresh, &home)?;
    }
    tree::settle(&fresh, release)?;
    if is_root {
        tree::free_headers(&fresh, release)?;
    }
    tree::index_modules(paths, &fresh, release)?;
    std::fs::write(fresh.join("release"), release).context("cannot write into the cache")?;
    remove_dir(&home)?;
    std::fs::rename(&fresh, &home).context("cannot put the kernel into the cache")
}

/// Packages of a kernel itself. Since 7.x its image and its modules have one
/// each.
fn image_packages(source: &Source, release: &str) -> Result<Vec<String>> {
    let whole = format!("linux-image-{release}");
    let (binary, apart) = (
        format!("linux-binary-{release}"),
        format!("linux-modules-{release}"),
    );
    if !source.depends(&whole)?.contains(&binary) {
        return Ok(vec![whole]);
    }
    Ok(vec![binary, apart])
}

fn header_packages(source: &Source, release: &str) -> Result<Vec<String>> {
    let headers = format!("linux-headers-{release}");
    let wanted =
        |name: &String| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-");
    let depends = source.depends(&headers)?;
    Ok([headers]
        .into_iter()
        .chain(depends.into_iter().filter(wanted))
        .collect())
}

/// Headers of another suite, with the compiler and the tools that they want of
/// that suite.
fn unpack_with_compiler(
    paths: &Paths,
    source: &Source,
    release: &str,
    fresh: &Path,
    home: &Path,
) -> Result<()> {
    let headers = format!("linux-headers-{release}");
    for deb in source.download_closure(paths, &[&headers, "binutils", "pahole"])? {
        tree::unpack(paths, &deb, fresh)?;
    }
    source.clean(paths)?;
    tree::free_programs(paths, fresh, home)?;
    std::fs::write(fresh.join("home"), home.as_os_str().as_encoded_bytes())
        .context("cannot write into the cache")
}

fn remove_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("7.3.4+deb13-amd64"), [7, 3, 4]);
        assert_eq!(version("6.1.0-56-amd64"), [6, 1, 0]);
        assert!(version("7.10.1+deb14-amd64") > version("7.3.4+deb13-amd64"));
    }
}
