//! Protections taken out of the monitor, as `ci/mutants.toml` lists them: each must
//! make its scenario say what it has to say.
//!
//! All mutants of a scenario that do not hide each other are put into one image, in
//! a copy of the sources; the run goes on after the first wrong thing. What is not
//! noticed that way, and what must be alone, gets an image and a run of its own.

use crate::build::{self, Parts, monitor};
use crate::lane::Lane;
use crate::lane::run::{self, Watch};
use crate::paths::{Paths, read, read_text, write_if_changed};
use crate::report;
use crate::scenario::judge::Record;
use crate::scenario::{self, Scenario};
use crate::sh::Cmd;
use crate::ui::Ui;
use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LIST: &str = "ci/mutants.toml";

/// Where `file` of a mutant is looked for: code moves, and keeps its names.
const SOURCES: [&str; 2] = ["hypervisor/monitor/src", "hypervisor/core/src"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mutant: Vec<Mutant>,
}

/// One protection, and how its loss is noticed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    breaks: String,
    scenario: String,
    #[serde(default = "vmx")]
    lane: Lane,
    file: String,
    old: String,
    new: String,
    sign: String,
    #[serde(default)]
    alone: bool,
}

const fn vmx() -> Lane {
    Lane::QemuVmx
}

/// A mutant with its place in the sources.
#[derive(Clone, Debug)]
struct Placed {
    mutant: Mutant,
    file: PathBuf,
    sign: Regex,
}

/// Nobody watches.
struct Unseen;

impl Watch for Unseen {
    fn line(&mut self, _: &str) {}
    fn step(&mut self, _: &[Record], _: &str) {}
}

/// What became of a mutant.
struct Fate {
    name: String,
    breaks: String,
    /// What the scenario said; `None` if it noticed nothing.
    said: Option<String>,
}

/// Finds the place of each mutant of the list; how many there are.
///
/// # Errors
///
/// An entry has a mistake, or its text is not there, or not once.
pub(crate) fn check(paths: &Paths) -> Result<usize> {
    Ok(load(paths)?.len())
}

/// Plays the mutants that have one of `names` in their names and one of `scenarios`,
/// or all; `short` leaves out those that must be alone.
///
/// # Errors
///
/// An image does not build, or a mutant was not noticed.
pub(crate) fn main(
    paths: &Paths,
    names: &[String],
    scenarios: &[String],
    short: bool,
) -> Result<String> {
    let wanted = |placed: &Placed| {
        let mutant = &placed.mutant;
        let named = |text: &String| mutant.name.contains(text);
        (names.is_empty() || names.iter().any(named))
            && (scenarios.is_empty() || scenarios.contains(&mutant.scenario))
            && !(short && mutant.alone)
    };
    let mut placed = load(paths)?;
    placed.retain(wanted);
    ensure!(!placed.is_empty(), "no mutant is like that");
    let mut fates = Vec::new();
    let runs: BTreeSet<(String, &str)> = placed
        .iter()
        .map(|placed| (placed.mutant.scenario.clone(), placed.mutant.lane.name()))
        .collect();
    for (scenario, lane) in &runs {
        let here = |placed: &&Placed| {
            placed.mutant.scenario == *scenario && placed.mutant.lane.name() == *lane
        };
        let here: Vec<Placed> = placed.iter().filter(here).cloned().collect();
        fates.extend(family(paths, &here)?);
    }
    summary(&fates)
}

