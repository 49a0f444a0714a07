//! `plan`, `host`, and `check` of slice files: the planner for people.

use super::{Context, cells};
use crate::cli;
use crate::error::{Error, Result};
use crate::output::{self, say, size, warn};
use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::draw;
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, Plan, Policy, Taken};
use cellvisor_planner::report::Report;
use std::fs;
use std::path::{Path, PathBuf};

/// A machine, and what is taken of it.
pub(super) struct Ground {
    pub(super) host: Host,
    pub(super) taken: Taken,
    files: Files,
}

/// This machine with its cells, or a saved one without.
pub(super) fn ground(context: &Context<'_>, saved: Option<&Path>) -> Result<Ground> {
    let Some(path) = saved else {
        return Ok(Ground {
            host: context.host()?,
            taken: cells::taken(&context.state.cells()?),
            files: Files::Look,
        });
    };
    Ok(Ground {
        host: Host::load(path)?,
        taken: Taken::default(),
        files: Files::Elsewhere,
    })
}

/// `plan`.
pub(super) fn plan(context: &Context<'_>, options: &cli::Plan) -> Result<()> {
    let slices = config::load(&options.files)?;
    let ground = ground(context, options.host.as_deref())?;
    let plan = plan::plan(&ground.host, &slices, &ground.taken)?;
    if let Some(path) = &options.svg {
        let help = "name a file in a folder that can be written to";
        fs::write(path, draw::svg(&ground.host, &plan))
            .map_err(|e| Error::file("cannot write", path, &e, help))?;
    }
    if context.cli.json {
        return output::json(&plan);
    }
    if options.text {
        // Where colours are of no use, standard output drops them.
        say(draw::text(&ground.host, &plan, draw::Style::Colour));
    } else {
        explain(&plan);
    }
    Ok(())
}

/// What each slice gets, and why.
fn explain(plan: &Plan) {
    for cell in &plan.cells {
        let cpus: Vec<_> = cell.cpus.iter().map(|c| c.linux.to_string()).collect();
        say(format!(
            "{}: CPUs {}, {} of memory, {} PCI functions",
            cell.name,
            cpus.join(","),
            size(cell.memory_bytes()),
            cell.functions.len()
        ));
        for why in &cell.why {
            say(format!("  {why}"));
        }
    }
    for node in &plan.left {
        say(format!(
            "left on node {}: {} CPUs, {} of memory for cells",
            node.node,
            node.cpus.len(),
            size(node.memory)
        ));
    }
}

/// `generate`: a slice file for the whole machine, to standard output.
pub(super) fn generate(context: &Context<'_>, options: &cli::Generate) -> Result<()> {
    let policy = match options.policy {
        cli::Policy::Cluster => Policy::Cluster,
        cli::Policy::Partition => Policy::Partition,
    };
    let host = ground(context, options.host.as_deref())?.host;
    let file = plan::generate(&host, policy, &options.image, options.initrd.as_deref());
    // A file without slices is none: reading it would fail with less to go on.
    if !file.contains("[[slice]]") {
        return Err(Error::new(
            "cannot divide the machine",
            format!(
                "\"{}\" has no whole core and free memory beside the root's",
                host.name
            ),
            "free memory or bring CPUs online; `cellctl host` shows what there is",
        ));
    }
    say(file.trim_end());
    Ok(())
}

/// `check` of slice files.
pub(super) fn check(context: &Context<'_>, files: &[PathBuf], saved: Option<&Path>) -> Result<()> {
    let ground = ground(context, saved)?;
    let report = check::check_files(&ground.host, files, &ground.taken, ground.files);
    told(context, report, files.len())
}

/// Prints a report; one with errors is the command's error.
fn told(context: &Context<'_>, report: Report, files: usize) -> Result<()> {
    if context.cli.json {
        output::json(&report)?;
        if !report.has_errors() {
            return Ok(());
        }
        let why = format!("{} errors are in the report", report.errors());
        return Err(Error::new(
            "cannot use the slice files",
            why,
            "mend what the report names",
        ));
    }
    if report.has_errors() {
        return Err(report.into());
    }
    if !report.is_empty() {
        say(report.to_string());
    }
    say(match files {
        1 => "the file is good".to_owned(),
        n => format!("all {n} files are good"),
    });
    Ok(())
}

/// Everything that must be right before cells are created from slices.
/// Warnings are told, and no more.
pub(super) fn checked(host: &Host, slices: &[Slice], taken: &Taken) -> Result<Plan> {
    let report = check::check(host, slices, taken, Files::Look);
    if report.has_errors() {
        return Err(report.into());
    }
    for finding in &report.findings {
        warn(finding.message.as_str());
    }
    Ok(plan::plan(host, slices, taken)?)
}

/// `host`.
pub(super) fn host(context: &Context<'_>, options: &cli::HostArgs) -> Result<()> {
    let host = ground(context, options.host.as_deref())?.host;
    if let Some(path) = &options.save {
        host.save(path)?;
    }
    if context.cli.json {
        return output::json(&host);
    }
    if options.save.is_none() {
        summary(&host);
    }
    Ok(())
}

/// The machine in a few lines.
fn summary(host: &Host) {
    let mut rows = vec![
        vec!["name".into(), host.name.clone()],
        vec!["CPU".into(), host.cpu_model.clone()],
        vec!["virtualization".into(), host.virtualization.clone()],
        vec![
            "CPUs".into(),
            format!("{} on {} cores", host.cpus.len(), host.cores().len()),
        ],
    ];
    for node in &host.nodes {
        let cpus = host.cpus.iter().filter(|c| c.node == node.id).count();
        rows.push(vec![
            format!("node {}", node.id),
            format!(
                "{cpus} CPUs, {} ({} free)",
                size(node.memory),
                size(node.free)
            ),
        ]);
    }
    rows.push(vec![
        "DMA remapping units".into(),
        host.iommus.len().to_string(),
    ]);
    rows.push(vec![
        "PCI functions".into(),
        host.functions.len().to_string(),
    ]);
    for function in host.functions.iter().filter(|f| f.sriov.is_some()) {
        rows.push(vec!["SR-IOV".into(), function.address.to_string()]);
    }
    say(output::table(&[], rows));
}
