//! The firmware's ACPI tables, as far as plans need them: MADT, SRAT, MCFG,
//! DMAR and IVRS (ACPI, "ACPI Software Programming Model"; VT-d, "BIOS
//! Considerations"; AMD IOMMU, "I/O Virtualization ACPI Table").
//!
//! Tables are read by offset out of bytes; what does not fit is skipped.

use super::tree::Tree;
use crate::host::{Ecam, Host, IoApic, Iommu, Range, Reserved};
use std::collections::BTreeMap;

mod amdvi;
mod vtd;

/// Little-endian numbers at offsets.
pub(super) trait Bytes {
    fn u8_at(&self, at: usize) -> Option<u8>;
    fn u16_at(&self, at: usize) -> Option<u16>;
    fn u32_at(&self, at: usize) -> Option<u32>;
    fn u64_at(&self, at: usize) -> Option<u64>;
}

impl Bytes for [u8] {
    fn u8_at(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        self.get(at..)?
            .first_chunk()
            .map(|b| u16::from_le_bytes(*b))
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        self.get(at..)?
            .first_chunk()
            .map(|b| u32::from_le_bytes(*b))
    }

    fn u64_at(&self, at: usize) -> Option<u64> {
        self.get(at..)?
            .first_chunk()
            .map(|b| u64::from_le_bytes(*b))
    }
}

/// Where the structures of the tables start.
const MADT_ENTRIES: usize = 44;
const SRAT_ENTRIES: usize = 48;
const MCFG_ENTRIES: usize = 44;

/// The tables that are there.
pub(super) struct Tables {
    madt: Vec<u8>,
    srat: Vec<u8>,
    mcfg: Vec<u8>,
    dmar: Vec<u8>,
    ivrs: Vec<u8>,
}

impl Tables {
    pub(super) fn read(tree: &Tree) -> Self {
        let table = |name: &str| {
            let path = format!("sys/firmware/acpi/tables/{name}");
            tree.bytes(&path).unwrap_or_default()
        };
        Self {
            madt: table("APIC"),
            srat: table("SRAT"),
            mcfg: table("MCFG"),
            dmar: table("DMAR"),
            ivrs: table("IVRS"),
        }
    }

    /// APIC ids of CPUs that are enabled, in the order of the table.
    pub(super) fn apic_ids(&self) -> Vec<u32> {
        let id = |entry: &[u8]| match entry.u8_at(0)? {
            0 if entry.u32_at(4)? & 1 == 1 => entry.u8_at(3).map(u32::from),
            9 if entry.u32_at(8)? & 1 == 1 => entry.u32_at(4),
            _ => None,
        };
        short_entries(&self.madt, MADT_ENTRIES)
            .filter_map(id)
            .collect()
    }

    pub(super) fn io_apics(&self, host: &Host) -> Vec<IoApic> {
        let io_apic = |entry: &[u8]| match entry.u8_at(0)? {
            1 => Some(IoApic {
                id: entry.u8_at(2)?,
                address: entry.u32_at(4)?,
                first_gsi: entry.u32_at(8)?,
                source: vtd::io_apic(&self.dmar, entry.u8_at(2)?, host),
            }),
            _ => None,
        };
        let entries = short_entries(&self.madt, MADT_ENTRIES);
        entries.filter_map(io_apic).collect()
    }

    pub(super) fn ecam(&self) -> Vec<Ecam> {
        let entries = self.mcfg.get(MCFG_ENTRIES..).unwrap_or_default();
        let ecam = |entry: &[u8]| {
            Some(Ecam {
                base: entry.u64_at(0)?,
                segment: entry.u16_at(8)?,
                first_bus: entry.u8_at(10)?,
                last_bus: entry.u8_at(11)?,
            })
        };
        entries.chunks_exact(16).filter_map(ecam).collect()
    }

    /// Node of each APIC id.
    pub(super) fn nodes_of_cpus(&self) -> BTreeMap<u32, u32> {
        let nodes = self.nodes();
        let cpus = self.affinities();
        let node = |(id, domain): (u32, u32)| Some((id, *nodes.get(&domain)?));
        cpus.into_iter().filter_map(node).collect()
    }

