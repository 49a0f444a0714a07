//! What a function that a plan names must be, before a cell gets it.

use super::sriov::SrIov;
use super::{Bar, Bdf, Capability};
use crate::addr::Hpa;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan;
use core::ops::Range;

/// Largest BAR, as a binary logarithm.
const MAX_SIZE: u8 = 46;
/// Offset of the first BAR.
const BARS: u16 = 0x10;
/// Offset of interrupt line and pin.
const INTERRUPT: u16 = 0x3c;
/// Capability of MSI-X.
const MSIX: u8 = 0x11;

/// Vendor and device id that a virtual function does not have itself, and BARs.
pub type Parts = (Option<(u16, u16)>, [Bar; 6]);

/// Sizes of BARs in bytes, from the plan; `None` if one is too large to be one.
pub fn sizes(wanted: &plan::Function) -> Option<[u64; 6]> {
    let good = wanted.bar_sizes.iter().all(|log| *log <= MAX_SIZE);
    let bytes = |log: u8| if log == 0 { 0 } else { 1 << log };
    good.then(|| wanted.bar_sizes.map(bytes))
}

/// Ids and BARs of a virtual function, from its physical one; `read` reads that
/// one's configuration space. `None` if it has no such virtual function.
pub fn virtual_parts(
    wanted: &plan::Function,
    pf: Bdf,
    mut read: impl FnMut(u16) -> u32,
) -> Option<Parts> {
    let sriov = SrIov::read(&mut read).ok().flatten()?;
    let index = sriov.index_of(pf, wanted.bdf)?;
    let vendor = read(0) as u16;
    let bars = sriov.function_bars(index, &sizes(wanted)?)?;
    Some((Some((vendor, sriov.device)), bars))
}

/// BARs of a physical function where they are, with the sizes of the plan. One
/// whose virtual functions are on stays the root's: `None`.
pub fn physical_bars(
    wanted: &plan::Function,
    mut read: impl FnMut(u16) -> u32,
) -> Option<[Bar; 6]> {
    let sriov = SrIov::read(&mut read).ok().flatten();
    if sriov.is_some_and(|sriov| sriov.enabled) {
        return None;
    }
    let mut bars = [Bar::Unused; 6];
    let mut upper = false;
    for (index, size) in (0u16..).zip(sizes(wanted)?) {
        let bar = bars.get_mut(usize::from(index))?;
        if core::mem::take(&mut upper) {
            *bar = Bar::Upper;
        } else if size != 0 {
            let low = read(BARS + 4 * index);
            let high = read(BARS + 4 * index + 4);
            let mask = !(size - 1);
            *bar = Bar::from_sizing((low, mask as u32 | low & 15), (high, (mask >> 32) as u32));
            upper = matches!(bar, Bar::Memory { wide: true, .. });
        }
    }
    Some(bars)
}

/// True for a physical function that has a pin and no MSI-X, whose drivers use
/// that.
pub fn can_wire(
    wanted: &plan::Function,
    capabilities: &[Capability],
    mut read: impl FnMut(u16) -> u32,
) -> bool {
    let pin = read(INTERRUPT) >> 8 & 0xff;
    let msix = |cap: &Capability| cap.id == MSIX;
    wanted.pf.is_none() && (1..=4).contains(&pin) && !capabilities.iter().any(msix)
}

