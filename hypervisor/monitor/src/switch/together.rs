//! All CPUs enter together, or none does; the same on the way out.
//!
//! What is agreed, and how, is `cellvisor_core::agreement`: each of its steps is
//! one exchange of one word here.

use crate::boot;
use crate::cpu::stack;
use crate::dev::iommu;
use crate::mem::map::Window;
use crate::sync::Micros;
use crate::sync::wait_for;
use cellvisor_core::agreement::{Agreement, Arrival, Verdict};
use core::sync::atomic::{AtomicU32, Ordering};

/// How long CPUs wait for each other, in microseconds.
pub(crate) const PATIENCE: Micros = Micros(15_000_000);
/// How long they wait for the one that takes the IOMMU's units, or gives them
/// back, when all are there. Each command of a unit has a limit of its own.
const WORK: Micros = Micros(60_000_000);

static ENTERING: Shared = Shared(AtomicU32::new(Agreement::NEW.bits()));
static LEAVING: Shared = Shared(AtomicU32::new(Agreement::NEW.bits()));

/// What an agreement comes to, for one of the CPUs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All go on.
    All,
    /// One of the others cannot, or would not wait.
    Back,
    /// This one would not wait.
    Late,
    /// The others had gone back when this one came.
    NotCounted,
}

/// An agreement as all CPUs see it.
struct Shared(AtomicU32);

impl Shared {
    fn now(&self) -> Agreement {
        Agreement::from_bits(self.0.load(Ordering::Acquire))
    }

    /// Takes a step, whatever others do meanwhile, and returns what it gives.
    fn exchange<T>(&self, step: impl Fn(Agreement) -> (Agreement, T)) -> T {
        let word = &self.0;
        let mut now = word.load(Ordering::Acquire);
        loop {
            let (next, result) = step(Agreement::from_bits(now));
            let new = next.bits();
            match word.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return result,
                Err(other) => now = other,
            }
        }
    }

    /// The same with a step that has no other result; the verdict after it.
    fn step(&self, step: impl Fn(Agreement) -> Agreement) -> Option<Verdict> {
        self.exchange(|now| {
            let next = step(now);
            (next, next.verdict())
        })
    }

    /// Comes, fit or not, and waits for all others. The last one does `work` while
    /// they wait, and `undo` if one of them would not.
    fn agree(&self, fit: bool, work: impl FnOnce(), undo: impl FnOnce()) -> Outcome {
        let expected = boot::boot_info().cpu_count;
        let mut in_time = true;
        match self.exchange(|now| now.arrive(expected, fit)) {
            Arrival::TooLate => return Outcome::NotCounted,
            Arrival::Commit => {
                work();
                if self.step(Agreement::committed) != Some(Verdict::Go) {
                    undo();
                }
            }
            Arrival::Wait => in_time = self.wait(),
        }
        if self.now().verdict() == Some(Verdict::Go) {
            Outcome::All
        } else if in_time {
            Outcome::Back
        } else {
            Outcome::Late
        }
    }

    /// Waits for the verdict; false if the time is over.
    fn wait(&self) -> bool {
        let decided = || self.now().verdict().is_some();
        if wait_for(PATIENCE, decided) {
            return true;
        }
        if self.step(Agreement::lose_patience).is_none() {
            // All are here, and the last one works.
            if wait_for(WORK, decided) {
                return true;
            }
            self.step(Agreement::give_up);
        }
        false
    }
}

/// CPUs that have come to enter.
pub(crate) fn ready() -> u32 {
    ENTERING.now().present()
}

/// True when it is settled whether all enter.
pub(crate) fn is_settled() -> bool {
    ENTERING.now().verdict().is_some()
}

/// Waits for all CPUs, the last of which takes the IOMMU's units. One that cannot
/// enter says so with `None`. Nobody departs: another attempt loads the image anew.
pub(crate) fn all_enter(window: Option<&mut Window>) -> Outcome {
    let fit = window.is_some();
    let take = || {
        if let Some(window) = window {
            // SAFETY: the other CPUs wait for the verdict.
            unsafe { stack::on_large_stack(|| iommu::take(window)) };
        }
    };
    ENTERING.agree(fit, take, iommu::give_back)
}

/// Waits until all CPUs have come to leave; true if all have. If not, the next
/// attempt begins when all that came have gone back.
pub(crate) fn all_leave(window: &mut Window) -> bool {
    let outcome = LEAVING.agree(true, iommu::give_back, || iommu::take(window));
    if matches!(outcome, Outcome::Back | Outcome::Late) {
        LEAVING.step(Agreement::depart);
    }
    outcome == Outcome::All
}
