//! Whole sets of slices for a machine.

use crate::host::Host;
use crate::list::List;
use crate::size::{MIB, Size};
use std::fmt::Write;

/// How a machine is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A slice for each NUMA node, with all its whole free cores.
    Cluster,
    /// A slice for each whole free core.
    Partition,
}

/// Writes a slice file that divides the machine by `policy`; the boot CPU's
/// core stays with the root. `image` and `initrd` are as in the file's
/// `[kernel]`.
#[must_use]
pub fn generate(host: &Host, policy: Policy, image: &str, initrd: Option<&str>) -> String {
    let mut file = "version = 1\n".to_owned();
    for share in shares(host, policy) {
        let Share {
            name,
            cpus,
            node,
            memory,
        } = share;
        // Writing to a string cannot fail.
        let _ = writeln!(file, "\n[[slice]]\ncell.name = \"{name}\"");
        let _ = writeln!(file, "cpus.list = \"{cpus}\"");
        let _ = writeln!(file, "memory.size = \"{}\"", Size(memory));
        let _ = writeln!(file, "memory.numa-node = {node}");
        let _ = writeln!(file, "kernel.image = {}", toml::Value::from(image));
        if let Some(initrd) = initrd {
            let _ = writeln!(file, "kernel.initrd = {}", toml::Value::from(initrd));
        }
    }
    file
}

/// One slice to be.
struct Share {
    name: String,
    cpus: List,
    node: u32,
    memory: u64,
}

/// Divides cores first, then the memory of each node by CPUs.
fn shares(host: &Host, policy: Policy) -> Vec<Share> {
    let boot = host.root.boot_cpu;
    let online = |c: &u32| host.cpu(*c).is_some_and(|c| c.online);
    let whole = |cpus: &Vec<u32>| !cpus.contains(&boot) && cpus.iter().all(online);
    let node_of = |cpus: &[u32]| {
        let first = cpus.first().and_then(|c| host.cpu(*c));
        first.map_or(0, |c| c.node)
    };
    let mut cores: Vec<Vec<u32>> = host.cores().into_values().filter(whole).collect();
    cores.sort();
    let mut shares = Vec::new();
    for node in &host.nodes {
        let on_node: Vec<&Vec<u32>> = cores.iter().filter(|c| node_of(c) == node.id).collect();
        let sets: Vec<(String, List)> = match policy {
            Policy::Cluster => {
                let all: List = on_node.iter().copied().flatten().copied().collect();
                vec![(format!("node{}", node.id), all)]
            }
            Policy::Partition => {
                let name = |c: &[u32]| format!("core{}", c.first().copied().unwrap_or_default());
                let set = |c: &&Vec<u32>| (name(c), c.iter().copied().collect());
                on_node.iter().map(set).collect()
            }
        };
        let total = on_node.iter().map(|c| c.len() as u64).sum::<u64>();
        for (name, cpus) in sets.into_iter().filter(|(_, cpus)| !cpus.0.is_empty()) {
            let part = memory_for_cells(host, node.id) / total * cpus.0.len() as u64;
            let memory = part / (64 * MIB) * (64 * MIB);
            if memory > 0 {
                shares.push(Share {
                    name,
                    cpus,
                    node: node.id,
                    memory,
                });
            }
        }
    }
    shares
}

/// What cells get of a node: seven eighths of its free memory. The kernel of
/// the root needs some on each node, and the planner keeps [`ROOT_MEMORY`] of
/// the boot node back as well.
///
/// [`ROOT_MEMORY`]: super::ROOT_MEMORY
fn memory_for_cells(host: &Host, node: u32) -> u64 {
    let pool = super::pool::Pool::new(host, &super::Taken::default());
    let left = pool.left().into_iter().find(|n| n.node == node);
    let free = left.map_or(0, |n| n.memory);
    free - free / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_node_keeps_an_eighth_of_its_memory() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/hosts/popcorn.toml");
        let host = Host::load(&file).expect("a host");
        for policy in [Policy::Cluster, Policy::Partition] {
            for node in &host.nodes {
                let mine = shares(&host, policy);
                let mine = mine.iter().filter(|s| s.node == node.id);
                let given: u64 = mine.map(|s| s.memory).sum();
                assert!(given > 0, "node {}", node.id);
                assert!(
                    node.free - given >= node.free / 8,
                    "node {}: {given} of {}",
                    node.id,
                    node.free
                );
            }
        }
    }
}
