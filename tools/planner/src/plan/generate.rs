//! Whole sets of slices for a machine.

use crate::config::ROOT;
use crate::host::Host;
use crate::list::List;
use crate::size::{MIB, Size};
use ipnet::Ipv4Net;
use std::fmt::Write;

/// How a machine is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A slice for each NUMA node, with all its whole free cores.
    Cluster,
    /// A slice for each whole free core.
    Partition,
}

/// How a machine is divided, and what its slices have in common.
#[derive(Clone, Copy, Debug)]
pub struct Division<'a> {
    /// What becomes a slice.
    pub policy: Policy,
    /// [`Policy::Cluster`] makes a slice of the boot CPU's node, too, and leaves
    /// the root just the boot CPU's core of it.
    pub boot_node: bool,
    /// Kernel image, as in the file's `[kernel]`.
    pub image: &'a str,
    /// Files of an initial RAM disk, as in the file's `[kernel]`.
    pub initrd: &'a [String],
    /// Addresses of a network that joins all slices and the root.
    pub addresses: Option<Ipv4Net>,
}

/// Bytes of each ring of the network, from each member to each: it holds several
/// of the largest frames.
const RING: u64 = 256 << 10;

/// Writes a slice file that divides the machine; the boot CPU's core stays with
/// the root, and with [`Policy::Cluster`] its whole node unless that is asked for.
#[must_use]
pub fn generate(host: &Host, division: &Division<'_>) -> String {
    let mut file = "version = 1\n".to_owned();
    let shares = shares(host, division);
    for share in &shares {
        let Share {
            name,
            cpus,
            node,
            memory,
        } = share;
        // Writing to a string cannot fail.
        let _ = writeln!(file, "\n[[slice]]\ncell.name = \"{name}\"");
        let _ = writeln!(file, "cpus.list = \"{cpus}\"");
        let _ = writeln!(file, "memory.size = \"{}\"", Size(*memory));
        let _ = writeln!(file, "memory.numa-node = {node}");
        let _ = writeln!(file, "kernel.image = {}", toml::Value::from(division.image));
        match division.initrd {
            [] => {}
            [one] => {
                let _ = writeln!(file, "kernel.initrd = {}", toml::Value::from(one.as_str()));
            }
            several => {
                let _ = writeln!(
                    file,
                    "kernel.initrd = {}",
                    toml::Value::from(several.to_vec())
                );
            }
        }
    }
    if let Some(addresses) = division.addresses.filter(|_| !shares.is_empty()) {
        file.push_str(&network(&shares, addresses));
    }
    file
}

/// The link that all are in, as it stands in the file.
fn network(shares: &[Share], addresses: Ipv4Net) -> String {
    let names = shares.iter().map(|share| share.name.as_str());
    let members: Vec<String> = names.chain([ROOT]).map(|n| format!("\"{n}\"")).collect();
    let rings = members.len() as u64 * members.len() as u64;
    let size = (rings * RING).next_multiple_of(2 * MIB);
    format!(
        "\n[[link]]\nname = \"net\"\nkind = \"window\"\nsize = \"{}\"\n\
         members = [{}]\naddresses = \"{addresses}\"\n",
        Size(size),
        members.join(", ")
    )
}

/// One slice to be.
struct Share {
    name: String,
    cpus: List,
    node: u32,
    memory: u64,
}

/// Divides cores first, then the memory of each node by CPUs.
fn shares(host: &Host, division: &Division<'_>) -> Vec<Share> {
    let boot = host.root.boot_cpu;
    let online = |c: &u32| host.cpu(*c).is_some_and(|c| c.online);
    let whole = |cpus: &Vec<u32>| !cpus.contains(&boot) && cpus.iter().all(online);
    let node_of = |cpus: &[u32]| {
        let first = cpus.first().and_then(|c| host.cpu(*c));
        first.map_or(0, |c| c.node)
    };
    let roots = match division.policy {
        Policy::Cluster if !division.boot_node => Some(node_of(&[boot])),
        Policy::Cluster | Policy::Partition => None,
    };
    let mut cores: Vec<Vec<u32>> = host.cores().into_values().filter(whole).collect();
    cores.sort();
    let mut shares = Vec::new();
    for node in host.nodes.iter().filter(|node| Some(node.id) != roots) {
        let on_node: Vec<&Vec<u32>> = cores.iter().filter(|c| node_of(c) == node.id).collect();
        let total = on_node.iter().map(|c| c.len() as u64).sum::<u64>();
        let sets = sets(division.policy, node.id, &on_node);
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

/// Names and CPUs of the slices that a node's cores make.
fn sets(policy: Policy, node: u32, cores: &[&Vec<u32>]) -> Vec<(String, List)> {
    match policy {
        Policy::Cluster => {
            let all: List = cores.iter().copied().flatten().copied().collect();
            vec![(format!("node{node}"), all)]
        }
        Policy::Partition => {
            let name = |c: &[u32]| format!("core{}", c.first().copied().unwrap_or_default());
            let set = |c: &&Vec<u32>| (name(c), c.iter().copied().collect());
            cores.iter().map(set).collect()
        }
    }
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

    fn popcorn() -> Host {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/hosts/popcorn.toml");
        Host::load(&file).expect("a host")
    }

    const fn division(policy: Policy) -> Division<'static> {
        Division {
            policy,
            boot_node: true,
            image: "vmlinuz",
            initrd: &[],
            addresses: None,
        }
    }

    #[test]
    fn every_node_keeps_an_eighth_of_its_memory() {
        let host = popcorn();
        for policy in [Policy::Cluster, Policy::Partition] {
            for node in &host.nodes {
                let mine = shares(&host, &division(policy));
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

    #[test]
    fn a_cluster_leaves_the_boot_node_alone_unless_asked() {
        let mut host = popcorn();
        for (boot, missing) in [(0, 0), (13, 1)] {
            host.root.boot_cpu = boot;
            let of = |boot_node| {
                let cluster = division(Policy::Cluster);
                let shares = shares(
                    &host,
                    &Division {
                        boot_node,
                        ..cluster
                    },
                );
                shares
                    .into_iter()
                    .map(|s| (s.node, s.cpus.0.len()))
                    .collect::<Vec<_>>()
            };
            let others = |(node, _): &(u32, usize)| *node != missing;
            let whole: Vec<(u32, usize)> = (0..8).map(|node| (node, 8)).filter(others).collect();
            assert_eq!(of(false), whole, "boot CPU {boot}");
            let all = of(true);
            assert_eq!(
                all.iter().copied().filter(others).collect::<Vec<_>>(),
                whole
            );
            assert!(all.contains(&(missing, 7)), "all but the boot CPU: {all:?}");
        }
    }
}
