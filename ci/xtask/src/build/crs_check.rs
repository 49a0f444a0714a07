//! `crs-check`, a crate outside the workspace: its AML interpreter wants a
//! feature that stable Rust does not offer. So the compiler is told to offer it
//! to that one crate (`acpi`), in this one build.

use super::{TARGET, cargo};
use crate::paths::Paths;
use crate::sh::Cmd;
use anyhow::Result;
use std::path::PathBuf;

/// Builds the program, linked statically so that it runs in an initramfs, and
/// returns its path.
///
/// # Errors
///
/// It does not compile.
pub(crate) fn build(paths: &Paths) -> Result<PathBuf> {
    command(paths, "build --release --locked").run(paths, "build-crs-check")?;
    let target = paths.target.join("crs-check");
    Ok(target.join(TARGET).join("release/crs-check"))
}

/// Format, lints and unit tests of the program; returns what `cargo test` said.
///
/// # Errors
///
/// The first that does not pass.
pub(crate) fn check(paths: &Paths) -> Result<String> {
    cargo(paths)
        .dir(&paths.repo(FOLDER))
        .words("fmt -- --check")
        .run(paths, "fmt-crs-check")?;
    command(paths, "clippy --release --locked --all-targets")
        .words("-- -D warnings")
        .run(paths, "clippy-crs-check")?;
    command(paths, "test --release --locked").run(paths, "test-crs-check")
}

const FOLDER: &str = "ci/crs-check";

fn command(paths: &Paths, words: &str) -> Cmd {
    cargo(paths)
        .dir(&paths.repo(FOLDER))
        .env("CARGO_TARGET_DIR", paths.target.join("crs-check"))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("RUSTC_BOOTSTRAP", "acpi")
        .words(words)
        .words("--target")
        .arg(TARGET)
}
