//! `stats`: exits by CPU and reason.

use super::Context;
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::output::{self, say, table};
use crate::power;
use cellvisor_abi::call::{CellId, ExitKind, Stats};
use cellvisor_abi::plan::Cpu;
use serde::Serialize;
use std::thread;
use std::time::Duration;

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
    let driver = context.looking_driver()?;
    power::require_on(&driver, "cannot read the counters")?;
    let owner = match options.name.as_deref() {
        None => None,
        Some("root") => Some(CellId::ROOT),
        Some(name) => {
            let record = context.state.cell(name)?;
            Some(create::status(Monitor(&driver), &record)?.cell)
        }
    };
    let cpus = plan_cpus(context, &driver)?;
    let mut now = read_stats(&driver, &cpus, owner)?;
    if let Some(seconds) = options.interval.or(options.expect_quiet) {
        thread::sleep(Duration::from_secs_f64(seconds));
        let later = read_stats(&driver, &cpus, owner)?;
        now = later.iter().map(|l| since(l, &now)).collect();
    }
    let loud = options.expect_quiet.and_then(|seconds| {
        let name = options.name.as_deref().unwrap_or_default();
        expect_quiet(name, seconds, &now).err()
    });
    let shown: Vec<CpuStats> = now.iter().map(|(cpu, stats)| named(*cpu, stats)).collect();
    match (context.cli.json, loud) {
        (true, Some(loud)) => Err(loud),
        (true, None) => output::json(&shown),
        (false, loud) => {
            say(stats_table(&shown));
            loud.map_or(Ok(()), Err)
        }
    }
}

/// Exits that say nothing of a cell's work: questions, interrupts among its own CPUs,
/// and what the monitor asked it for.
const QUIET: [ExitKind; 3] = [ExitKind::Cpuid, ExitKind::Icr, ExitKind::Kick];

/// Fails unless the CPUs ran and made none but quiet exits in these seconds.
fn expect_quiet(name: &str, seconds: f64, now: &[(u32, Stats)]) -> Result<()> {
    if !now.iter().any(|(_, stats)| stats.running) {
        return Err(Error::new(
            format!("cannot tell whether {name} is quiet"),
            "none of its CPUs runs",
            format!("start it: `cellctl start {name}`"),
        ));
    }
    let count = |kind: ExitKind| now.iter().map(|(_, s)| s.exits[kind as usize]).sum::<u64>();
    let loud: Vec<String> = ExitKind::ALL
        .iter()
        .filter(|kind| !QUIET.contains(kind) && count(**kind) != 0)
        .map(|kind| format!("{} {}", count(*kind), kind.name()))
        .collect();
    if loud.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        format!("{name} is not quiet"),
        format!("within {seconds} s it made exits: {}", loud.join(", ")),
        "port writes are mostly its console (`dmesg -n 1` in the cell), mmio and port reads \
         are devices that it sets up; the table tells which CPU it was",
    ))
}

/// CPUs in the order of the system plan.
pub(super) fn plan_cpus(context: &Context<'_>, driver: &dyn Driver) -> Result<Vec<u32>> {
    if let Some(record) = context.state.monitor()? {
        return Ok(record.cpus.iter().map(|c: &Cpu| c.linux).collect());
    }
    Ok((0..Monitor(driver).info()?.cpus).collect())
}

/// Counters of each CPU of `owner`, with Linux's numbers of the CPUs.
pub(super) fn read_stats(
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
    fn table_has_only_kinds_that_happened() {
        let text = stats_table(&[named(2, &stats(12))]);
        assert_eq!(
            text,
            "CPU  CELL  VCPU  TOTAL  cpuid\n2    1     0     12     12"
        );
    }

    #[test]
    fn questions_and_interrupts_are_quiet_and_all_else_has_a_name() {
        let mut busy = stats(12);
        busy.exits[ExitKind::Icr as usize] = 7;
        busy.exits[ExitKind::Kick as usize] = 1;
        assert!(expect_quiet("a", 2.5, &[(2, busy)]).is_ok());
        for kind in ExitKind::ALL.iter().filter(|kind| !QUIET.contains(kind)) {
            let mut loud = busy;
            loud.exits[*kind as usize] = 3;
            // Another CPU's quiet does not hide it.
            let told = expect_quiet("a", 2.5, &[(2, busy), (3, loud)]).expect_err("it is loud");
            let wanted = format!("within 2.5 s it made exits: 3 {}", kind.name());
            assert!(told.to_string().contains(&wanted), "{told}");
        }
    }

    #[test]
    fn a_cell_that_does_not_run_is_not_called_quiet() {
        let stopped = Stats {
            running: false,
            ..stats(0)
        };
        assert!(expect_quiet("a", 1.0, &[(2, stopped)]).is_err());
        assert!(expect_quiet("a", 1.0, &[]).is_err());
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
