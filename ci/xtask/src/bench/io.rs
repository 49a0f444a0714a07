//! Throughput of virtual functions: the scenario `bench-io` measures in plain
//! Linux and in a cell in turn, on the same CPU of the same machine, and once
//! more in a plain Linux that confines the functions as the cell's are.

use super::Options;
use crate::boot::{Screen, conclude, parts, prepare};
use crate::lane::{Lane, run};
use crate::paths::Paths;
use crate::report;
use crate::scenario::{self, Scenario};
use crate::ui::Ui;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// Fewest runs whose median says something.
const RUNS: usize = 5;

/// MiB per second of one kind of transfer, in the order of the pairs.
#[derive(Debug, Default, PartialEq)]
struct Rates {
    plain: Vec<f64>,
    cell: Vec<f64>,
    remapped: Vec<f64>,
}

/// Linux's own DMA remapping, in its faster mode.
const REMAPPED: &str = "intel_iommu=on iommu.strict=0";

/// Plays the scenario and prints medians and their ratio.
///
/// # Errors
///
/// The scenario fails, or measures too little.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, options.lane)?;
    let scenario = scenario::load(paths, "bench-io")?;
    let mut lines = play(paths, &ui, lane, &scenario)?;
    let mut remapped = scenario;
    remapped.root.cmdline = REMAPPED.to_owned();
    lines.extend(play(paths, &ui, lane, &remapped)?);
    let rates = collect(lines.iter().map(String::as_str));
    ensure!(!rates.is_empty(), "the scenario measured nothing");
    println!("{}", table(&rates)?);
    Ok(())
}

/// Plays it and returns what the root said.
fn play(paths: &Paths, ui: &Ui, lane: Lane, scenario: &Scenario) -> Result<Vec<String>> {
    let parts = parts(paths, ui, scenario)?;
    let mut screen = Screen::new(ui, false);
    let outcome = run::run(paths, lane, scenario, &parts, false, &mut screen)?;
    screen.end(&outcome);
    conclude(&outcome)?;
    let records = outcome.records.into_iter();
    Ok(records.flat_map(|record| record.lines).collect())
}

/// From lines like `bench: cell nvme-read 220.7`.
fn collect<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Rates> {
    let mut all: BTreeMap<&str, Rates> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["bench:", place, what, rate] = words[..] else {
            continue;
        };
        let Ok(rate) = rate.parse() else { continue };
        let rates = all.entry(what).or_default();
        match place {
            "plain" => rates.plain.push(rate),
            "remapped" => rates.remapped.push(rate),
            _ => rates.cell.push(rate),
        }
    }
    all
}

fn table(all: &BTreeMap<&str, Rates>) -> Result<String> {
    let head = [
        "MiB/s",
        "plain",
        "plain, remapped",
        "cell",
        "cell : plain",
        "cell : remapped",
        "runs",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (what, rates) in all {
        let runs = rates.plain.len().min(rates.cell.len());
        let runs = runs.min(rates.remapped.len());
        ensure!(runs >= RUNS, "{what}: {runs} runs, {RUNS} are the least");
        let pairs = rates.plain.iter().zip(&rates.cell);
        let ratios: Vec<f64> = pairs.map(|(plain, cell)| cell / plain).collect();
        let [plain, cell, remapped] =
            [&rates.plain, &rates.cell, &rates.remapped].map(|all| median(all));
        rows.push(vec![
            (*what).to_owned(),
            format!("{plain:.0}"),
            format!("{remapped:.0}"),
            format!("{cell:.0}"),
            format!("{:.2}", median(&ratios)),
            format!("{:.2}", cell / remapped),
            runs.to_string(),
        ]);
    }
    Ok(report::table(&rows))
}

/// The middle of what is not empty; zero otherwise.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_sorted_out_and_noise_is_left_out() {
        let lines = [
            "bench: plain tcp 2.5",
            "root: pair 1 of 5",
            "bench: cell tcp 2",
            "bench: remapped tcp 1",
        ];
        let rates = collect(lines.into_iter());
        let wanted = Rates {
            plain: vec![2.5],
            cell: vec![2.0],
            remapped: vec![1.0],
        };
        assert_eq!(rates["tcp"], wanted);
        assert!(table(&rates).is_err(), "one run is too little");
    }

    #[test]
    fn median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
