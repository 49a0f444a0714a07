//! `cellctl`: carves slices out of a machine.
//!
//! The way of a slice: TOML file → plan (crate `cellvisor-planner`) → CPUs and
//! huge pages taken from Linux ([`create`], [`journal`]) → pinned by the driver
//! ([`driver`]) → hypercall to the monitor ([`calls`]) → kernel and ACPI tables
//! written into the cell's memory ([`loader`]) → started.
//!
//! Whatever changes the machine is written down before it is done ([`state`]),
//! so that it can be undone even after a crash.

mod calls;
mod cli;
mod cmd;
mod create;
mod driver;
mod error;
mod facts;
#[cfg(test)]
mod fake;
mod functions;
mod journal;
mod linux;
mod loader;
mod output;
mod pci;
mod power;
mod raw;
mod sentences;
mod state;
mod system;
mod tables;

use clap::Parser;
use error::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cmd::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut err = anstream::stderr();
            let _ = match &error {
                // A report says for each finding whether it is an error.
                Error::Report(report) => writeln!(err, "{report}"),
                Error::One(_) => writeln!(err, "{0}error{0:#}: {error}", output::BAD),
            };
            ExitCode::from(error.code())
        }
    }
}
