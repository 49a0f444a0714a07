//! What a fault of the monitor itself costs, and whom.

use crate::locks::{Rank, Ranks};
use cellvisor_abi::call::Code;

/// Faults on one CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    exits: u64,
    /// How many came without an exit of a guest in between.
    repeated: u8,
}

/// How many may come without an exit in between: what a CPU does by itself, for others,
/// is tried once more.
const TRIES: u8 = 3;

impl Faults {
    /// Notes a fault of a CPU that has counted so many exits; false if the CPU would go
    /// round in a circle, and has to stop for good.
    pub fn goes_on(&mut self, exits: u64) -> bool {
        if self.exits != exits {
            *self = Self { exits, repeated: 0 };
        }
        self.repeated = self.repeated.saturating_add(1);
        self.repeated < TRIES
    }
}

/// Who learns of a fault, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The cell whose CPU it was fails.
    CellFails,
    /// The root's call gets a status.
    Status,
    /// The root's instruction gets an exception.
    Exception,
    /// The root's CPU did nothing to it: the log says so.
    Log,
}

/// What follows from a fault on a CPU of the root or of a cell, that was carrying out
/// an exit or not, and held these locks.
pub const fn consequence(is_root: bool, in_exit: bool, held: Ranks) -> Consequence {
    if !is_root {
        Consequence::CellFails
    } else if !in_exit {
        Consequence::Log
    } else if held.has(Rank::Calls) {
        Consequence::Status
    } else {
        Consequence::Exception
    }
}

/// True if a call is refused where this is damaged: all that would give anything to
/// anybody. Cells that run go on, and can be looked at and stopped.
pub const fn refuses(damage: Ranks, code: Code) -> bool {
    damage.bits() != 0
        && matches!(
            code,
            Code::CellCreate
                | Code::CellStart
                | Code::CellReload
                | Code::CellShow
                | Code::CellDestroy
                | Code::CellsEnd
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_gets_nowhere_stops() {
        let mut faults = Faults::default();
        assert!(faults.goes_on(5) && faults.goes_on(5) && !faults.goes_on(5));
        assert!(!faults.goes_on(5), "nor later");
    }

    #[test]
    fn one_whose_guest_runs_in_between_goes_on() {
        let mut faults = Faults::default();
        for exits in 1..=1000 {
            assert!(faults.goes_on(exits));
        }
        // Counters begin anew with each owner.
        assert!(faults.goes_on(0) && faults.goes_on(0) && !faults.goes_on(0));
    }

    #[test]
    fn a_cell_fails_alone_and_the_root_is_told() {
        let (none, call) = (Ranks::default(), Ranks::default().with(Rank::Calls));
        for in_exit in [false, true] {
            for held in [none, call] {
                assert_eq!(consequence(false, in_exit, held), Consequence::CellFails);
            }
        }
        assert_eq!(consequence(true, true, call), Consequence::Status);
        assert_eq!(consequence(true, true, none), Consequence::Exception);
        assert_eq!(consequence(true, false, none), Consequence::Log);
    }

    #[test]
    fn damage_ends_what_gives_and_takes() {
        let damage = Ranks::default().with(Rank::Owners);
        for code in [Code::CellCreate, Code::CellStart, Code::CellDestroy] {
            assert!(refuses(damage, code));
            assert!(!refuses(Ranks::default(), code));
        }
        for code in [
            Code::CellStatus,
            Code::CellStop,
            Code::LogRead,
            Code::ConsoleRead,
        ] {
            assert!(!refuses(damage, code));
        }
    }
}
