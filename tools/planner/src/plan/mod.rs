//! From wishes to concrete CPUs, memory and PCI functions.
//!
//! Planning is a function of host, slices and what running cells hold: the
//! same input gives the same plan. What is named (CPU lists, addresses,
//! physical ranges) is claimed first for all slices, then wishes are met in
//! the order of the slices. So a slice that is added at the end changes
//! nothing for those before it, unless it names what they would have got.
//! Running cells keep what they have.

mod classes;
mod cpus;
mod free;
mod functions;
mod generate;
mod links;
mod memory;
mod pool;
mod ports;

pub use free::Free;
pub use generate::{Division, Policy, generate};
pub use pool::ROOT_MEMORY;

use crate::config::{Console, Isolation, Link, Mac, Slice};
use crate::host::Host;
use crate::report::Report;
use cellvisor_abi::Bdf;
use pool::Pool;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What running cells hold. The host that a plan is made for is the machine
/// while they run: their huge pages are not free on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taken {
    /// Their assignments, as they were when the cells were created.
    pub cells: Vec<CellAssignment>,
}

/// A CPU of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AssignedCpu {
    /// Linux's number.
    pub linux: u32,
    /// Physical APIC id.
    pub apic_id: u32,
    /// NUMA node.
    pub node: u32,
}

/// Memory of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MemoryShare {
    /// Huge pages of a node.
    #[serde(rename_all = "kebab-case")]
    Pages {
        /// The node.
        node: u32,
        /// Bytes, a multiple of the page size.
        bytes: u64,
        /// Bytes of a page.
        page_size: u64,
        /// The slice asked for this page size: another one is no way out.
        fixed: bool,
    },
    /// A range that was reserved at boot.
    #[serde(rename_all = "kebab-case")]
    Reserved {
        /// Physical address.
        base: u64,
        /// Bytes.
        size: u64,
        /// NUMA node, if the firmware says so.
        node: Option<u32>,
    },
}

impl MemoryShare {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Pages { bytes, .. } => *bytes,
            Self::Reserved { size, .. } => *size,
        }
    }

    /// Its node, if known.
    #[must_use]
    pub const fn node(&self) -> Option<u32> {
        match self {
            Self::Pages { node, .. } => Some(*node),
            Self::Reserved { node, .. } => *node,
        }
    }
}

/// A PCI function of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AssignedFunction {
    /// Its address; a virtual function may still have to be created.
    pub address: Bdf,
    /// For a virtual function: its physical function.
    pub pf: Option<Bdf>,
    /// For a virtual function: its number.
    pub vf: Option<u16>,
    /// MAC address that it shall have.
    pub mac: Option<Mac>,
    /// VLAN that it shall be in.
    pub vlan: Option<u16>,
    /// Id of the NVMe namespace that it shall have for itself.
    #[serde(default)]
    pub namespace: Option<u32>,
    /// Bytes of the NVMe namespace that it shall have.
    pub namespace_size: Option<u64>,
    /// What keeps its DMA in the cell.
    pub isolation: Isolation,
    /// NUMA node next to it.
    pub node: Option<u32>,
}

/// A class of service of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AssignedClass {
    /// Its number.
    pub number: u8,
    /// Ways of the L3 cache that are the cell's own, a bit for each; 0 if it shares those
    /// of the root.
    pub l3_ways: u32,
    /// Percent of the memory bandwidth that are taken away.
    pub delay: u8,
}

/// I/O ports of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// How many.
    pub count: u16,
}

/// What one cell gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellAssignment {
    /// Name of the slice.
    pub name: String,
    /// CPUs; the place in the list is the virtual APIC id.
    pub cpus: Vec<AssignedCpu>,
    /// Memory, in the order of guest-physical addresses.
    pub memory: Vec<MemoryShare>,
    /// PCI functions.
    pub functions: Vec<AssignedFunction>,
    /// I/O ports that reach the hardware.
    pub ports: Vec<PortRange>,
    /// Its console.
    pub console: Console,
    /// Its class of service, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<AssignedClass>,
    /// What it shares with others.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Why it got just this, a sentence for each choice.
    pub why: Vec<String>,
}

