//! The same virtual functions in plain Linux, in a cell and in a KVM guest: the scenario
//! `bench-compare-io` plays a cell and plain Linux in turn, and then, in a Linux that
//! remaps DMA, a KVM guest with VFIO and that Linux itself.

use crate::bench::exits::{self, Counts, Phase};
use crate::bench::middle::{median, shown, spread};
use crate::bench::{Options, bars, save};
use crate::paths::Paths;
use crate::report;
use crate::scenario::Scenario;
use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// Where work is done.
const PLAIN: &str = "plain";
const REMAPPED: &str = "remapped";
const CELL: &str = "cell";
const KVM: &str = "kvm";
const PLACES: [&str; 4] = [PLAIN, REMAPPED, CELL, KVM];

/// What is done, and the unit of how much.
const WORKS: [(&str, &str); 5] = [
    ("read-4k", "reads"),
    ("read-4k-deep", "reads"),
    ("read-128k", "MiB"),
    ("tcp-stream", "MiB"),
    ("tcp-trips", "round trips"),
];

/// What the console and the beginning of a program cost.
const NOTHING: &str = "nothing";

/// A Linux that remaps DMA, and lets other functions than those that are measured be.
const REMAPPING: &str = " intel_iommu=on iommu=pt";

/// The CPU where the work is done.
const CPU: usize = 2;

/// The chart's title, and what its pairs of bars stand for.
const TITLE: &str = "Speed of the same VFs, the Linux of the same boot = 1";
const KINDS: [&str; 2] = ["KVM guest", "cell"];

/// What one place did of one work in one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Sample {
    place: &'static str,
    work: &'static str,
    amount: f64,
    seconds: f64,
    /// Of the CPU where the work is done, those of KVM and the monitor among them.
    instructions: u64,
    /// Those of the monitor.
    monitor: u64,
    exits: u64,
}

impl Sample {
    fn speed(&self) -> f64 {
        self.amount / self.seconds
    }

    fn each(&self) -> f64 {
        self.instructions as f64 / self.amount
    }

    fn exits_each(&self) -> f64 {
        self.exits as f64 / self.amount
    }
}

/// Plays the scenario in both kinds of Linux, prints the tables, and writes samples and
/// chart into a folder if one is named.
///
/// # Errors
///
/// The lane has no TCG, the scenario fails or did not measure a work, or a file cannot be
/// written.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let remapping = |scenario: &mut Scenario| scenario.root.cmdline.push_str(REMAPPING);
    let play = |change: fn(&mut Scenario)| {
        let (phases, lines) = exits::play_as(paths, options, "bench-compare-io", change)?;
        samples(&phases, &lines)
    };
    let mut samples = play(|_| {})?;
    samples.extend(play(remapping)?);
    complete(&samples)?;
    println!("{}", report::table(&speeds(&samples)));
    println!("{}", report::table(&costs(&samples)));
    if let Some(dir) = &options.out {
        let chart = bars::draw(TITLE, KINDS, &bars(&samples));
        save(dir, "compare-io", &samples, &chart)?;
    }
    Ok(())
}

/// Each work in each round of the places of one boot.
fn samples(phases: &[Phase], lines: &[String]) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for place in PLACES {
        for (work, _) in WORKS {
            let all = |name: &str| {
                let name = format!("{place}-{name}");
                phases.iter().filter(move |phase| phase.name == name)
            };
            let told = told(lines, place, work);
            ensure!(
                all(work).count() == told.len(),
                "{place}: {} rounds of `{work}`, {} of which told its time",
                all(work).count(),
                told.len()
            );
            let mut nothing = all(NOTHING);
            for (phase, (amount, seconds)) in all(work).zip(told) {
                let nothing = nothing
                    .next()
                    .with_context(|| format!("{place}: `{NOTHING}` was not measured"))?;
                let [mine, idle] = [phase, nothing].map(counts);
                samples.push(Sample {
                    place,
                    work,
                    amount,
                    seconds,
                    instructions: (mine.guest + mine.monitor)
                        .saturating_sub(idle.guest + idle.monitor),
                    monitor: mine.monitor.saturating_sub(idle.monitor),
                    exits: phase.all.saturating_sub(nothing.all),
                });
            }
        }
    }
    Ok(samples)
}

