//! How late a timer comes, and how long an interrupt takes from one CPU to the next,
//! in cycles of the TSC: what a real-time program of a cell has to reckon with.

#![no_std]
#![no_main]

use cellvisor_cell::{Machine, apic, cpus, entry, interrupts, say, timer};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

entry!(main);

/// Samples of each kind.
const SAMPLES: u32 = 500;
/// Ticks of the timer between two of them.
const TICKS: u32 = 20_000;

/// Samples by the number of bits that they have.
struct Histogram {
    kind: &'static str,
    bits: [u32; 65],
    least: u64,
    most: u64,
}

impl Histogram {
    const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            bits: [0; 65],
            least: u64::MAX,
            most: 0,
        }
    }

    fn add(&mut self, cycles: u64) {
        let bits = (64 - cycles.leading_zeros()) as usize;
        if let Some(count) = self.bits.get_mut(bits) {
            *count += 1;
        }
        self.least = self.least.min(cycles);
        self.most = self.most.max(cycles);
    }

    /// Prints it: a line for each power of two that has samples, then the sum.
    fn print(&self) {
        let mut all = 0;
        for (bits, count) in self
            .bits
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            say!("cell: {} below 2^{bits} cycles: {count}", self.kind);
            all += count;
        }
        let (kind, least, most) = (self.kind, self.least, self.most);
        say!("cell: {kind} samples={all} least={least} most={most}");
    }
}

/// The second CPU waits for messages.
static LISTENS: AtomicBool = AtomicBool::new(false);
static HEARD: AtomicU32 = AtomicU32::new(0);
/// When the last message came.
static CAME: AtomicU64 = AtomicU64::new(0);

fn listen() {
    for _ in 0..SAMPLES {
        interrupts::expect();
        LISTENS.store(true, SeqCst);
        CAME.store(interrupts::wait(), SeqCst);
        HEARD.fetch_add(1, SeqCst);
    }
}

fn main(machine: &Machine) {
    let rate = timer::Rate::measure();
    let mut timers = Histogram::new("timer");
    for _ in 0..SAMPLES {
        timers.add(timer::lateness(TICKS, rate));
    }
    timers.print();

    let mut messages = Histogram::new("ipi");
    let up = cpus::start(machine, |cpu| {
        if cpu == 1 {
            listen()
        }
    });
    if up > 1 {
        for sample in 0..SAMPLES {
            while !LISTENS.swap(false, SeqCst) {}
            let sent = timer::tsc();
            apic::send(1, interrupts::MESSAGE);
            while HEARD.load(SeqCst) == sample {}
            messages.add(CAME.load(SeqCst).saturating_sub(sent));
        }
        messages.print();
    }
    say!("cell: done status={}", u8::from(!cpus::join()));
}
