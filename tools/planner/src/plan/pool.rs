//! What is there and who has it, while a plan grows.

use super::classes::Holder;
use super::{AssignedCpu, CellAssignment, LeftNode, MemoryShare, Taken};
use crate::config::Slice;
use crate::host::{Cpu, Function, Host, Node, Range};
use crate::report::{Finding, Place, Report};
use crate::size::{GIB, MIB, about};
use crate::words::count;
use cellvisor_abi::Bdf;
use std::collections::BTreeMap;

/// Bytes that stay free for the root on its node, whatever the slices want:
/// less than this, and the next program that the root starts may not find
/// memory.
pub const ROOT_MEMORY: u64 = 128 * MIB;

/// Who has a resource.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// The root; why it keeps it.
    Root(String),
    /// A cell that runs.
    Running(String),
    /// A slice in a file.
    Slice { name: String, place: Place },
}

impl Owner {
    /// A slice, at one of its keys.
    pub(super) fn slice(slice: &Slice, key: &str) -> Self {
        Self::Slice {
            name: slice.name.clone(),
            place: slice.place(key),
        }
    }

    /// The owner's name, if it is a cell.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Root(_) => None,
            Self::Running(name) | Self::Slice { name, .. } => Some(name),
        }
    }

    /// The owner in a word or two.
    fn label(&self) -> String {
        match self {
            Self::Root(_) => "the root".to_owned(),
            Self::Running(name) => format!("cell `{name}`"),
            Self::Slice { name, .. } => format!("slice `{name}`"),
        }
    }

    /// Who has it, as the cause of a finding.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Root(why) => why.clone(),
            Self::Running(name) => format!("cell `{name}` runs and has it"),
            Self::Slice { name, place } => {
                format!(
                    "slice `{name}` has it ({}:{})",
                    place.file.display(),
                    place.line
                )
            }
        }
    }
}

/// Memory of a node that cells may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeMemory {
    /// Bytes of ordinary free memory.
    pub(super) free: u64,
    /// Bytes of it that 1 GiB pages can probably be made of: free memory is
    /// scattered, so not the last eighth. `None` if the CPUs have no such
    /// pages.
    pub(super) giant: Option<u64>,
    /// Bytes of free 2 MiB pages.
    pub(super) small_pages: u64,
    /// Bytes of free 1 GiB pages.
    pub(super) giant_pages: u64,
}

/// A physical core.
pub(super) struct Core {
    /// Its CPUs that run something or may come to, ascending.
    pub(super) cpus: Vec<u32>,
    /// Its node.
    pub(super) node: u32,
    /// Which last-level cache it is behind.
    pub(super) cache: usize,
}

/// The machine while a plan grows.
pub(super) struct Pool<'a> {
    pub(super) host: &'a Host,
    pub(super) report: Report,
    /// How often something was refused.
    pub(super) errors: usize,
    pub(super) cores: Vec<Core>,
    pub(super) memory: BTreeMap<u32, NodeMemory>,
    pub(super) cpu_owners: BTreeMap<u32, Owner>,
    pub(super) function_owners: BTreeMap<Bdf, Owner>,
    pub(super) port_owners: BTreeMap<u16, Owner>,
    pub(super) ranges: Vec<(Range, Owner)>,
    /// Classes of service, and where they are taken.
    pub(super) classes: Vec<Holder>,
    /// Slices that got memory: name, node and bytes.
    pub(super) memory_owners: Vec<(String, u32, u64)>,
    cpus: BTreeMap<u32, &'a Cpu>,
    functions: BTreeMap<Bdf, &'a Function>,
}

