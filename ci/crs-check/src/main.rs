//! Compares the root bridges that `cellctl` sees with the firmware's own word.
//!
//! `cellctl` takes the windows of root bridges from Linux's view of memory and
//! ports. The firmware tells them in `_CRS`, in AML: this program interprets it
//! and compares. It reads the machine and never writes to it.

mod compare;
mod firmware;
mod hardware;
mod report;
mod resources;

use cellvisor_planner::host::Host;
use clap::Parser;
use firmware::Firmware;
use hardware::Hardware;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status when something differs.
const DIFFERS: u8 = 1;
/// Exit status when nothing could be compared.
const FAILED: u8 = 2;

/// Compares the root bridges of a saved host with the firmware's _CRS.
///
/// Ends with 0 if both say the same, with 1 if anything differs, and with 2 if
/// they could not be compared.
#[derive(Debug, Parser)]
struct Cli {
    /// The machine as `cellctl host --save FILE` wrote it.
    #[arg(long)]
    host: PathBuf,
    /// Folder with the tables DSDT and SSDT*, as Linux names them. Tables of
    /// another machine are evaluated without access to hardware.
    #[arg(long)]
    tables: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The interpreter panics over what it does not know, and says so itself.
    // Nothing of it is used afterwards.
    let done = catch_unwind(AssertUnwindSafe(|| run(&cli)));
    match done.unwrap_or_else(|_| Err("the AML interpreter gave up".into())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERS),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(FAILED)
        }
    }
}

/// True if nothing differs.
fn run(cli: &Cli) -> Result<bool, String> {
    report::show_warnings();
    let host = Host::load(&cli.host).map_err(|report| report.to_string())?;
    let hardware = match &cli.tables {
        Some(_) => Hardware::none(),
        None => Hardware::this_machine(),
    };
    let tables = match &cli.tables {
        Some(dir) => firmware::tables(dir)?,
        None => firmware::tables("/sys/firmware/acpi/tables".as_ref())?,
    };
    let firmware = Firmware::load(&hardware, &tables)?;
    let rows = compare::compare(&firmware.bridges()?, &host.roots);
    if cli.json {
        println!("{}", report::json(&rows)?);
    } else {
        print!("{}", report::text(&rows));
    }
    Ok(rows.iter().all(|row| !row.verdict.is_difference()))
}
