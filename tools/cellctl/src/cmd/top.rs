//! `top`: what cells have and what the monitor does for them, again and again.
//!
//! On a terminal the screen shows the newest look; elsewhere the looks come one
//! after the other.

mod screen;

use super::{Context, stats};
use crate::cli;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use crate::output::{self, Reader, size, table};
use crate::power;
use crate::signals;
use cellvisor_abi::call::{CellId, CellStatus, ExitKind, Info, Stats};
use screen::Screen;
use serde::Serialize;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Columns of the table.
const HEAD: [&str; 7] = [
    "NAME", "STATE", "CPUS", "MEMORY", "EXITS/S", "REFUSED", "MOST",
];

/// How many kinds of exits a line names.
const KINDS: usize = 3;

/// The shortest time between two looks: each costs a hypercall for every CPU.
const SHORTEST: Duration = Duration::from_millis(100);

/// How often it is looked whether somebody wants it to end.
const TURN: Duration = Duration::from_millis(50);

/// Counters of all CPUs by Linux's numbers, and when they were read.
struct Look {
    at: Instant,
    cpus: Vec<(u32, Stats)>,
}

/// What an owner of CPUs did since the look before.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    name: String,
    state: &'static str,
    /// Linux's numbers.
    cpus: Vec<u32>,
    /// Bytes; the root's are not counted.
    memory: Option<u64>,
    /// In a second.
    exits: u64,
    /// The kinds that most of them were, in a second.
    kinds: Vec<(&'static str, u64)>,
    /// Refused accesses since the cell was created.
    refused: Option<u64>,
}

impl Line {
    /// What stands in the table.
    fn columns(&self) -> [String; HEAD.len()] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let kinds = self.kinds.iter();
        let kinds = kinds.map(|(kind, count)| format!("{kind} {count}"));
        [
            self.name.clone(),
            self.state.to_owned(),
            super::show::numbers(&self.cpus),
            or_dash(self.memory.map(size)),
            self.exits.to_string(),
            or_dash(self.refused.map(|count| count.to_string())),
            kinds.collect::<Vec<_>>().join(", "),
        ]
    }
}

/// One look, as programs read it.
#[derive(Serialize)]
struct Shown<'a> {
    owners: &'a [Line],
    pool_pages: u32,
    pool_free: u32,
}

/// `top`.
pub(super) fn top(context: &Context<'_>, options: &cli::Top) -> Result<()> {
    let driver = context.looking_driver()?;
    power::require_on(&driver, "cannot watch cells")?;
    signals::catch()?;
    let screen = match context.cli.json {
        true => None,
        false => Screen::open().map_err(|e| no_screen(&e))?,
    };
    watch(context, &driver, options, screen)
}

fn no_screen(error: &io::Error) -> Error {
    Error::new(
        "cannot draw on this terminal",
        error.to_string(),
        "have lines instead: cellctl top | cat",
    )
}

fn watch(
    context: &Context<'_>,
    driver: &dyn Driver,
    options: &cli::Top,
    mut screen: Option<Screen>,
) -> Result<()> {
    let period = Duration::from_secs_f64(options.interval).max(SHORTEST);
    let cpus = stats::plan_cpus(context, driver)?;
    let look = || -> Result<Look> {
        Ok(Look {
            at: Instant::now(),
            cpus: stats::read_stats(driver, &cpus, None)?,
        })
    };
    let mut before = look()?;
    let mut left = options.count.unwrap_or(u32::MAX);
    while left > 0 && pause(period) {
        let now = look()?;
        let monitor = Monitor(driver);
        let info = monitor.info()?;
        let lines = lines(&before, &now, &monitor.cells()?);
        let reader = match &mut screen {
            Some(screen) => {
                screen.show(&lines, &info).map_err(|e| no_screen(&e))?;
                Reader::There
            }
            None => output::bytes(text(context, &lines, &info)?.as_bytes()),
        };
        if reader == Reader::Gone {
            break;
        }
        before = now;
        left -= u32::from(options.count.is_some());
    }
    Ok(())
}

/// A look as lines, for people or for programs.
fn text(context: &Context<'_>, lines: &[Line], info: &Info) -> Result<String> {
    if !context.cli.json {
        return Ok(picture(lines, info));
    }
    let line = output::json_line(&Shown {
        owners: lines,
        pool_pages: info.pool_pages,
        pool_free: info.pool_free,
    })?;
    Ok(line + "\n")
}

