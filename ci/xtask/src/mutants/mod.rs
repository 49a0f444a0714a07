//! `cargo xtask mutants`: takes protections out of the code and demands that a
//! test notices.

mod host;

use crate::paths::Paths;
use anyhow::{Result, bail};
use clap::Args;

/// Arguments of `cargo xtask mutants`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Mutants of the crates that have unit tests.
    #[arg(long)]
    host: bool,
    /// Only files whose path has this in it (may be given more than once).
    #[arg(long, value_name = "TEXT")]
    file: Vec<String>,
    /// Only crates of this name (core, planner, acpi, abi).
    #[arg(long = "crate", value_name = "NAME")]
    krate: Vec<String>,
}

/// Makes the mutants, and fails if too few are noticed.
///
/// # Errors
///
/// The tests do not pass without mutants, something does not build, or more
/// survive than a crate may have.
pub(crate) fn main(paths: &Paths, options: &Options) -> Result<()> {
    if !options.host {
        bail!("say which mutants: --host");
    }
    host::main(paths, &options.krate, &options.file)
}
