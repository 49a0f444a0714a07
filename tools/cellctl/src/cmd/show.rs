//! `list`, `status` and `stats`.

use super::Context;
use crate::calls::Monitor;
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::output::{self, say, size, table};
use crate::power;
use crate::sentences;
use crate::state::CellRecord;
use cellvisor_abi::call::{CellId, CellStatus, ExitKind, Info, Stats};
use cellvisor_abi::plan::Cpu;
use serde::Serialize;
use std::thread;
use std::time::Duration;

/// One cell as `list` and `status` show it.
#[derive(Serialize)]
struct Shown {
    id: Option<u32>,
    name: String,
    state: &'static str,
    cpus: Vec<u32>,
    memory: u64,
    /// What the monitor says; `None` for a cell that it does not know.
    details: Option<CellStatus>,
    /// What it was created from; `None` for a cell of another cellctl.
    record: Option<CellRecord>,
}

/// Every cell that the monitor or the state folder knows.
fn cells(context: &Context<'_>, driver: &dyn Driver) -> Result<Vec<Shown>> {
    let mut known = context.state.cells()?;
    let running = if driver.info()?.enabled == 0 {
        Vec::new()
    } else {
        Monitor(driver).cells()?
    };
    let mut shown = Vec::new();
    for status in running {
        let place = known.iter().position(|r| r.id == Some(status.cell));
        let record = place.map(|i| known.remove(i));
        shown.push(Shown {
            id: Some(status.cell.0),
            name: status.name.as_str().to_owned(),
            state: sentences::state(status.state),
            cpus: linux_cpus(record.as_ref()),
            memory: status.memory,
            details: Some(status),
            record,
        });
    }
    shown.extend(known.into_iter().map(|record| Shown {
        id: None,
        name: record.name.clone(),
        state: "left over",
        cpus: linux_cpus(Some(&record)),
        memory: record.ram_bytes(),
        details: None,
        record: Some(record),
    }));
    Ok(shown)
}

fn linux_cpus(record: Option<&CellRecord>) -> Vec<u32> {
    record.map_or_else(Vec::new, |r| {
        r.assignment.cpus.iter().map(|c| c.linux).collect()
    })
}

/// `list`.
pub(super) fn list(context: &Context<'_>) -> Result<()> {
    let driver = context.driver()?;
    let cells = cells(context, &driver)?;
    if context.cli.json {
        return output::json(&cells);
    }
    if cells.is_empty() {
        say("no cells");
        return Ok(());
    }
    let rows = cells.iter().map(|c| {
        let starts = c.details.map_or(0, |d| d.starts);
        let isolation = match c.details {
            Some(d) if d.unprotected => "DMA open",
            _ => "full",
        };
        vec![
            c.id.map_or_else(|| "-".into(), |id| id.to_string()),
            c.name.clone(),
            c.state.to_owned(),
            numbers(&c.cpus),
            size(c.memory),
            starts.to_string(),
            isolation.to_owned(),
        ]
    });
    let head = [
        "ID",
        "NAME",
        "STATE",
        "CPUS",
        "MEMORY",
        "STARTS",
        "ISOLATION",
    ];
    say(table(&head, rows));
    Ok(())
}

/// `status`.
pub(super) fn status(context: &Context<'_>, name: Option<&str>) -> Result<()> {
    let driver = context.driver()?;
    let Some(name) = name else {
        return monitor_status(context, &driver);
    };
    let shown = cells(context, &driver)?
        .into_iter()
        .find(|c| c.name == name);
    let Some(cell) = shown else {
        return context.state.cell(name).map(drop);
    };
    if context.cli.json {
        return output::json(&cell);
    }
    say(table(&[], cell_rows(&cell)));
    Ok(())
}