fn counts(phase: &Phase) -> Counts {
    phase.each.get(CPU).copied().unwrap_or_default()
}

/// From lines that end with `bench: plain read-4k 4000 2.31`: how much was done, and in
/// how many seconds.
fn told(lines: &[String], place: &str, work: &str) -> Vec<(f64, f64)> {
    let start = format!("bench: {place} {work} ");
    let figures = |line: &String| {
        let (_, figures) = line.split_once(&start)?;
        let (amount, seconds) = figures.split_once(' ')?;
        Some((amount.parse().ok()?, seconds.trim().parse().ok()?))
    };
    lines.iter().filter_map(figures).collect()
}

/// Fails unless each place has done each work, as often as the Linux beside it.
fn complete(samples: &[Sample]) -> Result<()> {
    for (work, _) in WORKS {
        for (place, linux) in [(CELL, PLAIN), (KVM, REMAPPED)] {
            let [mine, peer] = [place, linux].map(|place| of(samples, place, work).count());
            ensure!(
                mine > 0 && mine == peer,
                "{work}: {mine} rounds in the place `{place}`, {peer} in Linux"
            );
        }
    }
    Ok(())
}

fn of<'a>(samples: &'a [Sample], place: &str, work: &str) -> impl Iterator<Item = &'a Sample> {
    let is = move |sample: &&Sample| sample.place == place && sample.work == work;
    samples.iter().filter(is)
}

/// A figure of a place in each round over that of the other.
fn ratios(
    samples: &[Sample],
    [place, other]: [&str; 2],
    work: &str,
    figure: fn(&Sample) -> f64,
) -> Vec<f64> {
    let pairs = of(samples, place, work).zip(of(samples, other, work));
    let ratio = |(mine, others): (&Sample, &Sample)| figure(mine) / figure(others);
    pairs.map(ratio).collect()
}

fn middle(samples: &[Sample], place: &str, work: &str, figure: fn(&Sample) -> f64) -> Option<f64> {
    median(of(samples, place, work).map(figure).collect())
}

/// The middle figure of one place over that of another boot's.
fn across(
    samples: &[Sample],
    [place, other]: [&str; 2],
    work: &str,
    figure: fn(&Sample) -> f64,
) -> Option<f64> {
    Some(middle(samples, place, work, figure)? / middle(samples, other, work, figure)?)
}

/// A row for each work, its name and unit first, below a head.
fn rows(head: [&str; 10], figures: impl Fn(&str, &str) -> [String; 8]) -> Vec<Vec<String>> {
    let row = |(work, unit): (&str, &str)| {
        let mut row = vec![work.to_owned(), unit.to_owned()];
        row.extend(figures(work, unit));
        row
    };
    let head = vec![head.map(str::to_owned).to_vec()];
    head.into_iter().chain(WORKS.map(row)).collect()
}

fn speeds(samples: &[Sample]) -> Vec<Vec<String>> {
    let head = [
        "work",
        "per second",
        "plain",
        "remapped",
        "cell",
        "KVM",
        "cell : plain",
        "KVM : remapped",
        "cell : remapped",
        "cell : KVM",
    ];
    rows(head, |work, unit| {
        let digits = if unit == "MiB" { 2 } else { 0 };
        let speed = |place| shown(middle(samples, place, work, Sample::speed), digits);
        let pairs = |places| spread(&ratios(samples, places, work, Sample::speed));
        let across = |places| shown(across(samples, places, work, Sample::speed), 3);
        let [plain, remapped, cell, kvm] = PLACES.map(speed);
        [
            plain,
            remapped,
            cell,
            kvm,
            pairs([CELL, PLAIN]),
            pairs([KVM, REMAPPED]),
            across([CELL, REMAPPED]),
            across([CELL, KVM]),
        ]
    })
}