    /// Ranges of RAM with their nodes.
    pub(super) fn memory_of_nodes(&self) -> Vec<(u32, Range)> {
        let nodes = self.nodes();
        let ranges = self.memory_affinities().into_iter();
        let range = |(domain, range)| Some((*nodes.get(&domain)?, range));
        ranges.filter_map(range).collect()
    }

    /// APIC ids with their proximity domains: x2APIC entries first, as Linux
    /// reads them.
    fn affinities(&self) -> Vec<(u32, u32)> {
        let entries = || short_entries(&self.srat, SRAT_ENTRIES);
        let wide = |e: &[u8]| match (e.u8_at(0)?, e.u32_at(12)? & 1) {
            (2, 1) => Some((e.u32_at(8)?, e.u32_at(4)?)),
            _ => None,
        };
        let narrow = |e: &[u8]| match (e.u8_at(0)?, e.u32_at(4)? & 1) {
            (0, 1) => {
                let high = u32::from_le_bytes([0, e.u8_at(9)?, e.u8_at(10)?, e.u8_at(11)?]);
                Some((u32::from(e.u8_at(3)?), u32::from(e.u8_at(2)?) | high))
            }
            _ => None,
        };
        let wide = entries().filter_map(wide);
        wide.chain(entries().filter_map(narrow)).collect()
    }

    /// Proximity domains with their RAM.
    fn memory_affinities(&self) -> Vec<(u32, Range)> {
        let memory = |e: &[u8]| match (e.u8_at(0)?, e.u32_at(28)? & 1) {
            (1, 1) => {
                let range = Range {
                    start: e.u64_at(8)?,
                    size: e.u64_at(16)?,
                };
                Some((e.u32_at(2)?, range))
            }
            _ => None,
        };
        let entries = short_entries(&self.srat, SRAT_ENTRIES);
        entries.filter_map(memory).collect()
    }

    /// Linux's node of each proximity domain: it counts them as it meets them.
    fn nodes(&self) -> BTreeMap<u32, u32> {
        let cpus = self.affinities().into_iter().map(|(_, domain)| domain);
        let memory = self
            .memory_affinities()
            .into_iter()
            .map(|(domain, _)| domain);
        let mut nodes = BTreeMap::new();
        for domain in cpus.chain(memory) {
            let next = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
            nodes.entry(domain).or_insert(next);
        }
        nodes
    }

    /// DMA remapping units.
    pub(super) fn iommus(&self, host: &Host) -> Vec<Iommu> {
        let mut units = vtd::units(&self.dmar, host);
        units.extend(amdvi::units(&self.ivrs, host));
        units
    }

    /// Memory that functions must reach at all times.
    pub(super) fn reserved(&self, host: &Host) -> Vec<Reserved> {
        let mut reserved = vtd::reserved(&self.dmar, host);
        reserved.extend(amdvi::reserved(&self.ivrs, host));
        reserved
    }
}

/// Structures that start with a byte of type and one of length.
pub(super) fn short_entries(table: &[u8], first: usize) -> impl Iterator<Item = &[u8]> {
    entries(table, first, |e| e.u8_at(1).map(usize::from))
}

/// Structures whose length `length` finds; one that is too short or too long
/// ends the walk.
pub(super) fn entries(
    table: &[u8],
    first: usize,
    length: impl Fn(&[u8]) -> Option<usize>,
) -> impl Iterator<Item = &[u8]> {
    // A list and not a lazy walk: rustc 1.95 optimises the lazy one, where a
    // caller filters it, into a read past the end of an empty table.
    let mut found = Vec::new();
    let mut rest = table.get(first..).unwrap_or_default();
    while let Some(length) = length(rest).filter(|n| *n >= 2) {
        let Some((entry, after)) = rest.split_at_checked(length) else {
            break;
        };
        found.push(entry);
        rest = after;
    }
    found.into_iter()
}
