//! Throughput of virtual functions: the scenario `bench-io` measures in plain
//! Linux and in a cell in turn, on the same CPU of the same machine.

use super::Options;
use crate::boot::{Screen, conclude, parts, prepare};
use crate::lane::run;
use crate::paths::Paths;
use crate::ui::Ui;
use crate::{report, scenario};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// Fewest pairs whose median says something.
const PAIRS: usize = 5;

/// MiB per second of one kind of transfer, in the order of the pairs.
#[derive(Debug, Default, PartialEq)]
struct Rates {
    plain: Vec<f64>,
    cell: Vec<f64>,
}

/// Plays the scenario and prints medians and their ratio.
///
/// # Errors
///
/// The scenario fails, or measures too little.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, options.lane)?;
    let scenario = scenario::load(paths, "bench-io")?;
    let parts = parts(paths, &ui, &scenario)?;
    let mut screen = Screen::new(&ui, false);
    let outcome = run::run(paths, lane, &scenario, &parts, false, &mut screen)?;
    screen.end(&outcome);
    conclude(&outcome)?;
    let lines = outcome.records.iter().flat_map(|record| &record.lines);
    let rates = collect(lines.map(String::as_str));
    ensure!(!rates.is_empty(), "the scenario measured nothing");
    println!("{}", table(&rates)?);
    Ok(())
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
            _ => rates.cell.push(rate),
        }
    }
    all
}

fn table(all: &BTreeMap<&str, Rates>) -> Result<String> {
    let head = ["transfer", "plain MiB/s", "cell MiB/s", "ratio", "pairs"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (what, Rates { plain, cell }) in all {
        let pairs = plain.len().min(cell.len());
        ensure!(
            pairs >= PAIRS,
            "{what}: {pairs} pairs, {PAIRS} are the least"
        );
        let ratios = plain.iter().zip(cell).map(|(plain, cell)| cell / plain);
        rows.push(vec![
            (*what).to_owned(),
            format!("{:.0}", median(plain.clone())),
            format!("{:.0}", median(cell.clone())),
            format!("{:.2}", median(ratios.collect())),
            pairs.to_string(),
        ]);
    }
    Ok(report::table(&rows))
}

/// The middle of what is not empty; zero otherwise.
fn median(mut values: Vec<f64>) -> f64 {
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
        ];
        let rates = collect(lines.into_iter());
        let wanted = Rates {
            plain: vec![2.5],
            cell: vec![2.0],
        };
        assert_eq!(rates["tcp"], wanted);
        assert!(table(&rates).is_err(), "one pair is too little");
    }

    #[test]
    fn median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
