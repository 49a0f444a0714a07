//! DMAR: units of VT-d, and memory that functions must reach.

use super::{Bytes, entries, short_entries};
use crate::host::{Host, Iommu, IommuKind, Range, Reserved, Scope};
use cellvisor_abi::Bdf;

const STRUCTURES: usize = 48;
const HARDWARE_UNIT: u16 = 0;
const RESERVED_MEMORY: u16 = 1;
const SCOPE_ENDPOINT: u8 = 1;
const SCOPE_BRIDGE: u8 = 2;
const SCOPE_IO_APIC: u8 = 3;

/// All remapping units.
pub(super) fn units(dmar: &[u8], host: &Host) -> Vec<Iommu> {
    let unit = |entry: &[u8]| {
        let segment = entry.u16_at(6)?;
        Some(Iommu {
            kind: IommuKind::Vtd,
            base: entry.u64_at(8)?,
            segment,
            all: entry.u8_at(4)? & 1 == 1,
            scopes: scopes(entry, 16, segment, host),
        })
    };
    of_type(dmar, HARDWARE_UNIT).filter_map(unit).collect()
}

/// Requester id that the interrupts of the I/O APIC with this id have.
pub(super) fn io_apic(dmar: &[u8], id: u8, host: &Host) -> Option<u16> {
    let is_its = |s: &&[u8]| s.u8_at(0) == Some(SCOPE_IO_APIC) && s.u8_at(4) == Some(id);
    of_type(dmar, HARDWARE_UNIT).find_map(|entry| {
        let scope = short_entries(entry, 16).find(is_its)?;
        Some(path(scope, entry.u16_at(6)?, host)?.requester)
    })
}

/// Memory that functions must reach at all times (RMRR).
pub(super) fn reserved(dmar: &[u8], host: &Host) -> Vec<Reserved> {
    let reserved = |entry: &[u8]| {
        let (start, last) = (entry.u64_at(8)?, entry.u64_at(16)?);
        let scopes = scopes(entry, 24, entry.u16_at(6)?, host);
        Some(Reserved {
            range: Range {
                start,
                size: last.checked_sub(start)?.checked_add(1)?,
            },
            functions: scopes.iter().map(|s| s.address).collect(),
        })
    };
    of_type(dmar, RESERVED_MEMORY)
        .filter_map(reserved)
        .collect()
}

/// Structures of one type.
fn of_type(dmar: &[u8], wanted: u16) -> impl Iterator<Item = &[u8]> {
    let length = |e: &[u8]| e.u16_at(2).map(usize::from);
    let all = entries(dmar, STRUCTURES, length);
    all.filter(move |e| e.u16_at(0) == Some(wanted))
}

/// PCI functions and bridges that a structure names.
fn scopes(entry: &[u8], first: usize, segment: u16, host: &Host) -> Vec<Scope> {
    let scope = |scope: &[u8]| {
        let bridge = match scope.u8_at(0)? {
            SCOPE_ENDPOINT => false,
            SCOPE_BRIDGE => true,
            _ => return None,
        };
        let address = path(scope, segment, host)?;
        Some(Scope { address, bridge })
    };
    short_entries(entry, first).filter_map(scope).collect()
}

/// Follows a path of device and function numbers from bridge to bridge.
fn path(scope: &[u8], segment: u16, host: &Host) -> Option<Bdf> {
    let mut bus = scope.u8_at(5)?;
    let mut found = None;
    for hop in scope.get(6..)?.chunks_exact(2) {
        if let Some(bridge) = found {
            bus = host.function(bridge)?.bridge.as_ref()?.secondary;
        }
        let devfn = (hop.u8_at(0)? & 31) << 3 | hop.u8_at(1)? & 7;
        found = Some(Bdf::new(segment, bus, devfn));
    }
    found
}
