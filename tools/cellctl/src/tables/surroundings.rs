//! What a cell's tables say of the machine around its CPUs: root bridges,
//! configuration space, NUMA nodes.
//!
//! BARs never move, so windows are the same for the cell as for the machine, and
//! the cell's RAM has to keep off them and off configuration space.

use crate::error::{Error, Result};
use crate::loader::layout;
use crate::state::CellFunction;
use acpi_tables::{Access, Intx, NodeMemory, Numa, Pin, RootBridge, Window};
use cellvisor_abi::plan::{Ecam, Range};
use cellvisor_planner::host::{Host, RootBus, Space};
use cellvisor_planner::plan::{CellAssignment, MemoryShare};

/// Least and greatest distance between different nodes (ACPI, "SLIT").
const DISTANCES: (u32, u32) = (11, 254);

/// Distance of a node to itself.
const LOCAL: u8 = 10;

/// Nodes up to which a cell is told how fast memory is: its tables have 128 KiB,
/// and the four matrices take 34 KiB of them then, four times that with twice
/// the nodes. It is a hint; a cell on more nodes goes by the distances.
const MOST_ACCESS_NODES: usize = 64;

/// The machine as far as one cell sees it; the default is none at all.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// Configuration space of just the buses below [`Self::bridges`].
    pub(super) ecam: Vec<Ecam>,
    bridges: Vec<Bridge>,
    nodes: Option<Nodes>,
    /// Addresses that RAM keeps off.
    taken: Vec<Range>,
}

/// A root bridge that holds functions of the cell.
#[derive(Debug)]
struct Bridge {
    segment: u16,
    first_bus: u8,
    last_bus: u8,
    express: bool,
    node: Option<u32>,
    windows: Vec<Window>,
    intx: Vec<Intx>,
}

/// Affinities, in the guest's numbering.
#[derive(Debug)]
struct Nodes {
    count: u32,
    cpus: Vec<u32>,
    memory: Vec<NodeMemory>,
    distances: Vec<u8>,
    access: Vec<Access>,
}

/// True if the tables of `cell` tell nothing of the machine, so that nobody
/// need ask for it.
pub(crate) fn stands_alone(cell: &CellAssignment) -> bool {
    cell.functions.is_empty() && cell.nodes().len() < 2
}

impl Surroundings {
    /// What `cell` sees of `host`.
    ///
    /// # Errors
    ///
    /// A function that is behind no known root bus, and RAM that cannot be laid
    /// around the windows.
    pub(crate) fn of(cell: &CellAssignment, host: &Host) -> Result<Self> {
        let roots = roots(cell, host)?;
        let ecam: Vec<Ecam> = roots.iter().filter_map(|r| ecam(r, host)).collect();
        let known = cell.nodes();
        let numa = known.len() > 1;
        let number = |node: u32| place(&known, node).filter(|_| numa);
        let bridges: Vec<Bridge> = roots
            .iter()
            .map(|r| Bridge {
                segment: r.segment,
                first_bus: r.first_bus,
                last_bus: r.last_bus,
                express: self::ecam(r, host).is_some(),
                node: r.node.and_then(number),
                windows: r.windows.iter().filter_map(window).collect(),
                intx: Vec::new(),
            })
            .collect();
        let taken = taken(&ecam, &bridges);
        let memory = memory(cell, &known, &taken)?;
        let nodes = numa.then(|| nodes(cell, host, &known, memory));
        Ok(Self {
            ecam,
            bridges,
            nodes,
            taken,
        })
    }

    /// With the interrupt pins of those functions that have a wire.
    pub(crate) fn wired(mut self, functions: &[CellFunction]) -> Self {
        for function in functions.iter().map(|f| f.plan) {
            let guest = function.guest;
            let is_above =
                |b: &&mut Bridge| (b.segment, b.first_bus) == (guest.segment, guest.bus());
            let bridge = self.bridges.iter_mut().find(is_above);
            let pin = function.pin().and_then(pin);
            if let (Some(bridge), Some(wire), Some(pin)) = (bridge, function.wire, pin) {
                bridge.intx.push(Intx {
                    device: guest.device(),
                    pin,
                    gsi: wire.gsi,
                });
            }
        }
        self
    }

