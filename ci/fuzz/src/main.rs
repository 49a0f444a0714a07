//! Feeds anything at all to what reads the input of others: slice and host files,
//! plans, hypercalls, guests' instructions, configuration space, rings of network
//! adapters, registers and lists of Extended Sockets, the root's remapping registers; and plays
//! random lives of cells on a model of a machine.
//!
//! `cellvisor-fuzz TARGET|all SECONDS [SEED]`: so many seconds for each target.
//! Everything follows from the seed. An input that ends badly stays in
//! `fuzz-TARGET.bin`, and `cellvisor-fuzz TARGET FILE` plays it again.

mod input;
mod targets;

use input::{Mutator, Random};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A target: it panics on what must not be.
type Target = fn(&[u8]);

/// All targets, and the folder in `corpus` that has their first inputs.
const TARGETS: [(&str, Target); 10] = [
    ("slice", targets::files::slice),
    ("host", targets::files::host),
    ("wire", targets::wire::plans),
    ("calls", targets::wire::calls),
    ("insn", targets::insn::agree),
    ("pci", targets::pci::function),
    ("net", targets::net::frames),
    ("socket", targets::socket::members),
    ("vtd", targets::vtd::root),
    ("machine", targets::machine::lives),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let usage = "cellvisor-fuzz TARGET|all SECONDS [SEED], or TARGET FILE";
    let [name, what, rest @ ..] = words else {
        return Err(usage.to_owned());
    };
    let chosen = TARGETS
        .iter()
        .filter(|(target, _)| name == "all" || name == target);
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        return Err(format!(
            "no target {name}; there are {:?}",
            TARGETS.map(|(name, _)| name)
        ));
    }
    let Ok(seconds) = what.parse() else {
        let bytes = std::fs::read(what).map_err(|why| format!("cannot read {what}: {why}"))?;
        chosen.iter().for_each(|(_, target)| target(&bytes));
        return Ok(());
    };
    let seed = match rest {
        [seed, ..] => seed.parse().map_err(|_| usage.to_owned())?,
        [] => 1,
    };
    keep_what_ends_badly();
    for (name, target) in chosen {
        let count = fuzz(name, *target, Duration::from_secs(seconds), seed);
        println!("{name}: {count} inputs, seed {seed}");
    }
    Ok(())
}

/// The input that is played, and its target.
static PLAYED: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));

/// A panic ends the program: it keeps the input first.
fn keep_what_ends_badly() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        if let Ok(played) = PLAYED.try_lock() {
            let (name, input) = &*played;
            let file = format!("fuzz-{name}.bin");
            match std::fs::write(&file, input) {
                Ok(()) => eprintln!("play it again: cellvisor-fuzz {name} {file}"),
                Err(why) => eprintln!("cannot write {file}: {why}"),
            }
        }
    }));
}

/// Feeds a target for so long, and says how many inputs that were.
fn fuzz(name: &'static str, target: Target, time: Duration, seed: u64) -> u64 {
    let mut mutator = Mutator::new(Random::new(seed), corpus(name));
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        let input = mutator.next_input();
        if let Ok(mut played) = PLAYED.lock() {
            *played = (name, input.clone());
        }
        target(&input);
        count += 1;
    }
    count
}

/// The target's first inputs; any bytes do where there are none.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    if name == "wire" {
        return targets::wire::examples();
    }
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files.map(|file| file.path()).collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each target takes its corpus and some thousand inputs.
    #[test]
    fn every_target_takes_anything() {
        for (name, target) in TARGETS {
            let mut mutator = Mutator::new(Random::new(7), corpus(name));
            let is_slow = matches!(name, "slice" | "host" | "machine");
            let rounds = if is_slow { 20 } else { 300 };
            for input in corpus(name) {
                target(&input);
            }
            (0..rounds).for_each(|_| target(&mutator.next_input()));
        }
    }
}
