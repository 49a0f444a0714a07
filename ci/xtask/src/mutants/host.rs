//! Mutants of the crates with unit tests: all of a crate in one program, switched
//! on one by one.
//!
//! `cargo mutants` builds the crate anew for each of its thousands of mutants;
//! here it is built once, and a mutant runs only the tests that come to it.

mod edit;
mod run;
mod tree;

use crate::paths::Paths;
use anyhow::{Result, bail};
use run::Fate;
use std::collections::BTreeMap;

/// A crate, and how many in a hundred of its mutants have to be caught.
#[derive(Debug)]
pub(super) struct Krate {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) folder: &'static str,
    percent: usize,
}

const fn krate(
    name: &'static str,
    package: &'static str,
    folder: &'static str,
    percent: usize,
) -> Krate {
    Krate {
        name,
        package,
        folder,
        percent,
    }
}

const CRATES: [Krate; 4] = [
    krate("core", "cellvisor-core", "hypervisor/core", 95),
    krate("abi", "cellvisor-abi", "hypervisor/abi", 80),
    krate("acpi", "cellvisor-acpi-tables", "acpi-tables", 80),
    krate("planner", "cellvisor-planner", "tools/planner", 80),
];

/// Runs the mutants of the crates and files that are wanted.
///
/// # Errors
///
/// See [`super::main`].
pub(super) fn main(paths: &Paths, crates: &[String], files: &[String]) -> Result<()> {
    let mut short = Vec::new();
    for krate in &CRATES {
        if !crates.is_empty() && !crates.iter().any(|name| name == krate.name) {
            continue;
        }
        let caught = mutate(paths, krate, files)?;
        // A part of a crate has no rate of its own.
        if files.is_empty() && caught < krate.percent as f64 {
            short.push(format!(
                "{}: {caught:.1} % of {} %",
                krate.name, krate.percent
            ));
        }
    }
    if !short.is_empty() {
        bail!("too many mutants survive: {}", short.join(", "));
    }
    Ok(())
}

/// Counts of one file.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    caught: usize,
    missed: usize,
    unreached: usize,
}

impl Counts {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Caught => self.caught += 1,
            Fate::Missed => self.missed += 1,
            Fate::Unreached => self.unreached += 1,
        }
    }

    fn percent(&self) -> f64 {
        let all = self.caught + self.missed + self.unreached;
        if all == 0 {
            100.0
        } else {
            self.caught as f64 * 100.0 / all as f64
        }
    }
}

/// Runs the mutants of a crate, prints what survives, and returns how many in a
/// hundred were caught.
fn mutate(paths: &Paths, krate: &Krate, files: &[String]) -> Result<f64> {
    let built = tree::build(paths, krate)?;
    let coverage = run::cover(&built, &paths.target.join("mutants/scratch"))?;
    let wanted = |file: &str| files.is_empty() || files.iter().any(|part| file.contains(part));
    let numbers: Vec<usize> = (1..=built.mutants.len())
        .filter(|number| wanted(&built.mutants[number - 1].file))
        .collect();
    if numbers.is_empty() {
        return Ok(100.0);
    }
    println!(
        "{}: {} mutants ({} places left out that no compiler takes)",
        krate.name,
        numbers.len(),
        built.left_out
    );
    let fates = run::run(&built, &coverage, &numbers, |number, fate| {
        let one = &built.mutants[number - 1];
        if fate != Fate::Caught {
            println!(
                "{fate:?}: {}:{}: {}: {}",
                one.file, one.mutant.line, one.mutant.function, one.mutant.what
            );
        }
    });
    let mut by_file: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut all = Counts::default();
    for (number, fate) in fates {
        by_file
            .entry(&built.mutants[number - 1].file)
            .or_default()
            .add(fate);
        all.add(fate);
    }
    println!(
        "{:>7} {:>7} {:>9} {:>6}  {}",
        "caught", "missed", "unreached", "rate", krate.name
    );
    let line = |counts: &Counts, name: &str| {
        println!(
            "{:>7} {:>7} {:>9} {:>5.1}%  {name}",
            counts.caught,
            counts.missed,
            counts.unreached,
            counts.percent()
        );
    };
    by_file.iter().for_each(|(file, counts)| line(counts, file));
    line(&all, "all");
    Ok(all.percent())
}
