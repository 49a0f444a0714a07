//! Runs the tests that a mutant can change, and says whether one noticed.

use super::tree::Built;
use crate::paths::{make_dir, read_text};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// CPU seconds after which a mutant is taken for one that never ends, besides
/// eight times what its tests take without it.
const CPU_LIMIT: u64 = 2;
/// Memory that it may have, in bytes.
const MEMORY_LIMIT: u64 = 4 << 30;
/// Mutants that run at a time.
const JOBS: usize = 2;
/// Tests together in one run may take this long without a mutant.
const BATCH: Duration = Duration::from_millis(200);

/// One test, as it ran without mutants.
struct Test {
    program: PathBuf,
    name: String,
    time: Duration,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A test failed, crashed or did not end.
    Caught,
    /// All tests that come there pass.
    Missed,
    /// No test comes there.
    Unreached,
}

/// Which tests come to which mutants.
pub(super) struct Coverage {
    tests: Vec<Test>,
    /// For each mutant, the tests that reach it, quick ones first.
    by_mutant: BTreeMap<usize, Vec<usize>>,
}

/// Runs each test by itself.
///
/// # Errors
///
/// One does not pass without mutants.
pub(super) fn cover(built: &Built, scratch: &Path) -> Result<Coverage> {
    make_dir(scratch)?;
    let mut tests = Vec::new();
    let mut reached: Vec<Vec<usize>> = Vec::new();
    for program in &built.programs {
        for name in names(program, &built.dir)? {
            let seen = scratch.join("seen");
            let _absent = std::fs::remove_file(&seen);
            let start = Instant::now();
            let status = command(program, &built.dir, &[&name], Duration::from_secs(30))
                .env("MUTANTS_SEEN", &seen)
                .status()
                .with_context(|| format!("cannot start {}", program.display()))?;
            if !status.success() {
                bail!("the test {name} fails without any mutant");
            }
            let time = start.elapsed();
            let text = if seen.exists() {
                read_text(&seen)?
            } else {
                String::new()
            };
            reached.push(text.lines().filter_map(|line| line.parse().ok()).collect());
            tests.push(Test {
                program: program.clone(),
                name,
                time,
            });
        }
    }
    let mut by_mutant: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (test, mutants) in reached.iter().enumerate() {
        for mutant in mutants {
            by_mutant.entry(*mutant).or_default().push(test);
        }
    }
    for list in by_mutant.values_mut() {
        list.sort_by_key(|test| tests[*test].time);
    }
    Ok(Coverage { tests, by_mutant })
}

/// Runs the mutants with these numbers, from 1 on, and calls `tell` for each as
/// it is known.
pub(super) fn run(
    built: &Built,
    coverage: &Coverage,
    numbers: &[usize],
    tell: impl Fn(usize, Fate) + Sync,
) -> Vec<(usize, Fate)> {
    let next = AtomicUsize::new(0);
    let fates = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fate = fate(built, coverage, *number);
                    tell(*number, fate);
                    if let Ok(mut fates) = fates.lock() {
                        fates.push((*number, fate));
                    }
                }
            });
        }
    });
    let mut fates = fates.into_inner().unwrap_or_default();
    fates.sort_by_key(|(number, _)| *number);
    fates
}

fn fate(built: &Built, coverage: &Coverage, number: usize) -> Fate {
    let Some(tests) = coverage.by_mutant.get(&number) else {
        return Fate::Unreached;
    };
    let mut rest = tests.as_slice();
    while let Some(first) = rest.first() {
        let program = &coverage.tests[*first].program;
        let mut time = Duration::ZERO;
        let fits = |test: &&usize| {
            let test = &coverage.tests[**test];
            time += test.time;
            test.program == *program && (time <= BATCH || time == test.time)
        };
        let count = rest.iter().take_while(fits).count();
        let (batch, later) = rest.split_at(count);
        let names: Vec<&str> = batch
            .iter()
            .map(|t| coverage.tests[*t].name.as_str())
            .collect();
        let time = batch.iter().map(|t| coverage.tests[*t].time).sum();
        let status = command(program, &built.dir, &names, time)
            .env("MUTANT", number.to_string())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Fate::Caught;
        }
        rest = later;
    }
    Fate::Missed
}

/// The tests of a program, without those that are ignored.
fn names(program: &Path, dir: &Path) -> Result<Vec<String>> {
    let list = |more: &[&str]| {
        crate::sh::Cmd::new(program)
            .dir(dir)
            .words("--list --format terse")
            .args(more)
            .read()
    };
    let ignored = list(&["--ignored"])?;
    let name = |line: &str| line.strip_suffix(": test").map(str::to_owned);
    let ignored: Vec<String> = ignored.lines().filter_map(name).collect();
    let all = list(&[])?;
    Ok(all
        .lines()
        .filter_map(name)
        .filter(|name| !ignored.contains(name))
        .collect())
}

/// Some tests of a program that take so long, within bounds.
fn command(program: &Path, dir: &Path, tests: &[&str], time: Duration) -> Command {
    let limit = CPU_LIMIT + time.as_secs() * 8;
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--cpu={limit}"))
        .arg(format!("--as={MEMORY_LIMIT}"))
        .arg("--core=0")
        .arg(program)
        .args(["--exact", "--quiet", "--test-threads=1"])
        .args(tests)
        .current_dir(dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
