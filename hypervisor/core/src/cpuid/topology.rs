//! A cell's CPUs: one package, one thread in each core, ids from 0.

use super::Regs;

/// Types of levels in the topology leaves.
const THREADS: u32 = 1 << 8;
const CORES: u32 = 2 << 8;

/// Leaf 4 alone has the number of core ids besides that of sharers.
const LEAF_CACHES: u32 = 4;

/// Bits of an APIC id that tell the cell's CPUs apart.
fn id_bits(cpus: u32) -> u32 {
    cpus.checked_next_power_of_two().map_or(32, u32::ilog2)
}

/// Leaves 0BH and 1FH.
pub(super) fn level(subleaf: u32, id: u32, cpus: u32) -> Regs {
    match subleaf {
        0 => [0, 1, THREADS, id],
        1 => [id_bits(cpus), cpus & 0xffff, CORES | 1, id],
        // Invalid levels repeat their number and the id.
        _ => [0, 0, subleaf & 0xff, id],
    }
}

/// Sets who shares a cache (leaf 4, and AMD's 8000001DH): its first two levels
/// belong to one core, the others to all.
pub(super) fn set_sharing(regs: &mut Regs, leaf: u32, cpus: u32) {
    let kind = regs[0] & 0x1f;
    let level = regs[0] >> 5 & 7;
    if kind == 0 {
        *regs = [0; 4];
        return;
    }
    let ids = |most: u32| ((1u64 << id_bits(cpus)) - 1).min(u64::from(most)) as u32;
    let sharers = if level <= 2 { 0 } else { ids(0xfff) };
    let cores = if leaf == LEAF_CACHES { ids(0x3f) } else { 0 };
    regs[0] = regs[0] & 0x3fff | sharers << 14 | cores << 26;
}

/// Makes a cache one that nobody shares.
pub(super) fn unshare(regs: &mut Regs) {
    regs[0] &= !(0xfff << 14);
}

/// Leaf 80000008H: threads, and bits of the APIC id.
pub(super) fn set_amd_cores(regs: &mut Regs, cpus: u32) {
    regs[2] = (cpus - 1).min(0xff) | id_bits(cpus).min(0xf) << 12;
}

/// Leaf 8000001EH: extended APIC id, core id, one thread per core, node 0 of 1.
pub(super) const fn amd_ids(id: u32) -> Regs {
    [id, id & 0xff, 0, 0]
}