/// True if a BAR can be mapped: whole pages, before `machine_end`, and none of
/// `ram`, which are starts and sizes.
pub fn can_map(
    bar: &Range<Hpa>,
    machine_end: Hpa,
    mut ram: impl Iterator<Item = (u64, u64)>,
) -> bool {
    let (start, end) = (bar.start.0, bar.end.0);
    let aligned = bar.start.is_aligned(PAGE_SIZE) && bar.end.is_aligned(PAGE_SIZE);
    let is_ram = |(from, size): (u64, u64)| from < end && start < from.saturating_add(size);
    aligned && start != 0 && bar.end <= machine_end && !ram.any(is_ram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(bar_sizes: [u8; 6]) -> plan::Function {
        plan::Function {
            bdf: Bdf::from_number(0x0100),
            guest: Bdf::from_number(0x0008),
            pf: None,
            bar_sizes,
            unprotected: false,
            wire: None,
        }
    }

    /// Configuration space without capabilities, a 64-bit BAR and a 32-bit one.
    fn space(offset: u16) -> u32 {
        match offset {
            0x00 => 0x10ca_8086,
            0x10 => 0x4000_0004,
            0x14 => 0x0000_0001,
            0x18 => 0xfe00_0000,
            0x3c => 0x0000_0200,
            _ => 0,
        }
    }

    #[test]
    fn sizes_are_powers_of_two_or_nothing() {
        let sizes = sizes(&wanted([14, 0, 12, 0, 0, 46])).expect("good");
        assert_eq!(sizes, [1 << 14, 0, 1 << 12, 0, 0, 1 << 46]);
    }

    #[test]
    fn a_bar_that_no_machine_has_is_refused() {
        assert_eq!(sizes(&wanted([47, 0, 0, 0, 0, 0])), None);
        assert_eq!(physical_bars(&wanted([255; 6]), space), None);
    }

    #[test]
    fn bars_are_where_the_hardware_has_them() {
        let bars = physical_bars(&wanted([14, 0, 12, 0, 0, 0]), space).expect("good");
        let at = |bar: Bar| match bar {
            Bar::Memory { base, size, .. } => Some((base, size)),
            _ => None,
        };
        assert_eq!(at(bars[0]), Some((0x1_4000_0000, 1 << 14)));
        assert_eq!(bars[1], Bar::Upper);
        assert_eq!(at(bars[2]), Some((0xfe00_0000, 1 << 12)));
        assert_eq!(bars[3..], [Bar::Unused; 3]);
    }

    #[test]
    fn a_function_without_sr_iov_has_no_virtual_ones() {
        let pf = Bdf::from_number(0x0100);
        assert_eq!(virtual_parts(&wanted([14, 0, 0, 0, 0, 0]), pf, space), None);
    }

    #[test]
    fn a_pin_is_for_physical_functions_that_have_one() {
        let plain = wanted([0; 6]);
        assert!(can_wire(&plain, &[], space));
        assert!(!can_wire(&plain, &[], |_| 0), "no pin");
        assert!(!can_wire(&plain, &[], |_| 0x0500), "there are four");
        let virtual_ = plan::Function {
            pf: Some(Bdf::from_number(0x0100)),
            ..plain
        };
        assert!(!can_wire(&virtual_, &[], space));
    }

    fn can_map(start: u64, end: u64, ram: &[(u64, u64)]) -> bool {
        super::can_map(&(Hpa(start)..Hpa(end)), Hpa(1 << 40), ram.iter().copied())
    }

    #[test]
    fn bars_that_can_be_mapped_are_whole_pages() {
        assert!(can_map(0xfe00_0000, 0xfe00_1000, &[]));
        assert!(!can_map(0xfe00_0800, 0xfe00_1000, &[]));
        assert!(!can_map(0xfe00_0000, 0xfe00_0800, &[]));
        assert!(!can_map(0, 0x1000, &[]), "not set up");
        assert!(!can_map(1 << 40, (1 << 40) + 0x1000, &[]));
    }

    #[test]
    fn a_bar_over_ram_is_refused() {
        let ram = [(0, 0xa_0000), (0x10_0000, 0x7ff0_0000)];
        let over = |start, end| !can_map(start, end, &ram);
        assert!(over(0x7fff_f000, 0x8000_0000));
        assert!(over(0x7fff_f000, 0x8000_1000));
        assert!(!over(0x8000_0000, 0x8000_1000), "right behind it");
        assert!(!over(0xa_0000, 0xb_0000));
    }
}
