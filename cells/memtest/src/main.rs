//! Tests a cell's memory with all its CPUs: each pattern is written, each CPU a share
//! of it, and checked by another CPU than the one that wrote it. Says how far it is,
//! and a verdict before it powers the cell off.
//!
//! The word `plant=PATTERN` of the command line changes one bit between writing and
//! checking: who tests the tester sees it fail.

#![no_std]
#![no_main]

use cellvisor_cell::{Machine, cpus, entry, ram, say, timer};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use spin::Mutex;

entry!(main);

/// What is written, one after the other.
const PATTERNS: [Pattern; 7] = [
    Pattern::Same("zeros", 0),
    Pattern::Same("ones", u64::MAX),
    Pattern::Same("fives", 0x5555_5555_5555_5555),
    Pattern::Same("tens", 0xaaaa_aaaa_aaaa_aaaa),
    Pattern::Address,
    Pattern::Inverse,
    Pattern::Random,
];

/// Stretches of RAM that a cell can have.
const MOST: usize = 32;
/// Words between two signs of life of a CPU: 1 MiB.
const STEP: usize = 1 << 17;
/// Cycles of the TSC without a sign of life until the others are given up.
const PATIENCE: u64 = 60_000_000_000;
/// Wrong words that are told one by one.
const TOLD: u64 = 8;

static MEMORY: Mutex<[&[AtomicU64]; MOST]> = Mutex::new([&[]; MOST]);
/// CPUs that test; 0 until all of them are up.
static TESTERS: AtomicU32 = AtomicU32::new(0);
/// Number of the pattern that is spoilt, counted from 1.
static PLANTED: AtomicU32 = AtomicU32::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
static SIGNS: AtomicU64 = AtomicU64::new(0);
static ARRIVED: AtomicU32 = AtomicU32::new(0);
/// A CPU was given up: nobody waits any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy)]
enum Pattern {
    /// The same word everywhere, under this name.
    Same(&'static str, u64),
    /// Each word's own address.
    Address,
    /// The same with all bits inverted.
    Inverse,
    /// What looks like noise, different for each address.
    Random,
}

impl Pattern {
    const fn name(self) -> &'static str {
        match self {
            Self::Same(name, _) => name,
            Self::Address => "address",
            Self::Inverse => "inverse",
            Self::Random => "random",
        }
    }

    /// What belongs at an address.
    const fn at(self, address: u64) -> u64 {
        match self {
            Self::Same(_, word) => word,
            Self::Address => address,
            Self::Inverse => !address,
            // Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators".
            Self::Random => {
                let word = address.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                word ^ word >> 31
            }
        }
    }
}

fn main(machine: &Machine) {
    let beyond = look(machine);
    let bytes: usize = MEMORY.lock().iter().map(|words| words.len() * 8).sum();
    if beyond > 0 {
        say!("cell: memtest cannot reach {} MiB", beyond >> 20);
    }
    let mut words = machine.command_line.split(' ');
    let wish = words.find_map(|word| word.strip_prefix("plant="));
    let number = PATTERNS.iter().position(|p| Some(p.name()) == wish);
    PLANTED.store(number.map_or(0, |n| n as u32 + 1), SeqCst);

    let up = cpus::start(machine, work);
    say!("cell: memtest of {} MiB by {up} CPUs", bytes >> 20);
    TESTERS.store(up, SeqCst);
    work(0);

    let wrong = WRONG.load(SeqCst);
    let whole = up == machine.cpus && beyond == 0 && !BROKEN.load(SeqCst);
    let verdict = match (wrong, whole) {
        (0, true) => "good",
        (0, false) => "unfinished",
        _ => "bad",
    };
    say!("cell: memtest verdict={verdict} wrong={wrong}");
    say!("cell: done status={}", u8::from(verdict != "good"));
}

/// Notes the memory to test; returns bytes that cannot be tested.
fn look(machine: &Machine) -> u64 {
    let mut memory = MEMORY.lock();
    let (mut places, mut lost) = (memory.iter_mut(), 0);
    let beyond = ram::free(machine, |words| match places.next() {
        Some(place) => *place = words,
        None => lost += words.len() as u64 * 8,
    });
    beyond + lost
}

/// What each CPU does.
fn work(cpu: u32) {
    while TESTERS.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    for (number, pattern) in (1..).zip(PATTERNS) {
        each_step(cpu, |words| write(words, pattern));
        if !meet() {
            return;
        }
        if cpu == 0 {
            say!("cell: memtest {}: written", pattern.name());
            if PLANTED.load(SeqCst) == number {
                plant();
            }
        }
        if !meet() {
            return;
        }
        // The one that wrote has the words in its own cache.
        each_step(cpu + 1, |words| check(words, pattern, cpu));
        if !meet() {
            return;
        }
        if cpu == 0 {
            let wrong = WRONG.load(SeqCst);
            say!("cell: memtest {}: checked, wrong={wrong}", pattern.name());
        }
    }
}

/// Calls `act` with the share of a CPU of each stretch, in steps.
fn each_step(cpu: u32, act: impl Fn(&[AtomicU64])) {
    let testers = TESTERS.load(SeqCst).max(1);
    let (cpu, testers) = ((cpu % testers) as usize, testers as usize);
    for n in 0..MOST {
        let words = MEMORY.lock().get(n).copied().unwrap_or_default();
        let share = words.len().div_ceil(testers).max(1);
        for step in words
            .chunks(share)
            .nth(cpu)
            .unwrap_or_default()
            .chunks(STEP)
        {
            act(step);
            SIGNS.fetch_add(1, Relaxed);
        }
    }
}

fn write(words: &[AtomicU64], pattern: Pattern) {
    for word in words {
        word.store(pattern.at(address(word)), Relaxed);
    }
}

fn check(words: &[AtomicU64], pattern: Pattern, cpu: u32) {
    for word in words {
        let (is, wanted) = (word.load(Relaxed), pattern.at(address(word)));
        if is != wanted && WRONG.fetch_add(1, SeqCst) < TOLD {
            let (at, name) = (address(word), pattern.name());
            say!("cell: memtest {name}: at {at:#x} CPU {cpu} read {is:#x} for {wanted:#x}");
        }
    }
}

fn address(word: &AtomicU64) -> u64 {
    core::ptr::from_ref(word).addr() as u64
}

/// Changes a bit in the middle of the memory.
fn plant() {
    let memory = MEMORY.lock();
    let largest = memory.iter().max_by_key(|words| words.len());
    if let Some(word) = largest.and_then(|words| words.get(words.len() / 2)) {
        word.fetch_xor(1 << 17, SeqCst);
    }
}

/// Waits until all CPUs are here; false if one is lost.
fn meet() -> bool {
    let testers = TESTERS.load(SeqCst);
    let all = ARRIVED.fetch_add(1, SeqCst) / testers * testers + testers;
    let (mut signs, mut end) = (SIGNS.load(Relaxed), timer::tsc().saturating_add(PATIENCE));
    while ARRIVED.load(SeqCst) < all {
        if BROKEN.load(SeqCst) {
            return false;
        }
        let now = SIGNS.load(Relaxed);
        if now != signs {
            (signs, end) = (now, timer::tsc().saturating_add(PATIENCE));
        } else if timer::tsc() > end {
            BROKEN.store(true, SeqCst);
        }
        core::hint::spin_loop();
    }
    true
}
