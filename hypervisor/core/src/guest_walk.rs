//! Walks a guest's page tables, to find the bytes of an instruction.
//!
//! Only reads; access rights are not checked, for the guest's CPU has just done
//! that. What the guest writes into its tables can make the walk fail or end at
//! another of its own addresses, and nothing else.
//!
//! Spec: SDM 3A, "Paging"; APM 2, "Page Translation and Protection".

/// Control registers that decide how linear addresses translate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// CR0 (PG).
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4 (PSE, PAE, LA57).
    pub cr4: u64,
    /// IA32_EFER (LMA).
    pub efer: u64,
}

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

const PRESENT: u64 = 1 << 0;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Guest-physical address for the linear address `gva`; `None` where nothing
/// is mapped or `read` fails.
///
/// `read` gets a guest-physical address that is a multiple of 8 and returns
/// the eight bytes there.
#[must_use]
pub fn walk(paging: &Paging, gva: u64, read: &mut dyn FnMut(u64) -> Option<u64>) -> Option<u64> {
    if paging.cr0 & CR0_PG == 0 {
        return Some(gva & 0xffff_ffff);
    }
    if paging.efer & EFER_LMA != 0 {
        let levels = if paging.cr4 & CR4_LA57 == 0 { 4 } else { 5 };
        return walk_wide(paging.cr3 & ADDRESS, levels, gva, read);
    }
    let gva = gva & 0xffff_ffff;
    if paging.cr4 & CR4_PAE == 0 {
        return walk_narrow(paging, gva, read);
    }
    // The four entries of the top level are aligned to 32 bytes only.
    let top = read((paging.cr3 & 0xffff_ffe0) + (gva >> 30) * 8)?;
    if top & PRESENT == 0 {
        return None;
    }
    walk_wide(top & ADDRESS, 2, gva, read)
}

