//! Small pieces for state that many CPUs share, and time.
//!
//! Source: SDM 3B, "Time-Stamp Counter".

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

/// A value that is set once while the monitor starts and only read afterwards.
///
/// Those of others wait for who is making the value, and look for one who died at that.
/// Here it is made before.
pub(crate) struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// States of a [`Once`].
const EMPTY: u8 = 0;
const IN_WRITING: u8 = 1;
const SET: u8 = 2;

// SAFETY: the value is written by the one CPU that takes it from `EMPTY`, before all
// that see it `SET`, and is only read from then on.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The value, if it is set.
    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: it is set, and nobody writes it any more.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Sets the value; a second one is dropped.
    pub(crate) fn set(&self, value: T) {
        let (now, then) = (Ordering::Relaxed, Ordering::Relaxed);
        let first = self.state.compare_exchange(EMPTY, IN_WRITING, now, then);
        if first.is_ok() {
            // SAFETY: this CPU alone has taken it from `EMPTY`, and nobody reads it yet.
            unsafe { (*self.value.get()).write(value) };
            self.state.store(SET, Ordering::Release);
        }
    }
}

/// A reference that many CPUs read, and that is there at times.
#[repr(transparent)]
pub(crate) struct Later<T: 'static>(AtomicPtr<T>);

impl<T: Sync> Later<T> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// What was set last.
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: the two below store nothing but references that live as long as the
        // monitor.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Sets it.
    pub(crate) fn set(&self, new: Option<&'static T>) {
        self.0.store(place(new), Ordering::Release);
    }

    /// Sets it if there is nothing yet; false otherwise.
    pub(crate) fn set_first(&self, new: &'static T) -> bool {
        let exchanged = self.0.compare_exchange(
            core::ptr::null_mut(),
            place(Some(new)),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        exchanged.is_ok()
    }
}

fn place<T>(of: Option<&'static T>) -> *mut T {
    of.map_or(core::ptr::null(), core::ptr::from_ref).cast_mut()
}

/// TSC ticks per microsecond; 0 until the plan is known. Data that does not start
/// as 0 would cost the image a page.
static TICKS_PER_US: AtomicU64 = AtomicU64::new(0);

/// Until the plan is known: a fast machine's, so that waits are rather too long.
const FAST_TICKS_PER_US: u64 = 5_000;

/// Sets the length of a microsecond. `khz` is one of `plan::TSC_KHZ`.
pub(crate) fn set_tsc_khz(khz: u32) {
    TICKS_PER_US.store(u64::from(khz / 1000).max(1), Ordering::Relaxed);
}

fn ticks_per_us() -> u64 {
    match TICKS_PER_US.load(Ordering::Relaxed) {
        0 => FAST_TICKS_PER_US,
        ticks => ticks,
    }
}

/// The time stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: RDTSC has no side effect and is always there in long mode.
    unsafe { x86::time::rdtsc() }
}

/// How long ago the TSC had the value `since`.
#[inline(never)] // Each wait asks it, and the image is small.
pub(crate) fn elapsed(since: u64) -> Micros {
    Micros(tsc().wrapping_sub(since) / ticks_per_us())
}

/// Microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) u64);

/// Waits until `done` says so, at most `limit`; false if the
/// time is up.
pub(crate) fn wait_for(limit: Micros, mut done: impl FnMut() -> bool) -> bool {
    let start = tsc();
    loop {
        if done() {
            return true;
        }
        if elapsed(start) > limit {
            return false;
        }
        core::hint::spin_loop();
    }
}
