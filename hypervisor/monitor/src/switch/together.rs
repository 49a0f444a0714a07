//! All CPUs enter together, or none does; the same on the way out.

use crate::boot;
use crate::cpu::stack;
use crate::dev::iommu;
use crate::mem::map::Window;
use crate::sync::wait_for;
use core::sync::atomic::{AtomicU32, Ordering};

/// How long CPUs wait for each other, in microseconds.
pub(crate) const PATIENCE_US: u64 = 15_000_000;

pub(crate) static READY: AtomicU32 = AtomicU32::new(0);
pub(crate) static DECISION: AtomicU32 = AtomicU32::new(UNDECIDED);
pub(crate) const UNDECIDED: u32 = 0;
pub(crate) const GO: u32 = 1;
pub(crate) const BACK: u32 = 2;

/// The last CPU is ready: nothing is left that could fail but the others'
/// patience.
pub(crate) fn go(window: &mut Window) {
    // SAFETY: the other CPUs wait for the decision.
    unsafe { stack::on_large_stack(|| iommu::take(window)) };
    decide(GO);
    if DECISION.load(Ordering::Acquire) != GO {
        iommu::give_back();
    }
}

/// Decides, unless it is decided already.
pub(crate) fn decide(what: u32) {
    // A decision that stands is what everybody follows.
    let _ = DECISION.compare_exchange(UNDECIDED, what, Ordering::AcqRel, Ordering::Acquire);
}

/// CPUs that have come to leave together, and the same decision as on the way
/// in. A failed attempt is closed by the last CPU that gives it up.
static LEAVING: AtomicU32 = AtomicU32::new(0);
static LEAVE_DECISION: AtomicU32 = AtomicU32::new(UNDECIDED);
static LEFT_WAITING: AtomicU32 = AtomicU32::new(0);

/// Waits until all CPUs have come to leave; true if all have.
pub(crate) fn all_leave(window: &mut Window) -> bool {
    let expected = boot::boot_info().cpu_count;
    LEFT_WAITING.fetch_add(1, Ordering::AcqRel);
    let decide = |what| {
        let _ =
            LEAVE_DECISION.compare_exchange(UNDECIDED, what, Ordering::AcqRel, Ordering::Acquire);
    };
    if LEAVING.fetch_add(1, Ordering::AcqRel) + 1 == expected {
        iommu::give_back();
        decide(GO);
        if LEAVE_DECISION.load(Ordering::Acquire) != GO {
            iommu::take(window);
        }
    }
    if !wait_for(PATIENCE_US, || {
        LEAVE_DECISION.load(Ordering::Acquire) != UNDECIDED
    }) {
        decide(BACK);
    }
    let go = LEAVE_DECISION.load(Ordering::Acquire) == GO;
    if !go && LEFT_WAITING.fetch_sub(1, Ordering::AcqRel) == 1 {
        LEAVING.store(0, Ordering::Release);
        LEAVE_DECISION.store(UNDECIDED, Ordering::Release);
    }
    go
}