/// A cell in detail.
fn cell_rows(cell: &Shown) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    row("name", cell.name.clone());
    row("state", cell.state.to_owned());
    if let Some(status) = &cell.details {
        if let Some(failure) = &status.failure {
            row("failure", sentences::failure(failure));
            let regs = &failure.regs;
            row(
                "registers",
                format!(
                    "rip {:#x} rflags {:#x} cs {:#x}",
                    regs.rip, regs.rflags, regs.cs
                ),
            );
            row(
                "",
                format!(
                    "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x}",
                    regs.cr0, regs.cr2, regs.cr3, regs.cr4
                ),
            );
            for line in general_registers(&regs.general) {
                row("", line);
            }
        }
        row("starts", status.starts.to_string());
        row("refused accesses", sentences::denied(&status.denied));
        row(
            "monitor memory",
            size(u64::from(status.pool_pages) * cellvisor_abi::PAGE_SIZE),
        );
        row("console output", size(status.console_written));
        row(
            "DMA isolation",
            if status.unprotected { "open" } else { "full" }.to_owned(),
        );
    }
    row("CPUs", numbers(&cell.cpus));
    row("memory", size(cell.memory));
    if let Some(record) = &cell.record {
        row("file", record.source.display().to_string());
        row("kernel", record.payload.image.display().to_string());
        if let Some(initrd) = &record.payload.initrd {
            row("initrd", initrd.display().to_string());
        }
        row("command line", record.payload.cmdline.clone());
        for function in &record.assignment.functions {
            row("function", function.address.to_string());
        }
    }
    rows
}

/// General registers, four to a line.
fn general_registers(values: &[u64; 16]) -> Vec<String> {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    let pairs: Vec<_> = NAMES
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name} {value:#x}"))
        .collect();
    pairs.chunks(4).map(|four| four.join(" ")).collect()
}

#[derive(Serialize)]
struct MonitorShown {
    enabled: bool,
    driver_abi: u32,
    tsc_khz: u32,
    pins: u32,
    monitor: Option<Info>,
    pause_ns: Option<u64>,
}

/// The monitor in detail.
fn monitor_status(context: &Context<'_>, driver: &dyn Driver) -> Result<()> {
    let info = driver.info()?;
    let shown = MonitorShown {
        enabled: info.enabled != 0,
        driver_abi: info.abi_version,
        tsc_khz: info.tsc_khz,
        pins: info.pins,
        monitor: (info.enabled != 0)
            .then(|| Monitor(driver).info())
            .transpose()?,
        pause_ns: context.state.monitor()?.map(|r| r.pause_ns),
    };
    if context.cli.json {
        return output::json(&shown);
    }
    let mut rows = vec![
        vec![
            "monitor".into(),
            if shown.enabled { "on" } else { "off" }.to_owned(),
        ],
        vec!["ABI version".into(), shown.driver_abi.to_string()],
        vec!["TSC".into(), format!("{} kHz", shown.tsc_khz)],
    ];
    if let Some(monitor) = &shown.monitor {
        let rest = [
            ("back end", format!("{:?}", monitor.backend).to_uppercase()),
            ("CPUs", monitor.cpus.to_string()),
            ("cells", monitor.cells.to_string()),
            ("image in memory", size(monitor.image_bytes)),
            (
                "memory for each CPU",
                size(u64::from(monitor.per_cpu_bytes)),
            ),
            (
                "pool",
                sentences::pool(monitor.pool_pages, monitor.pool_free),
            ),
            (
                "root's APICs",
                if monitor.root_x2apic {
                    "x2APIC"
                } else {
                    "xAPIC"
                }
                .to_owned(),
            ),
            ("DMA remapping units", monitor.iommus.to_string()),
        ];
        rows.extend(
            rest.into_iter()
                .map(|(key, value)| vec![key.to_owned(), value]),
        );
    }
    if let Some(pause) = shown.pause_ns {
        rows.push(vec!["longest pause".into(), output::duration(pause)]);
    }
    say(table(&[], rows));
    Ok(())
}

/// Numbers as `2-5,7`.
fn numbers(all: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for n in all {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*n) => *last = *n,
            _ => runs.push((*n, *n)),
        }
    }
    let texts: Vec<_> = runs
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    if texts.is_empty() {
        "-".into()
    } else {
        texts.join(",")
    }
}

