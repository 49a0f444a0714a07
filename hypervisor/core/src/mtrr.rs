//! Memory types by MTRRs, for EPT entries.
//!
//! EPT replaces the MTRRs by its own memory type, so what the firmware and Linux
//! said in MTRRs has to be carried into the tables.
//!
//! Spec: SDM 3A, "Memory Type Range Registers (MTRRs)", "MTRR Precedences".

use crate::few::first;
use crate::paging::MemType;

/// Most variable ranges that are looked at.
pub const MAX_VARIABLE: usize = 16;

/// Fixed-range MTRRs in ascending order of what they cover:
/// IA32_MTRR_FIX64K_00000 (250H), FIX16K_80000 and _A0000 (258H, 259H),
/// FIX4K_C0000 to _F8000 (268H to 26FH).
pub const FIXED: usize = 11;

/// MSR numbers of the fixed ranges.
pub const FIXED_MSRS: [u32; FIXED] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];

/// MSR number of IA32_MTRR_PHYSBASE0; its mask follows, then the next pair.
pub const FIRST_VARIABLE_MSR: u32 = 0x200;

/// MSR number of IA32_MTRR_DEF_TYPE.
pub const DEF_TYPE_MSR: u32 = 0x2ff;

/// MSR number of IA32_MTRRCAP; bits 7:0 count the variable ranges.
pub const CAP_MSR: u32 = 0xfe;

const ENABLE: u64 = 1 << 11;
const FIXED_ENABLE: u64 = 1 << 10;
const VALID: u64 = 1 << 11;
const FIXED_END: u64 = 1 << 20;

/// One valid variable range: addresses that agree with `base` in `mask`'s bits.
#[derive(Clone, Copy, Debug)]
struct Variable {
    base: u64,
    mask: u64,
    mem_type: MemType,
}

impl Variable {
    fn matches(&self, address: u64) -> bool {
        address & self.mask == self.base
    }

    /// First address after `address` where the answer of `matches` may change.
    fn next_change(&self, address: u64) -> u64 {
        // Address bits below the lowest mask bit do not matter; a mask with
        // gaps changes its answer at this granularity, too.
        let granule = self.mask & self.mask.wrapping_neg();
        let contiguous = self.mask.wrapping_add(granule).is_power_of_two();
        let step = |address: u64| (address & !(granule - 1)).saturating_add(granule);
        match contiguous {
            true if address < self.base => self.base,
            true if address >= step(self.base) => u64::MAX,
            _ => step(address),
        }
    }
}

/// The MTRRs of a CPU.
#[derive(Clone, Debug)]
pub struct Mtrrs {
    def_type: u64,
    fixed: [u64; FIXED],
    variable: heapless::Vec<Variable, MAX_VARIABLE>,
    end: u64,
}

impl Mtrrs {
    /// From the values of IA32_MTRR_DEF_TYPE, the fixed ranges, and
    /// `(PHYSBASE, PHYSMASK)` pairs, of which [`MAX_VARIABLE`] are used;
    /// `phys_bits` is the physical-address width.
    #[must_use]
    pub fn new(def_type: u64, fixed: [u64; FIXED], variable: &[(u64, u64)], phys_bits: u8) -> Self {
        let end = 1 << phys_bits.clamp(32, 52);
        let address = (end - 1) & !0xfff;
        let valid = variable.iter().filter(|(_, mask)| mask & VALID != 0);
        let ranges = valid.filter_map(|(base, mask)| {
            let mask_bits = mask & address;
            // A mask without bits would match everything; no firmware means it.
            (mask_bits != 0).then_some(Variable {
                base: base & mask_bits,
                mask: mask_bits,
                mem_type: MemType::from_bits(base & 0xff),
            })
        });
        Self {
            def_type,
            fixed,
            variable: first(ranges),
            end,
        }
    }

