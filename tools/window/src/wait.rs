//! Waiting for a word that another CPU writes, without leaving the guest; and, where nothing
//! comes for long, asleep for a doorbell.
#![cfg_attr(
    all(target_arch = "x86_64", not(feature = "loom")),
    expect(unsafe_code, reason = "instructions that have no safe function yet")
)]

#[cfg(not(feature = "loom"))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering};

/// Waits a moment, at most until `word` is no more `seen`: asleep where the CPU has UMWAIT,
/// which costs a sibling nothing and does not exit, else for one PAUSE.
///
/// It may return for no reason; whoever waits looks again.
///
/// Spec: SDM 2B "UMWAIT---User Level Monitor Wait".
pub fn for_change(word: &AtomicU64, seen: u64) {
    #[cfg(all(target_arch = "x86_64", not(feature = "loom")))]
    if umwait::is_there() {
        return umwait::for_change(word, seen);
    }
    if word.load(Ordering::Relaxed) == seen {
        core::hint::spin_loop();
    }
}

/// Sleeps until this one is rung, at most so long. It may return for no reason; whoever waits
/// looks again.
#[cfg(feature = "std")]
pub fn for_bell(bell: &dyn crate::doorbell::Bell, most: core::time::Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut rung = [PollFd::from_borrowed_fd(bell.rung(), PollFlags::IN)];
    let Ok(limit) = Timespec::try_from(most) else {
        return;
    };
    // A signal wakes as well.
    let _woken = poll(&mut rung, Some(&limit));
    bell.clear();
}

#[cfg(all(target_arch = "x86_64", not(feature = "loom")))]
mod umwait {
    use super::{AtomicU64, Ordering};
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};
    use core::sync::atomic::AtomicU8;

    /// What is known: nothing yet, no, yes. CPUID exits in a cell, so it is asked once.
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    /// Longest wait, in TSC cycles: some tens of microseconds, so that who waits for
    /// several words, or for not too long, can look.
    const MOST_CYCLES: u64 = 100_000;

    /// WAITPKG, in ECX of leaf 7.
    const WAITPKG: u32 = 1 << 5;

    pub(super) fn is_there() -> bool {
        match KNOWN.load(Ordering::Relaxed) {
            UNKNOWN => {
                let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & WAITPKG != 0;
                KNOWN.store(if has { YES } else { NO }, Ordering::Relaxed);
                has
            }
            known => known == YES,
        }
    }

    pub(super) fn for_change(word: &AtomicU64, seen: u64) {
        // SAFETY: UMONITOR only names an address, which is valid for reads as long as
        // `word` is borrowed; `is_there` has found the instruction.
        unsafe {
            asm!("umonitor {}", in(reg) word.as_ptr(), options(nostack, preserves_flags));
        }
        // What was written before the CPU began to watch would wake nobody.
        if word.load(Ordering::Acquire) != seen {
            return;
        }
        // SAFETY: RDTSC reads the time.
        let until = unsafe { _rdtsc() }.wrapping_add(MOST_CYCLES);
        let (low, high) = (until as u32, (until >> 32) as u32);
        // SAFETY: UMWAIT waits for a write to the watched line or for the deadline in
        // EDX:EAX, in C0.1 (bit 0 of the operand), and changes flags alone.
        unsafe {
            asm!("umwait {0:e}", in(reg) 1u32, in("eax") low, in("edx") high, options(nostack));
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn it_ends_by_itself_and_at_once_when_there_is_news() {
        let word = AtomicU64::new(7);
        let begun = Instant::now();
        for _ in 0..100 {
            for_change(&word, 7);
            for_change(&word, 8);
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn news_of_another_thread_arrive() {
        let word = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=1000 {
                    while word.load(Ordering::Acquire) != 2 * n - 2 {
                        for_change(&word, 2 * n - 3);
                    }
                    word.store(2 * n - 1, Ordering::Release);
                }
            });
            for n in 1..=1000u64 {
                loop {
                    let seen = word.load(Ordering::Acquire);
                    if seen == 2 * n - 1 {
                        break;
                    }
                    for_change(&word, seen);
                }
                word.store(2 * n, Ordering::Release);
            }
        });
        assert_eq!(word.load(Ordering::Relaxed), 2000);
    }
}
