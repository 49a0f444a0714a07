//! In which order entries change under a unit that reads them at any time.
//!
//! A unit reads an entry as a whole at any time and keeps what it has read; the
//! monitor stores it in halves. So an entry is taken out and forgotten
//! everywhere before its other half changes; only a change within the lower
//! half is one store.

use super::{ContextEntry, Invalidate, Irte};
use heapless::Vec;

/// Half of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 63:0, with the present bit.
    Low,
    /// Bits 127:64.
    High,
}

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store this, visible to the unit before any later step.
    Store(Half, u64),
    /// Queue this.
    Queue(Invalidate),
    /// Queue a wait and wait for it.
    Wait,
}

/// The steps of a change.
pub type Steps = Vec<Step, 12>;

/// Replaces the context entry of `source`. Afterwards no DMA that began under
/// `old` is under way, and the memory of its domain can be given away.
#[must_use]
pub fn context_update(old: ContextEntry, new: ContextEntry, source: u16) -> Steps {
    let mut steps = Steps::new();
    let forget = |domain| {
        [
            Step::Queue(Invalidate::Context { domain, source }),
            Step::Queue(Invalidate::Translations { domain }),
            Step::Wait,
        ]
    };
    let mut plan = |more: &[Step]| {
        // 12 places are enough for the longest plan, of 9 steps.
        let _fits = steps.extend_from_slice(more);
    };
    if old.is_present() {
        plan(&[Step::Store(Half::Low, 0)]);
        plan(&forget(old.domain()));
    }
    plan(&[Step::Store(Half::High, new.high)]);
    if new.is_present() {
        plan(&[Step::Store(Half::Low, new.low)]);
        // Units in caching mode have kept "not present", under domain 0.
        plan(&forget(0));
    }
    steps
}

