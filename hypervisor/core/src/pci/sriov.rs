//! What a physical function says about its virtual functions.
//!
//! Spec: PCI Express Base 5.0, "Single Root I/O Virtualization".

use super::{Access, Bar, Bdf, WalkError, caps};

/// A physical function's SR-IOV capability, as it is set up now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrIov {
    /// Offset of the capability.
    pub offset: u16,
    /// Virtual functions are on.
    pub enabled: bool,
    /// How many are on.
    pub count: u16,
    /// Requester id of the first, relative to the physical function's …
    pub first: u16,
    /// … and from one to the next.
    pub stride: u16,
    /// Device id of virtual functions; their vendor is the physical one's.
    pub device: u16,
    /// The six BARs of the first virtual function as they read.
    pub bars: [u32; 6],
}

/// Length of the capability, in bytes.
const LEN: u16 = 0x40;

impl SrIov {
    /// Reads the capability of a physical function, of which `read` returns
    /// four bytes at a multiple of 4. `None` if it has none.
    ///
    /// # Errors
    ///
    /// [`WalkError`] for a broken list.
    pub fn read(mut read: impl FnMut(u16) -> u32) -> Result<Option<Self>, WalkError> {
        Self::find(&mut read)
    }

    /// Not generic: the monitor reads in three ways.
    fn find(read: &mut dyn FnMut(u16) -> u32) -> Result<Option<Self>, WalkError> {
        let mut found = None;
        caps::for_each_extended(read, &mut |id, offset, _| {
            if id == caps::SRIOV && offset <= 0x1000 - LEN {
                found = Some(offset);
            }
        })?;
        Ok(found.map(|offset| {
            let mut at = |register| read(offset + register);
            Self {
                offset,
                enabled: at(0x08) & 1 != 0,
                count: at(0x10) as u16,
                first: at(0x14) as u16,
                stride: (at(0x14) >> 16) as u16,
                device: (at(0x18) >> 16) as u16,
                bars: [0x24, 0x28, 0x2c, 0x30, 0x34, 0x38].map(at),
            }
        }))
    }

    /// Address of virtual function `index`; `None` if it is not on.
    #[must_use]
    pub fn address(&self, pf: Bdf, index: u16) -> Option<Bdf> {
        if !self.enabled || index >= self.count {
            return None;
        }
        let distance = self.stride.checked_mul(index)?.checked_add(self.first)?;
        Some(Bdf {
            requester: pf.requester.checked_add(distance)?,
            ..pf
        })
    }

    /// Index of the virtual function at `vf`; `None` if it is none of `pf`'s.
    #[must_use]
    pub fn index_of(&self, pf: Bdf, vf: Bdf) -> Option<u16> {
        if !self.enabled || pf.segment != vf.segment {
            return None;
        }
        let distance = vf.requester.checked_sub(pf.requester)?;
        let distance = distance.checked_sub(self.first)?;
        // With one function there need not be a stride.
        let index = distance.checked_div(self.stride).unwrap_or(0);
        (self.address(pf, index)? == vf).then_some(index)
    }

    /// BARs of virtual function `index`. `sizes` are those of one function's, in
    /// bytes, as sizing the capability's BARs shows them; 0 for one that is not
    /// there. `None` if a size is no power of two, too small for a page, or if
    /// the addresses do not exist.
    #[must_use]
    pub fn function_bars(&self, index: u16, sizes: &[u64; 6]) -> Option<[Bar; 6]> {
        let mut bars = [Bar::Unused; 6];
        let mut upper = false;
        for (n, size) in sizes.iter().enumerate() {
            if core::mem::take(&mut upper) {
                *bars.get_mut(n)? = Bar::Upper;
                continue;
            }
            if *size == 0 {
                continue;
            }
            if !size.is_power_of_two() || *size < crate::addr::PAGE_SIZE {
                return None;
            }
            let low = *self.bars.get(n)?;
            let wide = low & 6 == 4;
            let high = if wide { *self.bars.get(n + 1)? } else { 0 };
            let first = u64::from(high) << 32 | u64::from(low & !15);
            *bars.get_mut(n)? = Bar::Memory {
                base: size.checked_mul(u64::from(index))?.checked_add(first)?,
                size: *size,
                wide,
                prefetchable: low & 8 != 0,
            };
            upper = wide;
        }
        Some(bars)
    }

