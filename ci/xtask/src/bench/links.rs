//! Ways from cell to cell beside each other and beside virtio-net between two KVM guests,
//! in one run of the scenario `bench-links`: how fast each is, and what it costs the
//! monitor.

use super::exits::{Phase, play_as};
use super::middle::{median, shown, spread};
use super::{Options, bars, save};
use crate::paths::Paths;
use crate::report;
use crate::scenario::Scenario;
use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// The ways by their names in the scenario, and where each is.
const WAYS: [(&str, &str, &str); 6] = [
    ("ring", "ring in a window (`cellmsg`)", CELLS),
    ("cellnet", "TCP over a window (`cellnet`)", CELLS),
    ("ethernet", "TCP by virtio-net (`ethernet`)", CELLS),
    ("fjes", "TCP by an Extended Socket (`fjes`)", CELLS),
    ("vf", "TCP from VF to VF", CELLS),
    (PEER, "TCP between KVM guests (virtio-net, vhost)", GUESTS),
];

/// What the others are compared with.
const PEER: &str = "vhost";

/// Phases in which nothing is sent: what the console and programs that begin cost.
const CELLS: &str = "cells";
const GUESTS: &str = "guests";

/// Bytes of a MiB, in MB.
const MIB: f64 = 1.048_576;

/// The chart's title, and what its pairs of bars stand for.
const TITLE: &str = "Between cells; two KVM guests with vhost = 1";
const KINDS: [&str; 2] = ["MB/s", "round trips/s"];

/// One way in one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Sample {
    way: &'static str,
    megabytes_per_second: f64,
    round_trips_per_second: f64,
    /// Of the two cells or guests.
    exits_per_megabyte: f64,
    monitor_instructions_per_megabyte: f64,
    /// Of the two CPUs and of the one that has QEMU and vhost.
    instructions_per_megabyte: f64,
}

/// Plays the scenario, prints the ways with their ratios, and writes samples and chart
/// into a folder if one is named.
///
/// # Errors
///
/// The lane has no TCG, the scenario fails or did not measure a way, or a file cannot be
/// written.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let change = |scenario: &mut Scenario| repeat(scenario, options.rounds, options.mib);
    let (phases, lines) = play_as(paths, options, "bench-links", change)?;
    let samples = samples(&phases, &lines)?;
    println!("{}", report::table(&table(&samples)));
    if let Some(dir) = &options.out {
        let chart = bars::draw(TITLE, KINDS, &bars(&samples));
        save(dir, "links", &samples, &chart)?;
    }
    Ok(())
}

/// Has the scenario do all so often and with so much, and gives it time for that.
fn repeat(scenario: &mut Scenario, rounds: u32, mib: u32) {
    let words = format!(" links_rounds={rounds} links_mib={mib}");
    scenario.root.cmdline.push_str(&words);
    for step in scenario.steps.iter_mut().filter(|s| s.name == "rounds") {
        step.limit_s = rounds * (step.limit_s + mib * 15);
    }
}

/// Each way in each round.
fn samples(phases: &[Phase], lines: &[String]) -> Result<Vec<Sample>> {
    let rounds = phases.iter().filter(|phase| phase.name == CELLS).count();
    ensure!(rounds > 0, "the scenario measured nothing");
    let mut samples = Vec::new();
    for (way, _, place) in WAYS {
        for round in 0..rounds {
            let missing = || {
                format!(
                    "the scenario did not measure `{way}` in round {}",
                    round + 1
                )
            };
            let sample = sample(phases, lines, (way, place), round);
            samples.push(sample.with_context(missing)?);
        }
    }
    Ok(samples)
}