/// Replaces the interrupt entry with this index. If only its target changes, no
/// interrupt is lost on the way.
#[must_use]
pub fn irte_update(old: Irte, new: Irte, index: u16) -> Steps {
    let mut steps = Steps::new();
    let mut plan = |more: &[Step]| {
        let _fits = steps.extend_from_slice(more);
    };
    let forget = [Step::Queue(Invalidate::Interrupt { index }), Step::Wait];
    if old.high != new.high {
        if old.is_present() {
            plan(&[Step::Store(Half::Low, 0)]);
            plan(&forget);
        }
        plan(&[Step::Store(Half::High, new.high)]);
    }
    plan(&[Step::Store(Half::Low, new.low)]);
    plan(&forget);
    steps
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, Translation};
    use super::*;
    use crate::addr::Hpa;
    use crate::paging::Width;

    /// What a unit can have kept of an entry, and what makes it forget that.
    trait Cached {
        /// The invalidations that are needed, all of them, for it to forget an
        /// entry that reads so.
        fn forgets(entry: (u64, u64)) -> std::vec::Vec<Invalidate>;
    }

    /// The context entry of requester 182H.
    struct Context;

    impl Cached for Context {
        fn forgets((low, high): (u64, u64)) -> std::vec::Vec<Invalidate> {
            // "Caching mode": what is not present is kept under domain 0.
            let domain = if low & 1 == 0 { 0 } else { (high >> 8) as u16 };
            let source = 0x182;
            std::vec![
                Invalidate::Context { domain, source },
                Invalidate::Translations { domain },
            ]
        }
    }

    /// Interrupt entry 7.
    struct Interrupt;

    impl Cached for Interrupt {
        fn forgets(_: (u64, u64)) -> std::vec::Vec<Invalidate> {
            std::vec![Invalidate::Interrupt { index: 7 }]
        }
    }

    /// Carries out the steps. The unit may have cached any state of the entry until it
    /// was told to forget it and a wait was over; each must be `old`, `new`, or
    /// not present.
    fn assert_safe<C: Cached>(steps: &[Step], old: (u64, u64), new: (u64, u64)) {
        let mut entry = old;
        let mut cached = std::vec![old];
        let mut queued = std::vec::Vec::new();
        for step in steps {
            match *step {
                Step::Store(Half::Low, value) => entry.0 = value,
                Step::Store(Half::High, value) => entry.1 = value,
                Step::Queue(what) => queued.push(what),
                Step::Wait => {
                    let kept = |e: &(u64, u64)| !C::forgets(*e).iter().all(|i| queued.contains(i));
                    cached.retain(kept);
                    queued.clear();
                }
            }
            let safe = entry == old || entry == new || entry.0 & 1 == 0;
            assert!(safe, "{step:?} leaves {entry:x?}");
            // A new entry must not be used while the old one may be.
            let ambiguous = cached.contains(&old) && entry.0 & 1 != 0 && entry.1 != old.1;
            assert!(!ambiguous || old.0 & 1 == 0 || old == new, "{step:?}");
            cached.push(entry);
        }
        assert_eq!(entry, new);
        assert_eq!(queued, [], "nobody waits for these");
        // Nothing of the old entry is left in a cache, nor "not present" for a
        // new one that is.
        let same = |e: &(u64, u64)| *e == new || e.0 & 1 == 0 && new.0 & 1 == 0;
        assert!(cached.iter().all(same), "{cached:x?}");
    }

    fn contexts() -> [ContextEntry; 4] {
        let tables =
            |root, domain| ContextEntry::new(Translation::Tables(Hpa(root)), Width::Bits48, domain);
        [
            ContextEntry::BLOCKED,
            tables(0x1000, 1),
            tables(0x2000, 2),
            ContextEntry::new(Translation::PassThrough, Width::Bits48, 3),
        ]
    }

    #[test]
    fn context_entries_never_mix() {
        for old in contexts() {
            for new in contexts() {
                let steps = context_update(old, new, 0x182);
                assert_safe::<Context>(&steps, (old.low, old.high), (new.low, new.high));
            }
        }
    }

    #[test]
    fn interrupt_entries_never_mix() {
        let irtes = [
            Irte::BLOCKED,
            Irte::new(0x182, 0x41, 2, Mode::X2apic),
            Irte::new(0x182, 0x42, 3, Mode::X2apic),
            Irte::new(0x184, 0x41, 2, Mode::X2apic),
        ];
        for old in irtes {
            for new in irtes {
                let steps = irte_update(old, new, 7);
                assert_safe::<Interrupt>(&steps, (old.low, old.high), (new.low, new.high));
            }
        }
    }

    /// VT-d, "Interrupt Remapping Table Entry Programming Considerations": within
    /// one half a store is atomic, and nothing is lost on the way.
    #[test]
    fn moving_an_interrupt_leaves_no_gap() {
        let old = Irte::new(0x182, 0x41, 2, Mode::X2apic);
        let new = Irte::new(0x182, 0x41, 3, Mode::X2apic);
        let forget = Step::Queue(Invalidate::Interrupt { index: 7 });
        let low = |irte: Irte| Step::Store(Half::Low, irte.low);
        let high = |irte: Irte| Step::Store(Half::High, irte.high);
        let steps = |old, new| irte_update(old, new, 7);
        assert_eq!(steps(old, new)[..], [low(new), forget, Step::Wait]);
        // Another source: out first.
        let other = Irte::new(0x184, 0x41, 2, Mode::X2apic);
        let out = [
            low(Irte::BLOCKED),
            forget,
            Step::Wait,
            high(other),
            low(other),
            forget,
            Step::Wait,
        ];
        assert_eq!(steps(old, other)[..], out);
        let fresh = [high(new), low(new), forget, Step::Wait];
        assert_eq!(steps(Irte::BLOCKED, new)[..], fresh);
    }

    #[test]
    fn detaching_drains_the_old_domain() {
        let [blocked, old, new, _] = contexts();
        let source = 0x182;
        let forget = |domain| {
            [
                Step::Queue(Invalidate::Context { domain, source }),
                Step::Queue(Invalidate::Translations { domain }),
                Step::Wait,
            ]
        };
        let out = [&[Step::Store(Half::Low, 0)], &forget(1)[..]].concat();
        let high = |entry: ContextEntry| [Step::Store(Half::High, entry.high)];
        let steps = context_update(old, blocked, source);
        assert_eq!(steps[..], [&out[..], &high(blocked)].concat());
        let fresh = [
            &high(new)[..],
            &[Step::Store(Half::Low, new.low)],
            &forget(0),
        ]
        .concat();
        assert_eq!(context_update(blocked, new, source)[..], fresh);
        assert_eq!(context_update(old, new, source)[..], [out, fresh].concat());
    }
}
