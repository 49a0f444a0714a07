//! The unit tests: with the same random numbers in every run, or for a while with
//! others each time.

use super::Verdict;
use super::checks::HOSTED;
use crate::build::cargo;
use crate::paths::Paths;
use crate::sh::find_program;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// The variable that property tests take their seed from. `.cargo/config.toml`
/// sets it.
const SEED: &str = "PROPTEST_RNG_SEED";

/// All unit tests once.
///
/// # Errors
///
/// One does not pass.
pub(super) fn check(paths: &Paths) -> Result<Verdict> {
    let seed = std::env::var(SEED).context("no seed: call this by `cargo xtask`")?;
    let tests = all(paths, &seed)?;
    Ok(Verdict::Passed(format!("{tests}, seed {seed}")))
}

/// All unit tests again and again, with a new seed each time, for so many seconds
/// and to the end of the last run.
///
/// # Errors
///
/// A test does not pass; the seed with which it fails again.
pub(super) fn random(paths: &Paths, seconds: u64) -> Result<()> {
    let start = Instant::now();
    let limit = Duration::from_secs(seconds);
    let mut runs = 0;
    while start.elapsed() < limit {
        let seed = random_seed()?.to_string();
        let tests = all(paths, &seed).with_context(|| {
            format!("seed {seed}: `{SEED}={seed} cargo xtask test --only unit` fails again")
        })?;
        runs += 1;
        println!("run {runs}: {tests}, seed {seed}");
    }
    Ok(())
}

/// Any number; those of the operating system are as good as any.
fn random_seed() -> Result<u64> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    let source = "/dev/urandom";
    std::fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .with_context(|| format!("cannot read {source}"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Runs the tests and returns how many there were.
fn all(paths: &Paths, seed: &str) -> Result<String> {
    // Set-up has installed them: tests that want them must not pass without.
    let cargo = cargo(paths)
        .env(SEED, seed)
        .env("CELLVISOR_REQUIRE_TOOLS", "1");
    if find_program("cargo-nextest").is_none() {
        let words = format!("test {HOSTED} --bins --lib --tests");
        let output = cargo.words(&words).run(paths, "unit")?;
        return Ok(super::checks::passed_tests(&output));
    }
    let words =
        format!("nextest run {HOSTED} --no-fail-fast --status-level fail --failure-output final");
    let output = cargo.words(&words).run(paths, "unit")?;
    let summary = output
        .lines()
        .rev()
        .find(|line| line.contains(" tests run:"))
        .unwrap_or_default();
    let (_, tests) = summary.split_once("] ").unwrap_or(("", summary));
    Ok(tests.trim().to_owned())
}
