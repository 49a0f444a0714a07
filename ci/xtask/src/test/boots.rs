//! Boot scenarios as checks: each scenario on each lane that it names.

use super::{Check, Verdict};
use crate::build::{self, Parts};
use crate::lane::run::{self, Watch};
use crate::lane::{self, Lane};
use crate::paths::Paths;
use crate::scenario::judge::Record;
use crate::scenario::{self, Scenario};
use crate::ui::Ui;
use anyhow::{Result, anyhow, bail};

/// Nobody watches, unless consoles were asked for.
struct Quiet<'a>(&'a Ui);

impl Watch for Quiet<'_> {
    fn line(&mut self, line: &str) {
        if self.0.verbose {
            println!("      | {line}");
        }
    }

    fn step(&mut self, _: &[Record], _: &str) {}
}

/// A check for each pair, lane by lane.
///
/// # Errors
///
/// A scenario's file has a mistake.
pub(super) fn all(paths: &Paths) -> Result<Vec<Check>> {
    let names = scenario::names(paths)?;
    let scenarios = names.iter().map(|name| scenario::load(paths, name));
    let scenarios = scenarios.collect::<Result<Vec<_>>>()?;
    let mut checks = Vec::new();
    for lane in Lane::ALL {
        for scenario in scenarios
            .iter()
            .filter(|scenario| scenario.lanes.contains(lane))
        {
            let scenario = scenario.clone();
            let name = format!("boot-{}-{}", lane.name(), scenario.name);
            checks.push(Check::new(name, move |paths, ui| {
                boot(paths, ui, *lane, &scenario)
            }));
        }
    }
    Ok(checks)
}

fn boot(paths: &Paths, ui: &Ui, lane: Lane, scenario: &Scenario) -> Result<Verdict> {
    let devices = || lane::has_devices(paths, lane, &scenario.machine);
    if let Err(why) = lane::available(paths, lane).and_then(|()| devices()) {
        return Ok(Verdict::Skipped(format!("{why:#}")));
    }
    if let Some(why) = &scenario.not_yet {
        return Ok(Verdict::Skipped(why.clone()));
    }
    let parts = if scenario.parts {
        build::all(paths, &ui.silent(), &[scenario.root.kernel]).map_err(short)?
    } else {
        Parts::default()
    };
    let outcome = run::run(paths, lane, scenario, &parts, false, &mut Quiet(ui))?;
    match outcome.failure {
        None => Ok(Verdict::Passed(format!("{} steps", outcome.records.len()))),
        Some(failure) => bail!(
            "step failed: {}\n  {}\n{}\nall consoles: {}",
            failure.step,
            failure.why,
            failure.tail,
            outcome.dir.display()
        ),
    }
}

/// A build's failure without the compiler's output, which a check of its own
/// shows.
fn short(why: anyhow::Error) -> anyhow::Error {
    let text = format!("{why:#}");
    let first = text.lines().next().unwrap_or_default();
    anyhow!("its parts do not build: {first}")
}
