//! Second-level tables of VT-d.
//!
//! Spec: VT-d, "Second-Stage Paging Entries".

use super::{Attr, EntryFormat, MemType};
use crate::addr::Hpa;

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const SNOOP: u64 = 1 << 11;

/// Adjusted guest address widths (CAP.SAGAW).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// 39 bits, three levels.
    Bits39,
    /// 48 bits, four levels.
    #[default]
    Bits48,
    /// 57 bits, five levels.
    Bits57,
}

impl Width {
    /// Value of a context entry's address-width field, which is also the bit
    /// number in CAP.SAGAW.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Bits39 => 1,
            Self::Bits48 => 2,
            Self::Bits57 => 3,
        }
    }
}

/// VT-d second-level tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vtd {
    /// Address width.
    pub width: Width,
    /// Leaves force snooping. Only where ECAP.SC is set: the bit is reserved
    /// elsewhere.
    pub snoop: bool,
}

impl EntryFormat for Vtd {
    fn levels(&self) -> u8 {
        self.width.code() + 2
    }

    fn leaf(&self, hpa: Hpa, level: u8, attr: Attr) -> u64 {
        if !(attr.read || attr.write) {
            return 0;
        }
        let mut entry = hpa.0;
        if attr.read {
            entry |= READ;
        }
        if attr.write {
            entry |= WRITE;
        }
        if level > 1 {
            entry |= LARGE;
        }
        if self.snoop {
            entry |= SNOOP;
        }
        entry
    }

    fn table(&self, hpa: Hpa, _level: u8) -> u64 {
        hpa.0 | READ | WRITE
    }

    fn present(&self, entry: u64) -> bool {
        entry & (READ | WRITE) != 0
    }

    fn is_leaf(&self, entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn attr(&self, entry: u64, _level: u8) -> Attr {
        Attr {
            read: entry & READ != 0,
            write: entry & WRITE != 0,
            execute: false,
            mem_type: MemType::WriteBack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_the_manual() {
        let plain = Vtd::default();
        let snooping = Vtd {
            width: Width::Bits39,
            snoop: true,
        };
        assert_eq!(plain.leaf(Hpa(0x1234_5000), 1, Attr::RAM), 0x1234_5003);
        assert_eq!(snooping.leaf(Hpa(0x4000_0000), 3, Attr::RAM), 0x4000_0883);
        assert_eq!(snooping.table(Hpa(0x7000), 2), 0x7003, "reserved in tables");
        assert_eq!((plain.levels(), snooping.levels()), (4, 3));
    }
}
