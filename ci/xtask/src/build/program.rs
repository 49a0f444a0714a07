//! Small C programs of roots and cells, linked statically.

use crate::paths::{Paths, make_dir, read};
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::path::Path;

/// A program that was built.
#[derive(Debug)]
pub(crate) struct Program {
    /// The source's name without its ending.
    pub(crate) name: String,
    /// The executable.
    pub(crate) content: Vec<u8>,
}

/// Builds the program whose source is at `source` in the repository.
///
/// # Errors
///
/// It does not compile, or with warnings.
pub(crate) fn build(paths: &Paths, source: &str) -> Result<Program> {
    let stem = Path::new(source).file_stem().and_then(|stem| stem.to_str());
    let name = stem.with_context(|| format!("{source} is no C source"))?;
    let dir = paths.target.join("programs");
    make_dir(&dir)?;
    let file = dir.join(name);
    Cmd::new("gcc")
        .words("-O2 -Wall -Wextra -Werror -static -o")
        .args([&file, &paths.repo(source)])
        .run(paths, &format!("program-{name}"))?;
    Ok(Program {
        name: name.to_owned(),
        content: read(&file)?,
    })
}
