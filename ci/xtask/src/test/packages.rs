//! Debian packages: they are built and looked through by lintian, and installed,
//! upgraded, used and purged in a Debian tree.

use super::Verdict;
use crate::build::{self, monitor::Image};
use crate::deb::{self, Packages};
use crate::image::debian;
use crate::paths::{Paths, make_dir};
use crate::setup::kernels::{self, Kernel};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// The version that is upgraded from: the same content under an older number.
const FROM: &str = "0.0.1";

/// Builds the packages and lets lintian look through them.
pub(super) fn lint(paths: &Paths) -> Result<Verdict> {
    let packages = {
        let _alone = build::alone();
        deb::build(paths, deb::VERSION, Image::Full)?
    };
    let told = Cmd::new("lintian")
        .args([
            "--allow-root",
            "--fail-on",
            "error,warning",
            "--tag-display-limit",
            "0",
        ])
        .args(packages.all())
        .run(paths, "lintian")?;
    if !told.trim().is_empty() {
        bail!("lintian is not content:\n{}", told.trim());
    }
    Ok(Verdict::Passed("lintian is content".to_owned()))
}

/// Plays the packages' life in a Debian tree.
pub(super) fn life(paths: &Paths, ui: &Ui) -> Result<Verdict> {
    if let Some(why) = debian::lacking()? {
        return Ok(Verdict::Skipped(why));
    }
    let mut others = Vec::new();
    for kernel in Kernel::roots().filter(|kernel| *kernel != debian::KERNEL) {
        match kernels::missing(paths, ui, kernel)? {
            Some(why) => eprintln!("left out: {why}"),
            None => others.push(kernels::files(paths, kernel)?),
        }
    }
    let system = debian::ensure(paths, &ui.silent())?;
    let dir = paths.target.join("deb/life");
    let (scratch, files) = (dir.join("scratch"), dir.join("files"));
    make_dir(&scratch)?;
    {
        let _alone = build::alone();
        lay(&deb::build(paths, FROM, Image::Full)?, &files.join("from"))?;
        lay(
            &deb::build(paths, deb::VERSION, Image::Full)?,
            &files.join("to"),
        )?;
    }
    std::fs::copy(
        paths.repo("ci/debian/packages.sh"),
        files.join("packages.sh"),
    )
    .context("cannot copy the script")?;
    let mut command = debian::in_tree(paths, &system, &scratch, &files)
        .args(["sh", "/job/packages.sh"])
        .arg(kernels::files(paths, debian::KERNEL)?.release);
    for kernel in &others {
        let programs = kernel.programs.as_deref().unwrap_or(Path::new("/usr/bin"));
        command = command
            .arg(&kernel.release)
            .arg(&kernel.headers)
            .arg(programs);
    }
    let told = command
        .env("FROM", FROM)
        .env("TO", deb::VERSION)
        .env("CACHE", &paths.cache)
        .run(paths, "packages-life")?;
    for word in ["upgraded", "used", "purged"] {
        if !told.contains(&format!("\npackages: {word}")) {
            bail!("the script ended before it had {word} the packages");
        }
    }
    let built: Vec<&str> = others.iter().map(|kernel| &*kernel.release).collect();
    Ok(Verdict::Passed(format!(
        "upgraded, used, purged; DKMS builds for its own kernel and {}",
        built.join(", ")
    )))
}

/// Copies packages to a folder.
fn lay(packages: &Packages, dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    make_dir(dir)?;
    for package in packages.all() {
        let name = package.file_name().context("a package without a name")?;
        std::fs::copy(package, dir.join(name)).context("cannot copy a package")?;
    }
    Ok(())
}
