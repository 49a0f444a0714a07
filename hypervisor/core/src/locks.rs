//! Locks of the monitor: the order in which a CPU may ask for them, and the turns in
//! which CPUs get them.

use core::sync::atomic::{AtomicU32, Ordering};

macro_rules! ranks {
    ($($(#[$doc:meta])* $rank:ident = $name:literal,)*) => {
        /// What a lock guards. Whoever holds one asks only for those further down.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rank {
            $($(#[$doc])* $rank,)*
        }

        impl Rank {
            /// All, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$rank),*];

            /// The words that a log has for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rank => $name,)*
                }
            }
        }
    };
}

ranks! {
    /// The buffer of hypercalls, and with it all calls but *leave*.
    Calls = "hypercalls",
    /// PCI functions of a cell.
    Functions = "functions of a cell",
    /// Which functions are cells'.
    Given = "functions of all cells",
    /// State of a cell.
    Life = "life of a cell",
    /// How a cell boots.
    Boot = "start of a cell",
    /// The vector by which the root is told of changes.
    Watch = "watch",
    /// A network adapter, as its own cell uses it.
    Adapter = "adapter",
    /// What a network adapter receives.
    Receiver = "receiver of frames",
    /// Pages that a cell shares by its Extended Socket.
    Socket = "socket of a cell",
    /// Registers of all Extended Sockets of a link.
    Members = "members of a link",
    /// Virtual devices of a cell.
    Devices = "devices of a cell",
    /// The machine's I/O APICs.
    IoApics = "I/O APICs",
    /// IOMMU units.
    Units = "IOMMU units",
    /// Second-level tables of a cell or of the root.
    Space = "address space",
    /// Who has which page and port.
    Owners = "owners",
    /// The two ports of configuration space.
    ConfigPorts = "configuration ports",
    /// The monitor's own page tables.
    Tables = "page tables",
    /// Free pages.
    Pool = "page pool",
    /// The log.
    Log = "log",
}

impl Rank {
    /// From its place in the order.
    pub fn from_place(place: u8) -> Option<Self> {
        Self::ALL.get(usize::from(place)).copied()
    }

    /// True if a CPU may ask for this lock while the innermost that it holds is `held`.
    pub fn may_follow(self, held: Option<Self>) -> bool {
        held.is_none_or(|held| held < self)
    }
}

/// Locks that a CPU held, by their ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranks(u32);

impl Ranks {
    /// What is behind these can be half changed when a CPU dies that holds them, and
    /// belongs to more than one cell. What the others guard is one cell's, which
    /// fails, or has no state between two accesses.
    const OF_ALL: Self = Self(
        1 << Rank::Given as u32
            | 1 << Rank::IoApics as u32
            | 1 << Rank::Units as u32
            | 1 << Rank::Space as u32
            | 1 << Rank::Owners as u32
            | 1 << Rank::Tables as u32
            | 1 << Rank::Pool as u32,
    );

    /// From [`Self::bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As a number.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, rank: Rank) -> Self {
        Self(self.0 | 1 << rank as u32)
    }

    /// True if this one is among them.
    pub const fn has(self, rank: Rank) -> bool {
        self.0 & 1 << rank as u32 != 0
    }

    /// The one of them that was asked for last, if all were in order.
    pub fn innermost(self) -> Option<Rank> {
        let place = u32::BITS.checked_sub(1 + self.0.leading_zeros())?;
        Rank::from_place(place as u8)
    }

    /// What is lost to all when a CPU dies that holds these: nothing is given to
    /// anybody, or taken, by what they guard any more. A call that was under way may
    /// have taken a part of what it was to take, which nobody knows any more.
    #[must_use]
    pub const fn damage(self) -> Self {
        Self(self.0 & (Self::OF_ALL.0 | 1 << Rank::Calls as u32))
    }
}

/// Who is served when: CPUs get a lock in the order in which they ask.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Turns {
    next: AtomicU32,
    serving: AtomicU32,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(pub u32);