impl<'a> Pool<'a> {
    /// The whole machine, less what running cells and the root need.
    pub(super) fn new(host: &'a Host, taken: &Taken) -> Self {
        let mut pool = Self {
            host,
            report: Report::default(),
            errors: 0,
            cores: Vec::new(),
            memory: BTreeMap::new(),
            cpu_owners: BTreeMap::new(),
            function_owners: BTreeMap::new(),
            port_owners: BTreeMap::new(),
            ranges: Vec::new(),
            memory_owners: Vec::new(),
            classes: taken.cells.iter().filter_map(Holder::of).collect(),
            cpus: host.cpus.iter().map(|c| (c.linux, c)).collect(),
            functions: host.functions.iter().map(|f| (f.address, f)).collect(),
        };
        pool.root();
        for cell in &taken.cells {
            pool.running(cell);
        }
        pool.cores = cores(host, &pool.cpu_owners);
        let boot = pool.cpu(host.root.boot_cpu).map_or(0, |c| c.node);
        for node in &host.nodes {
            let keep = if node.id == boot { ROOT_MEMORY } else { 0 };
            pool.memory.insert(node.id, node_memory(node, keep));
        }
        pool
    }

    /// What the root cannot do without.
    fn root(&mut self) {
        let root = &self.host.root;
        let keep = |why: &str| Owner::Root(why.to_owned());
        self.cpu_owners.insert(
            root.boot_cpu,
            keep("it is the CPU that booted, and stays with the root"),
        );
        for (address, why) in root.needed() {
            self.function_owners.insert(address, keep(why));
        }
        for port in &root.console_ports {
            for port in *port..port.saturating_add(8) {
                self.port_owners
                    .insert(port, keep("the root has its console there"));
            }
        }
    }

    /// What a running cell has. The huge pages among it are not free on the
    /// host, so only reserved ranges matter here.
    fn running(&mut self, cell: &CellAssignment) {
        let owner = Owner::Running(cell.name.clone());
        for cpu in &cell.cpus {
            self.cpu_owners.insert(cpu.linux, owner.clone());
        }
        for share in &cell.memory {
            if let MemoryShare::Reserved { base, size, .. } = share {
                let range = Range {
                    start: *base,
                    size: *size,
                };
                self.ranges.push((range, owner.clone()));
            }
        }
        for function in &cell.functions {
            self.function_owners.insert(function.address, owner.clone());
        }
        for ports in &cell.ports {
            for port in ports.first..ports.first.saturating_add(ports.count) {
                self.port_owners.insert(port, owner.clone());
            }
        }
    }

    pub(super) fn cpu(&self, linux: u32) -> Option<&'a Cpu> {
        self.cpus.get(&linux).copied()
    }

    pub(super) fn function(&self, address: Bdf) -> Option<&'a Function> {
        self.functions.get(&address).copied()
    }

    /// The CPU as an assignment names it.
    pub(super) fn assigned(&self, linux: u32) -> Option<AssignedCpu> {
        self.cpu(linux).map(|cpu| AssignedCpu {
            linux,
            apic_id: cpu.apic_id,
            node: cpu.node,
        })
    }

    /// True if a cell may have the CPU.
    pub(super) fn is_free(&self, linux: u32) -> bool {
        let online = self.cpu(linux).is_some_and(|cpu| cpu.online);
        online && !self.cpu_owners.contains_key(&linux)
    }

    /// Notes something wrong with a key of a slice, unless the key is known to
    /// be wrong.
    pub(super) fn wrong(
        &mut self,
        slice: &Slice,
        key: &str,
        message: String,
        cause: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors += 1;
        if slice.doubts(key) {
            return;
        }
        let finding = Finding::error(message).at(slice.place(key)).help(help);
        self.report.push(finding.because(cause));
    }

    /// Who has the CPUs of a node, or of the machine, in a sentence. Siblings of
    /// a CPU count as its owner's unless `split`.
    pub(super) fn cpu_holders(&self, node: Option<u32>, split: bool) -> String {
        let mut holders: BTreeMap<String, u64> = BTreeMap::new();
        let mut total = 0;
        for core in self
            .cores
            .iter()
            .filter(|c| node.is_none_or(|n| n == c.node))
        {
            total += core.cpus.len();
            let first = core.cpus.iter().find_map(|c| self.cpu_owners.get(c));
            for cpu in &core.cpus {
                let owner = self.cpu_owners.get(cpu).or(first.filter(|_| !split));
                if let Some(owner) = owner {
                    *holders.entry(owner.label()).or_default() += 1;
                }
            }
        }
        let place = node.map_or("this machine".to_owned(), |n| format!("node {n}"));
        let total = count(total, "CPU");
        let holders = holders.into_iter();
        match holders.len() {
            0 => format!("{place} has {total}"),
            _ => {
                let holders = some(holders.map(|(who, n)| format!("{who} has {n}")));
                format!("{place} has {total}: {holders}")
            }
        }
    }

    /// Slices that got memory of a node, or of the machine; empty if none did.
    pub(super) fn memory_takers(&self, node: Option<u32>) -> String {
        let mut takers: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, at, bytes) in &self.memory_owners {
            if node.is_none_or(|n| n == *at) {
                *takers.entry(name).or_default() += bytes;
            }
        }
        let sentence = |(name, bytes)| format!("slice `{name}` gets {}", about(bytes));
        some(takers.into_iter().map(sentence))
    }

    /// What is left, node by node.
    pub(super) fn left(&self) -> Vec<LeftNode> {
        let mut cpus: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for cpu in self.host.cpus.iter().filter(|c| c.online) {
            let owner = self.cpu_owners.get(&cpu.linux);
            if owner.is_none_or(|o| o.name().is_none()) {
                cpus.entry(cpu.node).or_default().push(cpu.linux);
            }
        }
        let left = |(node, memory): (&u32, &NodeMemory)| LeftNode {
            node: *node,
            cpus: cpus.remove(node).unwrap_or_default(),
            memory: memory.free + memory.small_pages + memory.giant_pages,
        };
        self.memory.iter().map(left).collect()
    }
}

