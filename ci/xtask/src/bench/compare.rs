//! The same work in plain Linux, in a KVM guest and in a cell, on the same CPUs of one
//! machine: the scenario `bench-compare` plays the three in turn while a plugin counts
//! the instructions of those CPUs. Then the same with virtual functions.

mod functions;

use super::bars;
use super::exits::{self, Phase};
use super::middle::{median, shown, spread};
use super::save;
use super::{Options, Part};
use crate::paths::Paths;
use crate::report;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where work is done; marks and lines begin with these words.
const PLACES: [&str; 3] = ["plain", "kvm", "cell"];

/// How the console tells the places apart.
const VOICES: [&str; 3] = ["plain: ", "guest: ", "[cell cell] "];

/// The chart's title, and what its pairs of bars stand for.
const TITLE: &str = "Instructions for the same work, plain Linux = 1";
const KINDS: [&str; 2] = ["KVM guest", "cell"];

/// What one place did in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Sample {
    /// Instructions of its two CPUs, those of KVM and the monitor among them.
    instructions: u64,
    /// Those of the monitor.
    monitor: u64,
    exits: u64,
    /// As the program tells it; none for a boot.
    us: Option<u64>,
}

/// One kind of work: the samples of each place, round by round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Work {
    name: String,
    plain: Vec<Sample>,
    kvm: Vec<Sample>,
    cell: Vec<Sample>,
}

impl Work {
    fn place(&mut self, place: usize) -> &mut Vec<Sample> {
        match place {
            0 => &mut self.plain,
            1 => &mut self.kvm,
            _ => &mut self.cell,
        }
    }
}

/// Plays what is to be compared, prints tables, and writes samples and charts into a
/// folder if one is named.
///
/// # Errors
///
/// The lane has no TCG, a scenario fails or measures nothing, or a file cannot be
/// written.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    if options.part != Some(Part::Functions) {
        cpus(paths, options)?;
    }
    if options.part != Some(Part::Cpus) {
        functions::main(paths, options)?;
    }
    Ok(())
}

fn cpus(paths: &Paths, options: &Options) -> Result<()> {
    let (phases, lines) = exits::play(paths, options, "bench-compare")?;
    let works = collect(&phases, &lines)?;
    println!("{}", report::table(&table(&works)));
    if let Some(dir) = &options.out {
        let chart = bars::draw(TITLE, KINDS, &bars(&works));
        save(dir, "compare", &works, &chart)?;
    }
    Ok(())
}

/// Puts phases and times in order.
fn collect(phases: &[Phase], lines: &[String]) -> Result<Vec<Work>> {
    let times = times(lines);
    let mut works: Vec<Work> = Vec::new();
    for phase in phases {
        let (place, name) = phase
            .name
            .split_once('-')
            .context("a mark without a place")?;
        let place = PLACES.iter().position(|known| *known == place);
        let place = place.with_context(|| format!("{}: no place", phase.name))?;
        let index = works.iter().position(|work| work.name == name);
        let index = index.unwrap_or_else(|| {
            works.push(Work {
                name: name.to_owned(),
                ..Work::default()
            });
            works.len() - 1
        });
        let Some(work) = works.get_mut(index) else {
            continue;
        };
        let samples = work.place(place);
        let us = times
            .get(&(place, name))
            .and_then(|all| all.get(samples.len()));
        samples.push(Sample {
            instructions: phase.counts.guest + phase.counts.monitor,
            monitor: phase.counts.monitor,
            exits: phase.all,
            us: us.copied(),
        });
    }
    for Work {
        name, kvm, cell, ..
    } in &works
    {
        ensure!(
            !cell.is_empty() && cell.len() == kvm.len(),
            "{name}: {} rounds in the KVM guest, {} in the cell",
            kvm.len(),
            cell.len()
        );
    }
    ensure!(!works.is_empty(), "the scenario measured nothing");
    Ok(works)
}

/// Microseconds by place and work, in the order of the rounds, from lines like
/// `guest: compare: futex us=6256350`.
fn times(lines: &[String]) -> BTreeMap<(usize, &str), Vec<u64>> {
    let mut all: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for line in lines {
        let mut voices = VOICES.iter().enumerate();
        let said = voices.find_map(|(place, voice)| Some((place, line.strip_prefix(voice)?)));
        let Some((place, said)) = said else { continue };
        let words: Vec<&str> = said.split_whitespace().collect();
        if let ["compare:", name, us] = words[..]
            && let Some(us) = us.strip_prefix("us=").and_then(|us| us.parse().ok())
        {
            all.entry((place, name)).or_default().push(us);
        }
    }
    all
}

