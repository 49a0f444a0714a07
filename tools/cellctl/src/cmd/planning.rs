//! `plan`, `host`, and `check` of slice files: the planner for people.

use super::{Context, cells, fleet};
use crate::cli;
use crate::error::{Error, Result};
use crate::output::{self, say, size, warn};
use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, LinkKind, Slice};
use cellvisor_planner::draw;
use cellvisor_planner::host::Host;
use cellvisor_planner::inventory::Inventory;
use cellvisor_planner::plan::{self, Division, Plan, Policy, Taken};
use cellvisor_planner::report::Report;
use cellvisor_planner::words::{count, numbered};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A machine, and what is taken of it.
pub(super) struct Ground {
    pub(super) host: Host,
    pub(super) taken: Taken,
    files: Files,
}

/// This machine with its cells, or a saved one without, for the slice files
/// `files`.
pub(super) fn ground(
    context: &Context<'_>,
    files: &[PathBuf],
    saved: Option<&Path>,
) -> Result<Ground> {
    stdin_once(files.iter().map(PathBuf::as_path).chain(saved))?;
    let Some(path) = saved else {
        return Ok(Ground {
            host: context.host()?,
            taken: cells::taken(&context.state.cells()?.whole()?),
            files: Files::Look,
        });
    };
    Ok(Ground {
        host: Host::load(path)?,
        taken: Taken::default(),
        files: Files::Elsewhere,
    })
}

/// Refuses to read two files from standard input.
pub(super) fn stdin_once<'p>(named: impl Iterator<Item = &'p Path>) -> Result<()> {
    if named.filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Error::new(
            "cannot read standard input twice",
            "two files are named `-`",
            "keep one of them in a file, and name that",
        ));
    }
    Ok(())
}

