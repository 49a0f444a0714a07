//! `cargo xtask test`: every check there is, each passed, failed or skipped
//! with its reason.

mod boots;
mod checks;
mod kernels;
mod packages;
mod pool;
mod skips;
mod tools;
mod unit;

use crate::paths::{Paths, make_dir};
use crate::report;
use crate::setup;
use crate::ui::Ui;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use pool::{Load, Run};
use quick_junit::{TestCase, TestCaseStatus, TestSuite};
use skips::Skips;

/// Arguments of `cargo xtask test`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only checks whose name has this in it (may be given more than once).
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Name the checks, and end.
    #[arg(long)]
    list: bool,
    /// Play the large scenarios, which take minutes each, instead.
    #[arg(long, conflicts_with = "kernels")]
    large: bool,
    /// Play every kernel of the table in a cell, under each root's kernel, instead.
    #[arg(long)]
    kernels: bool,
    /// Show the serial consoles of boot scenarios while they run.
    #[arg(long)]
    verbose: bool,
    /// Checks at a time (default: 2, or 1 on a machine with one CPU).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    jobs: Option<u32>,
    /// Tell at the end when each check ran, and for how long.
    #[arg(long)]
    timings: bool,
    /// Only the unit tests, again and again for so long, with another seed for
    /// the property tests in each run; the seed is told.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["only", "list"])]
    random: Option<u64>,
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
type Action = dyn Fn(&Paths, &Ui) -> Result<Verdict> + Send + Sync;

/// One check. A mistake is its `Err`.
struct Check {
    name: String,
    load: Load,
    /// It wants the patched QEMU, and fails with the reason if that cannot be
    /// built.
    patched: bool,
    /// It takes too long to be run unless it is asked for.
    apart: bool,
    /// It plays a large scenario.
    large: bool,
    action: Box<Action>,
}

impl Check {
    /// A check of this machine's own tools.
    fn host(
        name: impl Into<String>,
        action: impl Fn(&Paths, &Ui) -> Result<Verdict> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            load: Load::Host,
            patched: false,
            apart: false,
            large: false,
            action: Box::new(action),
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
    if let Some(seconds) = options.random {
        return unit::random(paths, seconds);
    }
    let ui = Ui::new(options.verbose);
    let skips = Skips::load(paths)?;
    let jobs = options.jobs.unwrap_or_else(jobs);
    let named = |name: &str| options.only.iter().any(|text| name.contains(text));
    let wanted = |check: &Check| match &options.only[..] {
        [] if options.large => check.large,
        [] => options.list || !check.apart,
        _ => named(&check.name) && (check.large || !options.large),
    };
    let mut checks = if options.kernels {
        kernels::all(paths, jobs)?
    } else {
        let mut checks = checks::all();
        checks.extend(boots::all(paths, jobs, !options.only.is_empty())?);
        checks
    };
    checks.retain(wanted);
    if checks.is_empty() {
        bail!(
            "no check is named like {}: see --list",
            options.only.join(" or ")
        );
    }
    if options.list {
        for Check {
            name, apart, large, ..
        } in &checks
        {
            let note = match (large, apart) {
                (true, _) => "  (only by --large or --only)",
                (false, true) => "  (only by --only)",
                (false, false) => "",
            };
            println!("{name}{note}");
        }
        return Ok(());
    }
    if options.only.is_empty() {
        setup::space::warn(paths);
    }
    setup::ensure(paths, &ui, false)?;
    if checks.iter().any(|check| check.name.contains("kvm-on-")) {
        crate::image::outer::ensure(paths, &ui)?;
    }
    let patched = checks.iter().any(|check| check.patched);
    let unbuilt = patched
        .then(|| setup::patched::ensure(paths, &ui).err())
        .flatten()
        .map(|why| format!("{why:#}"));
    if let Some(why) = &unbuilt {
        eprintln!("{why}");
    }
    let strict = skips::is_ci();
    let runs = pool::run(&checks, jobs, |check| {
        let result = perform(paths, &ui, check, unbuilt.as_deref());
        let result = match result {
            Ok(Verdict::Skipped(why)) if strict && !skips.allow(&check.name, &why) => Err(anyhow!(
                "skipped, which ci/skips.toml does not allow where CI is set: {why}"
            )),
            other => other,
        };
        say(&check.name, &result);
        result
    });
    if options.timings {
        println!("{}", pool::timings(&checks, &runs));
    }
    conclude(paths, &checks, &runs)
}

/// As many checks at a time as leave each other enough.
fn jobs() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| if cpus.get() > 1 { 2 } else { 1 })
}

fn perform(paths: &Paths, ui: &Ui, check: &Check, unbuilt: Option<&str>) -> Result<Verdict> {
    match unbuilt.filter(|_| check.patched) {
        None => (check.action)(paths, ui),
        // The compiler's output was printed once.
        Some(why) => Err(anyhow!(why.lines().next().unwrap_or_default().to_owned()))
            .context("it needs the patched QEMU"),
    }
}

/// Writes the report and the closing line.
fn conclude(paths: &Paths, checks: &[Check], runs: &[Run]) -> Result<()> {
    let mut suite = TestSuite::new("cellvisor");
    let mut counts = Counts::default();
    let mut bad = Vec::new();
    for (check, run) in checks.iter().zip(runs) {
        let status = match &run.result {
            Ok(Verdict::Passed(_)) => {
                counts.passed += 1;
                TestCaseStatus::success()
            }
            Ok(Verdict::Skipped(why)) => {
                counts.skipped += 1;
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
            Err(why) => {
                counts.failed += 1;
                bad.push(check.name.as_str());
                report::failed(&format!("{why:#}"), "")
            }
        };
        let mut case = TestCase::new(check.name.as_str(), status);
        case.set_time(run.time);
        suite.add_test_case(case);
    }
    let dir = paths.target.join("test");
    make_dir(&dir)?;
    report::write(suite, &dir.join("junit.xml"))?;
    close(counts, &bad)
}

fn say(name: &str, result: &Result<Verdict>) {
    match result {
        Ok(Verdict::Passed(note)) if note.is_empty() => println!("PASSED   {name}"),
        Ok(Verdict::Passed(note)) => println!("PASSED   {name}: {note}"),
        Ok(Verdict::Skipped(why)) => println!("SKIPPED  {name}: {why}"),
        Err(why) => println!("FAILED   {name}\n{why:#}"),
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
