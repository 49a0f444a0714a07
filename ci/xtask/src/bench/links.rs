//! Ways from cell to cell beside each other, in one run of the scenario `bench-links`:
//! a ring in a window, TCP over `cellnet`, TCP from VF to VF; and what each costs the
//! monitor.

use super::Options;
use super::exits::{Phase, play};
use crate::paths::Paths;
use crate::report;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The ways by their names in the scenario, the one that others are compared with first.
const WAYS: [(&str, &str); 3] = [
    ("ring", "ring in a window (cellmsg)"),
    ("tcp", "TCP over cellnet"),
    ("vf", "TCP from VF to VF"),
];

/// The phase in which nothing is sent: what the console and programs that begin cost.
const NOTHING: &str = "nothing";

/// Bytes of a MiB, in MB.
const MIB: f64 = 1.048_576;

/// Plays the scenario and prints the ways with their ratios.
///
/// # Errors
///
/// The lane has no TCG, the scenario fails, or did not measure a way.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let (phases, lines) = play(paths, options, "bench-links")?;
    let figures = figures(lines.iter().map(String::as_str));
    println!("{}", table(&phases, &figures)?);
    Ok(())
}

/// From lines like `bench: seconds tcp 2.5`: what and way, and the figure.
fn figures<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<(&'a str, &'a str), f64> {
    let figure = |line: &'a str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["bench:", what, way, figure] = words[..] else {
            return None;
        };
        Some(((what, way), figure.parse().ok()?))
    };
    lines.filter_map(figure).collect()
}

fn table(phases: &[Phase], figures: &BTreeMap<(&str, &str), f64>) -> Result<String> {
    let head = [
        "way",
        "MB/s",
        ": ring",
        "round trips/s",
        ": ring",
        "monitor's instructions per MB",
        "exits",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let measured = |way: &str| -> Result<(&Phase, f64, f64)> {
        let missing = || format!("the scenario did not measure `{way}`");
        let phase = phases.iter().find(|phase| phase.name == way);
        let phase = phase.with_context(missing)?;
        let figure = |what| figures.get(&(what, way)).copied().with_context(missing);
        let megabytes = phase.of as f64 * MIB;
        Ok((phase, megabytes / figure("seconds")?, figure("trips")?))
    };
    let nothing = phases.iter().find(|phase| phase.name == NOTHING);
    let nothing = nothing.context("the scenario did not measure what nothing costs")?;
    let (_, rate, trips) = measured("ring")?;
    for (way, name) in WAYS {
        let (phase, mine, often) = measured(way)?;
        let monitor = phase.counts.monitor.saturating_sub(nothing.counts.monitor);
        let instructions = monitor as f64 / (phase.of as f64 * MIB);
        rows.push(vec![
            name.to_owned(),
            format!("{mine:.1}"),
            format!("{:.2}", mine / rate),
            format!("{often:.0}"),
            format!("{:.2}", often / trips),
            format!("{instructions:.0}"),
            phase.all.saturating_sub(nothing.all).to_string(),
        ]);
    }
    Ok(report::table(&rows))
}

#[cfg(test)]
mod tests {
    use super::super::exits::Counts;
    use super::*;

    fn phase(name: &str, monitor: u64, of: u64, all: u64) -> Phase {
        Phase {
            name: name.to_owned(),
            counts: Counts {
                monitor,
                ..Counts::default()
            },
            each: Vec::new(),
            kind: "mib".to_owned(),
            of,
            all,
        }
    }

    #[test]
    fn ways_are_compared_with_the_ring_and_with_nothing() {
        let mut phases = vec![phase("nothing", 1000, 0, 100)];
        phases.extend(["ring", "tcp", "vf"].map(|way| phase(way, 4200, 32, 109)));
        let lines = [
            "bench: seconds ring 2",
            "bench: seconds tcp 4",
            "root: noise",
            "bench: seconds vf 8.0",
            "bench: trips ring 1000",
            "bench: trips tcp 250",
            "bench: trips vf 500",
        ];
        let figures = figures(lines.into_iter());
        let table = table(&phases, &figures).expect("all is there");
        let tcp = table.lines().find(|line| line.contains("cellnet"));
        let words: Vec<&str> = tcp.expect("a row").split_whitespace().collect();
        for word in ["8.4", "0.50", "250", "0.25", "95", "9"] {
            assert!(words.contains(&word), "{word} in {table}");
        }
        assert!(super::table(&phases[1..], &figures).is_err(), "no nothing");
        phases.remove(1);
        assert!(super::table(&phases, &figures).is_err(), "no ring");
    }
}