fn costs(samples: &[Sample]) -> Vec<Vec<String>> {
    let head = [
        "instructions for each",
        "unit",
        "plain",
        "remapped",
        "cell",
        "KVM",
        "cell : plain",
        "KVM : remapped",
        "exits, cell",
        "exits, KVM",
    ];
    rows(head, |work, _| {
        let each = |place| shown(middle(samples, place, work, Sample::each), 0);
        let pairs = |places| spread(&ratios(samples, places, work, Sample::each));
        let exits = |place| shown(middle(samples, place, work, Sample::exits_each), 3);
        let [plain, remapped, cell, kvm] = PLACES.map(each);
        [
            plain,
            remapped,
            cell,
            kvm,
            pairs([CELL, PLAIN]),
            pairs([KVM, REMAPPED]),
            exits(CELL),
            exits(KVM),
        ]
    })
}

/// What is drawn: each work with both ratios.
fn bars(samples: &[Sample]) -> Vec<(String, f64, f64)> {
    let bar = |(work, _): &(&str, &str)| {
        let ratio = |places| median(ratios(samples, places, work, Sample::speed));
        Some((
            (*work).to_owned(),
            ratio([KVM, REMAPPED])?,
            ratio([CELL, PLAIN])?,
        ))
    };
    WORKS.iter().filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &str, guest: u64, all: u64) -> Phase {
        let counts = |guest| Counts {
            guest,
            monitor: 10,
            exits: 0,
        };
        Phase {
            name: name.to_owned(),
            counts: counts(0),
            each: vec![counts(77), counts(78), counts(guest)],
            kind: "exits".to_owned(),
            of: all,
            all,
        }
    }

    /// A round of two places, of which the second takes `seconds`, the first one second.
    fn round(places: [&str; 2], seconds: u64) -> (Vec<Phase>, Vec<String>) {
        let mut phases = Vec::new();
        let mut lines = vec!["root: noise".to_owned(), "bench: nobody".to_owned()];
        for (place, seconds) in places.into_iter().zip([1, seconds]) {
            phases.push(phase(&format!("{place}-{NOTHING}"), 100, 7));
            for (work, _) in WORKS {
                phases.push(phase(&format!("{place}-{work}"), 100 + 400 * seconds, 107));
                lines.push(format!("[cell cell] bench: {place} {work} 50 {seconds}.00"));
            }
        }
        (phases, lines)
    }

    fn both(rounds: &[(Vec<Phase>, Vec<String>)]) -> Result<Vec<Sample>> {
        let mut all = Vec::new();
        for (phases, lines) in rounds {
            all.extend(samples(phases, lines)?);
        }
        complete(&all)?;
        Ok(all)
    }

    #[test]
    fn each_place_is_compared_with_the_linux_of_its_boot() {
        let cells = [round([PLAIN, CELL], 1), round([PLAIN, CELL], 2)];
        let guests = [round([REMAPPED, KVM], 4), round([REMAPPED, KVM], 8)];
        let all = both(&[cells, guests].concat()).expect("all is there");
        assert_eq!(all.len(), 8 * WORKS.len());
        let speed = |places| ratios(&all, places, "read-4k", Sample::speed);
        assert_eq!(speed([CELL, PLAIN]), [1.0, 0.5]);
        assert_eq!(speed([KVM, REMAPPED]), [0.25, 0.125]);
        let first = &all[0];
        let rounded = |figure: f64| figure.round() as u64;
        assert_eq!(rounded(first.each()), 8, "nothing is taken off");
        assert_eq!((rounded(first.exits_each()), first.monitor), (2, 0));
        let [speeds, costs] = [speeds(&all), costs(&all)];
        assert_eq!(speeds[1][6], "1.000 (0.500-1.000)");
        assert_eq!(costs[1][7], "8.000 (4.000-8.000)");
        assert_eq!(costs[5][9], "2.000");
        assert_eq!(bars(&all).len(), WORKS.len());
    }

    #[test]
    fn what_was_not_measured_is_an_error() {
        let (cells, guests) = (round([PLAIN, CELL], 1), round([REMAPPED, KVM], 1));
        assert!(both(&[cells.clone(), guests]).is_ok());
        assert!(both(std::slice::from_ref(&cells)).is_err(), "no guests");
        let (phases, lines) = cells;
        assert!(samples(&phases, &lines[3..]).is_err(), "no time");
        assert!(samples(&phases[1..], &lines).is_err(), "no nothing");
    }
}