/// False if somebody wants this to end.
fn pause(period: Duration) -> bool {
    let end = Instant::now() + period;
    while signals::came().is_none() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(TURN));
    }
    false
}

/// The root's line, then one for each cell.
fn lines(before: &Look, now: &Look, cells: &[CellStatus]) -> Vec<Line> {
    let took = now.at.duration_since(before.at);
    let root = line(CellId::ROOT, (before, now), took);
    let root = Line {
        name: "root".to_owned(),
        state: "running",
        ..root
    };
    let cells = cells.iter().map(|cell| Line {
        name: cell.name.as_str().to_owned(),
        state: messages::state(cell.state),
        memory: Some(cell.memory),
        refused: Some(messages::refused(&cell.denied)),
        ..line(cell.cell, (before, now), took)
    });
    std::iter::once(root).chain(cells).collect()
}

/// What the CPUs of an owner did; who has lost or got one since counts those that
/// stayed.
fn line(owner: CellId, (before, now): (&Look, &Look), took: Duration) -> Line {
    let mut cpus = Vec::new();
    let mut exits = [0u64; ExitKind::COUNT];
    for (cpu, stats) in now.cpus.iter().filter(|(_, stats)| stats.owner == owner) {
        cpus.push(*cpu);
        let same = |(c, s): &&(u32, Stats)| c == cpu && s.owner == owner;
        if let Some((_, old)) = before.cpus.iter().find(same) {
            for (sum, (new, old)) in exits.iter_mut().zip(stats.exits.iter().zip(old.exits)) {
                *sum += new.saturating_sub(old);
            }
        }
    }
    let each_second = |count: u64| {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        count.saturating_mul(1000) / millis
    };
    let names = ExitKind::ALL.iter().map(|kind| kind.name());
    let mut kinds: Vec<_> = names.zip(exits).filter(|(_, count)| *count > 0).collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds.truncate(KINDS);
    Line {
        name: String::new(),
        state: "",
        cpus,
        memory: None,
        exits: each_second(exits.iter().sum()),
        kinds: kinds
            .into_iter()
            .map(|(kind, count)| (kind, each_second(count)))
            .collect(),
        refused: None,
    }
}

/// A look for people who are not at a terminal.
fn picture(lines: &[Line], info: &Info) -> String {
    let rows = lines.iter().map(|line| line.columns().to_vec());
    format!("{}\n\n{}\n\n", monitor(info), table(&HEAD, rows))
}

/// The monitor's CPUs and memory.
fn monitor(info: &Info) -> String {
    let pool = messages::pool(info.pool_pages, info.pool_free);
    format!("monitor: {} CPUs, pool {pool}", info.cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, cpus: &[(u32, u32, u64, u64)]) -> Look {
        let stats = |&(cpu, owner, cpuid, icr): &(u32, u32, u64, u64)| {
            let mut exits = [0; ExitKind::COUNT];
            exits[0] = cpuid;
            exits[1] = icr;
            let stats = Stats {
                apic_id: cpu,
                owner: CellId(owner),
                virtual_id: 0,
                running: true,
                exits,
            };
            (cpu, stats)
        };
        Look {
            at,
            cpus: cpus.iter().map(stats).collect(),
        }
    }

    #[test]
    fn exits_are_told_for_each_second_most_frequent_first() {
        let begin = Instant::now();
        let before = look(begin, &[(0, 0, 5, 0), (1, 1, 10, 10), (2, 1, 0, 0)]);
        let end = begin + Duration::from_secs(2);
        let now = look(end, &[(0, 0, 5, 0), (1, 1, 14, 30), (2, 1, 2, 0)]);
        let cell = line(CellId(1), (&before, &now), Duration::from_secs(2));
        assert_eq!((cell.cpus, cell.exits), (vec![1, 2], 13));
        assert_eq!(cell.kinds, [("icr", 10), ("cpuid", 3)]);
        let root = &lines(&before, &now, &[])[0];
        assert_eq!((root.name.as_str(), root.exits), ("root", 0));
    }

    #[test]
    fn a_cpu_that_has_just_come_is_not_counted_yet() {
        let begin = Instant::now();
        let before = look(begin, &[(3, 0, 1000, 0)]);
        let now = look(begin + Duration::from_secs(1), &[(3, 1, 40, 0)]);
        let cell = line(CellId(1), (&before, &now), Duration::from_secs(1));
        assert_eq!((cell.cpus, cell.exits), (vec![3], 0));
    }
}
