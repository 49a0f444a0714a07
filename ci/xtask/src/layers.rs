//! `cargo xtask layers`: which module may import which.
//!
//! A crate's floors stand in `ci/layers.toml`, the highest first. A module may
//! import its own folder and floors below; and no folders, whether they have
//! floors or not, may import each other in a circle. What touches the hardware
//! names a manual.

mod circles;
mod floors;
mod imports;
mod sources;

use crate::paths::{Paths, read_text};
use anyhow::{Context, Result, bail};
use floors::Floors;
use imports::Crate;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where floors are written down, in the repository.
const FILE: &str = "ci/layers.toml";

/// The part of the workspace's manifest that names its crates.
#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    members: Vec<String>,
}

/// Prints what [`check`] finds.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn main(paths: &Paths) -> Result<()> {
    println!("{}", check(paths)?);
    Ok(())
}

/// Checks all crates of the workspace; returns what there is in words.
///
/// # Errors
///
/// All imports that go up, all circles and all files without a source, one for each line, with file and
/// line number; or a source that cannot be read.
pub(crate) fn check(paths: &Paths) -> Result<String> {
    let manifest: Manifest = parse(paths, "Cargo.toml")?;
    let floors: BTreeMap<String, Floors> = parse(paths, FILE)?;
    if let Some(unknown) = floors
        .keys()
        .find(|name| !manifest.workspace.members.contains(name))
    {
        bail!("{FILE} names {unknown}, which is no crate of the workspace: take it out");
    }
    let mut mistakes = Vec::new();
    let mut modules = 0;
    for member in &manifest.workspace.members {
        let mut found = Crate::read(paths, member)?;
        modules += found.modules.len();
        if let Some(floors) = floors.get(member) {
            mistakes.extend(floors.set_aside(&mut found));
            mistakes.extend(floors.check(&found));
        }
        mistakes.extend(circles::check(&found));
    }
    mistakes.extend(sources::check(paths)?);
    // A group of imports is one mistake, not one for each name.
    mistakes.dedup();
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n"));
    }
    Ok(format!(
        "{modules} modules of {} crates, {} of them in floors",
        manifest.workspace.members.len(),
        floors.len()
    ))
}

fn parse<T: for<'a> Deserialize<'a>>(paths: &Paths, file: &str) -> Result<T> {
    toml::from_str(&read_text(&paths.repo(file))?)
        .with_context(|| format!("{file} is no such TOML"))
}
