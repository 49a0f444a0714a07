//! Affinities: SRAT and SLIT.
//!
//! Spec: ACPI 6.3, "System Resource Affinity Table (SRAT)" and "System Locality
//! Information Table (SLIT)".

use crate::{Access, FIRST_X2APIC_ID, OEM, parts::bytes, table};
use acpi_tables::{Aml, AmlSink, slit::SLIT, srat::MemoryAffinity};
use alloc::vec::Vec;

/// Distance of a node to itself.
pub(crate) const LOCAL: u8 = 10;

/// The distance that means "not reachable".
pub(crate) const UNREACHABLE: u8 = 255;

const SRAT_REVISION: u8 = 3;

/// A cell across nodes. Nodes are numbered from 0 as the guest shall see them,
/// whatever their numbers in the host.
#[derive(Clone, Copy, Debug)]
pub struct Numa<'a> {
    /// How many nodes.
    pub nodes: u32,
    /// Node of each CPU, in the order of virtual ids.
    pub cpus: &'a [u32],
    /// Node of each stretch of RAM.
    pub memory: &'a [NodeMemory],
    /// Distances, row by row: `nodes * nodes` values, 10 on the diagonal and
    /// 11 to 254 elsewhere, the same in both directions.
    pub distances: &'a [u8],
    /// How fast memory is reached, as far as anybody knows: each pair of nodes
    /// once at most, from one with CPUs to one with memory.
    pub access: &'a [Access],
}

impl Numa<'_> {
    /// Distance between two nodes.
    pub(crate) fn distance(&self, from: u32, to: u32) -> Option<u8> {
        let index = from as usize * self.nodes as usize + to as usize;
        self.distances.get(index).copied()
    }
}

/// A stretch of guest-physical memory on one node, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// First byte.
    pub gpa: u64,
    /// Length.
    pub size: u64,
    /// Node in the guest's numbering.
    pub node: u32,
}

/// Which node has which CPU and which memory.
pub(crate) fn srat(numa: &Numa<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(1); // as the specification wants it, for old readers
    body.qword(0);
    for (id, node) in (0u32..).zip(numa.cpus) {
        match u8::try_from(id) {
            Ok(small) if id < FIRST_X2APIC_ID => apic_affinity(small, *node, &mut body),
            _ => x2apic_affinity(id, *node, &mut body),
        }
    }
    for range in numa.memory {
        MemoryAffinity::new(range.node, range.gpa, range.size)
            .enabled()
            .to_aml_bytes(&mut body);
    }
    table(*b"SRAT", SRAT_REVISION, &body)
}

/// "Processor Local APIC/SAPIC Affinity Structure".
fn apic_affinity(id: u8, node: u32, body: &mut Vec<u8>) {
    let [low, high @ ..] = node.to_le_bytes();
    body.vec(&[0, 16, low, id]);
    body.dword(1); // enabled
    body.byte(0); // local SAPIC EID
    body.vec(&high);
    body.dword(0); // clock domain
}

/// "Processor Local x2APIC Affinity Structure".
fn x2apic_affinity(id: u32, node: u32, body: &mut Vec<u8>) {
    body.vec(&[2, 24, 0, 0]);
    body.dword(node);
    body.dword(id);
    body.dword(1); // enabled
    body.qword(0); // clock domain, reserved
}

/// How far the nodes are from each other.
pub(crate) fn slit(numa: &Numa<'_>) -> Vec<u8> {
    let mut slit = SLIT::new(OEM.0, OEM.1, OEM.2, numa.nodes);
    for from in 0..numa.nodes {
        for to in from..numa.nodes {
            let distance = numa.distance(from, to).unwrap_or(LOCAL);
            slit.set_distance(from as usize, to as usize, distance);
        }
    }
    bytes(&slit)
}
