//! What a scheduler needs to know of a machine before it sends work there: what
//! there is, what cells have of it, and what further ones could have.
//!
//! The form has a version and a schema (`configs/inventory.schema.json`). Fields
//! may be added in one version; readers pass over those that they do not know.

use crate::host::{Access, Cache, Function, Host, Node};
use crate::list::List;
use crate::plan::{AssignedClass, CellAssignment, Free, Taken};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// Version of the form.
pub const VERSION: u32 = 1;

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(title = "cellvisor inventory of a machine")]
pub struct Inventory {
    /// Version of this form: 1.
    pub version: u32,
    /// What people call the machine.
    pub name: String,
    /// CPU model, as the CPU names itself.
    pub cpu_model: String,
    /// What its CPUs offer to monitors: `vmx`, `svm`, or nothing.
    pub virtualization: String,
    /// Packages with CPUs (sockets).
    pub sockets: usize,
    /// Physical cores.
    pub cores: usize,
    /// Logical CPUs, offline ones and those of cells among them.
    pub cpus: usize,
    /// CPUs of a core at most.
    pub threads_per_core: usize,
    /// NUMA nodes.
    pub nodes: Vec<InventoryNode>,
    /// Caches that several CPUs share, or one has.
    pub caches: Vec<InventoryCache>,
    /// PCI functions that are neither virtual nor part of the platform.
    pub devices: Vec<Device>,
    /// Cells that exist.
    pub cells: Vec<InventoryCell>,
    /// What further cells could have, in all.
    pub head_room: HeadRoom,
}

/// One NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InventoryNode {
    /// Linux's number.
    pub id: u32,
    /// Its CPUs: `0-3,8`.
    #[schemars(with = "String")]
    pub cpus: List,
    /// CPUs of it that a further cell could have.
    #[schemars(with = "String")]
    pub free_cpus: List,
    /// Cores of it that a further cell could have whole (`exclusive`).
    pub free_cores: usize,
    /// Bytes of its RAM.
    pub memory: u64,
    /// Bytes of it that further cells could have.
    pub free_memory: u64,
    /// Huge pages that are set aside.
    pub huge_pages: Vec<HugePages>,
    /// Distances to all nodes, in the order of `nodes`; 10 is the node itself.
    pub distances: Vec<u32>,
    /// How fast its memory is, if the firmware says so.
    pub access: Option<InventoryAccess>,
}

/// How a node's memory is reached from the nodes that reach it best. Values that
/// the firmware does not tell are 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InventoryAccess {
    /// The nodes that reach it best.
    pub initiators: Vec<u32>,
    /// Nanoseconds that a read takes.
    pub read_latency_ns: u32,
    /// Nanoseconds that a write takes.
    pub write_latency_ns: u32,
    /// MB/s that can be read.
    pub read_bandwidth_mbs: u32,
    /// MB/s that can be written.
    pub write_bandwidth_mbs: u32,
}

/// Huge pages of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HugePages {
    /// Bytes of a page.
    pub size: u64,
    /// How many are set aside.
    pub total: u64,
    /// How many of them nobody uses.
    pub free: u64,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InventoryCache {
    /// 1 to 4.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// CPUs that share it.
    #[schemars(with = "String")]
    pub cpus: List,
}

/// One PCI function that cells can have, or whose virtual functions they can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Device {
    /// Its address.
    pub address: String,
    /// Vendor and device id: `8086:10c9`.
    pub id: String,
    /// What it is, in a word: `network`, `NVMe`.
    pub kind: String,
    /// NUMA node next to it, if it is near one.
    pub node: Option<u32>,
    /// Who has it: `root`, or the name of a cell; nobody if it is free.
    pub owner: Option<String>,
    /// Why the root keeps it.
    pub reason: Option<String>,
    /// Virtual functions that it can have; 0 for a function without SR-IOV.
    pub vfs: u16,
    /// How many of them cells have.
    pub vfs_of_cells: u16,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InventoryCell {
    /// Its name.
    pub name: String,
    /// Its CPUs.
    #[schemars(with = "String")]
    pub cpus: List,
    /// Bytes of its memory.
    pub memory: u64,
    /// Its nodes.
    pub nodes: Vec<u32>,
    /// Addresses of its PCI functions.
    pub functions: Vec<String>,
    /// Ways of the L3 cache that are its own: `4-7`; none if it shares those of the root.
    #[schemars(with = "String")]
    pub l3_ways: List,
    /// Percent of the memory bandwidth that it can take.
    pub bandwidth_percent: u8,
}

/// What further cells could have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HeadRoom {
    /// CPUs.
    pub cpus: usize,
    /// Whole cores.
    pub cores: usize,
    /// Bytes of memory, in all nodes together.
    pub memory: u64,
    /// Virtual functions, of all devices together.
    pub vfs: u32,
}

