//! `cargo xtask bench`: measurements that need no lane.

use crate::build;
use crate::paths::Paths;
use anyhow::Result;
use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// How planning time grows from 16 to 1,024 CPUs.
    Plan,
}

/// Measures with an optimized build, and prints a table.
///
/// # Errors
///
/// The bench does not build, or fails.
pub(crate) fn main(paths: &Paths, what: What) -> Result<()> {
    let (package, log) = match what {
        What::Plan => ("cellvisor-planner", "bench-plan"),
    };
    let table = build::cargo(paths)
        .words("run --release --quiet --example bench --package")
        .arg(package)
        .run(paths, log)?;
    print!("{table}");
    Ok(())
}
