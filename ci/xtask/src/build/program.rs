//! Small C programs of roots and cells, linked statically.

use crate::paths::{Paths, make_dir, read};
use crate::sh::Cmd;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A program that was built.
#[derive(Debug)]
pub(crate) struct Program {
    /// The source's name without its ending; that of a folder with its parent's:
    /// `driver-tests`.
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

/// Builds the program whose source is at `source` in the repository: a file, or a
/// folder of files.
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

/// Builds the 32-bit program whose source is there, with the layout beside it.
///
/// # Errors
///
/// It does not compile, or with warnings.
pub(crate) fn build_narrow(paths: &Paths, source: &str) -> Result<Program> {
    let script = paths.repo(source).with_file_name("link.ld");
    let script = format!("-Wl,-T,{}", script.display());
    let words = BARE.split_whitespace().chain(["-m32", script.as_str()]);
    let words: Vec<&str> = words.collect();
    compile(paths, source, &words, &[])
}

fn compile(paths: &Paths, source: &str, words: &[&str], others: &[&str]) -> Result<Program> {
    let at = paths.repo(source);
    let (name, sources) = if at.is_dir() {
        (source.replace('/', "-"), c_files(&at)?)
    } else {
        let stem = Path::new(source).file_stem().and_then(|stem| stem.to_str());
        let name = stem.with_context(|| format!("{source} is no C source"))?;
        (name.to_owned(), vec![at])
    };
    let dir = paths.target.join("programs");
    make_dir(&dir)?;
    let file = dir.join(&name);
    Cmd::new("gcc")
        .words(CHECKED)
        .args(words)
        .arg("-o")
        .args([&file])
        .args(others.iter().map(|other| paths.repo(other)))
        .args(&sources)
        .run(paths, &format!("program-{name}"))?;
    Ok(Program {
        name,
        content: read(&file)?,
    })
}

/// The C sources in a folder, in the order of their names.
fn c_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("no folder {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
