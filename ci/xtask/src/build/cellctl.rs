//! `cellctl`, linked statically so that it runs in an initramfs.

use super::{TARGET, cargo};
use crate::paths::Paths;
use anyhow::Result;
use std::path::PathBuf;

/// Builds `cellctl` and returns its path.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build(paths: &Paths) -> Result<PathBuf> {
    let target = paths.target.join("static");
    cargo(paths)
        .env("CARGO_TARGET_DIR", &target)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Cstrip=debuginfo",
        )
        .words("build --package cellctl --release --target")
        .arg(TARGET)
        .run(paths, "build-cellctl")?;
    Ok(target.join(TARGET).join("release/cellctl"))
}
