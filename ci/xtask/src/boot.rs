//! `cargo xtask boot`: one scenario on one lane.

use crate::build::{self, Parts};
use crate::image;
use crate::lane::run::{self, Outcome, Watch};
use crate::lane::{self, Lane};
use crate::paths::{Paths, make_dir};
use crate::scenario::judge::Record;
use crate::scenario::{self, Scenario};
use crate::ui::{Step, Ui};
use crate::{report, setup};
use anyhow::{Result, bail};
use clap::Args;

/// Arguments of `cargo xtask boot`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// List scenarios and lanes, and end.
    #[arg(long)]
    list: bool,
    /// The machine (default: the first of kvm, qemu-vmx, qemu that can be had).
    #[arg(long, value_enum)]
    lane: Option<Lane>,
    /// What to play.
    #[arg(long, default_value = "main")]
    scenario: String,
    /// Show the root's console while it runs.
    #[arg(long)]
    verbose: bool,
    /// Keep images and disks after a good end, too.
    #[arg(long)]
    keep: bool,
    /// Give a shell on the root's console instead of playing the script.
    #[arg(long)]
    shell: bool,
}

/// Shows a run at the terminal.
pub(crate) struct Screen<'a> {
    ui: &'a Ui,
    step: Option<Step>,
}

impl<'a> Screen<'a> {
    /// Starts with the boot of the root.
    pub(crate) fn new(ui: &'a Ui) -> Self {
        Self {
            ui,
            step: Some(ui.start("Root boots")),
        }
    }

    /// Ends the step that is shown.
    pub(crate) fn end(&mut self, outcome: &Outcome) {
        if let Some(step) = self.step.take() {
            if outcome.failure.is_some() {
                step.failed();
            } else {
                step.done(outcome.records.last().map_or("", |record| &record.figure));
            }
        }
    }
}

impl Watch for Screen<'_> {
    fn line(&mut self, line: &str) {
        if self.ui.verbose {
            println!("      | {line}");
        }
    }

    fn step(&mut self, records: &[Record], title: &str) {
        let done = records
            .len()
            .checked_sub(2)
            .and_then(|index| records.get(index));
        if let Some(step) = self.step.take() {
            step.done(done.map_or("", |record| &record.figure));
        }
        self.step = Some(self.ui.start(title));
    }
}

/// Plays a scenario, or lists what there is.
///
/// # Errors
///
/// The lane cannot be had, something does not build, or the scenario failed.
pub(crate) fn main(paths: &Paths, options: &Options) -> Result<()> {
    if options.list {
        return list(paths);
    }
    let ui = Ui::new(options.verbose);
    let scenario = scenario::load(paths, &options.scenario)?;
    let lane = choose(paths, options.lane)?;
    if !scenario.lanes.contains(&lane) {
        let lanes: Vec<&str> = scenario.lanes.iter().map(|lane| lane.name()).collect();
        bail!(
            "{} does not run on {}, only on {}",
            scenario.name,
            lane.name(),
            lanes.join(", ")
        );
    }
    setup::ensure(paths, &ui, false)?;
    let parts = parts(paths, &ui, &scenario)?;
    if options.shell {
        return shell(paths, lane, scenario, &parts);
    }
    let outcome = play(paths, &ui, lane, &scenario, &parts, options.keep)?;
    conclude(&outcome)
}

/// The lane that was asked for, or the best one.
///
/// # Errors
///
/// It cannot be had here, with the reason.
pub(crate) fn choose(paths: &Paths, wish: Option<Lane>) -> Result<Lane> {
    let Some(lane) = wish else {
        return lane::default_lane(paths);
    };
    match lane::available(paths, lane) {
        Ok(()) => Ok(lane),
        Err(why) => bail!("the lane {} cannot run here: {why:#}", lane.name()),
    }
}

/// Builds what a scenario needs.
///
/// # Errors
///
/// The first part that does not build.
pub(crate) fn parts(paths: &Paths, ui: &Ui, scenario: &Scenario) -> Result<Parts> {
    if scenario.parts {
        build::all(paths, ui, &[scenario.root.kernel])
    } else {
        Ok(Parts::default())
    }
}

/// Plays a scenario and shows its steps.
///
/// # Errors
///
/// The machine cannot be started.
pub(crate) fn play(
    paths: &Paths,
    ui: &Ui,
    lane: Lane,
    scenario: &Scenario,
    parts: &Parts,
    keep: bool,
) -> Result<Outcome> {
    eprintln!("Plays {} on {}", scenario.name, lane.name());
    let mut screen = Screen::new(ui);
    let outcome = run::run(paths, lane, scenario, parts, keep, &mut screen)?;
    screen.end(&outcome);
    Ok(outcome)
}

/// Tells where everything is, and what was wrong.
///
/// # Errors
///
/// The scenario failed: the step, the reason, the end of its console.
pub(crate) fn conclude(outcome: &Outcome) -> Result<()> {
    let dir = outcome.dir.display();
    match &outcome.failure {
        None => {
            eprintln!("passed in {:.1} s; consoles: {dir}", outcome.seconds);
            Ok(())
        }
        Some(failure) => bail!(
            "step failed: {}\n  {}\nthe end of the root's console:\n{}\nall consoles: {dir}",
            failure.step,
            failure.why,
            indent(&failure.tail)
        ),
    }
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shell(paths: &Paths, lane: Lane, mut scenario: Scenario, parts: &Parts) -> Result<()> {
    scenario.root.cmdline.push_str(" cellvisor.shell");
    let dir = run::dir(paths, lane, &scenario);
    make_dir(&dir)?;
    let root = image::root(paths, &scenario, parts, &dir)?;
    let mut command = lane.command(paths, &scenario, &root, &dir)?;
    let status = command.status()?;
    if !status.success() {
        bail!("the emulator ended with {status}");
    }
    Ok(())
}

fn list(paths: &Paths) -> Result<()> {
    let mut rows = Vec::new();
    for name in scenario::names(paths)? {
        let scenario = scenario::load(paths, &name)?;
        let lanes: Vec<&str> = scenario.lanes.iter().map(|lane| lane.name()).collect();
        rows.push(vec![name, lanes.join(" "), scenario.about]);
    }
    println!("scenarios:\n{}\n\nlanes:", report::table(&rows));
    let lanes = Lane::ALL.iter().map(|lane| {
        let state = match lane::available(paths, *lane) {
            Ok(()) => "can run here".to_owned(),
            Err(why) => format!("SKIPPED: {why:#}"),
        };
        vec![lane.name().to_owned(), state]
    });
    println!("{}", report::table(&lanes.collect::<Vec<_>>()));
    Ok(())
}
