//! The machine as far as plans need to know it.
//!
//! A [`Host`] is read from the running Linux ([`Host::live`]) or from a file
//! ([`Host::load`]); all else in this crate cannot tell the two apart. Facts
//! that follow from others (who is whose sibling, which bus belongs to which
//! root bridge) are methods, so that a hand-written file cannot contradict
//! itself.

mod classes;
mod cpu;
mod file;
pub mod live;
mod memory;
mod pci;
mod platform;

pub use classes::Classes;
pub use cpu::{Cache, Cpu};
pub use memory::{Access, Node, Pages, Range};
pub use pci::{Bar, Bridge, Function, RootBus, Space, Sriov, Window};
pub use platform::{Ecam, IoApic, Iommu, IommuKind, Region, Reserved, Root, Scope};

use cellvisor_abi::Bdf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the saved form.
pub const VERSION: u32 = 1;

/// One machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Host {
    /// Version of this form: [`VERSION`].
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Where the facts come from, unless this very machine was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconstructed: Option<String>,
    /// CPU model, as the CPU names itself.
    #[serde(default)]
    pub cpu_model: String,
    /// What CPUs offer to monitors: `vmx`, `svm` or nothing.
    #[serde(default)]
    pub virtualization: String,
    /// What the running Linux cannot do without.
    #[serde(default)]
    pub root: Root,
    /// Logical CPUs.
    #[serde(default)]
    pub cpus: Vec<Cpu>,
    /// Linux keeps all but one CPU of each core offline (`nosmt`), and they stay so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub smt_off: bool,
    /// Caches that CPUs share.
    #[serde(default)]
    pub caches: Vec<Cache>,
    /// How caches and memory bandwidth can be shared out, if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// NUMA nodes; a machine without NUMA has node 0.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Physical memory as Linux divides it, outermost ranges only.
    #[serde(default)]
    pub iomem: Vec<Region>,
    /// I/O ports as Linux divides them, all levels.
    #[serde(default)]
    pub ioports: Vec<Region>,
    /// Memory-mapped configuration space.
    #[serde(default)]
    pub ecam: Vec<Ecam>,
    /// I/O APICs.
    #[serde(default)]
    pub io_apics: Vec<IoApic>,
    /// DMA remapping units.
    #[serde(default)]
    pub iommus: Vec<Iommu>,
    /// Memory that the firmware wants certain functions to reach (RMRR, IVMD).
    #[serde(default)]
    pub reserved: Vec<Reserved>,
    /// PCI root buses with the windows that the firmware gave them.
    #[serde(default)]
    pub roots: Vec<RootBus>,
    /// PCI functions.
    #[serde(default)]
    pub functions: Vec<Function>,
}

/// For fields that are left out if they are false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}

impl Host {
    /// The CPU with this Linux number.
    #[must_use]
    pub fn cpu(&self, linux: u32) -> Option<&Cpu> {
        self.cpus.iter().find(|c| c.linux == linux)
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().find(|n| n.id == id)
    }

    /// The PCI function with this address.
    #[must_use]
    pub fn function(&self, address: Bdf) -> Option<&Function> {
        self.functions.iter().find(|f| f.address == address)
    }

    /// The root bus that this function is behind.
    #[must_use]
    pub fn root_of(&self, address: Bdf) -> Option<&RootBus> {
        self.roots.iter().find(|r| {
            r.segment == address.segment && (r.first_bus..=r.last_bus).contains(&address.bus())
        })
    }

    /// The node next to a PCI function: its own word, else its root bus's.
    #[must_use]
    pub fn node_of(&self, address: Bdf) -> Option<u32> {
        let own = self.function(address).and_then(|f| f.node);
        own.or_else(|| self.root_of(address).and_then(|r| r.node))
    }

    /// Distance between two nodes, 10 for a node and itself; 20 where the
    /// firmware says nothing.
    #[must_use]
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        if from == to {
            return 10;
        }
        let column = self.nodes.iter().position(|n| n.id == to);
        let row = self.node(from).zip(column);
        row.and_then(|(n, column)| n.distances.get(column).copied())
            .unwrap_or(20)
    }

    /// Physical cores: the Linux numbers of their CPUs, in order, by
    /// (package, core).
    #[must_use]
    pub fn cores(&self) -> BTreeMap<(u32, u32), Vec<u32>> {
        let mut cores: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for cpu in &self.cpus {
            cores
                .entry((cpu.package, cpu.core))
                .or_default()
                .push(cpu.linux);
        }
        for cpus in cores.values_mut() {
            cpus.sort_unstable();
        }
        cores
    }

    /// True if a DMA remapping unit watches this function.
    #[must_use]
    pub fn has_iommu(&self, address: Bdf) -> bool {
        self.iommus.iter().any(|u| {
            u.segment == address.segment
                && (u.all || u.scopes.iter().any(|s| self.in_scope(s, address)))
        })
    }

    /// Memory that the firmware wants this function to reach, or all functions
    /// behind a bridge above it.
    #[must_use]
    pub fn reserved_for(&self, address: Bdf) -> Option<&Reserved> {
        let named = |named: &Bdf| {
            let scope = Scope {
                address: *named,
                bridge: true,
            };
            self.in_scope(&scope, address)
        };
        self.reserved.iter().find(|r| r.functions.iter().any(named))
    }

    /// True if `scope` names the function or a bridge above it.
    fn in_scope(&self, scope: &Scope, address: Bdf) -> bool {
        let below = |bridge: &Bridge| {
            scope.bridge && (bridge.secondary..=bridge.subordinate).contains(&address.bus())
        };
        scope.address == address
            || scope.address.segment == address.segment
                && self
                    .function(scope.address)
                    .and_then(|f| f.bridge.as_ref())
                    .is_some_and(below)
    }
}
