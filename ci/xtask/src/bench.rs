//! `cargo xtask bench`: measurements.

mod bars;
mod compare;
mod coverage;
mod exits;
mod io;
mod life;
mod links;
mod middle;
mod scale;

use crate::build;
use crate::lane::Lane;
use crate::paths::{Paths, make_dir};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// How planning time grows from 16 to 1,024 CPUs.
    Plan,
    /// Throughput of virtual functions in a cell and in plain Linux.
    Io,
    /// The same work in plain Linux, in a KVM guest and in a cell, that of virtual
    /// functions as well: instructions, exits, times.
    Compare,
    /// Lines of the monitor that scenarios run, and those that none does.
    Coverage,
    /// The monitor's instructions for each kind of exit.
    Exits,
    /// Ways from cell to cell (ring, networks, VF to VF), and two KVM guests with vhost
    /// beside them.
    Links,
    /// Cells made and destroyed, the monitor turned on and off: what a cycle
    /// costs, and whether anything is lost.
    Life,
    /// What the monitor costs, and how long kernels boot, on machines of more and more
    /// CPUs.
    Scale,
}

/// What of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Work that CPUs and memory are enough for.
    Cpus,
    /// Reads and TCP by virtual functions.
    Functions,
}

/// Arguments of `cargo xtask bench`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// For all but `plan`: the machine (default: the best one that can be had).
    #[arg(long, value_enum)]
    lane: Option<Lane>,
    /// For `life`: how many cells are made and destroyed.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    cells: u32,
    /// For `life`: how often the monitor is turned on and off.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    times: u32,
    /// For `scale`: CPUs of the machines; some need an idle one of your own.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [2, 4, 8])]
    cpus: Vec<u32>,
    /// For `compare`: only this part of it.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// For `links`: how often all ways are measured, in turn.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For `links`: how much goes by each way.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    mib: u32,
    /// For `compare`, `links` and `scale`: a folder for the samples (`compare.json`, say)
    /// and their chart (`compare.svg`); for `coverage`: one for `coverage.json`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// For `coverage`: what to play (default: all of the standard test's).
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Show the serial consoles while they run.
    #[arg(long)]
    verbose: bool,
}

/// Measures with an optimized build, and prints a table.
///
/// # Errors
///
/// The bench does not build, or fails.
pub(crate) fn main(paths: &Paths, options: &Options) -> Result<()> {
    match options.what {
        What::Plan => plan(paths),
        What::Io => io::main(paths, options),
        What::Compare => compare::main(paths, options),
        What::Coverage => coverage::main(paths, options),
        What::Exits => exits::main(paths, options),
        What::Links => links::main(paths, options),
        What::Life => life::main(paths, options),
        What::Scale => scale::main(paths, options),
    }
}

fn plan(paths: &Paths) -> Result<()> {
    let table = build::cargo(paths)
        .words("run --release --quiet --example bench --package cellvisor-planner")
        .run(paths, "bench-plan")?;
    print!("{table}");
    Ok(())
}

/// Writes what was measured and its chart into a folder, as `NAME.json` and `NAME.svg`.
fn save(dir: &Path, name: &str, samples: &impl Serialize, chart: &str) -> Result<()> {
    make_dir(dir)?;
    let write = |ending: &str, text: &str| {
        let file = dir.join(format!("{name}.{ending}"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    write("json", &(serde_json::to_string_pretty(samples)? + "\n"))?;
    write("svg", chart)
}
