//! How costs grow with the number of CPUs: the scenario `bench-scale` is played on
//! machines of more and more CPUs while a plugin counts what they execute.

mod chart;

use super::Options;
use super::exits::{Phase, play_as};
use super::middle::median;
use super::save;
use crate::paths::Paths;
use crate::report;
use crate::scenario::Scenario;
use anyhow::{Result, ensure};
use chart::Panel;
use serde::Serialize;
use std::iter;

/// What is measured, in the order of a table: what the monitor does, then CPUs that Linux
/// takes offline and back by hand, as it does when cells come and go; boots come last.
const WORKS: [&str; 9] = [
    "enter",
    "create",
    "start",
    "destroy",
    "leave",
    "offline",
    "online",
    "boot-vmlinuz",
    "boot-vmlinux",
];
/// How many of them are the monitor's.
const OWN: usize = 5;
/// How many are boots, which stand at the end.
const BOOTS: usize = 2;

/// On larger machines each round takes minutes.
const SMALL: u32 = 8;
/// Rounds on small machines.
const ROUNDS: u32 = 3;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Sample {
    /// CPUs of the machine: the cell has all but one.
    cpus: u32,
    work: String,
    /// Instructions of the monitor, on all CPUs.
    monitor: u64,
    /// Those on the CPU that had most.
    most: u64,
    /// Instructions of guests on all CPUs but the first, which stays with the root.
    cell: u64,
    ms: u64,
}

/// Plays the scenario on each machine, prints the table, and writes table and curves into
/// a folder if one is named: after each machine, since large ones take long.
///
/// # Errors
///
/// The lane has no TCG, a machine is too small, the scenario fails on one or measures
/// nothing, or a file cannot be written.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let least = options.cpus.iter().min();
    ensure!(
        least.is_some_and(|least| *least >= 2),
        "--cpus: a cell needs a CPU beside the root's; write numbers from 2 on"
    );
    let mut samples = Vec::new();
    for cpus in &options.cpus {
        eprintln!("A machine of {cpus} CPUs");
        let (phases, _) = play_as(paths, options, "bench-scale", |s| enlarge(s, *cpus))?;
        samples.extend(phases.iter().map(|phase| sample(*cpus, phase)));
        for work in WORKS {
            let here = |s: &Sample| s.cpus == *cpus && s.work == work;
            ensure!(samples.iter().any(here), "{work} was not measured");
        }
        if let Some(dir) = &options.out {
            save(dir, "scale", &samples, &chart::draw(&panels(&samples)))?;
        }
    }
    for table in &TABLES {
        println!("{}", report::table(&table.rows(&samples)));
    }
    Ok(())
}

/// Gives the scenario's machine so many CPUs, and time for them.
fn enlarge(scenario: &mut Scenario, cpus: u32) {
    let rounds = if cpus <= SMALL { ROUNDS } else { 1 };
    scenario.machine.cpus = cpus;
    scenario.machine.memory_mib += cpus * 16;
    let words = format!(" scale_rounds={rounds}");
    scenario.root.cmdline.push_str(&words);
    for step in &mut scenario.steps {
        step.limit_s += cpus * 30 * rounds;
    }
}

fn sample(cpus: u32, phase: &Phase) -> Sample {
    let monitor = || phase.each.iter().map(|counts| counts.monitor);
    Sample {
        cpus,
        work: phase.name.clone(),
        monitor: monitor().sum(),
        most: monitor().max().unwrap_or_default(),
        cell: phase.each.iter().skip(1).map(|counts| counts.guest).sum(),
        ms: phase.of,
    }
}

/// The middle of a figure of one work on one machine; none if it was not measured.
fn middle(samples: &[Sample], cpus: u32, work: &str, figure: fn(&Sample) -> f64) -> Option<f64> {
    let mine = samples.iter();
    let mine = mine.filter(|s| s.cpus == cpus && s.work == work);
    median(mine.map(figure).collect())
}

/// Machines that were measured, each once, in their order.
fn machines(samples: &[Sample]) -> Vec<u32> {
    let mut all: Vec<u32> = samples.iter().map(|s| s.cpus).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A table of one figure: works down, machines across.
struct Table {
    title: &'static str,
    works: &'static [&'static str],
    figure: fn(&Sample) -> f64,
    decimals: usize,
}