    /// Addresses that the cell's RAM keeps off.
    pub(crate) fn taken(&self) -> &[Range] {
        &self.taken
    }

    /// Configuration space that is mapped to memory.
    pub(crate) fn configuration(&self) -> Vec<Range> {
        self.ecam.iter().map(space).collect()
    }

    /// The bridges in the form that tables are made from.
    pub(super) fn bridges(&self) -> Vec<RootBridge<'_>> {
        self.bridges.iter().map(Bridge::describe).collect()
    }

    /// Affinities, for a cell on more than one node.
    pub(super) fn numa(&self) -> Option<Numa<'_>> {
        self.nodes.as_ref().map(|n| Numa {
            nodes: n.count,
            cpus: &n.cpus,
            memory: &n.memory,
            distances: &n.distances,
            access: &n.access,
        })
    }
}

impl Bridge {
    const fn describe(&self) -> RootBridge<'_> {
        RootBridge {
            segment: self.segment,
            first_bus: self.first_bus,
            last_bus: self.last_bus,
            express: self.express,
            node: self.node,
            windows: self.windows.as_slice(),
            intx: self.intx.as_slice(),
        }
    }
}

/// A pin by its number in configuration space.
const fn pin(number: u8) -> Option<Pin> {
    match number {
        1 => Some(Pin::A),
        2 => Some(Pin::B),
        3 => Some(Pin::C),
        4 => Some(Pin::D),
        _ => None,
    }
}

/// Root buses above the cell's functions, each once, by address.
fn roots<'h>(cell: &CellAssignment, host: &'h Host) -> Result<Vec<&'h RootBus>> {
    let mut roots: Vec<&RootBus> = Vec::new();
    for function in &cell.functions {
        let root = host.root_of(function.address).ok_or_else(|| {
            Error::new(
                format!("cannot make the ACPI tables of cell \"{}\"", cell.name),
                format!("no root bus is known above {}", function.address),
                "save the host anew as root: cellctl host --save FILE",
            )
        })?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots.sort_by_key(|r| (r.segment, r.first_bus));
    Ok(roots)
}

/// Configuration space of the buses below `root`, if it is mapped to memory.
fn ecam(root: &RootBus, host: &Host) -> Option<Ecam> {
    let all = host.ecam.iter().find(|e| {
        e.segment == root.segment && e.first_bus <= root.first_bus && root.last_bus <= e.last_bus
    })?;
    Some(Ecam {
        base: all.base,
        segment: root.segment,
        first_bus: root.first_bus,
        last_bus: root.last_bus,
    })
}

/// A window as the tables tell it. Those below 1 MiB are left out: the cell
/// has RAM and its tables there.
fn window(window: &cellvisor_planner::host::Window) -> Option<Window> {
    match window.space {
        Space::Io => Some(Window::Io {
            first: u16::try_from(window.start).ok()?,
            last: u16::try_from(window.end).ok()?,
        }),
        Space::Mem => (window.end >= layout::HIGH).then_some(Window::Memory {
            first: window.start,
            last: window.end,
            prefetchable: window.prefetchable,
        }),
    }
}

/// The memory of a configuration space.
fn space(ecam: &Ecam) -> Range {
    let bus = |n: u8| u64::from(n) << 20;
    Range {
        start: ecam.base + bus(ecam.first_bus),
        size: bus(ecam.last_bus - ecam.first_bus) + bus(1),
    }
}

/// Addresses that RAM must keep off.
fn taken(ecam: &[Ecam], bridges: &[Bridge]) -> Vec<Range> {
    let spaces = ecam.iter().map(space);
    let windows = bridges.iter().flat_map(|b| &b.windows);
    let windows = windows.filter_map(|w| match *w {
        Window::Memory { first, last, .. } => Some(Range {
            start: first,
            size: (last - first).saturating_add(1),
        }),
        Window::Io { .. } => None,
    });
    spaces.chain(windows).collect()
}

