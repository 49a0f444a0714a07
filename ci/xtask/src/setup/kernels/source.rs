//! Where kernel packages come from: the system's apt for its own release, apt
//! with sources and state of its own for any other, so that nothing of the
//! system changes.

use super::super::apt::{self, BACKPORTS, CODENAME};
use crate::paths::{Paths, make_dir};
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Who signs Debian's suites.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt, with the options that make it see one suite.
#[derive(Debug)]
pub(in crate::setup) struct Source {
    options: Vec<String>,
    /// apt's state and downloads; `None` for the system's own.
    dir: Option<PathBuf>,
}

impl Source {
    /// Packages of a suite, as its index has them now.
    ///
    /// # Errors
    ///
    /// The index of a suite that is not the system's cannot be fetched.
    pub(in crate::setup) fn open(paths: &Paths, suite: &str) -> Result<Self> {
        if suite == CODENAME || suite == BACKPORTS {
            // Backports are taken only when they are named.
            let target: &[&str] = if suite == BACKPORTS {
                &["-t", suite]
            } else {
                &[]
            };
            return Ok(Self {
                options: target.iter().copied().map(str::to_owned).collect(),
                dir: None,
            });
        }
        let dir = paths.cache.join("apt").join(suite);
        for folder in ["lists/partial", "cache/archives/partial"] {
            make_dir(&dir.join(folder))?;
        }
        let options = private_options(suite, &dir)?;
        Cmd::new("apt-get")
            .args(&options)
            .arg("update")
            .run(paths, &format!("apt-update-{suite}"))
            .with_context(|| format!("the index of Debian's {suite} cannot be fetched"))?;
        Ok(Self {
            options,
            dir: Some(dir),
        })
    }

    /// True for the suites that this system's own programs are from.
    pub(in crate::setup) const fn is_system(&self) -> bool {
        self.dir.is_none()
    }

    /// Names of the packages that a package depends on; none if it is unknown.
    ///
    /// # Errors
    ///
    /// apt cannot be run.
    pub(in crate::setup) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = Cmd::new("apt-cache")
            .args(&self.options)
            .args(["depends", package])
            .read()?;
        let names = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches a package into `debs` if it is not there.
    ///
    /// # Errors
    ///
    /// The mirror does not have it, or it cannot be fetched.
    pub(in crate::setup) fn download(
        &self,
        paths: &Paths,
        debs: &Path,
        package: &str,
    ) -> Result<PathBuf> {
        make_dir(debs)?;
        if let Some(deb) = cached(debs, package) {
            return Ok(deb);
        }
        // Root's downloads go through another user, who cannot write here.
        Cmd::new("apt-get")
            .args(&self.options)
            .args(["-o", "APT::Sandbox::User=root", "download", package])
            .dir(debs)
            .run(paths, "apt-download")?;
        cached(debs, package)
            .with_context(|| format!("apt-get download of {package} left no package"))
    }

    /// Fetches packages of a suite that is not the system's, with all that they
    /// need down to the C library.
    ///
    /// # Errors
    ///
    /// It is the system's suite, or a package cannot be fetched.
    pub(in crate::setup) fn download_closure(
        &self,
        paths: &Paths,
        packages: &[&str],
    ) -> Result<Vec<PathBuf>> {
        let Some(dir) = &self.dir else {
            bail!("packages of the system's own suite are installed, not unpacked");
        };
        Cmd::new("apt-get")
            .args(&self.options)
            .words("-y --no-install-recommends --download-only install")
            .args(packages)
            .run(paths, "apt-download-closure")?;
        let archives = dir.join("cache/archives");
        let entries = std::fs::read_dir(&archives)
            .with_context(|| format!("cannot list {}", archives.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files
            .filter(|path| path.extension().is_some_and(|kind| kind == "deb"))
            .collect())
    }

    /// Removes what [`Source::download_closure`] left.
    ///
    /// # Errors
    ///
    /// apt cannot be run.
    pub(in crate::setup) fn clean(&self, paths: &Paths) -> Result<()> {
        if self.dir.is_some() {
            Cmd::new("apt-get")
                .args(&self.options)
                .arg("clean")
                .run(paths, "apt-clean")?;
        }
        Ok(())
    }
}

/// Sources, lists, cache and state in `dir`: no package counts as installed, and
/// the system's pins do not count.
fn private_options(suite: &str, dir: &Path) -> Result<Vec<String>> {
    let mirror = apt::mirror()?;
    // Packages of backports need those of the release.
    let release = suite.strip_suffix("-backports");
    let sources: String = release
        .into_iter()
        .chain([suite])
        .map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        .collect();
    let (list, status) = (dir.join("sources.list"), dir.join("status"));
    std::fs::write(&list, sources).with_context(|| format!("cannot write {}", list.display()))?;
    std::fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
    let at = |key: &str, path: &Path| format!("{key}={}", path.display());
    let nothing = Path::new("/dev/null");
    let settings = [
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        at("Dir::Etc::sourcelist", &list),
        at("Dir::Etc::sourceparts", nothing),
        at("Dir::Etc::preferences", nothing),
        at("Dir::Etc::preferencesparts", nothing),
        at("Dir::State", dir),
        at("Dir::State::lists", &dir.join("lists")),
        at("Dir::State::status", &status),
        at("Dir::Cache", &dir.join("cache")),
    ];
    let mut options = vec!["-t".to_owned(), suite.to_owned()];
    options.extend(
        settings
            .into_iter()
            .flat_map(|setting| ["-o".to_owned(), setting]),
    );
    Ok(options)
}

fn cached(debs: &Path, package: &str) -> Option<PathBuf> {
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
}
