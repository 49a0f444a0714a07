//! CPUs for slices: whole cores, on one node, behind one cache where possible.

use super::pool::{Core, Owner, Pool};
use crate::config::Slice;
use crate::list::List;
use crate::words::{count, nodes_of, numbered};
use std::collections::{BTreeMap, BTreeSet};

/// Claims the CPUs that a slice lists; `None` if it lists none or one of them
/// cannot be had.
pub(super) fn claim(pool: &mut Pool<'_>, slice: &Slice) -> Option<Vec<u32>> {
    let list = slice.cpus.list.as_ref()?;
    let before = pool.errors;
    let mut refused: BTreeMap<Refusal, Vec<u32>> = BTreeMap::new();
    for cpu in list {
        match refusal(pool, slice, *cpu) {
            Some(why) => refused.entry(why).or_default().push(*cpu),
            None => {
                let owner = Owner::slice(slice, "cpus.list");
                pool.cpu_owners.insert(*cpu, owner);
            }
        }
    }
    for (why, cpus) in refused {
        refuse(pool, slice, why, &cpus);
    }
    let mine: BTreeSet<u32> = list.iter().copied().collect();
    if !slice.cpus.split_siblings {
        siblings(pool, slice, &mine);
    }
    (pool.errors == before).then(|| list.clone())
}

/// Why a slice cannot have a CPU.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// The machine has no such CPU.
    Missing,
    /// Somebody has it: the sentence that says who.
    Owned(String),
    /// Linux does not run on it.
    Offline,
    /// It is on this node, and the slice wants another.
    Elsewhere(u32),
}

/// Why the slice cannot have this CPU; `None` if it can.
fn refusal(pool: &Pool<'_>, slice: &Slice, linux: u32) -> Option<Refusal> {
    let Some(cpu) = pool.cpu(linux) else {
        return Some(Refusal::Missing);
    };
    if let Some(owner) = pool.cpu_owners.get(&linux) {
        return Some(Refusal::Owned(owner.sentence()));
    }
    if !cpu.online {
        return Some(Refusal::Offline);
    }
    let wanted = slice.cpus.numa_node.filter(|n| *n != cpu.node);
    wanted.map(|_| Refusal::Elsewhere(cpu.node))
}

/// Says why the slice cannot have these CPUs.
fn refuse(pool: &mut Pool<'_>, slice: &Slice, why: Refusal, cpus: &[u32]) {
    const KEY: &str = "cpus.list";
    let shown = numbered("CPU", cpus.iter().copied());
    let message = format!("slice `{}` cannot have {shown}", slice.name);
    match why {
        Refusal::Missing => {
            let all = numbered("CPU", pool.host.cpus.iter().map(|c| c.linux));
            let help = format!("this machine has {all}");
            pool.wrong(slice, KEY, message, "this machine has no such CPU", help);
        }
        Refusal::Owned(cause) => {
            let help = "list other CPUs; `cellctl plan` shows which are left";
            pool.wrong(slice, KEY, message, cause, help);
        }
        Refusal::Offline => {
            let cause = "offline, but no cell has it";
            let first = cpus.first().copied().unwrap_or_default();
            let help = format!("write 1 to /sys/devices/system/cpu/cpu{first}/online first");
            pool.wrong(slice, KEY, message, cause, help);
        }
        Refusal::Elsewhere(node) => {
            let cause = format!("`list` names CPUs of node {node}");
            let help = "leave `numa-node` out, or list CPUs of that node";
            pool.wrong(slice, "cpus.numa-node", message, cause, help);
        }
    }
}

