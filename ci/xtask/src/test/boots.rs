//! Boot scenarios as checks: each scenario on each lane that it names.

use super::pool::Load;
use super::{Check, Verdict};
use crate::build::{self, Parts};
use crate::image::debian;
use crate::lane::run::{self, Outcome, Watch};
use crate::lane::{self, Lane};
use crate::paths::Paths;
use crate::report;
use crate::scenario::judge::Record;
use crate::scenario::{self, Scenario};
use crate::setup::kernels::{self, Kernel};
use crate::ui::Ui;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a limit is multiplied by where emulators run beside each other.
pub(super) const BESIDE: u32 = 3;

/// Nobody watches, unless consoles were asked for.
pub(super) struct Quiet<'a> {
    pub(super) ui: &'a Ui,
    pub(super) name: &'a str,
}

impl Watch for Quiet<'_> {
    fn line(&mut self, line: &str) {
        if self.ui.verbose {
            println!("      {} | {line}", self.name);
        }
    }

    fn step(&mut self, _: &[Record], _: &str) {}
}

/// What scenarios boot, built once for each kernel of a root; why not, where it
/// does not build.
#[derive(Default)]
struct Built(Mutex<BTreeMap<Kernel, Result<Parts, String>>>);

impl Built {
    fn get(&self, paths: &Paths, ui: &Ui, kernel: Kernel) -> Result<Parts> {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let build = || {
            let _alone = build::alone();
            build::all(paths, &ui.silent(), &[kernel]).map_err(|why| short(&why))
        };
        let parts = built.entry(kernel).or_insert_with(build);
        parts.clone().map_err(|why| anyhow!(why))
    }
}

/// A check for each pair, lane by lane; `jobs` of them run at a time. With `detailed`,
/// those that attack show what each attack came to.
///
/// # Errors
///
/// A scenario's file has a mistake.
pub(super) fn all(paths: &Paths, jobs: u32, detailed: bool) -> Result<Vec<Check>> {
    let names = scenario::names(paths)?;
    let scenarios = names.iter().map(|name| scenario::load(paths, name));
    let scenarios = scenarios.collect::<Result<Vec<_>>>()?;
    let built = Arc::new(Built::default());
    let mut checks = Vec::new();
    for lane in Lane::all() {
        for scenario in scenarios.iter().filter(|scenario| scenario.plays_on(lane)) {
            let mut scenario = scenario.clone();
            if jobs > 1 {
                scenario.stretch(BESIDE);
            }
            let built = Arc::clone(&built);
            let name = format!("boot-{}-{}", lane.name(), scenario.name);
            checks.push(Check {
                load: load(lane, &scenario),
                apart: scenario.large
                    || scenario.seldom.contains(&lane)
                    || lane.is_outer() && !scenario.nested.contains(&lane),
                large: scenario.large && !lane.is_outer(),
                patched: lane::wants_patched(lane, &scenario.machine),
                ..Check::host(name.clone(), move |paths, ui| {
                    let show = |outcome: &Outcome| {
                        if detailed {
                            attacks(&name, outcome);
                        }
                    };
                    boot(paths, ui, &name, lane, &scenario, &built, &show)
                })
            });
        }
    }
    Ok(checks)
}

/// What a boot takes: seconds as seen on two CPUs.
fn load(lane: Lane, scenario: &Scenario) -> Load {
    let steps = scenario.steps.len() as u32;
    let seconds = match lane {
        Lane::Bochs => 500,
        Lane::KvmOnVmx | Lane::KvmOnSvm => 30 * steps,
        Lane::Kvm | Lane::QemuVmx | Lane::Qemu => 10 * steps,
    };
    Load::Boot { seconds }
}

fn boot(
    paths: &Paths,
    ui: &Ui,
    name: &str,
    lane: Lane,
    scenario: &Scenario,
    built: &Built,
    show: &dyn Fn(&Outcome),
) -> Result<Verdict> {
    // What a machine lacks is a reason to skip; what set-up was to bring is none.
    if lane == Lane::Kvm
        && let Err(why) = lane::nesting()
    {
        return Ok(Verdict::Skipped(format!("{why:#}")));
    }
    if (scenario.root.debian || scenario.cells.debian)
        && let Some(why) = debian::lacking()?
    {
        return Ok(Verdict::Skipped(why));
    }
    if let Some(why) = &scenario.not_yet {
        return Ok(Verdict::Skipped(why.clone()));
    }
    lane::available(paths, lane)
        .and_then(|()| lane::has_devices(paths, lane, &scenario.machine))
        .context("set-up has not brought what it needs")?;
    for kernel in scenario.kernels() {
        if let Some(why) = kernels::missing(paths, ui, kernel)? {
            return Ok(Verdict::Skipped(why));
        }
    }
    let mut parts = if scenario.parts {
        built.get(paths, ui, scenario.root.kernel)?
    } else {
        Parts::default()
    };
    if let Some(image) = scenario.image(lane) {
        let _alone = build::alone();
        let image = image.build(paths);
        parts.monitor = Some(image.map_err(|why| anyhow!(short(&why)))?);
    }
    let mut quiet = Quiet { ui, name };
    let outcome = run::run(paths, lane, scenario, &parts, false, &mut quiet)?;
    show(&outcome);
    match outcome.failure {
        None => Ok(Verdict::Passed(format!(
            "{} steps ({:.0} s)",
            outcome.records.len(),
            outcome.seconds
        ))),
        Some(failure) => bail!(
            "step failed: {}\n  {}\n{}\nall consoles: {}",
            failure.step,
            failure.why,
            failure.tail,
            outcome.dir.display()
        ),
    }
}

/// Prints what attacks came to, with the counters that tell of them.
fn attacks(name: &str, outcome: &Outcome) {
    let lines = outcome.records.iter().flat_map(|record| &record.lines);
    let mut rows: Vec<_> = lines.filter_map(|line| attack(line)).collect();
    if !rows.is_empty() {
        rows.insert(0, ["attack", "what it came to"].map(str::to_owned).to_vec());
        println!("{name}\n{}", report::table(&rows));
    }
}

/// The attack of a line like `root: attack ports: cell=running port=3`, and the rest.
fn attack(line: &str) -> Option<Vec<String>> {
    let (what, outcome) = line.strip_prefix("root: attack ")?.split_once(": ")?;
    Some(vec![what.to_owned(), outcome.to_owned()])
}

/// A build's failure without the compiler's output, which a check of its own
/// shows.
pub(super) fn short(why: &anyhow::Error) -> String {
    let text = format!("{why:#}");
    let first = text.lines().next().unwrap_or_default();
    format!("its parts do not build: {first}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_attacks_are_rows() {
        let row = ["read 0x40", "cell=failed port=0"].map(str::to_owned);
        let line = "root: attack read 0x40: cell=failed port=0";
        assert_eq!(attack(line), Some(row.to_vec()));
        assert_eq!(attack("root: attack"), None);
        assert_eq!(attack("[cell a] attack x: y"), None);
    }
}