impl Inventory {
    /// The inventory of a machine on which cells hold `taken`.
    #[must_use]
    pub fn of(host: &Host, taken: &Taken) -> Self {
        let free = Free::of(host, taken);
        let nodes: Vec<_> = host.nodes.iter().map(|n| node(host, n, &free)).collect();
        let devices = devices(host, taken);
        let cores = host.cores();
        let sockets: BTreeSet<u32> = host.cpus.iter().map(|c| c.package).collect();
        Self {
            version: VERSION,
            name: host.name.clone(),
            cpu_model: host.cpu_model.clone(),
            virtualization: host.virtualization.clone(),
            sockets: sockets.len(),
            cores: cores.len(),
            cpus: host.cpus.len(),
            threads_per_core: cores.values().map(Vec::len).max().unwrap_or(0),
            head_room: HeadRoom {
                cpus: nodes.iter().map(|n| n.free_cpus.0.len()).sum(),
                cores: nodes.iter().map(|n| n.free_cores).sum(),
                memory: nodes.iter().map(|n| n.free_memory).sum(),
                vfs: devices
                    .iter()
                    .map(|d| u32::from(d.vfs.saturating_sub(d.vfs_of_cells)))
                    .sum(),
            },
            nodes,
            caches: host.caches.iter().map(cache).collect(),
            devices,
            cells: taken.cells.iter().map(cell).collect(),
        }
    }
}

fn node(host: &Host, node: &Node, free: &Free) -> InventoryNode {
    let ours = |cpu: &u32| host.cpu(*cpu).is_some_and(|c| c.node == node.id);
    let cpus = host.cpus.iter().map(|c| c.linux).filter(ours);
    InventoryNode {
        id: node.id,
        cpus: cpus.collect(),
        free_cpus: free.cpus.iter().copied().filter(ours).collect(),
        free_cores: free
            .cores
            .iter()
            .filter(|core| core.iter().all(ours))
            .count(),
        memory: node.memory,
        free_memory: free.memory.get(&node.id).copied().unwrap_or(0),
        huge_pages: node
            .pages
            .iter()
            .map(|pages| HugePages {
                size: pages.size,
                total: pages.total,
                free: pages.free,
            })
            .collect(),
        distances: host
            .nodes
            .iter()
            .map(|other| host.distance(node.id, other.id))
            .collect(),
        access: node.access.as_ref().map(access),
    }
}

fn access(access: &Access) -> InventoryAccess {
    InventoryAccess {
        initiators: access.initiators.clone(),
        read_latency_ns: access.read_latency_ns,
        write_latency_ns: access.write_latency_ns,
        read_bandwidth_mbs: access.read_bandwidth_mbs,
        write_bandwidth_mbs: access.write_bandwidth_mbs,
    }
}

fn cache(cache: &Cache) -> InventoryCache {
    InventoryCache {
        level: cache.level,
        kind: cache.kind.clone(),
        size: cache.size,
        cpus: cache.cpus.clone(),
    }
}

fn devices(host: &Host, taken: &Taken) -> Vec<Device> {
    host.functions
        .iter()
        .filter(|f| f.pf.is_none() && !f.is_bridge())
        .map(|f| device(host, f, taken))
        .collect()
}

fn device(host: &Host, function: &Function, taken: &Taken) -> Device {
    let address = function.address;
    let mut needed = host.root.needed();
    let reason = needed.find(|(at, _)| *at == address).map(|(_, why)| why);
    let of_cells = taken.cells.iter().flat_map(|c| &c.functions);
    let vfs = of_cells.filter(|f| f.pf == Some(address)).count();
    let has = |cell: &&CellAssignment| cell.functions.iter().any(|f| f.address == address);
    let cell = taken.cells.iter().find(has).map(|cell| cell.name.clone());
    Device {
        address: address.to_string(),
        id: format!("{:04x}:{:04x}", function.vendor, function.device),
        kind: function.what().to_owned(),
        node: host.node_of(address),
        owner: reason.map(|_| "root".to_owned()).or(cell),
        reason: reason.map(str::to_owned),
        vfs: function.sriov.as_ref().map_or(0, |s| s.total_vfs),
        vfs_of_cells: u16::try_from(vfs).unwrap_or(u16::MAX),
    }
}

fn cell(cell: &CellAssignment) -> InventoryCell {
    InventoryCell {
        name: cell.name.clone(),
        cpus: cell.cpus.iter().map(|c| c.linux).collect(),
        memory: cell.memory_bytes(),
        nodes: cell.nodes(),
        functions: cell
            .functions
            .iter()
            .map(|f| f.address.to_string())
            .collect(),
        l3_ways: cell.class.iter().flat_map(AssignedClass::ways).collect(),
        bandwidth_percent: cell.class.map_or(100, |class| class.percent()),
    }
}