/// Refuses CPUs whose siblings stay with others.
fn siblings(pool: &mut Pool<'_>, slice: &Slice, mine: &BTreeSet<u32>) {
    let is_mine = |c: &u32| mine.contains(c);
    let split = |core: &&Core| core.cpus.iter().any(is_mine) && !core.cpus.iter().all(is_mine);
    let wrong: Vec<(u32, u32)> = pool
        .cores
        .iter()
        .filter(split)
        .filter_map(|core| {
            let inside = core.cpus.iter().find(|c| mine.contains(c))?;
            let outside = core.cpus.iter().find(|c| !mine.contains(c))?;
            Some((*inside, *outside))
        })
        .collect();
    for (inside, outside) in wrong {
        let message = format!(
            "slice `{}` lists CPU {inside} without its sibling {outside}",
            slice.name
        );
        let asleep = pool.cpu(outside).is_some_and(|cpu| !cpu.online);
        let (help, cause) = match asleep {
            true => (
                format!(
                    "bring CPU {outside} online and list it too, or write `split-siblings = true`"
                ),
                format!("the two share a core, and CPU {outside} comes online with the monitor"),
            ),
            false => (
                format!("list CPU {outside} too, or write `split-siblings = true`"),
                "the two share a core: its caches and execution units".to_owned(),
            ),
        };
        pool.wrong(slice, "cpus.list", message, cause, help);
    }
}

/// Finds CPUs for a slice that says how many. `near` are the nodes of its
/// functions.
pub(super) fn wish(
    pool: &mut Pool<'_>,
    slice: &Slice,
    near: &[u32],
    why: &mut Vec<String>,
) -> Option<Vec<u32>> {
    let choice = Choice::new(pool, slice, near);
    let found = match slice.cpus.numa_node {
        Some(node) => choice.on_node(node).map(|cpus| (cpus, node_wished(node))),
        None => choice.anywhere(),
    };
    let Some((cpus, reason)) = found else {
        let (message, cause, help) = choice.shortage();
        let key = match slice.cpus.numa_node {
            Some(_) => "cpus.numa-node",
            None => "cpus.count",
        };
        pool.wrong(slice, key, message, cause, help);
        return None;
    };
    let shown = numbered("CPU", cpus.iter().copied());
    why.push(format!("{shown}: {reason}"));
    for cpu in &cpus {
        pool.cpu_owners
            .insert(*cpu, Owner::slice(slice, "cpus.count"));
    }
    Some(cpus)
}

/// Why these CPUs, if the file names the node.
fn node_wished(node: u32) -> String {
    format!("on node {node}, as the file says")
}

/// The free CPUs, seen by one slice.
struct Choice<'p, 'h> {
    pool: &'p Pool<'h>,
    slice: &'p Slice,
    near: &'p [u32],
    /// By node: cores whose online CPUs are all free.
    whole: BTreeMap<u32, Vec<&'p Core>>,
    /// By node: free CPUs of other cores.
    broken: BTreeMap<u32, Vec<u32>>,
}

impl<'p, 'h> Choice<'p, 'h> {
    fn new(pool: &'p Pool<'h>, slice: &'p Slice, near: &'p [u32]) -> Self {
        let mut choice = Self {
            pool,
            slice,
            near,
            whole: BTreeMap::new(),
            broken: BTreeMap::new(),
        };
        for core in &pool.cores {
            let free = core.cpus.iter().copied().filter(|c| pool.is_free(*c));
            if free.clone().count() == core.cpus.len() {
                choice.whole.entry(core.node).or_default().push(core);
            } else if slice.cpus.split_siblings {
                choice.broken.entry(core.node).or_default().extend(free);
            }
        }
        choice
    }

    /// All CPUs from one node.
    fn on_node(&self, node: u32) -> Option<Vec<u32>> {
        let mut cpus = Vec::new();
        self.take(node, &mut cpus);
        (cpus.len() == self.slice.cpus.count).then_some(cpus)
    }

    /// Adds CPUs of `node` until the slice has enough or the node has no more.
    fn take(&self, node: u32, cpus: &mut Vec<u32>) {
        let wanted = self.slice.cpus.count - cpus.len();
        let cores = self.whole.get(&node).map(Vec::as_slice);
        let (mut taken, rest) = fill(&by_cache(cores.unwrap_or_default(), wanted), wanted);
        if self.slice.cpus.split_siblings {
            let broken = self.broken.get(&node).into_iter().flatten().copied();
            let split = rest.iter().flat_map(|core| core.cpus.iter().copied());
            let missing = wanted - taken.len();
            taken.extend(broken.chain(split).take(missing));
        }
        cpus.extend(taken);
        cpus.sort_unstable();
    }