    /// True if a write would change what virtual functions are, how many there
    /// are, or where they decode. Refused to the root while a cell has one.
    #[must_use]
    pub const fn guards(&self, access: Access) -> bool {
        let start = access.offset();
        let end = start + access.size() as u16;
        let control = self.offset + 0x08;
        start < self.offset + LEN && end > control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PF: Bdf = Bdf {
        segment: 0,
        requester: 0x100,
    };

    /// The igb of QEMU: VFs from 01:10.0 on, every second function.
    fn igb(register: u16) -> u32 {
        match register {
            0x100 => 0x1501_0001,
            0x150 => 0x1601_000e,
            0x160 => 0x0001_0010,
            0x168 => 9,
            0x170 => 3,
            0x174 => 2 << 16 | 0x80,
            0x178 => 0x10ca_0000,
            0x184 => 0xfe80_000c,
            _ => 0,
        }
    }

    #[test]
    fn igb_vfs_have_their_addresses() {
        let sriov = SrIov::read(igb).expect("walks").expect("has it");
        assert_eq!((sriov.device, sriov.count), (0x10ca, 3));
        assert_eq!(sriov.bars[0], 0xfe80_000c);
        let requesters = (0..4).map(|n| sriov.address(PF, n).map(|bdf| bdf.requester));
        assert!(requesters.eq([Some(0x180), Some(0x182), Some(0x184), None]));
        for n in 0..3 {
            let vf = sriov.address(PF, n).expect("is on");
            assert_eq!(sriov.index_of(PF, vf), Some(n));
        }
        let between = Bdf {
            requester: 0x181,
            ..PF
        };
        assert_eq!(sriov.index_of(PF, between), None);
        assert_eq!(sriov.index_of(PF, PF), None);
    }

    #[test]
    fn each_vf_has_its_part_of_the_bars() {
        let sriov = SrIov::read(igb).expect("walks").expect("has it");
        let sizes = [0x4000, 0, 0, 0, 0, 0];
        let bars = sriov.function_bars(2, &sizes).expect("are there");
        let base = 0xfe80_8000;
        let (size, wide, prefetchable) = (0x4000, true, true);
        assert_eq!(
            bars[0],
            Bar::Memory {
                base,
                size,
                wide,
                prefetchable
            }
        );
        assert_eq!((bars[1], bars[2]), (Bar::Upper, Bar::Unused));
        assert_eq!(sriov.function_bars(0, &[0x3000, 0, 0, 0, 0, 0]), None);
        assert_eq!(sriov.function_bars(0, &[0x800, 0, 0, 0, 0, 0]), None);
        let last_is_wide = SrIov {
            bars: [0, 0, 0, 0, 0, 4],
            ..sriov
        };
        assert_eq!(
            last_is_wide.function_bars(0, &[0, 0, 0, 0, 0, 0x1000]),
            None
        );
    }

    #[test]
    fn root_cannot_pull_vfs_away() {
        let sriov = SrIov::read(igb).expect("walks").expect("has it");
        let guards = |offset, size| {
            let access = Access::new(offset, size).expect("aligned");
            sriov.guards(access)
        };
        assert!(guards(0x168, 2), "control");
        assert!(guards(0x170, 2), "NumVFs");
        assert!(
            guards(0x184, 4) && guards(0x19f, 1),
            "BARs and the last byte"
        );
        assert!(!guards(0x164, 4) && !guards(0x1a0, 4) && !guards(0x04, 2));
    }

    #[test]
    fn broken_lists_end() {
        assert_eq!(SrIov::read(|_| 0x1001_0001), Err(WalkError { at: 0x100 }));
        assert_eq!(SrIov::read(|_| u32::MAX), Ok(None));
        let outside = |register| if register == 0x100 { 0x0401_0001 } else { 0 };
        assert_eq!(SrIov::read(outside), Err(WalkError { at: 0x100 }));
    }

    /// The capability at `offset`, alone.
    fn at(offset: u16, register: u16) -> u32 {
        match register {
            0x100 if offset != 0x100 => u32::from(offset) << 20 | 1,
            _ if register == offset => 0x0001_0010,
            _ if register == offset + 0x08 => 0x18, // all but VF enable
            _ => 0,
        }
    }

    #[test]
    fn capability_has_room_and_is_the_right_one() {
        let read = |offset| SrIov::read(|register| at(offset, register)).expect("walks");
        let sriov = read(0xfc0).expect("its 64 bytes end with the space");
        assert!(!sriov.enabled && sriov.offset == 0xfc0);
        assert_eq!(sriov.address(PF, 0), None);
        assert_eq!(read(0xfc4), None);
        let other = |register| if register == 0x100 { 0x1_000e } else { 0 };
        assert_eq!(SrIov::read(other), Ok(None));
    }

    #[test]
    fn vfs_of_another_segment_or_of_none_are_not_this_ones() {
        let sriov = SrIov::read(igb).expect("walks").expect("has it");
        let elsewhere = Bdf {
            segment: 1,
            requester: 0x180,
        };
        assert_eq!(sriov.index_of(PF, elsewhere), None);
        let off = SrIov {
            enabled: false,
            ..sriov
        };
        let first = Bdf {
            requester: 0x180,
            ..PF
        };
        assert_eq!(
            (sriov.index_of(PF, first), off.index_of(PF, first)),
            (Some(0), None)
        );
    }

    #[test]
    fn bars_of_both_widths_and_the_smallest_size() {
        let sriov = SrIov {
            bars: [0xc00c, 0x38, 0xfe00_0000, 0xfd00_0008, 0, 0],
            ..SrIov::read(igb).expect("walks").expect("has it")
        };
        let page = crate::addr::PAGE_SIZE;
        let bars = sriov.function_bars(1, &[page, 0, page, page, 0, 0]);
        let memory = |base, wide, prefetchable| Bar::Memory {
            base,
            size: page,
            wide,
            prefetchable,
        };
        let wanted = [
            memory(0x38_0000_d000, true, true),
            Bar::Upper,
            memory(0xfe00_1000, false, false),
            memory(0xfd00_1000, false, true),
            Bar::Unused,
            Bar::Unused,
        ];
        assert_eq!(bars, Some(wanted));
    }
}
