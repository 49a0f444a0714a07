//! `cargo xtask test`: every check there is, each passed, failed or skipped
//! with its reason.

mod boots;
mod checks;

use crate::lane::Lane;
use crate::paths::{Paths, make_dir};
use crate::report;
use crate::setup;
use crate::ui::Ui;
use anyhow::{Result, bail};
use clap::Args;
use quick_junit::{TestCase, TestCaseStatus, TestSuite};
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask test`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only checks whose name has this in it (may be given more than once).
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Name the checks, and end.
    #[arg(long)]
    list: bool,
    /// Show the serial consoles of boot scenarios while they run.
    #[arg(long)]
    verbose: bool,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Good; what more there is to say.
    Passed(String),
    /// It cannot run here: why.
    Skipped(String),
}

/// What a check does.
type Run = dyn Fn(&Paths, &Ui) -> Result<Verdict>;

/// One check. A mistake is its `Err`.
struct Check {
    name: String,
    run: Box<Run>,
}

impl Check {
    fn new(
        name: impl Into<String>,
        run: impl Fn(&Paths, &Ui) -> Result<Verdict> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs the checks; all of them, whatever fails.
///
/// # Errors
///
/// Set-up failed, no check has that name, or a check failed.
pub(crate) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let wanted = |check: &Check| {
        options.only.is_empty() || options.only.iter().any(|text| check.name.contains(text))
    };
    let mut checks = checks::all();
    checks.extend(boots::all(paths)?);
    checks.retain(wanted);
    if checks.is_empty() {
        bail!(
            "no check is named like {}: see --list",
            options.only.join(" or ")
        );
    }
    if options.list {
        checks.iter().for_each(|check| println!("{}", check.name));
        return Ok(());
    }
    setup::ensure(paths, &ui, false)?;
    if checks
        .iter()
        .any(|check| check.name.contains(Lane::QemuVmx.name()))
        && let Err(why) = setup::patched::ensure(paths, &ui)
    {
        eprintln!("{why:#}");
    }
    let mut suite = TestSuite::new("cellvisor");
    let mut counts = Counts::default();
    let mut bad = Vec::new();
    for check in &checks {
        let start = Instant::now();
        let result = (check.run)(paths, &ui);
        let time = start.elapsed();
        say(&check.name, &result, time);
        let status = match &result {
            Ok(Verdict::Passed(_)) => TestCaseStatus::success(),
            Ok(Verdict::Skipped(why)) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
            Err(why) => report::failed(&format!("{why:#}"), ""),
        };
        match result {
            Ok(Verdict::Passed(_)) => counts.passed += 1,
            Ok(Verdict::Skipped(_)) => counts.skipped += 1,
            Err(_) => {
                counts.failed += 1;
                bad.push(check.name.as_str());
            }
        }
        let mut case = TestCase::new(check.name.as_str(), status);
        case.set_time(time);
        suite.add_test_case(case);
    }
    let dir = paths.target.join("test");
    make_dir(&dir)?;
    report::write(suite, &dir.join("junit.xml"))?;
    close(counts, &bad)
}

fn say(name: &str, result: &Result<Verdict>, time: Duration) {
    let seconds = time.as_secs_f64();
    match result {
        Ok(Verdict::Passed(note)) if note.is_empty() => {
            println!("PASSED   {name} ({seconds:.1} s)")
        }
        Ok(Verdict::Passed(note)) => println!("PASSED   {name}: {note} ({seconds:.1} s)"),
        Ok(Verdict::Skipped(why)) => println!("SKIPPED  {name}: {why}"),
        Err(why) => println!("FAILED   {name} ({seconds:.1} s)\n{why:#}"),
    }
}

/// The closing line, always the last on standard output.
fn close(counts: Counts, bad: &[&str]) -> Result<()> {
    let Counts {
        passed,
        failed,
        skipped,
    } = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("failed: {}", bad.join(", "));
    }
    Ok(())
}

/// A note on a check that needs none.
fn passed() -> Result<Verdict> {
    Ok(Verdict::Passed(String::new()))
}
