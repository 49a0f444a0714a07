//! `cargo xtask`: sets up, builds, boots and judges cellvisor.

mod bench;
mod boot;
mod build;
mod deb;
mod demo;
mod emulators;
mod header;
mod image;
mod lane;
mod layers;
mod mutants;
mod paths;
mod report;
mod scenario;
mod setup;
mod sh;
mod size;
mod test;
mod ui;

use anyhow::Result;
use build::monitor::Image;
use clap::{Parser, Subcommand};
use paths::Paths;
use setup::kernels::{self, Kernel};
use std::process::ExitCode;
use ui::Ui;

/// Sets up, builds, boots and judges cellvisor.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install Debian packages and fetch kernels, as far as they are missing.
    Setup {
        /// Look for newer kernels, too.
        #[arg(long)]
        refresh: bool,
        /// Fetch all kernels of the table, too.
        #[arg(long)]
        kernels: bool,
    },
    /// Build the monitor, the driver for all roots' kernels, and cellctl.
    Build {
        /// A monitor without the parts that it can be without: networks between cells,
        /// doorbells, consoles that take lines, Extended Sockets, shares of cache and
        /// bandwidth, KVM around the machine.
        #[arg(long)]
        small: bool,
    },
    /// Build Debian packages.
    Deb {
        /// With the small monitor, as of `build`.
        #[arg(long)]
        small: bool,
    },
    /// Write the driver's header from the abi crate.
    Header {
        /// Only compare, and fail on a difference.
        #[arg(long)]
        check: bool,
    },
    /// Check that modules import only what lies on floors below them.
    Layers,
    /// Boot one scenario on one lane.
    Boot(boot::Options),
    /// Run every check: `N passed, N failed, N skipped`.
    Test(test::Options),
    /// Break the code on purpose: the tests have to notice.
    Mutants(mutants::Options),
    /// Measure.
    Bench(bench::Options),
    /// Print the size of the image and of its source.
    Size,
    /// Set up, build, and play the main job.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    let paths = Paths::find()?;
    let ui = Ui::new(false);
    match task {
        Task::Setup { refresh, kernels } => {
            setup::ensure(&paths, &ui, *refresh)?;
            image::outer::ensure(&paths, &ui)?;
            setup::offered(&paths, &ui, *refresh, *kernels);
            setup::patched::ensure(&paths, &ui)
        }
        Task::Build { small } => {
            setup::ensure(&paths, &ui, false)?;
            setup::offered(&paths, &ui, false, false);
            let here = |kernel: &Kernel| kernels::files(&paths, *kernel).is_ok();
            let roots: Vec<Kernel> = Kernel::roots().filter(here).collect();
            let image = Image::for_use(*small);
            build::with(&paths, &ui, &roots, image).map(drop)
        }
        Task::Deb { small } => {
            setup::ensure(&paths, &ui, false)?;
            deb::main(&paths, &ui, Image::for_use(*small))
        }
        Task::Header { check: true } => header::check(&paths),
        Task::Header { check: false } => header::write(&paths),
        Task::Layers => layers::main(&paths),
        Task::Boot(options) => boot::main(&paths, options),
        Task::Test(options) => test::main(&paths, options),
        Task::Mutants(options) => mutants::main(&paths, options),
        Task::Bench(options) => bench::main(&paths, options),
        Task::Size => size::main(&paths),
        Task::Demo(options) => demo::main(&paths, options),
    }
}