/// Counters of one CPU.
#[derive(Serialize)]
struct CpuStats {
    cpu: u32,
    apic_id: u32,
    cell: u32,
    virtual_id: u32,
    running: bool,
    exits: Vec<(&'static str, u64)>,
    total: u64,
}

/// `stats`.
pub(super) fn stats(context: &Context<'_>, options: &cli::Stats) -> Result<()> {
    let driver = context.driver()?;
    power::require_on(&driver, "cannot read the counters")?;
    let owner = match options.name.as_deref() {
        None => None,
        Some("root") => Some(CellId::ROOT),
        Some(name) => Some(create::id(&context.state.cell(name)?)?),
    };
    let cpus = plan_cpus(context, &driver)?;
    let mut now = read_stats(&driver, &cpus, owner)?;
    if let Some(seconds) = options.interval {
        thread::sleep(Duration::from_secs_f64(seconds));
        let later = read_stats(&driver, &cpus, owner)?;
        now = later.iter().map(|l| since(l, &now)).collect();
    }
    let shown: Vec<CpuStats> = now.iter().map(|(cpu, stats)| named(*cpu, stats)).collect();
    if context.cli.json {
        return output::json(&shown);
    }
    say(stats_table(&shown));
    Ok(())
}

/// CPUs in the order of the system plan.
fn plan_cpus(context: &Context<'_>, driver: &dyn Driver) -> Result<Vec<u32>> {
    if let Some(record) = context.state.monitor()? {
        return Ok(record.cpus.iter().map(|c: &Cpu| c.linux).collect());
    }
    Ok((0..Monitor(driver).info()?.cpus).collect())
}

/// Counters of each CPU of `owner`, with Linux's numbers of the CPUs.
fn read_stats(
    driver: &dyn Driver,
    cpus: &[u32],
    owner: Option<CellId>,
) -> Result<Vec<(u32, Stats)>> {
    let mut all = Vec::new();
    for (index, linux) in cpus.iter().enumerate() {
        let index = u32::try_from(index).map_err(|e| Error::internal("cannot count CPUs", e))?;
        let stats = Monitor(driver).stats(index)?;
        if owner.is_none_or(|o| o == stats.owner) {
            all.push((*linux, stats));
        }
    }
    Ok(all)
}

/// What was counted since `before`; all of it if the CPU changed its owner.
fn since(later: &(u32, Stats), before: &[(u32, Stats)]) -> (u32, Stats) {
    let (cpu, mut stats) = *later;
    let same = before
        .iter()
        .find(|(c, s)| *c == cpu && s.owner == stats.owner);
    if let Some((_, old)) = same {
        for (now, old) in stats.exits.iter_mut().zip(old.exits) {
            *now = now.saturating_sub(old);
        }
    }
    (cpu, stats)
}

fn named(cpu: u32, stats: &Stats) -> CpuStats {
    let names = ExitKind::ALL.iter().map(|k| k.name());
    CpuStats {
        cpu,
        apic_id: stats.apic_id,
        cell: stats.owner.0,
        virtual_id: stats.virtual_id,
        running: stats.running,
        exits: names.zip(stats.exits).filter(|(_, n)| *n > 0).collect(),
        total: stats.exits.iter().sum(),
    }
}

/// One column for each kind of exit that happened.
fn stats_table(all: &[CpuStats]) -> String {
    let kinds: Vec<&str> = ExitKind::ALL
        .iter()
        .map(|k| k.name())
        .filter(|name| all.iter().any(|c| c.exits.iter().any(|(n, _)| n == name)))
        .collect();
    let mut head = vec!["CPU", "CELL", "VCPU", "TOTAL"];
    head.extend(&kinds);
    let rows = all.iter().map(|c| {
        let owner = if c.cell == 0 {
            "root".into()
        } else {
            c.cell.to_string()
        };
        let mut row = vec![
            c.cpu.to_string(),
            owner,
            c.virtual_id.to_string(),
            c.total.to_string(),
        ];
        row.extend(kinds.iter().map(|kind| {
            let count = c.exits.iter().find(|(name, _)| name == kind);
            count.map_or(0, |(_, n)| *n).to_string()
        }));
        row
    });
    table(&head, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(cpuid: u64) -> Stats {
        let mut exits = [0; ExitKind::COUNT];
        exits[0] = cpuid;
        Stats {
            apic_id: 4,
            owner: CellId(1),
            virtual_id: 0,
            running: true,
            exits,
        }
    }

    #[test]
    fn runs_of_numbers_are_short() {
        assert_eq!(numbers(&[2, 3, 4, 7]), "2-4,7");
        assert_eq!(numbers(&[]), "-");
    }

    #[test]
    fn table_has_only_kinds_that_happened() {
        let text = stats_table(&[named(2, &stats(12))]);
        assert_eq!(
            text,
            "CPU  CELL  VCPU  TOTAL  cpuid\n2    1     0     12     12"
        );
    }

    #[test]
    fn interval_shows_the_difference_unless_the_owner_changed() {
        let (_, difference) = since(&(2, stats(12)), &[(2, stats(10))]);
        assert_eq!(difference.exits[0], 2);
        let other = Stats {
            owner: CellId::ROOT,
            ..stats(10)
        };
        let (_, all) = since(&(2, stats(12)), &[(2, other)]);
        assert_eq!(all.exits[0], 12);
    }
}