fn load(paths: &Paths) -> Result<Vec<Placed>> {
    let file: File = toml::from_str(&read_text(&paths.repo(LIST))?)
        .with_context(|| format!("mistake in {LIST}"))?;
    let names: BTreeSet<&str> = file.mutant.iter().map(|mutant| &*mutant.name).collect();
    ensure!(
        names.len() == file.mutant.len(),
        "{LIST}: a name is there twice"
    );
    let mut sources = Vec::new();
    for folder in SOURCES {
        collect(&paths.repo(folder), &mut sources)?;
    }
    let scenarios = scenario::names(paths)?;
    let place = |mutant: Mutant| {
        let about = format!("{LIST}: {}", mutant.name);
        ensure!(
            scenarios.contains(&mutant.scenario),
            "{about}: no scenario {}",
            mutant.scenario
        );
        ensure!(mutant.old != mutant.new, "{about}: it changes nothing");
        let fits = |path: &&PathBuf| {
            path.ends_with(&mutant.file)
                && read_text(path).is_ok_and(|text| text.matches(&mutant.old).count() == 1)
        };
        let mut found = sources.iter().filter(fits);
        let (Some(path), None) = (found.next(), found.next()) else {
            bail!(
                "{about}: its old text is not once in one file {}",
                mutant.file
            );
        };
        let relative = path
            .strip_prefix(&paths.root)
            .context("a source elsewhere")?;
        let file = relative.to_owned();
        let sign = Regex::new(&mutant.sign).with_context(|| about.clone())?;
        Ok(Placed { mutant, file, sign })
    };
    file.mutant.into_iter().map(place).collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// The mutants of one scenario on one lane.
fn family(paths: &Paths, all: &[Placed]) -> Result<Vec<Fate>> {
    let (alone, together): (Vec<Placed>, Vec<Placed>) =
        all.iter().cloned().partition(|placed| placed.mutant.alone);
    let mut fates = Vec::new();
    let mut again = alone;
    if !together.is_empty() {
        let wrong = play(paths, &together)?;
        for placed in together {
            match placed.said(&wrong) {
                Some(said) => fates.push(placed.fate(Some(said))),
                // Another may have hidden it.
                None => again.push(placed),
            }
        }
    }
    for placed in again {
        let wrong = play(paths, std::slice::from_ref(&placed))?;
        let said = placed.said(&wrong);
        fates.push(placed.fate(said));
    }
    Ok(fates)
}

impl Placed {
    /// The line of `wrong`, what a run has told, that is the sign of this mutant.
    fn said(&self, wrong: &str) -> Option<String> {
        let mut lines = wrong.lines().map(first);
        let line = lines.find(|line| self.sign.is_match(line))?;
        Some(line.to_owned())
    }

    fn fate(self, said: Option<String>) -> Fate {
        let Mutant { name, breaks, .. } = self.mutant;
        eprintln!(
            "{} {name}: {}",
            if said.is_some() { "caught" } else { "SURVIVED" },
            said.as_deref().unwrap_or(&breaks)
        );
        Fate { name, breaks, said }
    }
}

/// The first of what a line says was not seen: what has to come after it, in order, was
/// not looked for any more, and says nothing.
fn first(line: &str) -> &str {
    line.split_once("`, `").map_or(line, |(first, _)| first)
}

/// Builds a monitor with these mutants and plays their scenario; what was wrong.
fn play(paths: &Paths, mutants: &[Placed]) -> Result<String> {
    let Some(first) = mutants.first().map(|placed| &placed.mutant) else {
        return Ok(String::new());
    };
    let mut scenario: Scenario = scenario::load(paths, &first.scenario)?;
    scenario.lenient = true;
    let copy = copy(paths)?;
    for placed in mutants {
        let file = copy.repo(&placed.file.to_string_lossy());
        let text = read_text(&file)?.replacen(&placed.mutant.old, &placed.mutant.new, 1);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let parts = {
        let _alone = build::alone();
        let names: Vec<&str> = mutants.iter().map(|placed| &*placed.mutant.name).collect();
        let monitor = monitor::build(&copy)
            .with_context(|| format!("the monitor without {}", names.join(", ")))?;
        Parts {
            monitor: Some(monitor),
            ..build::all(paths, &Ui::new(false).silent(), &[scenario.root.kernel])?
        }
    };
    // Its consoles are not those of the scenario itself.
    let place = Paths {
        target: paths.target.join("mutants/run"),
        ..paths.clone()
    };
    let outcome = run::run(&place, first.lane, &scenario, &parts, false, &mut Unseen)?;
    Ok(outcome
        .failure
        .map_or_else(String::new, |failure| failure.why))
}

/// A copy of the sources as they are, whose unchanged files keep their times.
fn copy(paths: &Paths) -> Result<Paths> {
    let root = paths.target.join("mutants/source");
    let list = Cmd::new("git")
        .dir(&paths.root)
        .words("ls-files --cached --others --exclude-standard")
        .read()?;
    for name in list.lines() {
        let from = paths.repo(name);
        if from.is_file() {
            write_if_changed(&root.join(name), &read(&from)?)?;
        }
    }
    Ok(Paths {
        root,
        target: paths.target.join("mutants"),
        cache: paths.cache.clone(),
    })
}

fn summary(fates: &[Fate]) -> Result<String> {
    let mut rows = vec![
        ["mutant", "what it breaks", "what was said"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(fates.iter().map(|fate| {
        let said = fate.said.clone().unwrap_or_else(|| "SURVIVED".to_owned());
        vec![fate.name.clone(), fate.breaks.clone(), said]
    }));
    println!("{}", report::table(&rows));
    let survivors: Vec<&str> = fates
        .iter()
        .filter(|fate| fate.said.is_none())
        .map(|fate| &*fate.name)
        .collect();
    let caught = fates.len() - survivors.len();
    let rate = format!("{caught} of {} mutants of the monitor caught", fates.len());
    if !survivors.is_empty() {
        bail!("{rate}; nobody noticed: {}", survivors.join(", "));
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn what_was_not_looked_for_is_no_sign() {
        assert_eq!(first("not seen: `^a`, `^b` from mallory"), "not seen: `^a");
        assert_eq!(
            first("the monitor's log has: x"),
            "the monitor's log has: x"
        );
    }
}