/// Tables of 512 entries of eight bytes, so many levels of them.
fn walk_wide(
    root: u64,
    levels: u32,
    gva: u64,
    read: &mut dyn FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    const LAST: u32 = 12;
    const LARGEST: u32 = 30;
    let mut table = root;
    let mut shift = LAST + 9 * (levels - 1);
    loop {
        let entry = read(table + (gva >> shift & 0x1ff) * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        if shift == LAST || (entry & LARGE != 0 && shift <= LARGEST) {
            let offset = (1 << shift) - 1;
            return Some(entry & ADDRESS & !offset | gva & offset);
        }
        table = entry & ADDRESS;
        shift -= 9;
    }
}

/// 32-bit paging: two levels of 1,024 entries of four bytes.
fn walk_narrow(paging: &Paging, gva: u64, read: &mut dyn FnMut(u64) -> Option<u64>) -> Option<u64> {
    let mut entry = |table: u64, index: u64| {
        let address = table + index * 4;
        let both = read(address & !7)?;
        let entry = both >> (address % 8 * 8) & 0xffff_ffff;
        (entry & PRESENT != 0).then_some(entry)
    };
    let directory = entry(paging.cr3 & 0xffff_f000, gva >> 22)?;
    if directory & LARGE != 0 && paging.cr4 & CR4_PSE != 0 {
        // PSE-36: bits 20:13 are address bits 39:32.
        let high = (directory >> 13 & 0xff) << 32;
        return Some(high | directory & 0xffc0_0000 | gva & 0x3f_ffff);
    }
    let page = entry(directory & 0xffff_f000, gva >> 12 & 0x3ff)?;
    Some(page & 0xffff_f000 | gva & 0xfff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Guest memory as a map of eight-byte words.
    #[derive(Default)]
    struct Memory(BTreeMap<u64, u64>);

    impl Memory {
        fn with(words: &[(u64, u64)]) -> Self {
            Self(words.iter().copied().collect())
        }

        fn walk(&self, paging: &Paging, gva: u64) -> Option<u64> {
            walk(paging, gva, &mut |address| {
                assert_eq!(address % 8, 0);
                self.0.get(&address).copied()
            })
        }
    }

    const LONG: Paging = Paging {
        cr0: CR0_PG,
        cr3: 0x1000,
        cr4: CR4_PAE,
        efer: EFER_LMA,
    };

    #[test]
    fn without_paging_addresses_stay() {
        let off = Paging::default();
        assert_eq!(walk(&off, 0x1_2345_6789, &mut |_| None), Some(0x2345_6789));
    }

    #[test]
    fn four_levels_with_pages_of_all_sizes() {
        // Indices 1, 2, 3, 4, offset 0x567.
        let gva = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x567;
        let mut memory = Memory::with(&[
            (0x1008, 0x2003),
            (0x2010, 0x3003),
            (0x3018, 0x4003),
            (0x4020, 0x8000_0000_0abc_d063),
        ]);
        assert_eq!(memory.walk(&LONG, gva), Some(0x0abc_d567));
        memory.0.insert(0x3018, 0x4000_00e3);
        assert_eq!(memory.walk(&LONG, gva), Some(0x4000_4567), "2 MiB");
        memory.0.insert(0x2010, 0x1_0000_10e3);
        assert_eq!(
            memory.walk(&LONG, gva),
            Some(0x1_0000_0000 + (3 << 21) + 0x4567),
            "1 GiB; the PAT bit is no address bit"
        );
        memory.0.insert(0x1008, 0x2002);
        assert_eq!(memory.walk(&LONG, gva), None, "not present");
    }

    #[test]
    fn fifth_level_only_with_la57() {
        let five = Paging {
            cr4: CR4_PAE | CR4_LA57,
            ..LONG
        };
        let gva = 5 << 48 | 0x1234;
        let memory = Memory::with(&[(0x1028, 0x2001), (0x2000, 0x3001), (0x3000, 0x0081)]);
        assert_eq!(memory.walk(&five, gva), Some(0x1234));
        assert_eq!(memory.walk(&LONG, gva), None);
    }

    #[test]
    fn pae_starts_at_any_multiple_of_32() {
        let pae = Paging {
            cr3: 0x1060,
            efer: 0,
            ..LONG
        };
        let memory = Memory::with(&[(0x1078, 0x2001), (0x2ff8, 0xf_ffe0_0083)]);
        assert_eq!(memory.walk(&pae, 0xffff_ffff), Some(0xf_ffff_ffff));
    }

    #[test]
    fn two_levels_of_32_bits() {
        let narrow = Paging {
            cr4: CR4_PSE,
            efer: 0,
            ..LONG
        };
        // Directory entry 3 is the upper half of the word at 0x1008.
        let memory = Memory::with(&[
            (0x1008, 0x2001 << 32),
            (0x2000, 0x5001 << 32),
            (0x1010, 0x0080_0000 | 0x83 | 0x12 << 13),
        ]);
        assert_eq!(memory.walk(&narrow, 0x00c0_1abc), Some(0x5abc));
        assert_eq!(memory.walk(&narrow, 0x0101_2345), Some(0x12_0081_2345));
    }

    proptest! {
        #[test]
        fn any_tables_are_walked_within_bounds(cr0: u64, cr3: u64, cr4: u64, efer: u64, gva: u64, entry: u64) {
            let mut reads = 0;
            let paging = Paging { cr0, cr3, cr4, efer };
            let found = walk(&paging, gva, &mut |address| {
                reads += 1;
                assert!(address < 1 << 52 && address.is_multiple_of(8));
                Some(entry)
            });
            prop_assert!(reads <= 5);
            prop_assert!(found.is_none_or(|gpa| gpa < 1 << 52));
        }
    }

    #[test]
    fn without_long_mode_addresses_have_32_bits() {
        let pae = Paging { efer: 0, ..LONG };
        // Entry 0 of the top level is absent, 1 present.
        let memory = Memory::with(&[(0x1000, 0x2000), (0x1008, 0x3001), (0x3000, 0x8000_0083)]);
        assert_eq!(memory.walk(&pae, 0x1_4000_0000), Some(0x8000_0000));
        assert_eq!(memory.walk(&pae, 0), None, "not present");
        // PSE off: the size bit is ignored.
        let narrow = Paging {
            cr4: 0,
            efer: 0,
            ..LONG
        };
        let memory = Memory::with(&[(0x1000, 0x2081), (0x2000, 0x7001)]);
        assert_eq!(memory.walk(&narrow, 0x123), Some(0x7123));
        let wide = Paging {
            cr4: CR4_PSE,
            ..narrow
        };
        assert_eq!(memory.walk(&wide, 0x123), Some(1 << 32 | 0x123), "4 MiB");
    }
}