/// What is printed. Until a kernel runs, a cell's CPUs do what the root has for them.
const TABLES: [Table; 4] = [
    Table {
        title: "thousands of instructions of the monitor, on all CPUs",
        works: &WORKS,
        figure: |s| s.monitor as f64 / 1e3,
        decimals: 0,
    },
    Table {
        title: "the same, on the CPU that had most",
        works: &WORKS,
        figure: |s| s.most as f64 / 1e3,
        decimals: 0,
    },
    Table {
        title: "millions of instructions of the cell, on all its CPUs",
        works: WORKS.split_at(WORKS.len() - BOOTS).1,
        figure: |s| s.cell as f64 / 1e6,
        decimals: 0,
    },
    Table {
        title: "seconds",
        works: &WORKS,
        figure: |s| s.ms as f64 / 1e3,
        decimals: 2,
    },
];

impl Table {
    fn rows(&self, samples: &[Sample]) -> Vec<Vec<String>> {
        let machines = machines(samples);
        let head = machines.iter().map(|cpus| format!("{cpus} CPUs"));
        let head = iter::once(self.title.to_owned()).chain(head).collect();
        let row = |work: &&str| {
            let told = |cpus: &u32| {
                let figure = middle(samples, *cpus, work, self.figure);
                figure.map_or_else(|| "-".to_owned(), |n| format!("{n:.*}", self.decimals))
            };
            let told = machines.iter().map(told);
            iter::once((*work).to_owned()).chain(told).collect()
        };
        iter::once(head).chain(self.works.iter().map(row)).collect()
    }
}

/// What is drawn: the monitor's instructions, and the seconds.
fn panels(samples: &[Sample]) -> [Panel; 2] {
    let line = |work: &str, figure: fn(&Sample) -> f64| {
        let at = |cpus| Some((f64::from(cpus), middle(samples, cpus, work, figure)?));
        let points = machines(samples).into_iter().filter_map(at);
        (work.to_owned(), points.collect())
    };
    let (own, _) = WORKS.split_at(OWN);
    [
        Panel {
            title: "Instructions of the monitor, on all CPUs",
            lines: own
                .iter()
                .map(|work| line(work, |s| s.monitor as f64))
                .collect(),
        },
        Panel {
            title: "Seconds",
            lines: WORKS
                .iter()
                .map(|work| line(work, |s| s.ms as f64 / 1e3))
                .collect(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::exits::Counts;
    use super::*;

    fn phase(name: &str, monitor: [u64; 2], ms: u64) -> Phase {
        let each = monitor.map(|monitor| Counts {
            guest: 1000,
            monitor,
            exits: 1,
        });
        Phase {
            name: name.to_owned(),
            counts: Counts::default(),
            each: each.to_vec(),
            kind: "ms".to_owned(),
            of: ms,
            all: 0,
        }
    }

    #[test]
    fn the_roots_cpu_is_none_of_the_cells() {
        let sample = sample(2, &phase("enter", [30, 50], 7));
        assert_eq!((sample.monitor, sample.most), (80, 50));
        assert_eq!((sample.cell, sample.ms), (1000, 7));
    }

    #[test]
    fn the_middle_round_of_each_machine_is_shown() {
        let rounds = [10, 90, 20].map(|n| sample(4, &phase("enter", [n * 1000; 2], 100)));
        let other = sample(2, &phase("enter", [1000; 2], 50));
        let samples = [&rounds[..], &[other]].concat();
        let [instructions, .., seconds] = &TABLES;
        let rows = instructions.rows(&samples);
        assert_eq!(rows[0][1..], ["2 CPUs", "4 CPUs"].map(str::to_owned));
        assert_eq!(rows[1], ["enter", "2", "40"].map(str::to_owned));
        assert_eq!(rows[2][1..], ["-", "-"].map(str::to_owned));
        assert_eq!(
            seconds.rows(&samples)[1],
            ["enter", "0.05", "0.10"].map(str::to_owned)
        );
        let [instructions, seconds] = panels(&samples);
        assert_eq!(instructions.lines[0].1, [(2.0, 2000.0), (4.0, 40_000.0)]);
        assert_eq!(seconds.lines[0].1, [(2.0, 0.05), (4.0, 0.1)]);
    }
}