    /// All CPUs from the best node, or from as few as possible.
    fn anywhere(&self) -> Option<(Vec<u32>, String)> {
        let size = self.slice.memory.size;
        let near = |node| -> u32 {
            let own = self.slice.memory.numa_node.iter();
            let all = own.chain(self.near);
            all.map(|n| self.pool.host.distance(node, *n)).sum()
        };
        let boot = self.pool.cpu(self.pool.host.root.boot_cpu);
        let rank = |node: u32, cpus: &Vec<u32>| {
            let memory = self.pool.memory.get(&node);
            let fits = self.slice.memory.base.is_some()
                || self.slice.memory.numa_node.is_some_and(|n| n != node)
                || memory.is_some_and(|m| m.free + m.small_pages + m.giant_pages >= size);
            let on_boot = boot.is_some_and(|c| c.node == node);
            (
                near(node),
                !fits,
                on_boot,
                self.free_on(node) - cpus.len(),
                node,
            )
        };
        let best = self
            .nodes()
            .filter_map(|node| self.on_node(node).map(|cpus| (rank(node, &cpus), cpus)))
            .min_by_key(|(rank, _)| *rank);
        match best {
            Some(((_, no_memory, _, left, node), cpus)) => {
                let reason = self.reason(node, no_memory, left);
                Some((cpus, reason))
            }
            None => self.spread(),
        }
    }

    /// Why this node.
    fn reason(&self, node: u32, no_memory: bool, left: usize) -> String {
        let mut parts = vec![format!("all on node {node}")];
        if self.near.contains(&node) {
            parts.push("next to the slice's PCI functions".to_owned());
        }
        if self.slice.memory.numa_node == Some(node) {
            parts.push("next to its memory".to_owned());
        }
        if no_memory {
            parts.push("though its memory does not fit there".to_owned());
        }
        if !self.slice.cpus.split_siblings {
            parts.push("whole cores".to_owned());
        }
        parts.push(format!("{left} more free there"));
        parts.join(", ")
    }

    /// No node has enough: as many as possible from the best, the rest from
    /// its nearest neighbours.
    fn spread(&self) -> Option<(Vec<u32>, String)> {
        let wanted = self.slice.memory.numa_node.or(self.near.first().copied());
        let largest = || {
            self.nodes()
                .max_by_key(|n| (self.free_on(*n), std::cmp::Reverse(*n)))
        };
        let start = wanted.filter(|n| self.free_on(*n) > 0).or_else(largest)?;
        let mut order: Vec<u32> = self.nodes().collect();
        order.sort_by_key(|n| (self.pool.host.distance(start, *n), *n));
        let mut cpus = Vec::new();
        let mut nodes = Vec::new();
        for node in order {
            let before = cpus.len();
            self.take(node, &mut cpus);
            if cpus.len() > before {
                nodes.push(node);
            }
            if cpus.len() == self.slice.cpus.count {
                return Some((cpus, over(nodes.into_iter())));
            }
        }
        // Cores of different sizes: node by node, the last CPU may not have
        // come out even.
        let all: Vec<&Core> = self.whole.values().flatten().copied().collect();
        let (mut cpus, _) = fill(&all, self.slice.cpus.count);
        cpus.sort_unstable();
        let nodes = cpus
            .iter()
            .filter_map(|c| self.pool.cpu(*c))
            .map(|c| c.node);
        (cpus.len() == self.slice.cpus.count).then(|| (cpus.clone(), over(nodes)))
    }

