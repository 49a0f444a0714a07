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

/// Warnings are mistakes.
const CHECKED: &str = "-O2 -Wall -Wextra -Werror -static";

/// Code that runs without a kernel: no library, no registers of the FPU, fixed
/// addresses, and a stack that interrupts use as well.
const BARE: &str = "-ffreestanding -nostdlib -mgeneral-regs-only -fno-pic -no-pie -mno-red-zone \
                    -fno-stack-protector -Wl,--build-id=none -Wl,-z,noexecstack";

/// What all payloads are linked with, and how.
const START: [&str; 2] = ["cells/bare/start.S", "cells/bare/bare.c"];
const LINK: &str = "cells/bare/link.ld";

/// Builds the program whose source is at `source` in the repository.
///
/// # Errors
///
/// It does not compile, or with warnings.
pub(crate) fn build(paths: &Paths, source: &str) -> Result<Program> {
    compile(paths, source, &[], &[])
}

/// Builds the payload whose source is there: a cell boots it in place of a
/// kernel.
///
/// # Errors
///
/// It does not compile, or with warnings.
pub(crate) fn build_payload(paths: &Paths, source: &str) -> Result<Program> {
    let script = format!("-Wl,-T,{}", paths.repo(LINK).display());
    let words: Vec<&str> = BARE.split_whitespace().chain([script.as_str()]).collect();
    compile(paths, source, &words, &START)
}

fn compile(paths: &Paths, source: &str, words: &[&str], others: &[&str]) -> Result<Program> {
    let stem = Path::new(source).file_stem().and_then(|stem| stem.to_str());
    let name = stem.with_context(|| format!("{source} is no C source"))?;
    let dir = paths.target.join("programs");
    make_dir(&dir)?;
    let file = dir.join(name);
    Cmd::new("gcc")
        .words(CHECKED)
        .args(words)
        .arg("-o")
        .args([&file])
        .args(others.iter().map(|other| paths.repo(other)))
        .args([&paths.repo(source)])
        .run(paths, &format!("program-{name}"))?;
    Ok(Program {
        name: name.to_owned(),
        content: read(&file)?,
    })
}
