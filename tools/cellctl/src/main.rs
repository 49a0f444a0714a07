//! `cellctl`: carves slices out of a machine.
//!
//! The way of a slice: TOML file → plan (crate `cellvisor-planner`) → CPUs and
//! huge pages taken from Linux ([`create`], [`journal`]) → pinned by the driver
//! ([`driver`]) → hypercall to the monitor ([`hypercalls`]) → kernel and ACPI tables
//! written into the cell's memory ([`loader`]) → started.
//!
//! Whatever changes the machine is written down before it is done ([`state`]),
//! so that it can be undone even after a crash.

mod cli;
mod cmd;
mod complete;
mod create;
mod driver;
mod error;
mod functions;
mod host_check;
mod hypercalls;
mod journal;
mod links;
mod loader;
mod memory;
mod messages;
mod nft;
mod output;
mod pci;
mod power;
mod signals;
mod state;
mod syscalls;
mod sysfs;
mod system_plan;
mod tables;
#[cfg(test)]
mod testing;

use anstream::{AutoStream, ColorChoice};
use clap::Parser;
use error::Error;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::completions::answer();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return usage(&wrong),
    };
    output::for_programs(cli.json);
    let done = cmd::run(&cli);
    // What was asked for and failed counts more than what could not be printed.
    match done.and_then(|()| output::finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&error);
            ExitCode::from(error.code())
        }
    }
}

/// Tells a failure on standard error; if that is closed, nobody listens.
fn print(error: &Error) {
    let mut err = anstream::stderr();
    let _ = match error {
        _ if output::is_for_programs() => writeln!(err, "{}", error.json()),
        // A report says for each finding whether it is an error. It can be
        // long: no colours are made to be taken out again piece by piece.
        Error::Report(report) => match AutoStream::choice(&std::io::stderr()) {
            ColorChoice::Never => std::io::stderr().write_all(format!("{report}\n").as_bytes()),
            _ => writeln!(err, "{}", report.coloured()),
        },
        Error::One(_) => writeln!(err, "{0}error{0:#}: {error}", output::BAD),
    };
}

/// A wrong command line, or a wish for help or the version.
fn usage(wrong: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|a| a == "--json");
    if !wrong.use_stderr() || !json {
        let lost = |e: &std::io::Error| e.kind() != std::io::ErrorKind::BrokenPipe;
        let code = match wrong.print() {
            _ if wrong.use_stderr() => 2,
            Err(e) if lost(&e) => 1,
            _ => 0,
        };
        return ExitCode::from(code);
    }
    let text = wrong.to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let what = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let error = serde_json::json!({ "error": {
        "what": "the command line is wrong",
        "why": what,
        "help": lines.collect::<Vec<_>>(),
        "kind": "usage",
        "exit-code": 2,
    }});
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::from(2)
}