    /// Nodes with CPUs to give.
    fn nodes(&self) -> impl Iterator<Item = u32> + '_ {
        let all: BTreeSet<u32> = self
            .whole
            .keys()
            .chain(self.broken.keys())
            .copied()
            .collect();
        all.into_iter()
    }

    /// CPUs of a node that the slice could have.
    fn free_on(&self, node: u32) -> usize {
        let whole = self.whole.get(&node).into_iter().flatten();
        let whole: usize = whole.map(|core| core.cpus.len()).sum();
        whole + self.broken.get(&node).map_or(0, Vec::len)
    }

    /// Why there is no choice: message, cause and help.
    fn shortage(&self) -> (String, String, String) {
        let wanted = self.slice.cpus.count;
        let name = &self.slice.name;
        let (free, place) = match self.slice.cpus.numa_node {
            Some(node) if self.pool.host.node(node).is_none() => {
                return (
                    format!("there is no node {node}"),
                    "it is not on this machine".to_owned(),
                    nodes_of(self.pool.host),
                );
            }
            Some(node) => (self.free_on(node), format!(" on node {node}")),
            None => (self.nodes().map(|n| self.free_on(n)).sum(), String::new()),
        };
        if free >= wanted {
            let wants = count(wanted, "CPU");
            let message =
                format!("slice `{name}` wants {wants}, which is no number of whole cores");
            let cause = "the free cores have two CPUs each".to_owned();
            let help = format!("write `count = {}`, or `split-siblings = true`", wanted + 1);
            return (message, cause, help);
        }
        let had = match free {
            0 => "none".to_owned(),
            free => format!("only {free}"),
        };
        let wants = count(wanted, "CPU");
        let message = format!("slice `{name}` wants {wants}{place}, but {had} can be had");
        let wish = &self.slice.cpus;
        let cause = self.pool.cpu_holders(wish.numa_node, wish.split_siblings);
        let help = match free {
            0 => "take CPUs from other slices, or another node".to_owned(),
            free => format!("write `count = {free}` or less"),
        };
        (message, cause, help)
    }
}

/// Takes whole cores, in their order, up to `wanted` CPUs; also returns the
/// cores that are left. Where cores have different numbers of CPUs and the
/// order does not come out even, the larger ones go first.
fn fill<'p>(cores: &[&'p Core], wanted: usize) -> (Vec<u32>, Vec<&'p Core>) {
    let greedy = |cores: &[&'p Core]| {
        let (mut cpus, mut rest) = (Vec::new(), Vec::new());
        for core in cores {
            if cpus.len() + core.cpus.len() <= wanted {
                cpus.extend(&core.cpus);
            } else {
                rest.push(*core);
            }
        }
        (cpus, rest)
    };
    let (cpus, rest) = greedy(cores);
    if cpus.len() == wanted || rest.is_empty() {
        return (cpus, rest);
    }
    let mut largest = cores.to_vec();
    largest.sort_by_key(|core| std::cmp::Reverse(core.cpus.len()));
    let (more, others) = greedy(&largest);
    match more.len() > cpus.len() {
        true => (more, others),
        false => (cpus, rest),
    }
}

/// Why CPUs of several nodes.
fn over(nodes: impl Iterator<Item = u32>) -> String {
    let nodes: List = nodes.collect();
    format!("no node has so many, so over nodes {nodes}")
}

/// Orders cores so that a slice is behind as few caches as possible: first the
/// smallest cache group that has all, else the largest groups.
fn by_cache<'p>(cores: &[&'p Core], wanted: usize) -> Vec<&'p Core> {
    let mut groups: BTreeMap<usize, Vec<&Core>> = BTreeMap::new();
    for core in cores {
        groups.entry(core.cache).or_default().push(core);
    }
    let size = |group: &[&Core]| group.iter().map(|c| c.cpus.len()).sum::<usize>();
    let mut groups: Vec<Vec<&Core>> = groups.into_values().collect();
    groups.sort_by_key(|group| {
        let size = size(group);
        let first = group.first().map(|c| c.cpus.clone());
        match size >= wanted {
            true => (0, size, first),
            false => (1, usize::MAX - size, first),
        }
    });
    groups.into_iter().flatten().collect()
}
