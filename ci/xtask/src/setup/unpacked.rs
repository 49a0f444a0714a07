//! Debian packages as plain files: fetched and unpacked with all that they need, not
//! installed. No script of theirs runs, so it takes no rights.

use crate::paths::{Paths, make_dir};
use crate::sh::Cmd;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Packages that others name for their scripts alone.
const SCRIPTS: &[&str] = &["adduser", "debconf", "dpkg", "passwd", "tar", "ucf"];

/// What programs do without: documents and translations.
const DOCUMENTS: &str = "usr/share";

/// The tree of these packages, made unless it is in the cache and what would be made
/// today; not to be changed.
///
/// # Errors
///
/// A package is unknown, or cannot be fetched or unpacked.
pub(crate) fn tree(paths: &Paths, packages: &[String]) -> Result<PathBuf> {
    let dir = paths.cache.join("unpacked");
    make_dir(&dir)?;
    let lock = std::fs::File::create(dir.join("lock")).context("cannot write into the cache")?;
    lock.lock().context("cannot lock the cache")?;
    let files = closure(&dir, packages)?;
    let (recipe, home) = (files.join("\n"), dir.join(packages.join("+")));
    let tree = home.join("tree");
    if std::fs::read_to_string(home.join("recipe")).is_ok_and(|made| made == recipe) {
        return Ok(tree);
    }
    fetch(paths, &dir, packages)?;
    if home.exists() {
        std::fs::remove_dir_all(&home).context("cannot remove old files of packages")?;
    }
    make_dir(&tree)?;
    for file in &files {
        Cmd::new("dpkg-deb")
            .arg("-x")
            .args([&archives(&dir).join(file), &tree])
            .run(paths, "unpack")?;
    }
    let documents = tree.join(DOCUMENTS);
    if documents.exists() {
        std::fs::remove_dir_all(documents).context("cannot remove documents of packages")?;
    }
    std::fs::write(home.join("recipe"), recipe).context("cannot write into the cache")?;
    Ok(tree)
}

/// Names of the packages' files and of those that they need, as if none were installed.
fn closure(dir: &Path, packages: &[String]) -> Result<Vec<String>> {
    // What has been fetched it would not name.
    let told = apt(dir, &dir.join("none"))?
        .arg("--print-uris")
        .args(packages)
        .read()?;
    let mut files = names(&told);
    files.sort();
    ensure!(
        !files.is_empty(),
        "apt finds no files of {}",
        packages.join(", ")
    );
    Ok(files)
}

/// Files among apt's lines (`'URL' FILE SIZE HASH`) whose packages are not for scripts.
fn names(told: &str) -> Vec<String> {
    let files = told.lines().filter(|line| line.starts_with('\''));
    let files = files.filter_map(|line| line.split_whitespace().nth(1));
    let package = |file: &str| file.split('_').next().unwrap_or_default().to_owned();
    files
        .filter(|file| !SCRIPTS.contains(&&*package(file)))
        .map(str::to_owned)
        .collect()
}

fn fetch(paths: &Paths, dir: &Path, packages: &[String]) -> Result<()> {
    apt(dir, &archives(dir))?
        .arg("--download-only")
        .args(packages)
        .run(paths, "apt-unpacked")
        .map(drop)
        .with_context(|| format!("cannot fetch {}", packages.join(", ")))
}

/// `apt-get install` with the system's sources, as if nothing were installed and with
/// fetched files in `archives`.
fn apt(dir: &Path, archives: &Path) -> Result<Cmd> {
    make_dir(&archives.join("partial"))?;
    let status = dir.join("status");
    std::fs::write(&status, "").context("cannot write into the cache")?;
    let option = |key: &str, value: &Path| format!("{key}={}", value.display());
    Ok(Cmd::new("apt-get")
        .args(["-y", "--no-install-recommends"])
        .args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"])
        .args(["-o", &option("Dir::State::status", &status)])
        .args(["-o", &option("Dir::Cache::archives", archives)])
        .arg("install"))
}

fn archives(dir: &Path) -> PathBuf {
    dir.join("archives")
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn files_are_what_apt_names_without_those_for_scripts() {
        let told = "Reading package lists...\n\
            'http://deb/pool/m/munge_0.5_amd64.deb' munge_0.5_amd64.deb 106096 SHA256:1\n\
            'http://deb/pool/p/passwd_4.13_amd64.deb' passwd_1%3a4.13_amd64.deb 972180 SHA256:2\n";
        assert_eq!(names(told), ["munge_0.5_amd64.deb"]);
    }
}