/// `plan`.
pub(super) fn plan(context: &Context<'_>, options: &cli::Plan) -> Result<()> {
    if let Some(path) = &options.svg {
        refuse_other_files(path)?;
    }
    if options.host.len() > 1 {
        return fleet::plan(context, options);
    }
    let saved = options.host.first().map(PathBuf::as_path);
    let ground = ground(context, &options.files, saved)?;
    let (slices, report) = config::read(&options.files);
    if report.has_errors() {
        return Err(all_of(&ground, &options.files, (&slices, report)).into());
    }
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

/// Everything that is wrong with files, those mistakes that were found when
/// they were read among it.
fn all_of(ground: &Ground, paths: &[PathBuf], read: (&[Slice], Report)) -> Report {
    check::check_files(&ground.host, paths, read, &ground.taken, ground.files)
}

/// Keeps a picture from replacing a file that is none, such as the slice file
/// that was meant to be drawn.
fn refuse_other_files(path: &Path) -> Result<()> {
    // What cannot be read is told when it is written.
    let mut head = [0; 5];
    let read = fs::File::open(path).and_then(|mut f| f.read(&mut head));
    match read {
        Ok(n) if n > 0 && !matches!(&head, b"<?xml" | b"<svg ") => Err(Error::new(
            format!("cannot draw into {}", path.display()),
            "there is a file of that name that is no SVG picture",
            "name a new file: --svg PICTURE.svg",
        )),
        _ => Ok(()),
    }
}

/// What each slice gets, and why.
fn explain(plan: &Plan) {
    for cell in &plan.cells {
        say(format!(
            "{}: {}, {} of memory, {}",
            cell.name,
            numbered("CPU", cell.cpus.iter().map(|c| c.linux)),
            size(cell.memory_bytes()),
            count(cell.functions.len(), "PCI function")
        ));
        for why in &cell.why {
            say(format!("  {why}"));
        }
    }
    for new in &plan.links {
        let what = match (new.link.kind, new.link.size) {
            (LinkKind::Ethernet, 0) => "Ethernet".to_owned(),
            (LinkKind::Ethernet, bytes) => {
                format!("Ethernet, {} for this Linux's frames", size(bytes))
            }
            (LinkKind::ExtendedSocket, bytes) => {
                format!("Extended Socket, {} of its own", size(bytes))
            }
            (LinkKind::Window, bytes) => format!("{} of its own", size(bytes)),
        };
        say(format!(
            "link {}: {what}, {}",
            new.link.name,
            new.link.who()
        ));
    }
    for node in &plan.left {
        say(format!(
            "left on node {}: {}, {} of memory for cells",
            node.node,
            count(node.cpus.len(), "CPU"),
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
    let host = ground(context, &[], options.host.as_deref())?.host;
    let mut division = Division {
        policy,
        boot_node: options.boot_node,
        image: &options.image,
        initrd: &options.initrd,
        addresses: options.addresses,
    };
    let file = plan::generate(&host, &division);
    // A file without slices is none: reading it would fail with less to go on.
    if !is_divided(&file) {
        division.boot_node = true;
        let is_kept = is_divided(&plan::generate(&host, &division));
        return Err(undivided(&host, is_kept));
    }
    // More slices than a network joins, say.
    config::parse(&file, Path::new("slices.toml"))?;
    say(file.trim_end());
    Ok(())
}

fn is_divided(file: &str) -> bool {
    file.contains("[[slice]]")
}

/// There is nothing to divide, or nothing but what `is_kept` for the root.
fn undivided(host: &Host, is_kept: bool) -> Error {
    let (besides, help) = if is_kept {
        (
            "node",
            "add --boot-node: this Linux keeps the boot CPU's core, and a slice gets the rest",
        )
    } else {
        (
            "core",
            "free memory or bring CPUs online; `cellctl host` shows what there is",
        )
    };
    Error::new(
        "cannot divide the machine",
        format!(
            "\"{}\" has no whole core and free memory besides the boot CPU's {besides}",
            host.name
        ),
        help,
    )
}

/// `check` of slice files.
pub(super) fn check(context: &Context<'_>, files: &[PathBuf], saved: Option<&Path>) -> Result<()> {
    let ground = ground(context, files, saved)?;
    let (slices, report) = config::read(files);
    print_report(
        context,
        all_of(&ground, files, (&slices, report)),
        files.len(),
    )
}

/// Prints a report; one with errors is the command's error. Programs get the
/// findings alone, on standard output, as an array.
fn print_report(context: &Context<'_>, report: Report, files: usize) -> Result<()> {
    if context.cli.json {
        output::json(&report)?;
        if !report.has_errors() {
            return Ok(());
        }
        let why = match report.errors() {
            1 => "1 error is in the report".to_owned(),
            n => format!("{n} errors are in the report"),
        };
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
        say(report.coloured());
    }
    let files = match files {
        1 => "the file is good".to_owned(),
        n => format!("all {n} files are good"),
    };
    say(match report.findings.len() {
        0 => files,
        n => format!("{files}, with {}", count(n, "warning")),
    });
    Ok(())
}

/// Reads the files for cells that are to be created: everything that is wrong
/// with them on this machine, at once.
pub(super) fn slices(context: &Context<'_>, files: &[PathBuf]) -> Result<Vec<Slice>> {
    let (slices, report) = config::read(files);
    if !report.has_errors() {
        return Ok(slices);
    }
    // What is wrong with the files counts more than a machine that cannot be
    // looked at.
    match ground(context, &[], None) {
        Ok(ground) => Err(all_of(&ground, files, (&slices, report)).into()),
        Err(_) => Err(report.into()),
    }
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
    let Ground { host, taken, .. } = ground(context, &[], options.host.as_deref())?;
    if options.inventory {
        return output::json(&Inventory::of(&host, &taken));
    }
    if let Some(path) = &options.save {
        host.save(path)?;
    }
    match (context.cli.json, options.functions) {
        (true, true) => return output::json(&host.functions),
        (true, false) => return output::json(&host),
        (false, true) => functions(&host),
        (false, false) if options.save.is_none() => summary(&host),
        (false, false) => {}
    }
    Ok(())
}

/// All PCI functions, one to a line.
fn functions(host: &Host) {
    let needed: BTreeMap<_, _> = host.root.needed().collect();
    let rows = host.functions.iter().map(|f| {
        let about = match (&f.sriov, f.pf, needed.get(&f.address)) {
            (_, Some(pf), _) => format!("VF of {pf}"),
            (_, None, Some(why)) => (*why).to_owned(),
            (Some(sriov), None, None) => count(sriov.total_vfs, "VF") + " at most",
            (None, None, None) => String::new(),
        };
        vec![
            f.address.to_string(),
            format!("{:04x}:{:04x}", f.vendor, f.device),
            f.what().to_owned(),
            f.node.map_or_else(|| "-".into(), |n| n.to_string()),
            f.driver.clone().unwrap_or_else(|| "-".into()),
            about,
        ]
    });
    let head = ["ADDRESS", "ID", "KIND", "NODE", "DRIVER", "ABOUT"];
    say(output::table(&head, rows));
}

/// The machine in a few lines.
fn summary(host: &Host) {
    let mut rows = vec![
        vec!["name".into(), host.name.clone()],
        vec!["CPU".into(), host.cpu_model.clone()],
        vec!["virtualization".into(), host.virtualization.clone()],
        vec![
            "CPUs".into(),
            format!(
                "{} on {}",
                host.cpus.len(),
                count(host.cores().len(), "core")
            ),
        ],
    ];
    for node in &host.nodes {
        let cpus = host.cpus.iter().filter(|c| c.node == node.id).count();
        rows.push(vec![
            format!("node {}", node.id),
            format!(
                "{}, {} ({} free)",
                count(cpus, "CPU"),
                size(node.memory),
                size(node.free)
            ),
        ]);
        if let Some(access) = &node.access {
            rows.push(vec![
                format!("memory of node {}", node.id),
                access.to_string(),
            ]);
        }
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
    if !host.functions.is_empty() {
        rows.push(vec![String::new(), "all: cellctl host --functions".into()]);
    }
    say(output::table(&[], rows));
}
