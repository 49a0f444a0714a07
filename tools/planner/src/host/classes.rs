//! Classes of service: how caches and memory bandwidth can be shared out.

use super::is_false;
use cellvisor_core::classes::{self, Delays};
use raw_cpuid::cpuid;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the CPUs can share out among classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Classes {
    /// Ways of the L3 cache.
    pub l3_ways: u8,
    /// Ways of one class may be apart.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// Highest class.
    pub last: u8,
    /// CPUs whose APIC ids differ in these low bits only share the L3 cache.
    pub l3_shift: u8,
    /// Percent of the memory bandwidth that can be taken away at most; 0 if no limit can
    /// be set.
    #[serde(default)]
    pub most_delay: u8,
    /// Highest class with a limit of the bandwidth.
    #[serde(default)]
    pub last_delayed: u8,
    /// Linux shares them out itself: resctrl is mounted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resctrl: bool,
}

impl Classes {
    /// What CPUID says here; `root` stands for `/`.
    pub(super) fn of_this_cpu(root: &Path) -> Option<Self> {
        let ways = classes::Classes::find(leaf);
        let delays = Delays::find(leaf);
        (ways.ways != 0).then(|| Self {
            l3_ways: ways.ways.count_ones() as u8,
            sparse: ways.sparse,
            last: ways.last,
            l3_shift: ways.shift,
            most_delay: delays.longest,
            last_delayed: delays.last,
            resctrl: root.join("sys/fs/resctrl/schemata").exists(),
        })
    }

    /// In the form in which the monitor knows them.
    pub(crate) fn rules(&self) -> classes::Classes {
        let missing = 32_u32.saturating_sub(self.l3_ways.into());
        classes::Classes {
            ways: u32::MAX.checked_shr(missing).unwrap_or_default(),
            sparse: self.sparse,
            last: self.last,
            shift: self.l3_shift.min(31),
        }
    }

    /// The number of the L3 cache behind the CPU of an APIC id.
    pub(crate) fn cache(&self, apic_id: u32) -> u32 {
        apic_id.checked_shr(self.l3_shift.into()).unwrap_or(0)
    }

    /// Percent from one limit of the bandwidth to the next, which is the lowest as well;
    /// `None` if none can be set.
    pub(crate) fn step(&self) -> Option<u32> {
        match self.most_delay {
            0 => None,
            most => Some(100_u32.saturating_sub(most.into()).max(1)),
        }
    }
}

/// A subleaf of CPUID; zeros for a leaf that there is not.
fn leaf(leaf: u32, subleaf: u32) -> [u32; 4] {
    if cpuid!(leaf & 0xffff_0000).eax < leaf {
        return [0; 4];
    }
    let found = cpuid!(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}