    /// What a CPU without MTRRs has: nothing but the page tables' say, so all is
    /// write-back here.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(ENABLE | MemType::WriteBack as u64, [0; FIXED], &[], 52)
    }

    /// Type at `start`, and the first address after it that may have another;
    /// `u64::MAX` if there is none.
    #[must_use]
    pub fn uniform(&self, start: u64) -> (MemType, u64) {
        /// Bounds the work for masks with gaps.
        const STEPS: usize = 256;
        let (mem_type, mut end) = self.step(start);
        for _ in 0..STEPS {
            if end == u64::MAX {
                break;
            }
            let (next_type, next_end) = self.step(end);
            if next_type != mem_type {
                break;
            }
            end = next_end;
        }
        (mem_type, end)
    }

    /// Like [`Self::uniform`], but ends where any range does.
    fn step(&self, start: u64) -> (MemType, u64) {
        if self.def_type & ENABLE == 0 {
            return (MemType::Uncached, u64::MAX);
        }
        if start >= self.end {
            return (self.default_type(), u64::MAX);
        }
        if start < FIXED_END && self.def_type & FIXED_ENABLE != 0 {
            return self.fixed(start);
        }
        let changes = self.variable.iter().map(|range| range.next_change(start));
        let end = changes.min().unwrap_or(u64::MAX);
        let end = if end >= self.end { u64::MAX } else { end };
        (self.variable(start), end)
    }

    fn default_type(&self) -> MemType {
        MemType::from_bits(self.def_type & 0xff)
    }

    fn fixed(&self, start: u64) -> (MemType, u64) {
        // Eight types in each register; the units shrink towards 1 MiB.
        let (unit, base, first) = match start {
            0..0x8_0000 => (0x1_0000, 0, 0),
            0x8_0000..0xc_0000 => (0x4000, 0x8_0000, 1),
            _ => (0x1000, 0xc_0000, 3),
        };
        let slot = (start - base) / unit;
        let register = first + (slot / 8) as usize;
        let types = self.fixed.get(register).copied().unwrap_or(0);
        let end = base + (slot + 1) * unit;
        (MemType::from_bits(types >> (slot % 8 * 8) & 0xff), end)
    }

    fn variable(&self, start: u64) -> MemType {
        let mut matching = self.variable.iter().filter(|range| range.matches(start));
        let Some(first) = matching.next() else {
            return self.default_type();
        };
        matching.fold(first.mem_type, |mem_type, range| {
            combine(mem_type, range.mem_type)
        })
    }
}