fn table(works: &[Work]) -> Vec<Vec<String>> {
    let head = [
        "work",
        "plain: instructions",
        "KVM : plain",
        "cell : plain",
        "KVM : cell",
        "KVM: exits",
        "cell: exits",
        "time, KVM : plain",
        "time, cell : plain",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for work in works {
        let plain = middle(&work.plain, |s| s.instructions as f64);
        let exits = |samples: &[Sample]| shown(middle(samples, |s| s.exits as f64), 0);
        rows.push(vec![
            work.name.clone(),
            shown(plain, 0),
            spread(&ratios(&work.kvm, &work.plain, instructions)),
            spread(&ratios(&work.cell, &work.plain, instructions)),
            spread(&ratios(&work.kvm, &work.cell, instructions)),
            exits(&work.kvm),
            exits(&work.cell),
            spread(&ratios(&work.kvm, &work.plain, time)),
            spread(&ratios(&work.cell, &work.plain, time)),
        ]);
    }
    rows
}

fn instructions(sample: &Sample) -> Option<f64> {
    Some(sample.instructions as f64)
}

fn time(sample: &Sample) -> Option<f64> {
    sample.us.map(|us| us as f64)
}

/// What is drawn: for each work that plain Linux did, too, the ratios of both others.
fn bars(works: &[Work]) -> Vec<(String, f64, f64)> {
    let ratio = |some: &[Sample], plain: &[Sample]| median(ratios(some, plain, instructions));
    let works = works.iter().filter_map(|work| {
        let kvm = ratio(&work.kvm, &work.plain)?;
        Some((work.name.clone(), kvm, ratio(&work.cell, &work.plain)?))
    });
    works.collect()
}

/// The figure of each sample over that of plain Linux in the same round.
fn ratios(some: &[Sample], plain: &[Sample], figure: fn(&Sample) -> Option<f64>) -> Vec<f64> {
    let pairs = some.iter().zip(plain);
    let ratio = |(some, plain)| Some(figure(some)? / figure(plain)?.max(1.0));
    pairs.filter_map(ratio).collect()
}

fn middle(samples: &[Sample], figure: fn(&Sample) -> f64) -> Option<f64> {
    median(samples.iter().map(figure).collect())
}

#[cfg(test)]
mod tests {
    use super::exits::Counts;
    use super::*;

    fn phase(name: &str, guest: u64, monitor: u64, all: u64) -> Phase {
        Phase {
            name: name.to_owned(),
            counts: Counts {
                guest,
                monitor,
                exits: all,
            },
            each: Vec::new(),
            kind: "exits".to_owned(),
            of: all,
            all,
        }
    }

    #[test]
    fn each_round_is_compared_with_its_own() {
        let phases = [
            phase("plain-futex", 100, 0, 0),
            phase("kvm-futex", 300, 0, 9),
            phase("cell-futex", 110, 10, 4),
            phase("plain-futex", 200, 0, 0),
            phase("kvm-futex", 400, 0, 9),
            phase("cell-futex", 210, 10, 4),
        ];
        let lines = [
            "plain: compare: futex us=10",
            "guest: compare: futex us=40",
            "[cell cell] compare: futex us=11",
            "[cell other] compare: futex us=99",
        ];
        let works = collect(&phases, &lines.map(str::to_owned)).expect("all are there");
        assert_eq!(works.len(), 1, "{works:?}");
        let work = &works[0];
        assert_eq!(ratios(&work.cell, &work.plain, instructions), [1.2, 1.1]);
        assert_eq!(ratios(&work.kvm, &work.plain, instructions), [3.0, 2.0]);
        assert_eq!(ratios(&work.cell, &work.plain, time), [1.1]);
        let row = table(&works).pop().expect("a row");
        assert_eq!(
            row,
            [
                "futex",
                "200",
                "3.000 (2.000-3.000)",
                "1.200 (1.100-1.200)",
                "2.500 (1.818-2.500)",
                "9",
                "4",
                "4.000 (4.000-4.000)",
                "1.100 (1.100-1.100)"
            ]
        );
    }

    #[test]
    fn a_place_that_did_nothing_is_an_error() {
        let phases = [phase("plain-futex", 1, 0, 0), phase("kvm-futex", 1, 0, 0)];
        assert!(collect(&phases, &[]).is_err());
        assert!(collect(&[phase("moon-futex", 1, 0, 0)], &[]).is_err());
        assert!(collect(&[], &[]).is_err());
    }

    #[test]
    fn a_boot_has_no_plain_linux_beside_it() {
        let phases = [phase("kvm-boot", 300, 0, 9), phase("cell-boot", 110, 10, 4)];
        let works = collect(&phases, &[]).expect("both are there");
        assert!(bars(&works).is_empty());
        assert_eq!(table(&works).pop().expect("a row")[2], "-");
    }
}
