//! CPUs, RAM and NUMA nodes in QEMU's words.

use super::qemu::Cpu;
use crate::scenario::{Access, Distances, Machine};
use anyhow::{Context, Result};

/// All of it, with `memory_mib` of RAM.
///
/// # Errors
///
/// A distance between nodes is missing.
pub(super) fn words(cpu: &Cpu, machine: &Machine, memory_mib: u32) -> Result<Vec<String>> {
    let mut words = packages(cpu, machine);
    words.extend(["-m".to_owned(), format!("{memory_mib}M")]);
    if machine.nodes > 1 {
        for node in 0..machine.nodes {
            words.extend(node_words(machine, node, memory_mib / machine.nodes));
        }
        if let Some(distances) = &machine.distances {
            words.extend(far(machine.nodes, distances)?);
        }
        words.extend(machine.access.iter().flat_map(fast));
    }
    Ok(words)
}

/// Packages with their cores; some may come one by one.
fn packages(cpu: &Cpu, machine: &Machine) -> Vec<String> {
    let Machine { cpus, packages, .. } = machine;
    let places = machine.places.unwrap_or(cpus / packages);
    let mut smp = format!("{cpus},sockets={packages},cores={places},threads=1");
    if machine.places.is_some() {
        smp.push_str(&format!(",maxcpus={}", packages * places));
    }
    let mut words = vec!["-smp".to_owned(), smp];
    // Its features are those of the others: `-cpu` sets them for the model.
    let model = cpu.model.split(',').next().unwrap_or_default();
    for [package, place] in &machine.more_cpus {
        words.extend([
            "-device".to_owned(),
            format!("{model}-x86_64-cpu,socket-id={package},core-id={place},thread-id=0"),
        ]);
    }
    words
}

/// A node with its share of CPUs, which may be uneven, and its RAM.
fn node_words(machine: &Machine, node: u32, size_mib: u32) -> [String; 4] {
    let Machine { cpus, nodes, .. } = machine;
    let (first, end) = (node * cpus / nodes, (node + 1) * cpus / nodes);
    let last = end.saturating_sub(1);
    [
        "-object".to_owned(),
        format!("memory-backend-ram,id=m{node},size={size_mib}M"),
        "-numa".to_owned(),
        format!("node,nodeid={node},cpus={first}-{last},memdev=m{node}"),
    ]
}

/// The distance from each node to each other.
fn far(nodes: u32, distances: &Distances) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for from in 0..nodes {
        for to in (0..nodes).filter(|to| *to != from) {
            let distance = distances
                .between(from, to)
                .with_context(|| format!("no distance from node {from} to node {to}"))?;
            words.extend([
                "-numa".to_owned(),
                format!("dist,src={from},dst={to},val={distance}"),
            ]);
        }
    }
    Ok(words)
}

/// How fast each node's memory is from each node with CPUs.
fn fast(access: &Access) -> Vec<String> {
    let mut words = Vec::new();
    for (kind, unit, rows) in [
        ("read-latency,latency", "", &access.read_latency_ns),
        ("write-latency,latency", "", &access.write_latency_ns),
        ("read-bandwidth,bandwidth", "M", &access.read_bandwidth_mbs),
        (
            "write-bandwidth,bandwidth",
            "M",
            &access.write_bandwidth_mbs,
        ),
    ] {
        for (from, row) in rows.iter().enumerate() {
            for (to, value) in row.iter().enumerate() {
                let pair = format!("hmat-lb,initiator={from},target={to},hierarchy=memory");
                words.extend([
                    "-numa".to_owned(),
                    format!("{pair},data-type={kind}={value}{unit}"),
                ]);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{Cpu, Machine, words};

    const CPU: Cpu = Cpu {
        accelerator: "tcg",
        model: "Model-v1,+vmx",
    };

    fn line(machine: &Machine) -> String {
        words(&CPU, machine, machine.memory_mib)
            .map(|words| words.join(" "))
            .unwrap_or_else(|why| why.to_string())
    }

    #[test]
    fn places_without_a_core_leave_gaps_in_apic_ids() {
        let machine = Machine {
            places: Some(65),
            packages: 5,
            more_cpus: vec![[4, 3]],
            ..Machine::default()
        };
        assert_eq!(
            line(&machine),
            "-smp 4,sockets=5,cores=65,threads=1,maxcpus=325 \
             -device Model-v1-x86_64-cpu,socket-id=4,core-id=3,thread-id=0 -m 3072M"
        );
    }

    #[test]
    fn every_cpu_is_on_one_node_and_a_missing_distance_is_told() {
        let machine: Machine = toml::from_str(
            "cpus = 3\nnodes = 2\nmemory-mib = 256\ndistances = { rows = [[10, 16]] }",
        )
        .expect("a machine");
        assert_eq!(line(&machine), "no distance from node 1 to node 0");
        let even = Machine {
            distances: None,
            ..machine
        };
        assert_eq!(
            line(&even),
            "-smp 3,sockets=1,cores=3,threads=1 -m 256M \
             -object memory-backend-ram,id=m0,size=128M -numa node,nodeid=0,cpus=0-0,memdev=m0 \
             -object memory-backend-ram,id=m1,size=128M -numa node,nodeid=1,cpus=1-2,memdev=m1"
        );
    }

    #[test]
    fn memory_has_its_latency_and_its_bandwidth_from_each_node() {
        let machine: Machine = toml::from_str(
            "cpus = 2\nnodes = 2\nmemory-mib = 256\n[access]\n\
             read-latency-ns = [[80, 140]]\nwrite-latency-ns = []\n\
             read-bandwidth-mbs = []\nwrite-bandwidth-mbs = [[], [0, 9000]]",
        )
        .expect("a machine");
        let line = line(&machine);
        let (_, access) = line.split_once("memdev=m1 ").expect("nodes");
        let pair =
            |from, to| format!("-numa hmat-lb,initiator={from},target={to},hierarchy=memory");
        let expected = [
            (pair(0, 0), "read-latency,latency=80"),
            (pair(0, 1), "read-latency,latency=140"),
            (pair(1, 0), "write-bandwidth,bandwidth=0M"),
            (pair(1, 1), "write-bandwidth,bandwidth=9000M"),
        ];
        let expected = expected.map(|(pair, value)| format!("{pair},data-type={value}"));
        assert_eq!(access, expected.join(" "));
    }
}