impl Turns {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
        }
    }

    /// Takes a place in the line. Whoever has one must pass it on when it has come.
    pub fn ask(&self) -> Turn {
        Turn(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes the first place if nobody is in the line.
    pub fn ask_if_free(&self) -> bool {
        let now = self.serving.load(Ordering::Acquire);
        let next = now.wrapping_add(1);
        self.next
            .compare_exchange(now, next, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// True if the turn has come.
    pub fn is_up(&self, turn: Turn) -> bool {
        self.serving.load(Ordering::Acquire) == turn.0
    }

    /// Lets the next one have it. Only whose turn it is may do so.
    pub fn pass_on(&self) {
        let next = self.serving.load(Ordering::Relaxed).wrapping_add(1);
        self.serving.store(next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::vec::Vec;

    #[test]
    fn places_are_those_of_the_order() {
        for (place, rank) in (0..).zip(Rank::ALL) {
            assert_eq!(*rank as u8, place);
            assert_eq!(Rank::from_place(place), Some(*rank));
        }
        assert_eq!(Rank::from_place(Rank::ALL.len() as u8), None);
    }

    #[test]
    fn a_lock_follows_those_before_it_only() {
        assert!(Rank::Units.may_follow(None));
        assert!(Rank::Units.may_follow(Some(Rank::Functions)));
        assert!(
            !Rank::Functions.may_follow(Some(Rank::Units)),
            "the order turned round"
        );
        assert!(
            !Rank::Space.may_follow(Some(Rank::Space)),
            "a second one of a kind"
        );
        for held in Rank::ALL {
            assert_eq!(Rank::Log.may_follow(Some(*held)), *held != Rank::Log);
            assert!(!Rank::Calls.may_follow(Some(*held)));
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<&str> = Rank::ALL.iter().map(|rank| rank.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rank::ALL.len());
    }

    #[test]
    fn what_is_one_cells_does_no_damage_to_all() {
        let of = |ranks: &[Rank]| {
            ranks
                .iter()
                .fold(Ranks::default(), |all, rank| all.with(*rank))
        };
        let harmless = [
            Rank::Functions,
            Rank::Life,
            Rank::Devices,
            Rank::Boot,
            Rank::Watch,
            Rank::Adapter,
            Rank::Receiver,
            Rank::Socket,
            Rank::Members,
            Rank::ConfigPorts,
            Rank::Log,
        ];
        assert_eq!(of(&harmless).damage(), Ranks::default());
        for rank in Rank::ALL.iter().filter(|rank| !harmless.contains(rank)) {
            let held = of(&harmless).with(*rank);
            assert_eq!(held.damage(), Ranks::default().with(*rank));
            assert!(held.has(*rank));
            assert_eq!(Ranks::from_bits(held.bits()), held);
        }
    }

    #[test]
    fn the_innermost_comes_last_in_the_order() {
        assert_eq!(Ranks::default().innermost(), None);
        let mut held = Ranks::default();
        for rank in Rank::ALL {
            held = held.with(*rank);
            assert_eq!(held.innermost(), Some(*rank));
        }
    }

    #[test]
    fn turns_come_in_the_order_of_asking() {
        // Numbers start anew after the last one.
        let turns = Turns {
            next: AtomicU32::new(u32::MAX),
            serving: AtomicU32::new(u32::MAX),
        };
        let (first, second) = (turns.ask(), turns.ask());
        assert!(turns.is_up(first) && !turns.is_up(second));
        assert!(!turns.ask_if_free());
        turns.pass_on();
        assert!(turns.is_up(second) && !turns.is_up(first));
        assert!(!turns.ask_if_free());
        turns.pass_on();
        assert!(turns.ask_if_free() && !turns.ask_if_free());
    }

    #[test]
    fn one_at_a_time_has_its_turn() {
        const EACH: u64 = 2_000;
        let (turns, count) = (Turns::new(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let turn = turns.ask();
                        while !turns.is_up(turn) {
                            std::thread::yield_now();
                        }
                        // Two at once would lose a step.
                        let now = count.load(Ordering::Relaxed);
                        count.store(now + 1, Ordering::Relaxed);
                        turns.pass_on();
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 3 * EACH);
    }
}