impl CellAssignment {
    /// Bytes of its memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory.iter().map(MemoryShare::bytes).sum()
    }

    /// Nodes of its CPUs and memory, ascending.
    #[must_use]
    pub fn nodes(&self) -> Vec<u32> {
        let cpus = self.cpus.iter().map(|c| c.node);
        let memory = self.memory.iter().filter_map(MemoryShare::node);
        let all: BTreeSet<u32> = cpus.chain(memory).collect();
        all.into_iter().collect()
    }
}

/// A link that does not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewLink {
    /// The link.
    pub link: Link,
    /// Its memory.
    pub memory: Vec<MemoryShare>,
}

/// What is left in one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftNode {
    /// The node.
    pub node: u32,
    /// CPUs that no cell has, the root's own among them.
    pub cpus: Vec<u32>,
    /// Bytes that further cells could have.
    pub memory: u64,
}

/// The outcome of planning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// What each slice gets, in the order of the slices.
    pub cells: Vec<CellAssignment>,
    /// Cells that run and are in none of the files.
    pub running: Vec<CellAssignment>,
    /// Links that come with the cells.
    #[serde(default)]
    pub links: Vec<NewLink>,
    /// What is left.
    pub left: Vec<LeftNode>,
}

/// Finds resources for all slices.
///
/// # Errors
///
/// Every conflict and every wish that cannot be met, each with the place in
/// the slice's file. Warnings are [`crate::check::check`]'s.
pub fn plan(host: &Host, slices: &[Slice], taken: &Taken) -> Result<Plan, Report> {
    let (plan, report) = attempt(host, slices, taken);
    report.unless_errors(plan)
}

/// Plans as far as it goes: slices that cannot be met are left out of the
/// plan and are in the report.
#[must_use]
pub fn attempt(host: &Host, slices: &[Slice], taken: &Taken) -> (Plan, Report) {
    let mut pool = Pool::new(host, taken);
    let known: BTreeMap<&str, &CellAssignment> =
        taken.cells.iter().map(|c| (c.name.as_str(), c)).collect();
    let running = |slice: &Slice| known.get(slice.name.as_str()).copied();
    let mut claims: Vec<Claim> = Vec::new();
    for slice in slices {
        claims.push(match running(slice) {
            Some(_) => Claim::default(),
            None => claim(&mut pool, slice),
        });
    }
    let mut met: Vec<(&Slice, CellAssignment)> = Vec::new();
    for (slice, claim) in slices.iter().zip(claims) {
        let cell = match running(slice) {
            Some(cell) => Some(keep(cell)),
            None => complete(&mut pool, slice, claim),
        };
        met.extend(cell.map(|cell| (slice, cell)));
    }
    let functions: Vec<(&Slice, &[AssignedFunction])> = met
        .iter()
        .map(|(slice, cell)| (*slice, cell.functions.as_slice()))
        .collect();
    functions::check_groups(&mut pool, &functions);
    functions::check_macs(&mut pool, &functions);
    functions::check_namespaces(&mut pool, &functions, &taken.cells);
    let links = links::plan(&mut pool, &met, taken);
    let named: BTreeSet<&str> = slices.iter().map(|s| s.name.as_str()).collect();
    let others = |c: &&CellAssignment| !named.contains(c.name.as_str());
    let plan = Plan {
        running: taken.cells.iter().filter(others).cloned().collect(),
        cells: met.into_iter().map(|(_, cell)| cell).collect(),
        links,
        left: pool.left(),
    };
    (plan, pool.report)
}

/// What a slice has named and got before wishes are met.
#[derive(Default)]
struct Claim {
    cpus: Option<Vec<u32>>,
    memory: Option<MemoryShare>,
    functions: Vec<Option<AssignedFunction>>,
    ports: Vec<PortRange>,
    failed: bool,
}

