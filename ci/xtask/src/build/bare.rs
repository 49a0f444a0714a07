//! Bare-metal programs of cells: crates below `cells/`.

use super::{TARGET, monitor};
use crate::paths::Paths;
use crate::sh::Cmd;
use anyhow::Result;
use std::path::PathBuf;

/// All of them.
const PROGRAMS: &str = "--package cell-hello --package cell-latency --package cell-memtest";

/// Builds them and returns the path of one, an ELF file.
///
/// # Errors
///
/// They do not compile or link.
pub(crate) fn build(paths: &Paths, name: &str) -> Result<PathBuf> {
    cargo(paths, "build")
        .words(PROGRAMS)
        .run(paths, "build-cells")?;
    Ok(dir(paths).join(TARGET).join("monitor").join(name))
}

/// Lints them and their runtime, warnings being errors.
///
/// # Errors
///
/// The first lints, as clippy tells them.
pub(crate) fn clippy(paths: &Paths) -> Result<()> {
    let command = cargo(paths, "clippy")
        .words("--package cellvisor-cell")
        .words(PROGRAMS)
        .words("-- -D warnings");
    command.run(paths, "clippy-cells").map(drop)
}

fn dir(paths: &Paths) -> PathBuf {
    paths.target.join("cells")
}

fn cargo(paths: &Paths, verb: &str) -> Cmd {
    let script = paths.repo("cells/cell.ld");
    monitor::freestanding(paths, &script, "static", &dir(paths))
        .words(verb)
        .words("--profile monitor --target")
        .arg(TARGET)
}
