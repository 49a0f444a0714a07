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
    let target = paths.target.join("static");
    cargo(paths)
        .env("CARGO_TARGET_DIR", &target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Cstrip=debuginfo",
        )
        .words("build --package cellctl --package cellvisor-window --release --target")
        .arg(TARGET)
        .run(paths, "build-cellctl")?;
    let built = target.join(TARGET).join("release");
    let tools = LINK_TOOLS.map(|name| built.join(name)).to_vec();
    Ok((built.join("cellctl"), tools))
}
