//! `cargo xtask mutants`: takes protections out of the code and demands that a
//! test notices.

mod host;
pub(crate) mod monitor;

use crate::paths::Paths;
use anyhow::{Result, bail};
use clap::Args;

/// Arguments of `cargo xtask mutants`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Mutants of the crates that have unit tests.
    #[arg(long)]
    host: bool,
    /// Protections of the monitor (ci/mutants.toml).
    #[arg(long, conflicts_with = "host")]
    monitor: bool,
    /// With --monitor: only those whose name has this in it (may be given more
    /// than once).
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// With --monitor: only those that this scenario is to notice (may be given more
    /// than once).
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// With --monitor: without those that need a machine of their own.
    #[arg(long)]
    short: bool,
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
    if options.monitor {
        let rate = monitor::main(paths, &options.only, &options.scenario, options.short)?;
        println!("{rate}");
        return Ok(());
    }
    if !options.host {
        bail!("say which mutants: --host or --monitor");
    }
    host::main(paths, &options.krate, &options.file)
}
