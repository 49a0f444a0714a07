//! `start` and `restart`: load a cell's memory and let its first CPU go.

use super::cells::say_unless_json;
use super::{Context, supervise};
use crate::calls::Monitor;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::loader::{self, Ram, layout};
use crate::power;
use crate::raw;
use crate::state::CellRecord;
use crate::tables;
use cellvisor_abi::call::{Start, State, StopReason};
use cellvisor_abi::plan::Memory;
use std::time::{SystemTime, UNIX_EPOCH};

/// Initial RAM disks up to this size are certain to go below 4 GiB, so that
/// only that part of the cell has to be mapped.
const SMALL_DISK: u64 = 1 << 30;

/// How often clock and TSC are read for one close pair.
const CLOCK_TRIES: usize = 5;

/// `start`.
pub(super) fn start(context: &Context<'_>, names: &[String]) -> Result<()> {
    let _lock = context.state.lock()?;
    let driver = context.driver()?;
    power::require_on(&driver, "cannot start a cell")?;
    let records = chosen(context, &driver, names)?;
    for record in &records {
        start_cell(context, &driver, record)?;
        say_unless_json(context, format!("cell \"{}\" is started", record.name));
    }
    Ok(())
}

/// `restart`.
pub(super) fn restart(context: &Context<'_>, name: &str) -> Result<()> {
    let _lock = context.state.lock()?;
    let driver = context.driver()?;
    let record = context.state.cell(name)?;
    let id = create::id(&record)?;
    let monitor = Monitor(&driver);
    if monitor.status(id)?.state == State::Running {
        monitor.stop(name, id)?;
    }
    start_cell(context, &driver, &record)?;
    say_unless_json(context, format!("cell \"{name}\" is started again"));
    Ok(())
}

/// The cells that are named; without names, all that do not run.
fn chosen(context: &Context<'_>, driver: &dyn Driver, names: &[String]) -> Result<Vec<CellRecord>> {
    if !names.is_empty() {
        return names.iter().map(|n| context.state.cell(n)).collect();
    }
    let all = context.state.cells()?;
    let states = Monitor(driver).cells()?;
    let ready = |state: State| {
        matches!(
            state,
            State::Loadable | State::Stopped(StopReason::Root | StopReason::PowerOff)
        )
    };
    let idle: Vec<_> = all
        .into_iter()
        .filter(|r| {
            states
                .iter()
                .any(|s| Some(s.cell) == r.id && ready(s.state))
        })
        .collect();
    if idle.is_empty() {
        return Err(Error::new(
            "cannot start a cell",
            "no cell is there that could be started",
            "see `cellctl list`; create one: cellctl create FILE.toml",
        ));
    }
    Ok(idle)
}

/// Loads and starts a cell that does not run, and has it watched if its policy
/// says so.
pub(super) fn start_cell(
    context: &Context<'_>,
    driver: &dyn Driver,
    record: &CellRecord,
) -> Result<()> {
    let name = &record.name;
    let id = create::id(record)?;
    let monitor = Monitor(driver);
    match monitor.status(id)?.state {
        State::Loadable => {}
        State::Stopped(_) | State::Failed => monitor.reload(name, id)?,
        State::Running => {
            return Err(Error::new(
                format!("cannot start cell \"{name}\""),
                "it runs already",
                format!("to start it anew: cellctl restart {name}"),
            ));
        }
    }
    let boot = load(context, driver, record)?;
    context.state.save_cell(&CellRecord {
        console_from: monitor.status(id)?.console_written,
        ..record.clone()
    })?;
    let (wall_ns, wall_tsc) = wall_clock()?;
    monitor.start(
        name,
        &Start {
            cell: id,
            boot,
            wall_ns,
            wall_tsc,
        },
    )?;
    supervise::ensure(context, record)
}

/// Writes kernel, disk, parameters and tables. The mapping is gone afterwards:
/// a running cell's memory is out of the root's sight.
fn load(
    context: &Context<'_>,
    driver: &dyn Driver,
    record: &CellRecord,
) -> Result<cellvisor_abi::plan::Boot> {
    let cell = &record.assignment;
    let around = if tables::stands_alone(cell) {
        tables::Surroundings::default()
    } else {
        tables::Surroundings::of(cell, &context.host()?)?.wired(&record.functions)
    };
    let acpi = tables::image(cell, &around)?;
    let disk = record.payload.initrd.as_ref();
    let disk_size = disk.and_then(|p| p.metadata().ok()).map_or(0, |m| m.len());
    let needed = |m: &&Memory| disk_size > SMALL_DISK || m.gpa < layout::HOLE_END;
    let parts: Vec<Memory> = record.memory.iter().filter(needed).copied().collect();
    let memory = driver.map(&parts)?;
    let ram = Ram {
        ranges: &layout::ranges(&record.memory),
        reserved: &around.configuration(),
    };
    loader::load(&memory, ram, &record.payload, &acpi)
}

/// Wall clock in nanoseconds since 1970 and the TSC at that moment: of several
/// pairs the one that took the shortest time.
fn wall_clock() -> Result<(u64, u64)> {
    let mut best = None;
    for _ in 0..CLOCK_TRIES {
        let before = raw::read_tsc();
        let now = SystemTime::now();
        let took = raw::read_tsc().saturating_sub(before);
        if best.is_none_or(|(least, _, _)| took < least) {
            best = Some((took, now, before + took / 2));
        }
    }
    let wrong = |why: String| {
        Error::new(
            "cannot read the clock",
            why,
            "set this machine's date: date -s \"2026-01-31 12:00\"",
        )
    };
    let (_, now, tsc) = best.ok_or_else(|| wrong("no reading".into()))?;
    let since = now
        .duration_since(UNIX_EPOCH)
        .map_err(|e| wrong(e.to_string()))?;
    let ns = u64::try_from(since.as_nanos()).map_err(|e| wrong(e.to_string()))?;
    Ok((ns, tsc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_tsc_go_on_together() {
        let (first_ns, first_tsc) = wall_clock().expect("a clock");
        let (then_ns, then_tsc) = wall_clock().expect("a clock");
        assert!(first_ns > 1_600_000_000_000_000_000);
        assert!(then_ns >= first_ns && then_tsc > first_tsc);
    }
}
