//! Files of Debian packages that cells boot, fetched and unpacked, not installed.

use super::apt::CODENAME;
use super::kernels::source::Source;
use crate::paths::{Paths, make_dir};
use crate::sh::Cmd;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The file that `PACKAGE:PATH` names, fetched if it is not in the cache.
///
/// # Errors
///
/// The package cannot be fetched, or has no such file.
pub(crate) fn file(paths: &Paths, wish: &str) -> Result<PathBuf> {
    let (package, path) = wish
        .split_once(':')
        .with_context(|| format!("{wish}: write PACKAGE:PATH"))?;
    let dir = paths.cache.join("payloads").join(package);
    let file = dir.join(path);
    if !file.is_file() {
        make_dir(&dir)?;
        let source = Source::open(paths, CODENAME)?;
        let deb = source.download(paths, &paths.cache.join("debs"), package)?;
        Cmd::new("dpkg")
            .arg("-x")
            .args([&deb, &dir])
            .run(paths, "dpkg-x")?;
    }
    ensure!(file.is_file(), "the package {package} has no {path}");
    Ok(file)
}
