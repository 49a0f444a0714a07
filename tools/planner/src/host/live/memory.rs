//! NUMA nodes, their memory and huge pages.

use super::acpi::Tables;
use super::tree::Tree;
use crate::host::{Access, Node, Pages, Range};
use crate::size::KIB;

const NODES: &str = "sys/devices/system/node";

/// All nodes; a kernel without NUMA has one.
pub(super) fn nodes(tree: &Tree, tables: &Tables) -> Vec<Node> {
    let ids: Vec<u32> = tree.numbered(NODES, "node");
    if ids.is_empty() {
        let pages = pages(tree, "sys/kernel/mm/hugepages");
        let node = node(tree, 0, "proc/meminfo", pages);
        return node.into_iter().collect();
    }
    let mut nodes: Vec<Node> = ids
        .into_iter()
        .filter_map(|id| {
            let folder = format!("{NODES}/node{id}");
            let pages = pages(tree, &format!("{folder}/hugepages"));
            let mut node = node(tree, id, &format!("{folder}/meminfo"), pages)?;
            let distances = tree.text(&format!("{folder}/distance")).unwrap_or_default();
            let numbers = distances.split_whitespace();
            node.distances = numbers.filter_map(|d| d.parse().ok()).collect();
            node.access = access(tree, &folder);
            Some(node)
        })
        .collect();
    let ranges = tables.memory_of_nodes();
    for node in &mut nodes {
        let mine = ranges.iter().filter(|(id, _)| *id == node.id);
        node.ranges = mine.map(|(_, range)| *range).collect::<Vec<Range>>();
    }
    nodes
}

/// One node, from a file in the form of /proc/meminfo.
fn node(tree: &Tree, id: u32, meminfo: &str, pages: Vec<Pages>) -> Option<Node> {
    let text = tree.text(meminfo)?;
    let value = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|l| l.split_once(name));
        let number = line?.1.split_whitespace().next()?;
        number.parse::<u64>().ok()?.checked_mul(KIB)
    };
    // Files that nobody touched lately make room as soon as it is wanted.
    let idle = value("Inactive(file):").unwrap_or(0);
    Some(Node {
        id,
        memory: value("MemTotal:")?,
        free: value("MemFree:")?.saturating_add(idle),
        pages,
        distances: Vec::new(),
        ranges: Vec::new(),
        access: None,
    })
}

/// How fast the memory of the node in `folder` is from the nodes that reach it
/// best (Linux, "NUMA Memory Performance"; only with an HMAT).
fn access(tree: &Tree, folder: &str) -> Option<Access> {
    let folder = format!("{folder}/access0/initiators");
    let initiators = tree.numbered(&folder, "node");
    let value = |name: &str| {
        let number = tree.number(&format!("{folder}/{name}"));
        number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    };
    (!initiators.is_empty()).then(|| Access {
        read_latency_ns: value("read_latency"),
        write_latency_ns: value("write_latency"),
        read_bandwidth_mbs: value("read_bandwidth"),
        write_bandwidth_mbs: value("write_bandwidth"),
        initiators,
    })
}

/// Huge pages of each size that the kernel knows.
fn pages(tree: &Tree, folder: &str) -> Vec<Pages> {
    let one = |name: &String| {
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        Some(Pages {
            size: kib.parse::<u64>().ok()?.checked_mul(KIB)?,
            total: tree.number(&format!("{folder}/{name}/nr_hugepages"))?,
            free: tree.number(&format!("{folder}/{name}/free_hugepages"))?,
        })
    };
    let mut pages: Vec<Pages> = tree.names(folder).iter().filter_map(one).collect();
    pages.sort_by_key(|p| p.size);
    pages
}
