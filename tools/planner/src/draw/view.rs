//! Who has what, as pictures ask for it.

use crate::config::{Link, LinkKind};
use crate::host::{Function, Host, Node};
use crate::plan::{AssignedClass, CellAssignment, MemoryShare, Plan};
use crate::words::count;
use cellvisor_abi::Bdf;
use std::collections::{BTreeMap, BTreeSet};

/// Owner of a thing in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The cell with this index in [`View::cells`].
    Cell(usize),
    /// The root, which needs it.
    Root,
    /// The root, which could give it away.
    Left,
    /// Nobody: it is offline.
    Nobody,
}

/// A machine with its owners.
pub(super) struct View<'a> {
    pub(super) host: &'a Host,
    /// Planned cells, then running ones.
    pub(super) cells: Vec<&'a CellAssignment>,
    left: BTreeMap<u32, u64>,
    cpus: BTreeMap<u32, usize>,
    functions: BTreeMap<Bdf, usize>,
    needed: BTreeSet<Bdf>,
    offline: BTreeSet<u32>,
}

impl<'a> View<'a> {
    pub(super) fn new(host: &'a Host, plan: &'a Plan) -> Self {
        let cells: Vec<_> = plan.cells.iter().chain(&plan.running).collect();
        let mut view = Self {
            host,
            left: plan.left.iter().map(|n| (n.node, n.memory)).collect(),
            cpus: BTreeMap::new(),
            functions: BTreeMap::new(),
            needed: host.root.needed().map(|(address, _)| address).collect(),
            offline: host
                .cpus
                .iter()
                .filter(|c| !c.online)
                .map(|c| c.linux)
                .collect(),
            cells,
        };
        for (i, cell) in view.cells.iter().enumerate() {
            view.cpus.extend(cell.cpus.iter().map(|c| (c.linux, i)));
            let functions = cell.functions.iter().map(|f| (f.address, i));
            view.functions.extend(functions);
        }
        view
    }

    /// Who has a CPU.
    pub(super) fn cpu(&self, linux: u32) -> Owner {
        match self.cpus.get(&linux) {
            Some(cell) => Owner::Cell(*cell),
            None if linux == self.host.root.boot_cpu => Owner::Root,
            None if self.offline.contains(&linux) => Owner::Nobody,
            None => Owner::Left,
        }
    }

    /// True if there is a CPU that nobody runs on.
    pub(super) fn has_idle_cpus(&self) -> bool {
        self.offline.iter().any(|c| self.cpu(*c) == Owner::Nobody)
    }

    /// Who has a function.
    pub(super) fn function(&self, address: Bdf) -> Owner {
        match self.functions.get(&address) {
            Some(cell) => Owner::Cell(*cell),
            None if self.needed.contains(&address) => Owner::Root,
            None => Owner::Left,
        }
    }

    /// Who has each VF that a function can have, in order.
    pub(super) fn vfs(&self, function: &Function) -> Vec<Owner> {
        let Some(sriov) = &function.sriov else {
            return Vec::new();
        };
        let owner = |vf: u16| {
            let address = sriov.vf(function.address, vf);
            address.map_or(Owner::Left, |a| self.function(a))
        };
        (0..sriov.total_vfs).map(owner).collect()
    }

    /// The memory of a node: owners with their bytes, cells first, then what
    /// the root uses, then what is left.
    pub(super) fn memory(&self, node: &Node) -> Vec<(Owner, u64)> {
        let mut parts = Vec::new();
        for (i, cell) in self.cells.iter().enumerate() {
            let mine = cell.memory.iter().filter(|s| s.node() == Some(node.id));
            let bytes: u64 = mine.map(MemoryShare::bytes).sum();
            if bytes > 0 {
                parts.push((Owner::Cell(i), bytes));
            }
        }
        let given: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        let left = self.left.get(&node.id).copied().unwrap_or(0);
        let used = node.memory.saturating_sub(given).saturating_sub(left);
        parts.push((Owner::Root, used));
        parts.push((Owner::Left, left));
        parts.retain(|(_, bytes)| *bytes > 0);
        parts
    }

    /// The L3 caches of a node's CPUs of which cells have ways: who has each way, from the
    /// lowest on.
    pub(super) fn caches(&self, node: &Node) -> Vec<Vec<Owner>> {
        let Some(classes) = self.host.classes else {
            return Vec::new();
        };
        let near = self.host.cpus.iter().filter(|c| c.node == node.id);
        let caches: BTreeSet<u32> = near.map(|c| classes.cache(c.apic_id)).collect();
        let ways = |cache: u32| {
            let mut ways = vec![Owner::Left; classes.l3_ways.into()];
            for (i, cell) in self.cells.iter().enumerate() {
                let is_there = cell.cpus.iter().any(|c| classes.cache(c.apic_id) == cache);
                let own = cell.class.iter().flat_map(AssignedClass::ways);
                for way in own.filter(|_| is_there) {
                    if let Some(owner) = usize::try_from(way).ok().and_then(|w| ways.get_mut(w)) {
                        *owner = Owner::Cell(i);
                    }
                }
            }
            ways
        };
        let caches = caches.into_iter().map(ways);
        caches
            .filter(|ways| ways.iter().any(|o| *o != Owner::Left))
            .collect()
    }

    /// Functions worth showing: no bridges, and no VFs, which are shown with
    /// their physical function.
    pub(super) fn devices(&self) -> impl Iterator<Item = &'a Function> {
        let functions = self.host.functions.iter();
        functions.filter(|f| !f.is_bridge() && f.pf.is_none())
    }

    /// Links of planned and running cells, each once, with the indexes of those of
    /// their cells that are here.
    pub(super) fn links(&self) -> Vec<(&'a Link, Vec<usize>)> {
        let mut found: BTreeMap<&str, (&'a Link, Vec<usize>)> = BTreeMap::new();
        for (i, cell) in self.cells.iter().enumerate() {
            for link in &cell.links {
                let entry = found.entry(&link.name).or_insert((link, Vec::new()));
                entry.1.push(i);
            }
        }
        found.into_values().collect()
    }

    /// What a cell has, in a few words.
    pub(super) fn summary(cell: &CellAssignment) -> String {
        let cpus = count(cell.cpus.len(), "CPU");
        let memory = crate::size::about(cell.memory_bytes());
        let functions = match cell.functions.len() {
            0 => String::new(),
            n => format!(", {}", count(n, "function")),
        };
        let share = cell.class.map(|class| format!(", {}", class.words()));
        format!("{cpus}, {memory}{functions}{}", share.unwrap_or_default())
    }
}

/// How large a link is, or what else it is.
pub(super) fn extent(link: &Link) -> String {
    let size = crate::size::about(link.size);
    match link.kind {
        LinkKind::Ethernet => "Ethernet".to_owned(),
        LinkKind::ExtendedSocket => format!("Extended Socket, {size}"),
        LinkKind::Window => size,
    }
}
