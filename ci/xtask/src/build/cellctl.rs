//! `cellctl` and what members of links run, linked statically so that they run in an
//! initramfs.

use super::{TARGET, cargo};
use crate::paths::Paths;
use anyhow::Result;
use std::path::PathBuf;

/// What members of links run.
const LINK_TOOLS: [&str; 2] = ["cellnet", "cellmsg"];

/// Builds them; returns the path of `cellctl`, and those of the others.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build(paths: &Paths) -> Result<(PathBuf, Vec<PathBuf>)> {
    let cellctl = linked_statically(paths, "cellctl", &["cellctl", "cellvisor-window"])?;
    let tools = LINK_TOOLS.map(|name| cellctl.with_file_name(name)).to_vec();
    Ok((cellctl, tools))
}

/// Builds these packages; returns the path of `program`, beside which the others are.
fn linked_statically(paths: &Paths, program: &str, packages: &[&str]) -> Result<PathBuf> {
    let target = paths.target.join("static");
    let packages = packages.iter().flat_map(|name| ["--package", name]);
    cargo(paths)
        .env("CARGO_TARGET_DIR", &target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Cstrip=debuginfo",
        )
        .words("build --release --target")
        .arg(TARGET)
        .args(packages)
        .run(paths, &format!("build-{program}"))?;
    Ok(target.join(TARGET).join("release").join(program))
}

/// Builds `cellvisor-slurm` the same way; returns its path.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build_slurm(paths: &Paths) -> Result<PathBuf> {
    linked_statically(paths, "cellvisor-slurm", &["cellvisor-slurm"])
}

/// Builds `cellvisor-redfish` the same way; returns its path.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build_redfish(paths: &Paths) -> Result<PathBuf> {
    linked_statically(paths, "cellvisor-redfish", &["cellvisor-redfish"])
}
