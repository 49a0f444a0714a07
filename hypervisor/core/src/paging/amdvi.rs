//! Host page tables of AMD-Vi (version 1).
//!
//! Spec: AMD I/O Virtualization Technology (IOMMU), "I/O Page Tables for Host
//! Translations". Leaves have the default page size of their level (next level
//! 0), which every IOMMU knows.

use super::{Attr, EntryFormat, MemType};
use crate::addr::Hpa;

const PRESENT: u64 = 1 << 0;
const NEXT_SHIFT: u32 = 9;
const NEXT_MASK: u64 = 7 << NEXT_SHIFT;
/// Accesses are coherent whatever the device asks for.
const FORCE_COHERENT: u64 = 1 << 60;
const READ: u64 = 1 << 61;
const WRITE: u64 = 1 << 62;

/// AMD-Vi host tables of four levels (48 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AmdVi;

impl EntryFormat for AmdVi {
    fn levels(&self) -> u8 {
        4
    }

    fn leaf(&self, hpa: Hpa, _level: u8, attr: Attr) -> u64 {
        if !(attr.read || attr.write) {
            return 0;
        }
        let mut entry = hpa.0 | PRESENT;
        if attr.read {
            entry |= READ;
        }
        if attr.write {
            entry |= WRITE;
        }
        if attr.mem_type == MemType::WriteBack {
            entry |= FORCE_COHERENT;
        }
        entry
    }

    fn table(&self, hpa: Hpa, level: u8) -> u64 {
        hpa.0 | PRESENT | READ | WRITE | u64::from(level - 1) << NEXT_SHIFT
    }

    fn present(&self, entry: u64) -> bool {
        entry & PRESENT != 0
    }

    fn is_leaf(&self, entry: u64, _level: u8) -> bool {
        entry & NEXT_MASK == 0
    }

    fn attr(&self, entry: u64, _level: u8) -> Attr {
        Attr {
            read: entry & READ != 0,
            write: entry & WRITE != 0,
            execute: false,
            mem_type: if entry & FORCE_COHERENT != 0 {
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
        assert_eq!(
            AmdVi.leaf(Hpa(0x1234_5000), 1, Attr::RAM),
            0x7000_0000_1234_5001
        );
        assert_eq!(
            AmdVi.leaf(Hpa(0xfec0_0000), 2, Attr::DEVICE),
            0x6000_0000_fec0_0001
        );
        assert_eq!(AmdVi.table(Hpa(0x7000), 2), 0x6000_0000_0000_7201);
        assert_eq!(AmdVi.table(Hpa(0x7000), 4), 0x6000_0000_0000_7601);
    }
}
