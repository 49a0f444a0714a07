//! `cargo xtask boot`: one scenario on one lane.

use crate::build::monitor::Image;
use crate::build::{self, Parts};
use crate::image;
use crate::lane::run::{self, Outcome, Watch};
use crate::lane::{self, Lane};
use crate::paths::{Paths, make_dir};
use crate::scenario::judge::Record;
use crate::scenario::{self, Machine, Scenario};
use crate::ui::{Step, Ui};
use crate::{report, setup};
use anyhow::{Context, Result, bail};
use clap::Args;

/// Arguments of `cargo xtask boot`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// List scenarios and lanes, and end.
    #[arg(long)]
    list: bool,
    /// Only large scenarios: list those, or refuse to play another.
    #[arg(long)]
    large: bool,
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
    /// Boot the image that checks the order of its locks.
    #[arg(long)]
    checked: bool,
    /// Boot the small image, which lacks some parts: what asks for them is refused.
    #[arg(long, conflicts_with = "checked")]
    small: bool,
    /// Give a shell on the root's console instead of playing the script.
    #[arg(long)]
    shell: bool,
}

/// Shows a run at the terminal.
#[derive(Debug)]
pub(crate) struct Screen<'a> {
    ui: &'a Ui,
    /// The transcript of a step is shown when it is done.
    transcript: bool,
    step: Option<Step>,
}

impl<'a> Screen<'a> {
    /// Starts with the boot of the root.
    pub(crate) fn new(ui: &'a Ui, transcript: bool) -> Self {
        Self {
            ui,
            transcript,
            step: Some(ui.start("Root boots")),
        }
    }

    /// Ends the step that is shown.
    pub(crate) fn end(&mut self, outcome: &Outcome) {
        let Some(step) = self.step.take() else { return };
        if outcome.failure.is_some() {
            step.failed();
        } else {
            self.done(step, outcome.records.last());
        }
    }

    fn done(&self, step: Step, record: Option<&Record>) {
        step.done(record.map_or("", |record| &record.figure));
        if let Some(record) = record.filter(|_| self.transcript && !self.ui.verbose) {
            for line in &record.shown {
                println!("        {line}");
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
            self.done(step, done);
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
        return list(paths, options.large);
    }
    let ui = Ui::new(options.verbose);
    let scenario = scenario::load(paths, &options.scenario)?;
    if options.large && !scenario.large {
        bail!(
            "{} is not large: leave out --large, or name one that `cargo xtask boot --large --list` tells",
            scenario.name
        );
    }
    let lane = prepare(paths, &ui, options.lane)?;
    if lane::wants_patched(lane, &scenario.machine) {
        setup::patched::ensure(paths, &ui)?;
    }
    if !scenario.plays_on(lane) {
        let lanes: Vec<&str> = scenario.lanes.iter().map(|lane| lane.name()).collect();
        bail!(
            "{} does not run on {}, only on {}",
            scenario.name,
            lane.name(),
            lanes.join(", ")
        );
    }
    let mut parts = parts(paths, &ui, &scenario)?;
    let image = options.checked.then_some(Image::Checked);
    let image = image.or(options.small.then_some(Image::Small));
    if let Some(image) = image.or(scenario.image(lane)).filter(|_| scenario.parts) {
        let title = "Builds the scenario's monitor";
        parts.monitor = Some(ui.step(title, |_| image.build(paths))?);
    }
    if options.shell {
        if lane == Lane::Bochs {
            bail!("Bochs gives no shell: its console is a file");
        }
        return shell(paths, lane, scenario, &parts);
    }
    eprintln!("Plays {} on {}", scenario.name, lane.name());
    let mut screen = Screen::new(&ui, false);
    let outcome = run::run(paths, lane, &scenario, &parts, options.keep, &mut screen)?;
    screen.end(&outcome);
    conclude(&outcome)
}

/// Sets up what is missing and returns the lane that was asked for, or the
/// best one that can be had.
///
/// # Errors
///
/// It cannot be had here, with the reason; set-up failed.
pub(crate) fn prepare(paths: &Paths, ui: &Ui, wish: Option<Lane>) -> Result<Lane> {
    if wish == Some(Lane::Kvm) {
        // No set-up can change this, so none is begun.
        lane::nesting().context("the lane kvm cannot run here")?;
    }
    setup::ensure(paths, ui, false)?;
    if let Some(lane) = wish {
        if lane::wants_patched(lane, &Machine::default()) {
            setup::patched::ensure(paths, ui)?;
        }
        if lane.is_outer() {
            image::outer::ensure(paths, ui)?;
        }
        let reason = || format!("the lane {} cannot run here", lane.name());
        return lane::available(paths, lane)
            .with_context(reason)
            .map(|()| lane);
    }
    if lane::available(paths, Lane::Kvm).is_err()
        && let Err(why) = setup::patched::ensure(paths, ui)
    {
        eprintln!("the lane qemu-vmx is left out: {why:#}");
    }
    lane::default_lane(paths)
}

/// Fetches the kernels that a scenario needs, and builds the rest.
///
/// # Errors
///
/// A kernel cannot be had; the first part that does not build.
pub(crate) fn parts(paths: &Paths, ui: &Ui, scenario: &Scenario) -> Result<Parts> {
    for kernel in scenario.kernels() {
        setup::kernels::ensure(paths, ui, kernel, false)?;
    }
    if scenario.parts {
        build::all(paths, ui, &[scenario.root.kernel])
    } else {
        Ok(Parts::default())
    }
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
    let dir = run::dir(paths, lane, &scenario.name);
    make_dir(&dir)?;
    let root = image::root(paths, &scenario, parts, &dir)?;
    let mut power = lane.power(paths, &scenario, &root, &dir)?;
    let status = power
        .command
        .status()
        .context("cannot start the emulator")?;
    if !status.success() {
        bail!("the emulator ended with {status}");
    }
    Ok(())
}

fn list(paths: &Paths, only_large: bool) -> Result<()> {
    let mut rows = Vec::new();
    for name in scenario::names(paths)? {
        let scenario = scenario::load(paths, &name)?;
        if only_large && !scenario.large {
            continue;
        }
        let lanes: Vec<&str> = scenario.lanes.iter().map(|lane| lane.name()).collect();
        let mut about = scenario.about;
        if scenario.large {
            about.push_str(" (large: not in the standard test)");
        }
        rows.push(vec![name, lanes.join(" "), about]);
    }
    println!("scenarios:\n{}\n\nlanes:", report::table(&rows));
    let lanes = Lane::all().map(|lane| {
        let state = match lane::available(paths, lane) {
            Ok(()) => "can run here".to_owned(),
            Err(why) => format!("SKIPPED: {why:#}"),
        };
        vec![lane.name().to_owned(), state]
    });
    println!("{}", report::table(&lanes.collect::<Vec<_>>()));
    Ok(())
}