/// Claims all that a slice names.
fn claim(pool: &mut Pool<'_>, slice: &Slice) -> Claim {
    let before = pool.errors;
    let cpus = cpus::claim(pool, slice);
    let memory = memory::claim(pool, slice);
    let functions = functions::claim(pool, slice);
    let ports = ports::claim(pool, slice);
    Claim {
        cpus,
        memory,
        functions,
        ports,
        failed: pool.errors > before,
    }
}

/// Meets the wishes of a slice whose named resources are claimed.
fn complete(pool: &mut Pool<'_>, slice: &Slice, claim: Claim) -> Option<CellAssignment> {
    let before = pool.errors;
    let mut why = Vec::new();
    let functions = functions::wish(pool, slice, claim.functions, &mut why);
    // A console is slow anyway: it is no reason to be near.
    let console = |f: &&AssignedFunction| slice.console == Console::UartPci(f.address);
    let near = functions.iter().filter(|f| !console(f));
    let near: Vec<u32> = near.filter_map(|f| f.node).collect();
    let cpus = match claim.cpus {
        Some(cpus) => {
            why.push("CPUs: just those that the file lists".to_owned());
            Some(cpus)
        }
        None if slice.cpus.list.is_some() || slice.doubts("cpus") => None,
        None => cpus::wish(pool, slice, &near, &mut why),
    };
    let assigned = cpus.iter().flatten();
    nearness(pool, &functions, assigned, &mut why);
    // Without CPUs, memory is looked for all the same: it may be wrong, too.
    let assigned = cpus.iter().flatten().filter_map(|c| pool.assigned(*c));
    let cpus: Vec<AssignedCpu> = assigned.collect();
    let memory = match claim.memory {
        Some(share) => {
            why.push("memory: the range that the file names".to_owned());
            vec![share]
        }
        None if slice.memory.base.is_some() || slice.doubts("memory") => return None,
        None => memory::wish(pool, slice, &cpus, &mut why)?,
    };
    let class = classes::wish(pool, slice, &cpus, &mut why);
    let got = memory
        .iter()
        .filter_map(|s| Some((slice.name.clone(), s.node()?, s.bytes())));
    pool.memory_owners.extend(got);
    let links: Vec<Link> = slice.links.iter().map(|wish| wish.link.clone()).collect();
    let told = |link| links::told(pool.host, link, &functions);
    why.extend(links.iter().flat_map(told));
    if claim.failed || pool.errors > before || !slice.is_good() {
        return None;
    }
    Some(CellAssignment {
        name: slice.name.clone(),
        cpus,
        memory,
        functions,
        ports: claim.ports,
        console: slice.console,
        class,
        links,
        why,
    })
}

/// Says how far functions are from the CPUs.
fn nearness<'c>(
    pool: &Pool<'_>,
    functions: &[AssignedFunction],
    cpus: impl Iterator<Item = &'c u32>,
    why: &mut Vec<String>,
) {
    let nodes: BTreeSet<u32> = cpus.filter_map(|c| pool.cpu(*c)).map(|c| c.node).collect();
    if pool.host.nodes.len() < 2 || nodes.is_empty() {
        return;
    }
    for function in functions {
        why.push(match function.node {
            Some(node) if nodes.contains(&node) => {
                format!("{}: on node {node}, next to the CPUs", function.address)
            }
            Some(node) => {
                let far = nodes.iter().map(|n| pool.host.distance(*n, node)).min();
                let far = far.unwrap_or_default();
                format!("{}: on node {node}, {far} from the CPUs", function.address)
            }
            None => format!("{}: near no node in particular", function.address),
        });
    }
}

/// A running cell keeps what it has.
fn keep(cell: &CellAssignment) -> CellAssignment {
    CellAssignment {
        why: vec!["it runs, and keeps what it has".to_owned()],
        ..cell.clone()
    }
}
