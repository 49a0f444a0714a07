//! How APIC ids divide into packages, cores and threads.

use raw_cpuid::{CpuId, ExtendedTopologyLevel, TopologyType};

/// Numbers of low bits of an APIC id (SDM 3A "Hierarchical Mapping of Shared
/// Resources").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shifts {
    /// Bits that tell the threads of a core apart.
    pub thread: u32,
    /// Bits that tell the CPUs of a package apart.
    pub package: u32,
}

impl Shifts {
    /// What CPUID says here. Without its topology leaves, each CPU is taken for
    /// a core of its own in one package.
    #[must_use]
    pub fn of_this_cpu() -> Self {
        let cpuid = CpuId::new();
        let newer = cpuid.get_extended_topology_info_v2().map(Iterator::collect);
        let levels: Option<Vec<ExtendedTopologyLevel>> =
            newer.or_else(|| cpuid.get_extended_topology_info().map(Iterator::collect));
        let levels = levels.unwrap_or_default();
        let shift = ExtendedTopologyLevel::shift_right_for_next_apic_id;
        let thread = levels.iter().find(|l| l.level_type() == TopologyType::SMT);
        Self {
            thread: thread.map_or(0, shift),
            package: levels.iter().map(shift).max().unwrap_or(31).max(1),
        }
    }
}
