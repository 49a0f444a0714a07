//! `plan` for several machines: which of them takes which slice.

use super::{Context, planning};
use crate::cli;
use crate::error::{Error, Result};
use crate::output::{self, say, size, table};
use cellvisor_planner::config;
use cellvisor_planner::host::Host;
use cellvisor_planner::place::{self, Machine, Placement, Unplaced};
use cellvisor_planner::plan::CellAssignment;
use cellvisor_planner::report::Severity;
use cellvisor_planner::words::count;

/// `plan` with more than one `--host`.
pub(super) fn plan(context: &Context<'_>, options: &cli::Plan) -> Result<()> {
    if options.text || options.svg.is_some() {
        return Err(Error::new(
            "cannot draw several machines",
            "a picture shows one",
            "see which machine takes which slice, and draw that one: name it alone as --host",
        ));
    }
    let files = options.files.iter().chain(&options.host);
    planning::stdin_once(files.map(std::path::PathBuf::as_path))?;
    let (slices, report) = config::read(&options.files);
    if report.has_errors() {
        return Err(report.into());
    }
    let mut hosts = Vec::new();
    for path in &options.host {
        hosts.push(Host::load(path)?);
    }
    let placement = place::first_fit(&hosts, &slices)?;
    match context.cli.json {
        true => output::json(&placement)?,
        false => explain(&placement),
    }
    refused(&placement)
}

/// Who goes where, and what is left.
fn explain(placement: &Placement) {
    let row = |machine: &Machine, cell: &CellAssignment| {
        vec![
            cell.name.clone(),
            machine.name.clone(),
            cell.cpus.len().to_string(),
            size(cell.memory_bytes()),
            cell.functions.len().to_string(),
        ]
    };
    let machines = &placement.machines;
    let rows: Vec<_> = machines
        .iter()
        .flat_map(|machine| machine.plan.cells.iter().map(|cell| row(machine, cell)))
        .collect();
    if !rows.is_empty() {
        let head = ["SLICE", "MACHINE", "CPUS", "MEMORY", "FUNCTIONS"];
        say(table(&head, rows));
        say("");
    }
    let left = machines.iter().map(|machine| {
        let left = &machine.plan.left;
        let cpus: usize = left.iter().map(|node| node.cpus.len()).sum();
        vec![
            machine.name.clone(),
            machine.plan.cells.len().to_string(),
            cpus.to_string(),
            size(left.iter().map(|node| node.memory).sum()),
        ]
    });
    let head = ["MACHINE", "SLICES", "CPUS LEFT", "MEMORY LEFT"];
    say(table(&head, left));
}

/// The error that tells of slices that no machine takes.
fn refused(placement: &Placement) -> Result<()> {
    let Some(first) = placement.unplaced.first() else {
        return Ok(());
    };
    let number: usize = placement.unplaced.iter().map(|u| u.slices.len()).sum();
    let why: Vec<String> = placement.unplaced.iter().flat_map(reasons).collect();
    let what = match (number, &first.slices[..]) {
        (1, [name]) => format!("no machine takes slice `{name}`"),
        _ => format!("no machine takes {}", count(number, "slice")),
    };
    Err(Error::new(
        what,
        format!("each has a reason\n  {}", why.join("\n  ")),
        "ask for less, free something, or name more machines",
    ))
}

/// Why slices that belong together fit nowhere: a line for each machine.
fn reasons(unplaced: &Unplaced) -> Vec<String> {
    let mut lines = Vec::new();
    if unplaced.slices.len() > 1 {
        let names = unplaced.slices.join(", ");
        lines.push(format!("{names} share links, and must go to one machine:"));
    }
    for refusal in &unplaced.refusals {
        let findings = refusal.findings.findings.iter();
        let errors = findings.filter(|finding| finding.severity == Severity::Error);
        for finding in errors {
            let cause = finding.cause.as_deref();
            let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            lines.push(format!("{}: {}{cause}", refusal.machine, finding.message));
        }
    }
    lines
}
