//! The local APIC's timer, against the TSC.

use crate::interrupts::TIMER;
use crate::{apic, interrupts};

/// Timer ticks that the calibration takes.
const SAMPLE: u32 = 1_000_000;

/// Cycles of the TSC for each tick of the timer, times 2^16.
#[derive(Clone, Copy, Debug)]
pub struct Rate(u64);

/// The time stamp counter.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: reading the TSC changes nothing.
    unsafe { core::arch::x86_64::_rdtsc() }
}

impl Rate {
    /// Measures how fast the timer counts.
    #[must_use]
    pub fn measure() -> Self {
        apic::count_down(u32::MAX, None);
        let (start, first) = (tsc(), apic::count());
        let mut now = first;
        while first.wrapping_sub(now) < SAMPLE {
            now = apic::count();
        }
        let cycles = tsc() - start;
        Self((cycles << 16) / u64::from(first.wrapping_sub(now)).max(1))
    }

    /// Cycles of the TSC that `ticks` take.
    #[must_use]
    pub const fn cycles(self, ticks: u32) -> u64 {
        (ticks as u64 * self.0) >> 16
    }
}

/// Sets the timer, waits for it at rest, and returns how many cycles of the TSC after
/// its time it came; 0 if it came early, as the rate is measured.
pub fn lateness(ticks: u32, rate: Rate) -> u64 {
    interrupts::expect();
    let due = tsc() + rate.cycles(ticks);
    apic::count_down(ticks, Some(TIMER));
    interrupts::wait().saturating_sub(due)
}