/// The place of `node` among the nodes that the cell knows: its number there.
fn place(known: &[u32], node: u32) -> Option<u32> {
    known
        .iter()
        .position(|n| *n == node)
        .and_then(|n| u32::try_from(n).ok())
}

/// Where the cell's RAM lies, with nodes in the guest's numbering; memory of
/// an unknown node counts to the first.
fn memory(cell: &CellAssignment, known: &[u32], taken: &[Range]) -> Result<Vec<NodeMemory>> {
    let mut starts = Vec::new();
    let mut next = 0;
    // Addresses of the pages are not known yet, and do not matter here: each
    // share stands for the stretch that it takes in the cell.
    for share in &cell.memory {
        starts.push(Range {
            start: next,
            size: share.bytes(),
        });
        next += share.bytes();
    }
    let node_at = |offset: u64| {
        let at = starts.iter().rposition(|s| s.start <= offset);
        let share = at.and_then(|n| cell.memory.get(n));
        let node = share.and_then(MemoryShare::node);
        node.and_then(|n| place(known, n)).unwrap_or(0)
    };
    let mut found: Vec<NodeMemory> = Vec::new();
    for piece in layout::place(&starts, taken)? {
        let node = node_at(piece.hpa);
        match found.last_mut() {
            Some(last) if last.node == node && last.gpa + last.size == piece.gpa => {
                last.size += piece.size;
            }
            _ => found.push(NodeMemory {
                gpa: piece.gpa,
                size: piece.size,
                node,
            }),
        }
    }
    Ok(found)
}

/// Affinities of a cell on `known` nodes of the host.
fn nodes(cell: &CellAssignment, host: &Host, known: &[u32], memory: Vec<NodeMemory>) -> Nodes {
    let distance = |from: u32, to: u32| {
        if from == to {
            return LOCAL;
        }
        // Firmware may tell two distances; a guest expects one.
        let far = host.distance(from, to).max(host.distance(to, from));
        u8::try_from(far.clamp(DISTANCES.0, DISTANCES.1)).unwrap_or(u8::MAX - 1)
    };
    let pairs = known
        .iter()
        .flat_map(|from| known.iter().map(move |to| (*from, *to)));
    Nodes {
        count: u32::try_from(known.len()).unwrap_or(u32::MAX),
        cpus: cell
            .cpus
            .iter()
            .map(|c| place(known, c.node).unwrap_or(0))
            .collect(),
        access: access(cell, host, known, &memory),
        memory,
        distances: pairs.map(|(from, to)| distance(from, to)).collect(),
    }
}

/// How fast the memory of `known` nodes is from those that reach it best, as far
/// as the cell has memory and CPUs there.
fn access(cell: &CellAssignment, host: &Host, known: &[u32], memory: &[NodeMemory]) -> Vec<Access> {
    let known = if known.len() > MOST_ACCESS_NODES {
        &[]
    } else {
        known
    };
    let has_cpu = |node: &u32| cell.cpus.iter().any(|c| c.node == *node);
    let mut found = Vec::new();
    for (target, node) in (0..).zip(known) {
        if !memory.iter().any(|m| m.node == target) {
            continue;
        }
        let Some(access) = host.node(*node).and_then(|n| n.access.as_ref()) else {
            continue;
        };
        let from = access.initiators.iter().filter(|n| has_cpu(n));
        found.extend(
            from.filter_map(|n| place(known, *n))
                .map(|initiator| Access {
                    initiator,
                    target,
                    read_latency_ns: access.read_latency_ns,
                    write_latency_ns: access.write_latency_ns,
                    read_bandwidth_mbs: access.read_bandwidth_mbs,
                    write_bandwidth_mbs: access.write_bandwidth_mbs,
                }),
        );
    }
    found
}
