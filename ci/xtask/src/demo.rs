//! `cargo xtask demo`: from a bare machine to the main job, in one command.

use crate::boot::{Screen, conclude, parts, prepare};
use crate::lane::Lane;
use crate::lane::run::{self, Outcome};
use crate::paths::Paths;
use crate::ui::Ui;
use crate::{report, scenario};
use anyhow::Result;
use clap::Args;
use std::time::Instant;

/// Arguments of `cargo xtask demo`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The machine (default: the first of kvm, qemu-vmx, qemu that can be had).
    #[arg(long, value_enum)]
    lane: Option<Lane>,
    /// Show the serial consoles while they run.
    #[arg(long)]
    verbose: bool,
}

/// Sets up, builds, plays and sums up.
///
/// # Errors
///
/// The first thing that went wrong; a failed step comes with the end of the
/// root's console.
pub(crate) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let start = Instant::now();
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, options.lane)?;
    for name in lane.demo() {
        play(paths, &ui, lane, name)?;
    }
    eprintln!(
        "demo on {} succeeded in {:.0} s, all in all",
        lane.name(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Plays one scenario and sums it up.
fn play(paths: &Paths, ui: &Ui, lane: Lane, name: &str) -> Result<()> {
    let scenario = scenario::load(paths, name)?;
    let parts = parts(paths, ui, &scenario)?;
    let (on, kind) = (lane.name(), lane.about());
    eprintln!("\n{name} on {on} ({kind}): {}\n", scenario.about);
    let mut screen = Screen::new(ui, true);
    let outcome = run::run(paths, lane, &scenario, &parts, false, &mut screen)?;
    screen.end(&outcome);
    println!("\n{}\n", summary(&outcome));
    conclude(&outcome)
}

fn summary(outcome: &Outcome) -> String {
    let row = |texts: [&str; 4]| texts.map(str::to_owned).to_vec();
    let mut rows = vec![row(["step", "outcome", "seconds", "figure"])];
    let last = outcome.records.len().saturating_sub(1);
    for (index, record) in outcome.records.iter().enumerate() {
        let failed = outcome.failure.is_some() && index == last;
        let seconds = format!("{:7.1}", record.seconds);
        let word = if failed { "FAILED" } else { "ok" };
        rows.push(row([&record.title, word, &seconds, &record.figure]));
    }
    report::table(&rows)
}
