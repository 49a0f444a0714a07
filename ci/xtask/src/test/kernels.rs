//! `cargo xtask test --kernels`: each kernel of the table in a cell, under each
//! root's kernel. What it prints is the table in the docs.

use super::boots::{BESIDE, Quiet, short};
use super::pool::Load;
use super::{Check, Verdict};
use crate::build;
use crate::lane::run::{self, Outcome};
use crate::lane::{self, Lane};
use crate::paths::Paths;
use crate::scenario::{self, Scenario};
use crate::setup::kernels::{self, Kernel};
use crate::ui::Ui;
use anyhow::{Context, Result, anyhow, bail};
use std::fmt::Write;

/// The scenario, and its step of a kernel in a cell.
const SCENARIO: &str = "kernels";
const STEP: &str = "newest";

/// Seconds that a lane takes on two CPUs.
const SECONDS: u32 = 400;

/// A check for each lane that has the standard machines; `jobs` of them run at a
/// time.
///
/// # Errors
///
/// The scenario's file has a mistake.
pub(super) fn all(paths: &Paths, jobs: u32) -> Result<Vec<Check>> {
    let mut scenario = scenario::load(paths, SCENARIO)?;
    if jobs > 1 {
        scenario.stretch(BESIDE);
    }
    let check = |lane: &Lane| {
        let (lane, scenario) = (*lane, scenario.clone());
        let name = format!("kernels-{}", lane.name());
        Check {
            load: Load::Boot { seconds: SECONDS },
            patched: lane::wants_patched(lane, &scenario.machine),
            ..Check::host(name.clone(), move |paths, ui| {
                whole_table(paths, ui, &name, lane, &scenario)
            })
        }
    };
    Ok(scenario.lanes.iter().map(check).collect())
}

/// A kernel of the table as it is here.
struct Here {
    kernel: Kernel,
    /// Its release, or why it cannot be had.
    release: Result<String, String>,
    /// Under each root: whether it ran in a cell.
    ran: Vec<bool>,
}

fn whole_table(
    paths: &Paths,
    ui: &Ui,
    name: &str,
    lane: Lane,
    scenario: &Scenario,
) -> Result<Verdict> {
    if lane == Lane::Kvm
        && let Err(why) = lane::nesting()
    {
        return Ok(Verdict::Skipped(format!("{why:#}")));
    }
    lane::available(paths, lane)?;
    let mut table = look(paths, ui)?;
    let cells: Vec<Kernel> = table
        .iter()
        .filter(|row| row.release.is_ok())
        .map(|row| row.kernel)
        .collect();
    let roots: Vec<Kernel> = Kernel::roots()
        .filter(|root| cells.contains(root))
        .collect();
    let mut failures = Vec::new();
    for root in &roots {
        let scenario = with_kernels(scenario, *root, &cells)?;
        let parts = {
            let _alone = build::alone();
            build::all(paths, &ui.silent(), &[*root]).map_err(|why| anyhow!(short(&why)))?
        };
        let outcome = run::run(
            paths,
            lane,
            &scenario,
            &parts,
            false,
            &mut Quiet { ui, name },
        )?;
        for row in &mut table {
            row.ran.push(ran(&outcome, row.kernel));
        }
        if let Some(failure) = &outcome.failure {
            failures.push(format!(
                "{}: {}: {}",
                scenario.name, failure.step, failure.why
            ));
        }
    }
    let text = markdown(&roots, &table);
    if failures.is_empty() {
        return Ok(Verdict::Passed(format!("\n\n{text}")));
    }
    bail!("{text}\n{}", failures.join("\n"))
}

/// The table, with what can be had of it.
fn look(paths: &Paths, ui: &Ui) -> Result<Vec<Here>> {
    let row = |kernel| {
        let release = match kernels::missing(paths, ui, kernel)? {
            None => Ok(kernels::files(paths, kernel)?.release),
            Some(why) => Err(why),
        };
        let ran = Vec::new();
        Ok(Here {
            kernel,
            release,
            ran,
        })
    };
    Kernel::all().map(row).collect()
}

/// The scenario with a step for each kernel, under a root's.
fn with_kernels(scenario: &Scenario, root: Kernel, cells: &[Kernel]) -> Result<Scenario> {
    let mut scenario = scenario.clone();
    scenario.name = format!("{SCENARIO}-under-{}", root.name());
    scenario.root.kernel = root;
    let place = scenario.steps.iter().position(|step| step.name == STEP);
    let place = place.with_context(|| format!("{SCENARIO} has no step {STEP}"))?;
    let template = scenario.steps.remove(place);
    let steps = cells.iter().map(|kernel| {
        let mut step = template.clone();
        kernel.name().clone_into(&mut step.name);
        step.title = title(*kernel);
        let seen = step.cells.into_values().next().unwrap_or_default();
        step.cells = [(cell_name(*kernel), seen)].into();
        step
    });
    scenario.steps.splice(place..place, steps);
    // The initramfs is made with the first one, and all of them boot it.
    scenario.cells.kernels = cells.to_vec();
    Ok(scenario)
}

/// The script's name of a kernel's cell.
fn cell_name(kernel: Kernel) -> String {
    kernel.name().replace('.', "-")
}

fn title(kernel: Kernel) -> String {
    format!("Linux {} runs in a cell", kernel.name())
}

/// True if the step of a kernel began and is not the one that failed.
fn ran(outcome: &Outcome, kernel: Kernel) -> bool {
    let title = title(kernel);
    let began = outcome.records.iter().any(|record| record.title == title);
    began
        && outcome
            .failure
            .as_ref()
            .is_none_or(|failure| failure.step != title)
}

fn markdown(roots: &[Kernel], table: &[Here]) -> String {
    let release = |kernel: &Kernel| {
        let row = table.iter().find(|row| row.kernel == *kernel);
        row.and_then(|row| row.release.as_deref().ok())
            .unwrap_or_default()
    };
    let mut text = String::from("| kernel | suite | release |");
    for root in roots {
        // Writing to a string cannot fail.
        let _ = write!(text, " in a cell under {} |", release(root));
    }
    text.push_str("\n| --- | --- | --- |");
    text.push_str(&" --- |".repeat(roots.len()));
    for row in table {
        let suites = row.kernel.suites().join(", ");
        let _ = write!(text, "\n| {} | {suites} |", row.kernel.name());
        match &row.release {
            Ok(release) => {
                let _ = write!(text, " {release} |");
                for ran in &row.ran {
                    text.push_str(if *ran { " ran |" } else { " FAILED |" });
                }
            }
            Err(why) => {
                let _ = write!(text, " not played: {why} |{}", " |".repeat(roots.len()));
            }
        }
    }
    text.push('\n');
    text
}
