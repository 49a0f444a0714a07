//! Failures that tests provoke, in images that are built with the feature `provoke`.
//!
//! Each step of the monitor that may fail for want of memory or of an answer asks here
//! whether it is to fail this time. A test names the n-th step from now; after that one
//! nothing fails any more. Steps count that are part of entering, or of a call on the CPU
//! that makes it: what the root does by itself meanwhile is not to fail. In other images
//! nothing is asked, and no step fails.
//!
//! Source: SDM 2A, "CPUID".

/// A step that may fail, by its reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The pool has no page.
    Page = 1,
    /// The map of owners is full.
    Owner = 2,
    /// A CPU does not answer.
    Answer = 3,
    /// A unit of the IOMMU does not answer.
    Unit = 4,
}

#[cfg(not(feature = "provoke"))]
pub(crate) use never::{after, during, end, fails, order};
#[cfg(feature = "provoke")]
pub(crate) use turns::{after, during, end, fails, order};

#[cfg(not(feature = "provoke"))]
mod never {
    use super::Step;

    /// No step fails.
    pub(crate) const fn fails(_: Step) -> bool {
        false
    }

    /// No step of this fails.
    pub(crate) fn during<T>(f: impl FnOnce() -> T) -> T {
        f()
    }

    /// There is no such order.
    pub(crate) const fn order(_: u64, _: u64) -> Option<u64> {
        None
    }

    /// Nothing is counted.
    pub(crate) const fn after(_: u32) {}

    /// Nothing was counted.
    pub(crate) const fn end() {}
}

#[cfg(feature = "provoke")]
mod turns {
    use super::Step;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// RAX of the hypercall that gives the order, far from the codes of calls: "fail".
    const ORDER: u64 = 0x6661_696c;

    /// Steps until one fails, that one included; 0 for none.
    static LEFT: AtomicU32 = AtomicU32::new(0);

    /// The step that failed last; 0 if none has since the last order.
    static FAILED: AtomicU32 = AtomicU32::new(0);

    /// Whose steps count: nobody's, everybody's, or those of the CPU with the APIC id
    /// that is one less.
    static WHO: AtomicU32 = AtomicU32::new(NOBODY);
    const NOBODY: u32 = 0;
    const EVERYBODY: u32 = u32::MAX;

    /// This CPU's APIC id plus one.
    fn own() -> u32 {
        raw_cpuid::native_cpuid::cpuid_count(0xb, 0).edx + 1
    }

    /// Steps of this CPU count while `f` runs.
    pub(crate) fn during<T>(f: impl FnOnce() -> T) -> T {
        WHO.store(own(), Ordering::Release);
        let result = f();
        WHO.store(NOBODY, Ordering::Release);
        result
    }

    /// True for the step whose turn it is.
    pub(crate) fn fails(step: Step) -> bool {
        let who = WHO.load(Ordering::Acquire);
        if who != EVERYBODY && who != own() {
            return false;
        }
        let left = LEFT.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(1)
        });
        let now = left == Ok(1);
        if now {
            FAILED.store(step as u32, Ordering::Release);
        }
        now
    }

    fn set(steps: u32) {
        FAILED.store(0, Ordering::Release);
        LEFT.store(steps, Ordering::Release);
    }

    /// The `steps`-th step of entering fails, on whichever CPU it is.
    pub(crate) fn after(steps: u32) {
        set(steps);
        WHO.store(EVERYBODY, Ordering::Release);
    }

    /// Entering is over.
    pub(crate) fn end() {
        LEFT.store(0, Ordering::Release);
        WHO.store(NOBODY, Ordering::Release);
    }

    /// Serves the hypercall: RDI says which step of the calls from now on fails, 0 for none. The answer is the
    /// step that failed since the last order, by its number.
    pub(crate) fn order(code: u64, steps: u64) -> Option<u64> {
        if code != ORDER {
            return None;
        }
        let failed = FAILED.load(Ordering::Acquire);
        set(u32::try_from(steps).unwrap_or(0));
        Some(failed.into())
    }
}