fn sample(
    phases: &[Phase],
    lines: &[String],
    (way, place): (&'static str, &str),
    round: usize,
) -> Option<Sample> {
    let phase = |name: &str| phases.iter().filter(|phase| phase.name == name).nth(round);
    let told = |what: &str, name: &str| figure(lines, what, name, round);
    let (sent, nothing) = (phase(way)?, phase(place)?);
    let megabytes = sent.of as f64 * MIB;
    let for_each =
        |figure: fn(&Phase) -> u64| figure(sent).saturating_sub(figure(nothing)) as f64 / megabytes;
    let trips = format!("{way}-trips");
    // The ring's program tells its rate.
    let rate = told("rate", way).or_else(|| {
        let trips = phase(&trips)?.of as f64 / told("seconds", &trips)?;
        Some(trips)
    });
    Some(Sample {
        way,
        megabytes_per_second: megabytes / told("seconds", way)?,
        round_trips_per_second: rate?,
        exits_per_megabyte: for_each(|phase| phase.all),
        monitor_instructions_per_megabyte: for_each(|phase| phase.counts.monitor),
        instructions_per_megabyte: for_each(all_but_first),
    })
}

/// Instructions on all CPUs but the one where the root has its own work.
fn all_but_first(phase: &Phase) -> u64 {
    let others = phase.each.iter().skip(1);
    others.map(|counts| counts.guest + counts.monitor).sum()
}

/// From lines like `bench: seconds ring 2.5`, one for each round: the figure.
fn figure(lines: &[String], what: &str, name: &str, round: usize) -> Option<f64> {
    let start = format!("bench: {what} {name} ");
    let mut figures = lines.iter().filter_map(|line| line.strip_prefix(&start));
    figures.nth(round)?.trim().parse().ok()
}

/// A figure of one way in all rounds.
fn each(samples: &[Sample], way: &str, figure: fn(&Sample) -> f64) -> Vec<f64> {
    let mine = samples.iter().filter(|sample| sample.way == way);
    mine.map(figure).collect()
}

/// The same over that of the peer in the same round.
fn ratios(samples: &[Sample], way: &str, figure: fn(&Sample) -> f64) -> Vec<f64> {
    let [mine, peer] = [way, PEER].map(|way| each(samples, way, figure));
    let pairs = mine.iter().zip(&peer);
    pairs.map(|(mine, peer)| mine / peer).collect()
}

fn table(samples: &[Sample]) -> Vec<Vec<String>> {
    let head = [
        "way",
        "MB/s",
        ": vhost",
        "round trips/s",
        ": vhost",
        "exits per MB",
        "monitor's instructions per MB",
        "all CPUs', in thousands",
    ];
    let row = |(way, name, _): (&str, &str, &str)| {
        let middle = |figure, digits| shown(median(each(samples, way, figure)), digits);
        vec![
            name.to_owned(),
            middle(|s| s.megabytes_per_second, 2),
            spread(&ratios(samples, way, |s| s.megabytes_per_second)),
            middle(|s| s.round_trips_per_second, 0),
            spread(&ratios(samples, way, |s| s.round_trips_per_second)),
            middle(|s| s.exits_per_megabyte, 1),
            middle(|s| s.monitor_instructions_per_megabyte, 0),
            middle(|s| s.instructions_per_megabyte / 1e3, 0),
        ]
    };
    let head = vec![head.map(str::to_owned).to_vec()];
    head.into_iter().chain(WAYS.map(row)).collect()
}

/// What is drawn: for each way but the peer, both ratios.
fn bars(samples: &[Sample]) -> Vec<(String, f64, f64)> {
    let ratio = |way: &str, figure: fn(&Sample) -> f64| median(ratios(samples, way, figure));
    let ways = WAYS.iter().filter(|(way, ..)| *way != PEER);
    let bar = |(way, ..): &(&str, _, _)| {
        let speed = ratio(way, |s| s.megabytes_per_second)?;
        Some((
            (*way).to_owned(),
            speed,
            ratio(way, |s| s.round_trips_per_second)?,
        ))
    };
    ways.filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::super::exits::Counts;
    use super::*;

    fn phase(name: &str, monitor: u64, of: u64, all: u64) -> Phase {
        let counts = |monitor| Counts {
            guest: 1000,
            monitor,
            exits: 0,
        };
        Phase {
            name: name.to_owned(),
            counts: counts(monitor),
            each: vec![counts(77), counts(0), counts(monitor)],
            kind: "mib".to_owned(),
            of,
            all,
        }
    }

    /// A round in which all ways but the peer take `seconds`.
    fn round(seconds: u64) -> (Vec<Phase>, Vec<String>) {
        let mut phases = vec![phase(CELLS, 1000, 0, 100), phase(GUESTS, 0, 0, 200)];
        let mut lines = vec!["root: noise".to_owned(), "bench: rate ring 1000".to_owned()];
        for (way, ..) in WAYS {
            let seconds = if way == PEER { 4 } else { seconds };
            phases.push(phase(way, 4200, 32, 140));
            lines.push(format!("bench: seconds {way} {seconds}"));
            if way != "ring" {
                phases.push(phase(&format!("{way}-trips"), 0, 500, 0));
                lines.push(format!("bench: seconds {way}-trips {seconds}.0"));
            }
        }
        (phases, lines)
    }

    #[test]
    fn ways_are_compared_with_the_guests_of_their_round_and_with_nothing() {
        let (mut phases, mut lines) = round(2);
        let second = round(8);
        phases.extend(second.0);
        lines.extend(second.1);
        let samples = samples(&phases, &lines).expect("all is there");
        assert_eq!(samples.len(), 12, "{samples:?}");
        let net = &samples[2..4];
        assert_eq!(
            ratios(&samples, "cellnet", |s| s.megabytes_per_second),
            [2.0, 0.5]
        );
        assert_eq!(net[1].round_trips_per_second.round() as u64, 63);
        let per = |figure: f64| (figure * 32.0 * MIB).round() as u64;
        assert_eq!(per(net[0].monitor_instructions_per_megabyte), 3200);
        assert_eq!(
            per(net[0].instructions_per_megabyte),
            3200,
            "CPU 0 is the root's"
        );
        assert_eq!(per(net[0].exits_per_megabyte), 40);
        assert_eq!(
            samples[10].exits_per_megabyte.to_bits(),
            0,
            "less than nothing is nothing"
        );
        let table = table(&samples);
        assert_eq!(table.len(), WAYS.len() + 1, "{table:?}");
        assert_eq!(table[6][2], "1.000 (1.000-1.000)", "the peer itself");
        assert_eq!(bars(&samples).len(), WAYS.len() - 1);
    }

    #[test]
    fn a_way_that_was_not_measured_is_an_error() {
        let (phases, lines) = round(2);
        assert!(samples(&phases, &lines).is_ok());
        assert!(samples(&phases, &lines[1..]).is_ok(), "noise is no figure");
        assert!(
            samples(&phases, &lines[2..]).is_err(),
            "no rate of the ring"
        );
        assert!(samples(&phases[2..], &lines).is_err(), "no nothing");
        assert!(
            samples(&phases[..4], &lines).is_err(),
            "the last are missing"
        );
    }

    #[test]
    fn more_rounds_get_more_time() {
        let text = "about = \"x\"\n[[step]]\nname = \"rounds\"\ntitle = \"x\"\nlimit-s = 100\n";
        let mut scenario: Scenario = toml::from_str(text).expect("a scenario");
        repeat(&mut scenario, 3, 16);
        assert_eq!(scenario.steps[0].limit_s, 3 * 340);
        assert!(
            scenario
                .root
                .cmdline
                .ends_with(" links_rounds=3 links_mib=16")
        );
    }
}
