//! Checks by programs that are none of ours.

use super::Verdict;
use crate::build::cargo;
use crate::paths::Paths;
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result};

/// Warnings that tell nothing here: a scenario's script is one part of a program,
/// whose other parts set and use the variables that it does not.
const OTHER_PARTS: &str = "SC2034,SC2154";

/// Lints all scripts that shells of root and cells run.
pub(super) fn scripts(paths: &Paths) -> Result<Verdict> {
    let listed = Cmd::new("git")
        .dir(&paths.root)
        .words("ls-files *.sh *init")
        .read()
        .context("the scripts are found as git lists them")?;
    let is_script = |file: &&str| {
        let text = std::fs::read(paths.repo(file)).unwrap_or_default();
        text.starts_with(b"#!") || file.ends_with(".sh")
    };
    let scripts: Vec<&str> = listed.lines().filter(is_script).collect();
    Cmd::new("shellcheck")
        .dir(&paths.root)
        .words("--shell=sh --severity=warning --exclude")
        .arg(OTHER_PARTS)
        .args(&scripts)
        .run(paths, "shellcheck")?;
    Ok(Verdict::Passed(format!("{} scripts", scripts.len())))
}

/// Checks licences and sources of all crates that are linked in (`deny.toml`).
pub(super) fn dependencies(paths: &Paths) -> Result<Verdict> {
    if find_program("cargo-deny").is_none() {
        let why = "cargo-deny is not installed: cargo install cargo-deny";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    cargo(paths)
        .words("deny --offline check licenses bans sources")
        .run(paths, "deny")?;
    Ok(Verdict::Passed("licences, bans, sources".to_owned()))
}
