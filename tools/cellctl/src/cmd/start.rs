//! `start`: load a cell's memory and let its first CPU go.

use super::cells::{absolute, say_unless_json};
use super::{Context, supervise};
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::loader::{self, Ram, layout};
use crate::output::warn;
use crate::power;
use crate::state::{CellRecord, Payload};
use crate::syscalls;
use crate::tables;
use cellvisor_abi::call::{Start, State, StopReason};
use cellvisor_abi::plan::{Boot, Memory, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Initial RAM disks up to this size are certain to go below 4 GiB, so that
/// only that part of the cell has to be mapped.
const SMALL_DISK: u64 = 1 << 30;

/// How often clock and TSC are read for one close pair.
const CLOCK_TRIES: usize = 5;

/// `start`.
pub(super) fn start_as(context: &Context<'_>, options: &cli::Start) -> Result<()> {
    let Some(kernel) = &options.kernel else {
        return start(context, &options.names);
    };
    let boots = Payload {
        image: absolute(kernel)?,
        initrd: options
            .initrd
            .iter()
            .map(|path| absolute(path))
            .collect::<Result<_>>()?,
        cmdline: options.cmdline.clone(),
    };
    let driver = context.driver()?;
    power::require_on(&driver, "cannot start a cell")?;
    let names = options.names.iter().map(String::as_str);
    let _cells = context.state.lock_cells(names)?;
    let records = records(context, &options.names)?;
    let cli = context.cli;
    side_by_side(&records, |record| {
        let context = &Context::new(cli);
        let record = CellRecord {
            instead: options.again.then(|| boots.clone()),
            ..record.clone()
        };
        boot_cell(context, &driver, &record, &boots)?;
        say_unless_json(context, format!("cell \"{}\" is started", record.name));
        Ok(())
    })
}

/// Starts cells that boot what their slices say.
pub(super) fn start(context: &Context<'_>, names: &[String]) -> Result<()> {
    let driver = context.driver()?;
    power::require_on(&driver, "cannot start a cell")?;
    let names = match names {
        [] => idle(context, &driver)?,
        names => names.to_vec(),
    };
    let _cells = context.state.lock_cells(names.iter().map(String::as_str))?;
    let records = records(context, &names)?;
    let cli = context.cli;
    side_by_side(&records, |record| {
        let context = &Context::new(cli);
        start_cell(context, &driver, record)?;
        say_unless_json(context, format!("cell \"{}\" is started", record.name));
        Ok(())
    })
}

fn records(context: &Context<'_>, names: &[String]) -> Result<Vec<CellRecord>> {
    names.iter().map(|name| context.state.cell(name)).collect()
}

/// Does this with each, as many at a time as this Linux has CPUs: a start is copying for
/// the most part. After a failure none begins. The failure of the first in order is the
/// whole's; those of others who were at it are noted.
fn side_by_side<T: Sync>(all: &[T], act: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(n) else {
                return;
            };
            if let Err(error) = act(one) {
                next.store(all.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push((n, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..cpus.min(all.len()) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(n, _)| *n);
    let mut failed = failed.into_iter().map(|(_, error)| error);
    let first = failed.next();
    failed.for_each(|other| warn(other.to_string()));
    first.map_or(Ok(()), Err)
}

/// Looks whether a cell's files could be loaded, before it is stopped for that.
pub(super) fn look(context: &Context<'_>, record: &CellRecord) -> Result<()> {
    let prepared = prepare(context, record)?;
    loader::look(prepared.ram(), &record.payload)
        .map_err(|e| e.note(&format!("cell \"{}\" was not touched", record.name)))
}

/// Names of all cells that do not run.
fn idle(context: &Context<'_>, driver: &dyn Driver) -> Result<Vec<String>> {
    let known = context.state.cells()?.good;
    let states = Monitor(driver).cells()?;
    let ready = |state: State| {
        matches!(
            state,
            State::Loadable | State::Stopped(StopReason::Root | StopReason::PowerOff)
        )
    };
    let is_idle = |record: &CellRecord| {
        states.iter().any(|s| {
            Some(s.cell) == record.id() && s.name.as_str() == record.name && ready(s.state)
        })
    };
    let idle: Vec<_> = known
        .into_iter()
        .filter(is_idle)
        .map(|record| record.name)
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

/// Starts a cell that does not run: it boots what its slice says.
pub(super) fn start_cell(
    context: &Context<'_>,
    driver: &dyn Driver,
    record: &CellRecord,
) -> Result<()> {
    let record = CellRecord {
        instead: None,
        ..record.clone()
    };
    boot_cell(context, driver, &record, &record.payload)
}

/// Loads and starts a cell that does not run, and has it watched if its policy
/// says so.
pub(super) fn boot_cell(
    context: &Context<'_>,
    driver: &dyn Driver,
    record: &CellRecord,
    boots: &Payload,
) -> Result<()> {
    let name = &record.name;
    let monitor = Monitor(driver);
    let status = create::status(monitor, record)?;
    let cell = status.cell;
    let prepared = prepare(context, record)?;
    match status.state {
        State::Loadable => {}
        State::Stopped(_) | State::Failed => monitor.reload(name, cell)?,
        State::Running => {
            return Err(Error::new(
                format!("cannot start cell \"{name}\""),
                "it runs already",
                format!("to start it anew: cellctl restart {name}"),
            ));
        }
    }
    let boot = load(&prepared, driver, record, boots)?;
    context.state.save_cell(&CellRecord {
        stopping: false,
        console_from: status.console_written,
        ..record.clone()
    })?;
    // First, so that no cell runs that should be watched and is not, whatever
    // happens in between. It waits for the lock.
    supervise::ensure(context, record)?;
    let (wall_ns, wall_tsc) = wall_clock()?;
    monitor.start(
        name,
        &Start {
            cell,
            boot,
            wall_ns,
            wall_tsc,
        },
    )
}

/// What a cell's memory gets besides the files.
struct Prepared {
    /// ACPI tables, RSDP first.
    acpi: Vec<u8>,
    /// Where there is RAM.
    ranges: Vec<Range>,
    /// What the memory map calls reserved.
    reserved: Vec<Range>,
}

impl Prepared {
    fn ram(&self) -> Ram<'_> {
        Ram {
            ranges: &self.ranges,
            reserved: &self.reserved,
        }
    }
}

/// Makes what [`load`] writes, without touching the cell.
fn prepare(context: &Context<'_>, record: &CellRecord) -> Result<Prepared> {
    let cell = &record.assignment;
    let around = if tables::stands_alone(cell) {
        tables::Surroundings::default()
    } else {
        tables::Surroundings::of(cell, &context.host()?)?.wired(&record.functions)
    };
    Ok(Prepared {
        acpi: tables::image(cell, &around, &record.windows)?,
        ranges: layout::ranges(&record.memory),
        reserved: around.configuration(),
    })
}

/// Writes kernel, disk, parameters and tables. The mapping is gone afterwards:
/// a running cell's memory is out of the root's sight.
fn load(
    prepared: &Prepared,
    driver: &dyn Driver,
    record: &CellRecord,
    boots: &Payload,
) -> Result<Boot> {
    let disk = boots.initrd.iter();
    let disk_size: u64 = disk
        .filter_map(|p| p.metadata().ok())
        .map(|m| m.len())
        .sum();
    let needed = |m: &&Memory| disk_size > SMALL_DISK || m.gpa < layout::HOLE_END;
    let parts: Vec<Memory> = record.memory.iter().filter(needed).copied().collect();
    let memory = driver.map(&parts)?;
    loader::load(&memory, prepared.ram(), boots, &prepared.acpi)
}

/// Wall clock in nanoseconds since 1970 and the TSC at that moment: of several
/// pairs the one that took the shortest time.
fn wall_clock() -> Result<(u64, u64)> {
    let mut best = None;
    for _ in 0..CLOCK_TRIES {
        let before = syscalls::read_tsc();
        let now = SystemTime::now();
        let took = syscalls::read_tsc().saturating_sub(before);
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
    fn all_are_done_once_and_the_first_failure_is_told() {
        let done = Mutex::new(Vec::new());
        let act = |n: &usize| {
            done.lock().expect("a lock").push(*n);
            match *n {
                3 | 4 => Err(Error::new(format!("{n}"), "why", "help")),
                _ => Ok(()),
            }
        };
        side_by_side(&[0, 1, 2], act).expect("none fails");
        let mut all = std::mem::take(&mut *done.lock().expect("a lock"));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        side_by_side(&[], act).expect("none is there");

        let many: Vec<_> = (3..1000).collect();
        let error = side_by_side(&many, act).expect_err("one fails");
        assert!(error.to_string().starts_with("3"), "{error}");
        assert!(done.lock().expect("a lock").len() < many.len());
    }

    #[test]
    fn clock_and_tsc_go_on_together() {
        let (first_ns, first_tsc) = wall_clock().expect("a clock");
        let (then_ns, then_tsc) = wall_clock().expect("a clock");
        assert!(first_ns > 1_600_000_000_000_000_000);
        assert!(then_ns >= first_ns && then_tsc > first_tsc);
    }
}