/// The first few of many, with commas; only these are made.
fn some(mut all: impl ExactSizeIterator<Item = String>) -> String {
    /// More than that nobody reads.
    const MOST: usize = 4;
    let shown: Vec<String> = all.by_ref().take(MOST).collect();
    let shown = shown.join(", ");
    match all.len() {
        0 => shown,
        more => format!("{shown} and so on for {more} more"),
    }
}

/// Memory of a node that cells may have; `keep` bytes stay with the root.
fn node_memory(node: &Node, keep: u64) -> NodeMemory {
    let pages = |size| {
        let of_size = node.pages.iter().filter(move |p| p.size == size);
        of_size.map(|p| p.free * p.size).sum::<u64>()
    };
    let free = node.free.saturating_sub(keep);
    let has_giant = node.pages.iter().any(|p| p.size == GIB);
    NodeMemory {
        free,
        giant: has_giant.then_some((free - free / 8) / GIB * GIB),
        small_pages: pages(2 * MIB),
        giant_pages: pages(GIB),
    }
}

/// Physical cores in the order of their first CPUs. One that is offline counts as
/// well: it comes online with the monitor, and would be the root's beside a cell.
/// Only where siblings stay offline nobody runs on them.
fn cores(host: &Host, owners: &BTreeMap<u32, Owner>) -> Vec<Core> {
    let mut cache_of: BTreeMap<u32, usize> = BTreeMap::new();
    let last = host.caches.iter().map(|c| c.level).max().unwrap_or(0);
    for (i, cache) in host.caches.iter().enumerate() {
        if cache.level == last && last >= 3 {
            cache_of.extend(cache.cpus.0.iter().map(|cpu| (*cpu, i)));
        }
    }
    let used: BTreeMap<u32, &Cpu> = host
        .cpus
        .iter()
        .filter(|c| c.online || !host.smt_off || owners.contains_key(&c.linux))
        .map(|c| (c.linux, c))
        .collect();
    let mut cores: Vec<Core> = Vec::new();
    for cpus in host.cores().into_values() {
        let cpus: Vec<u32> = cpus.into_iter().filter(|c| used.contains_key(c)).collect();
        let Some(cpu) = cpus.first().and_then(|first| used.get(first)) else {
            continue;
        };
        let (node, linux) = (cpu.node, cpu.linux);
        cores.push(Core {
            cpus,
            node,
            cache: cache_of.get(&linux).copied().unwrap_or(usize::MAX),
        });
    }
    cores.sort_by(|a, b| a.cpus.cmp(&b.cpus));
    cores
}