/// Type where two variable ranges overlap. What the manual leaves undefined
/// becomes UC, which is slow but never wrong.
fn combine(a: MemType, b: MemType) -> MemType {
    use MemType::{Uncached, WriteBack, WriteThrough};
    match (a, b) {
        _ if a == b => a,
        (WriteThrough, WriteBack) | (WriteBack, WriteThrough) => WriteThrough,
        _ => Uncached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemType::{Uncached, WriteBack, WriteCombining, WriteProtected, WriteThrough};
    use proptest::prelude::*;
    use std::vec::Vec;

    const WB_ENABLED: u64 = ENABLE | 6;
    const MASK_39: u64 = (1 << 39) - 1;

    fn range(base: u64, size: u64, mem_type: MemType) -> (u64, u64) {
        (base | mem_type as u64, !(size - 1) & MASK_39 | VALID)
    }

    fn runs(mtrrs: &Mtrrs) -> Vec<(u64, MemType)> {
        let mut found = Vec::new();
        let mut start = 0;
        while start != u64::MAX {
            let (mem_type, end) = mtrrs.uniform(start);
            found.push((start, mem_type));
            start = end;
        }
        found
    }

    #[test]
    fn disabled_mtrrs_mean_uncached() {
        let mtrrs = Mtrrs::new(6, [!0; FIXED], &[range(0, 1 << 30, WriteBack)], 39);
        assert_eq!(mtrrs.uniform(0), (Uncached, u64::MAX));
    }

    #[test]
    fn hole_below_4g_as_firmware_sets_it() {
        let hole = range(0x8000_0000, 0x8000_0000, Uncached);
        let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &[hole], 39);
        assert_eq!(
            runs(&mtrrs),
            [
                (0, WriteBack),
                (0x8000_0000, Uncached),
                (0x1_0000_0000, WriteBack)
            ]
        );
    }

    #[test]
    fn fixed_ranges_win_below_1m() {
        let mut fixed = [0x0606_0606_0606_0606; FIXED];
        fixed[2] = 0; // A0000 to BFFFF: the VGA window
        fixed[3] = 0x0505_0505_0505_0505; // C0000 to C7FFF: its ROM
        let all_uncached = range(0, 1 << 20, Uncached);
        let mtrrs = Mtrrs::new(WB_ENABLED | FIXED_ENABLE, fixed, &[all_uncached], 39);
        assert_eq!(
            runs(&mtrrs),
            [
                (0, WriteBack),
                (0xa_0000, Uncached),
                (0xc_0000, WriteProtected),
                (0xc_8000, WriteBack)
            ]
        );
    }

    #[test]
    fn overlaps_follow_the_precedences() {
        let mtrrs = Mtrrs::new(
            ENABLE,
            [0; FIXED],
            &[
                range(0, 0x8000, WriteBack),
                range(0x2000, 0x2000, WriteThrough),
                range(0x4000, 0x1000, Uncached),
                range(0x5000, 0x1000, WriteCombining),
            ],
            39,
        );
        assert_eq!(
            runs(&mtrrs),
            [
                (0, WriteBack),
                (0x2000, WriteThrough),
                (0x4000, Uncached), // UC wins; WC over WB is undefined
                (0x6000, WriteBack),
                (0x8000, Uncached)
            ]
        );
    }

    #[test]
    fn invalid_ranges_do_not_count() {
        let (base, mask) = range(0, 0x1000, WriteThrough);
        let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &[(base, mask & !VALID)], 39);
        assert_eq!(mtrrs.uniform(0), (WriteBack, u64::MAX));
    }

    proptest! {
        #[test]
        fn runs_agree_with_single_addresses(ranges in proptest::collection::vec((0..32u64, any::<u8>(), 0..7u64), 0..6), probes in proptest::collection::vec(0..40u64, 20)) {
            // Masks with gaps are allowed, too: any five bits over 4 KiB pages.
            let high = MASK_39 & !0x1_ffff;
            let pairs = ranges.iter().map(|(base, mask, mem_type)| {
                (base << 12 | mem_type, (u64::from(*mask) & 31) << 12 | high | VALID)
            });
            let pairs: Vec<_> = pairs.collect();
            let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &pairs, 39);
            for page in probes {
                let (mem_type, end) = mtrrs.uniform(page << 12);
                for inside in page..(end >> 12).min(40) {
                    prop_assert_eq!(mtrrs.variable(inside << 12), mem_type);
                }
            }
        }
    }

    #[test]
    fn without_mtrrs_all_is_write_back() {
        assert_eq!(Mtrrs::disabled().uniform(0), (WriteBack, u64::MAX));
    }

    #[test]
    fn edges_belong_to_what_begins_there() {
        // Up to the last address that there is.
        let top = range(1 << 38, 1 << 38, Uncached);
        let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &[top], 39);
        assert_eq!(mtrrs.uniform((1 << 38) - 1), (WriteBack, 1 << 38));
        assert_eq!(mtrrs.uniform(1 << 38), (Uncached, u64::MAX));
        assert_eq!(mtrrs.uniform(1 << 39), (WriteBack, u64::MAX), "beyond");
        let two = [
            range(0x1000, 0x1000, Uncached),
            range(0x1000, 0x1000, Uncached),
        ];
        let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &two, 39);
        assert_eq!(mtrrs.uniform(0x1000), (Uncached, 0x2000));
        // Two of one type are that type, whichever it is.
        let two = [range(0x1000, 0x1000, WriteCombining); 2];
        let mtrrs = Mtrrs::new(WB_ENABLED, [0; FIXED], &two, 39);
        assert_eq!(mtrrs.uniform(0x1000), (WriteCombining, 0x2000));
    }
}
