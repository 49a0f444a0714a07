//! Extended page tables of VT-x.
//!
//! Spec: SDM 3C, "EPT Translation Mechanism". Accessed and dirty flags are not
//! used; "ignore PAT" stays clear, so that the guest's PAT has its say.

use super::{Attr, EntryFormat, MemType};
use crate::addr::Hpa;

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const TYPE_SHIFT: u32 = 3;
const LARGE: u64 = 1 << 7;

/// Four-level EPT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ept;

impl Ept {
    /// The EPT pointer for tables at `root`: write-back walks, four levels.
    #[must_use]
    pub const fn pointer(root: Hpa) -> u64 {
        root.0 | (4 - 1) << TYPE_SHIFT | MemType::WriteBack as u64
    }
}

impl EntryFormat for Ept {
    fn levels(&self) -> u8 {
        4
    }

    fn leaf(&self, hpa: Hpa, level: u8, attr: Attr) -> u64 {
        let mut entry = hpa.0 | (attr.mem_type as u64) << TYPE_SHIFT;
        // Write without read is a misconfiguration.
        if attr.read || attr.write {
            entry |= READ;
        }
        if attr.write {
            entry |= WRITE;
        }
        if attr.execute {
            entry |= EXECUTE;
        }
        if level > 1 {
            entry |= LARGE;
        }
        entry
    }

    fn table(&self, hpa: Hpa, _level: u8) -> u64 {
        hpa.0 | READ | WRITE | EXECUTE
    }

    fn present(&self, entry: u64) -> bool {
        entry & (READ | WRITE | EXECUTE) != 0
    }

    fn is_leaf(&self, entry: u64, level: u8) -> bool {
        level == 1 || entry & LARGE != 0
    }

    fn attr(&self, entry: u64, _level: u8) -> Attr {
        Attr {
            read: entry & READ != 0,
            write: entry & WRITE != 0,
            execute: entry & EXECUTE != 0,
            mem_type: MemType::from_bits(entry >> TYPE_SHIFT & 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_the_manual() {
        assert_eq!(Ept.leaf(Hpa(0x1234_5000), 1, Attr::RAM), 0x1234_5037);
        assert_eq!(Ept.leaf(Hpa(0x4000_0000), 3, Attr::RAM), 0x4000_00b7);
        assert_eq!(Ept.leaf(Hpa(0xfec0_0000), 2, Attr::DEVICE), 0xfec0_0083);
        assert_eq!(Ept.table(Hpa(0x7000), 2), 0x7007);
        assert_eq!(Ept::pointer(Hpa(0x7000)), 0x701e);
    }

    #[test]
    fn write_only_is_made_readable() {
        let attr = Attr {
            read: false,
            ..Attr::RAM
        };
        assert_eq!(Ept.leaf(Hpa(0), 1, attr) & 7, 7);
    }
}
