//! Nested page tables of AMD-V: the ordinary 64-bit page tables.
//!
//! Spec: APM 2, "Nested Paging". Nested walks are user accesses, so U/S is
//! always set. The tables have as many levels as the host's own (CR4.LA57 at
//! the time of VMRUN).
//!
//! Only WB and UC are kept: they are entries 0 and 3 of the PAT in its power-on
//! state and in Linux's alike. All other types become WB here, which leaves the
//! decision to the MTRRs: those apply to nested paging's results as well.

use super::{Attr, EntryFormat, MemType};
use crate::addr::Hpa;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
/// Set from the start: the CPU then has no reason to write to the tables.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Nested page tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Npt {
    /// Four levels.
    #[default]
    Level4,
    /// Five levels: the host runs with CR4.LA57.
    Level5,
}

impl EntryFormat for Npt {
    fn levels(&self) -> u8 {
        match self {
            Self::Level4 => 4,
            Self::Level5 => 5,
        }
    }

    fn leaf(&self, hpa: Hpa, level: u8, attr: Attr) -> u64 {
        if !(attr.read || attr.write || attr.execute) {
            return 0;
        }
        let mut entry = hpa.0 | PRESENT | USER | ACCESSED;
        if attr.write {
            entry |= WRITE | DIRTY;
        }
        if !attr.execute {
            entry |= NO_EXECUTE;
        }
        if attr.mem_type == MemType::Uncached {
            entry |= WRITE_THROUGH | CACHE_DISABLE;
        }
        if level > 1 {
            entry |= LARGE;
        }
        entry
    }

    fn table(&self, hpa: Hpa, _level: u8) -> u64 {
        hpa.0 | PRESENT | WRITE | USER | ACCESSED
    }

    fn present(&self, entry: u64) -> bool {
        entry & PRESENT != 0
    }

    fn is_leaf(&self, entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn attr(&self, entry: u64, _level: u8) -> Attr {
        Attr {
            read: true,
            write: entry & WRITE != 0,
            execute: entry & NO_EXECUTE == 0,
            mem_type: if entry & CACHE_DISABLE == 0 {
                MemType::WriteBack
            } else {
                MemType::Uncached
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_the_manual() {
        let npt = Npt::Level4;
        assert_eq!(npt.leaf(Hpa(0x1234_5000), 1, Attr::RAM), 0x1234_5067);
        assert_eq!(npt.leaf(Hpa(0x4000_0000), 3, Attr::RAM), 0x4000_00e7);
        assert_eq!(
            npt.leaf(Hpa(0xfec0_0000), 2, Attr::DEVICE),
            0x8000_0000_fec0_00ff
        );
        assert_eq!(npt.table(Hpa(0x7000), 2), 0x7027);
    }
}
