//! `list` and `status`.

mod function;
mod link;

use super::Context;
use crate::driver::Driver;
use crate::error::Result;
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, say, size, table};
use crate::state::{CellRecord, Cells};
use cellvisor_abi::call::{CellStatus, FunctionStatus, Info};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

/// One cell as `list` and `status` show it.
#[derive(Serialize)]
struct Shown {
    id: Option<u32>,
    name: String,
    /// In one word.
    state: &'static str,
    /// For people.
    #[serde(skip)]
    sentence: &'static str,
    cpus: Vec<u32>,
    memory: u64,
    /// What the monitor says; `None` for a cell that it does not know.
    #[serde(serialize_with = "without_name")]
    details: Option<CellStatus>,
    /// What the monitor says of its functions, in the order of the record.
    functions: Vec<FunctionStatus>,
    /// What it was created from; `None` for a cell of another cellctl.
    record: Option<CellRecord>,
}

impl Shown {
    /// How many PCI functions it has.
    fn functions(&self) -> u32 {
        let planned = || {
            let record = self.record.as_ref()?;
            u32::try_from(record.functions.len()).ok()
        };
        let known = self.details.map(|d| d.functions);
        known.or_else(planned).unwrap_or_default()
    }

    /// Its share of the L3 cache and of the memory bandwidth, if it has one of its own.
    fn share(&self) -> Option<String> {
        let class = self.record.as_ref()?.assignment.class?;
        Some(class.words())
    }
}

/// What the monitor says without the name, which on the wire is a row of
/// numbers, and without the state, which stands beside it in one word.
fn without_name<S: Serializer>(
    details: &Option<CellStatus>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(details).map_err(S::Error::custom)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("name");
        fields.remove("state");
    }
    output::kebab_words(&mut value);
    value.serialize(serializer)
}

/// Every cell that the monitor or the state folder knows.
fn cells(context: &Context<'_>, driver: &dyn Driver) -> Result<Vec<Shown>> {
    let Cells {
        good: mut known,
        bad,
    } = context.state.cells()?;
    let running = if driver.info()?.enabled == 0 {
        Vec::new()
    } else {
        Monitor(driver).cells()?
    };
    let mut shown = Vec::new();
    // Links are cells without CPUs, which `list` shows by themselves.
    for status in running.into_iter().filter(|s| s.cpus > 0) {
        let place = known
            .iter()
            .position(|r| r.id() == Some(status.cell) && r.name.as_str() == status.name.as_str());
        let record = place.map(|i| known.remove(i));
        shown.push(Shown {
            id: Some(status.cell.0),
            name: status.name.as_str().to_owned(),
            state: messages::state_word(status.state),
            sentence: messages::state(status.state),
            cpus: linux_cpus(record.as_ref()),
            memory: status.memory,
            functions: Monitor(driver).functions(&status)?,
            details: Some(status),
            record,
        });
    }
    let left_over = |name: String, state, sentence, record: Option<CellRecord>| Shown {
        id: None,
        name,
        state,
        sentence,
        cpus: linux_cpus(record.as_ref()),
        memory: record.as_ref().map_or(0, CellRecord::ram_bytes),
        functions: Vec::new(),
        details: None,
        record,
    };
    for record in known {
        shown.push(left_over(
            record.name.clone(),
            "left-over",
            "left over",
            Some(record),
        ));
    }
    for (name, why) in bad {
        output::warn(why.to_string());
        // The monitor's word stands above, if it has the cell.
        if !shown.iter().any(|cell| cell.name == name) {
            shown.push(left_over(
                name,
                "unreadable",
                "its record cannot be read",
                None,
            ));
        }
    }
    Ok(shown)
}

fn linux_cpus(record: Option<&CellRecord>) -> Vec<u32> {
    record.map_or_else(Vec::new, |r| {
        r.assignment.cpus.iter().map(|c| c.linux).collect()
    })
}

/// `list`.
pub(super) fn list(context: &Context<'_>) -> Result<()> {
    let driver = context.looking_driver()?;
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
            Some(d) if d.unprotected => "none",
            _ => "full",
        };
        vec![
            c.id.map_or_else(|| "-".into(), |id| id.to_string()),
            c.name.clone(),
            c.sentence.to_owned(),
            numbers(&c.cpus),
            size(c.memory),
            starts.to_string(),
            c.functions().to_string(),
            isolation.to_owned(),
            c.share().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let head = [
        "ID",
        "NAME",
        "STATE",
        "CPUS",
        "MEMORY",
        "STARTS",
        "FUNCTIONS",
        "ISOLATION",
        "SHARES",
    ];
    say(table(&head, rows));
    for link in context.state.links()? {
        say(link::line(&link.link, &cells));
    }
    Ok(())
}

/// `status`.
pub(super) fn status(context: &Context<'_>, name: Option<&str>) -> Result<()> {
    let driver = context.looking_driver()?;
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
    row("state", cell.sentence.to_owned());
    if let Some(status) = &cell.details {
        if let Some(failure) = &status.failure {
            row("failure", messages::failure(failure));
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
        row("refused accesses", messages::denied(&status.denied));
        row(
            "monitor memory",
            size(u64::from(status.pool_pages) * cellvisor_abi::PAGE_SIZE),
        );
        row("console output", size(status.console_written));
        row(
            "DMA isolation",
            if status.unprotected { "none" } else { "full" }.to_owned(),
        );
    }
    row("CPUs", numbers(&cell.cpus));
    row("memory", size(cell.memory));
    if let Some(share) = cell.share() {
        row("shares", share);
    }
    if let Some(record) = &cell.record {
        row("file", record.source.display().to_string());
        let boots = record.boots();
        row("kernel", boots.image.display().to_string());
        for (n, initrd) in boots.initrd.iter().enumerate() {
            row(
                if n == 0 { "initrd" } else { "" },
                initrd.display().to_string(),
            );
        }
        row("command line", boots.cmdline.clone());
        for window in &record.windows {
            row("link", link::window(window, &record.assignment));
        }
        for link in &record.assignment.links {
            let adapter = link::adapter(link, &record.name);
            if let Some(shown) = adapter.or_else(|| link::socket(link, &record.name)) {
                row("link", shown);
            }
        }
        for held in &record.functions {
            row("function", function::described(held));
            if let Some(interrupt) = function::interrupt(held) {
                row("", interrupt);
            }
            let bdf = held.plan.bdf;
            if let Some(live) = cell.functions.iter().find(|live| live.bdf == bdf) {
                row("", function::doing(live));
            }
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

/// What the monitor says of itself, its words in the case of all JSON here.
fn in_kebab_case<S: Serializer>(
    info: &Option<Info>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(info).map_err(S::Error::custom)?;
    output::kebab_words(&mut value);
    if let (Some(info), Some(parts)) = (info, value.get_mut("parts")) {
        *parts = info.parts.names().collect();
    }
    value.serialize(serializer)
}

#[derive(Serialize)]
struct MonitorShown {
    enabled: bool,
    driver_abi: u32,
    tsc_khz: u32,
    pins: u32,
    #[serde(serialize_with = "in_kebab_case")]
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
                messages::pool(monitor.pool_pages, monitor.pool_free),
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
            ("parts", messages::parts(monitor.parts)),
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
pub(super) fn numbers(all: &[u32]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers_are_short() {
        assert_eq!(numbers(&[2, 3, 4, 7]), "2-4,7");
        assert_eq!(numbers(&[]), "-");
    }
}
