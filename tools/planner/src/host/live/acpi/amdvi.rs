//! IVRS: units of AMD-Vi, and memory that functions must reach.

use super::{Bytes, entries};
use crate::host::{Host, Iommu, IommuKind, Range, Reserved, Scope};
use cellvisor_abi::Bdf;

const BLOCKS: usize = 48;
const ENTRY_ALL: u8 = 1;
const ENTRY_SELECT: u8 = 2;
const ENTRY_RANGE: u8 = 3;
const ENTRY_END: u8 = 4;

/// All units. Newer block types repeat what older ones say about the same
/// unit, so the first for each address counts.
pub(super) fn units(ivrs: &[u8], host: &Host) -> Vec<Iommu> {
    let mut units: Vec<Iommu> = Vec::new();
    for block in blocks(ivrs) {
        let Some(unit) = unit(block, host) else {
            continue;
        };
        if units.iter().all(|u| u.base != unit.base) {
            units.push(unit);
        }
    }
    units
}

/// Blocks of all types.
fn blocks(ivrs: &[u8]) -> impl Iterator<Item = &[u8]> {
    entries(ivrs, BLOCKS, |e| e.u16_at(2).map(usize::from))
}

/// One unit, if the block describes one.
fn unit(block: &[u8], host: &Host) -> Option<Iommu> {
    let first = match block.u8_at(0)? {
        0x10 => 24,
        0x11 | 0x40 => 40,
        _ => return None,
    };
    let segment = block.u16_at(16)?;
    let mut unit = Iommu {
        kind: IommuKind::AmdVi,
        base: block.u64_at(8)?,
        segment,
        all: false,
        scopes: Vec::new(),
    };
    let mut start = None;
    for entry in entries(block, first, entry_length) {
        let id = entry.u16_at(1)?;
        match entry.u8_at(0)? {
            ENTRY_ALL => unit.all = true,
            ENTRY_SELECT | 0x42 | 0x46 => unit.scopes.push(scope(segment, id)),
            ENTRY_RANGE | 0x43 | 0x47 => start = Some(id),
            ENTRY_END => {
                let range = start.take()?..=id;
                unit.scopes.extend(within(host, segment, &range));
            }
            _ => {}
        }
    }
    Some(unit)
}

/// Length of a device entry: its type's two high bits say it, but for the last
/// kind, which tells it itself.
fn entry_length(entry: &[u8]) -> Option<usize> {
    match entry.u8_at(0)? {
        0xf0 => Some(22 + usize::from(entry.u8_at(21)?)),
        kind => Some(4 << (kind >> 6)),
    }
}

/// A function by its requester id.
fn scope(segment: u16, id: u16) -> Scope {
    Scope {
        address: Bdf::from_number(u32::from(segment) << 16 | u32::from(id)),
        bridge: false,
    }
}

/// Functions of the machine in a range of requester ids. Virtual ones need not
/// exist yet: a bridge in the range stands for all behind it.
fn within(host: &Host, segment: u16, ids: &std::ops::RangeInclusive<u16>) -> Vec<Scope> {
    let inside = host
        .functions
        .iter()
        .filter(|f| f.address.segment == segment && ids.contains(&f.address.requester));
    let scope = |f: &crate::host::Function| Scope {
        address: f.address,
        bridge: f.bridge.is_some(),
    };
    inside.map(scope).collect()
}

/// Memory that functions must reach at all times (IVMD).
pub(super) fn reserved(ivrs: &[u8], host: &Host) -> Vec<Reserved> {
    let reserved = |block: &[u8]| {
        let (first, last) = (block.u16_at(4)?, block.u16_at(6)?);
        let range = match block.u8_at(0)? {
            0x20 => 0..=u16::MAX,
            0x21 => first..=first,
            0x22 => first..=last,
            _ => return None,
        };
        Some(Reserved {
            range: Range {
                start: block.u64_at(16)?,
                size: block.u64_at(24)?,
            },
            functions: within(host, 0, &range).iter().map(|s| s.address).collect(),
        })
    };
    blocks(ivrs).filter_map(reserved).collect()
}
