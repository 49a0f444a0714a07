//! What the firmware and the running Linux say about the platform.

use super::Range;
use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};

/// A named range of physical memory or of I/O ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Region {
    /// First byte or port.
    pub start: u64,
    /// Last byte or port.
    pub end: u64,
    /// Linux's name for it.
    pub name: String,
}

/// Memory-mapped configuration space of some buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ecam {
    /// Physical address of bus 0 of the segment.
    pub base: u64,
    /// Segment group.
    #[serde(default)]
    pub segment: u16,
    /// First bus.
    #[serde(default)]
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Physical address.
    pub address: u32,
    /// Its first global system interrupt.
    pub first_gsi: u32,
    /// Requester id of its interrupts, where they are remapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u16>,
}

/// Programming interfaces of DMA remapping units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IommuKind {
    /// Intel VT-d.
    Vtd,
    /// AMD-Vi.
    AmdVi,
}

/// A DMA remapping unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Iommu {
    /// Which kind.
    pub kind: IommuKind,
    /// Physical address of its registers.
    pub base: u64,
    /// Segment group that it serves.
    #[serde(default)]
    pub segment: u16,
    /// It serves every function of the segment that no other unit names.
    #[serde(default)]
    pub all: bool,
    /// Functions that it serves by name.
    #[serde(default)]
    pub scopes: Vec<Scope>,
}

/// A function, or all behind a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scope {
    /// The function or the bridge.
    pub address: Bdf,
    /// It is a bridge and stands for what is behind it.
    #[serde(default)]
    pub bridge: bool,
}

/// Memory that the firmware wants functions to reach at all times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reserved {
    /// The memory.
    pub range: Range,
    /// The functions.
    pub functions: Vec<Bdf>,
}

/// What the running Linux needs and what it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Root {
    /// Linux's number of the CPU that booted.
    #[serde(default)]
    pub boot_cpu: u32,
    /// Kernel command line.
    #[serde(default)]
    pub cmdline: String,
    /// Controllers that hold its root file system.
    #[serde(default)]
    pub storage: Vec<Bdf>,
    /// Network functions that are up.
    #[serde(default)]
    pub networks: Vec<Bdf>,
    /// I/O ports of its serial consoles.
    #[serde(default)]
    pub console_ports: Vec<u16>,
    /// PCI functions of its serial consoles.
    #[serde(default)]
    pub consoles: Vec<Bdf>,
}

impl Root {
    /// Functions that the running Linux cannot do without, and why.
    pub fn needed(&self) -> impl Iterator<Item = (Bdf, &'static str)> {
        let storage = self.storage.iter();
        let consoles = self.consoles.iter();
        let only = match self.networks.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        storage
            .map(|a| (*a, "the root's file system is on it"))
            .chain(only.map(|a| (a, "it is the only network of the root")))
            .chain(consoles.map(|a| (*a, "the root has its console there")))
    }
}
