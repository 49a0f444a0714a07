//! Memory for slices: the node of their CPUs, the largest pages.

use super::pool::{NodeMemory, Owner, Pool};
use super::{AssignedCpu, MemoryShare};
use crate::config::Slice;
use crate::host::Range;
use crate::size::{GIB, MIB, Size, about};
use crate::words::{count, nodes_of};
use std::collections::BTreeMap;

const BASE: &str = "memory.base";

/// Claims the physical range that a slice names.
pub(super) fn claim(pool: &mut Pool<'_>, slice: &Slice) -> Option<MemoryShare> {
    let base = slice.memory.base?;
    let range = Range {
        start: base,
        size: slice.memory.size,
    };
    let node = match node_of(pool, slice, &range) {
        Ok(node) => node,
        Err((cause, help)) => {
            let shown = format!("{:#x}..{:#x}", range.start, range.end());
            let message = format!("slice `{}` cannot have the memory {shown}", slice.name);
            pool.wrong(slice, BASE, message, cause, help);
            return None;
        }
    };
    pool.ranges.push((range, Owner::slice(slice, BASE)));
    Some(MemoryShare::Reserved {
        base,
        size: slice.memory.size,
        node,
    })
}

/// The node of a physical range, if the firmware says so; or why the slice
/// cannot have the range, and what helps.
fn node_of(pool: &Pool<'_>, slice: &Slice, range: &Range) -> Result<Option<u32>, (String, String)> {
    if let Some((other, owner)) = pool.ranges.iter().find(|(r, _)| r.overlaps(range)) {
        let (start, end) = (other.start, other.end());
        let cause = format!("{start:#x}..{end:#x}: {}", owner.sentence());
        let help = format!("the memory after it starts at {end:#x}");
        return Err((cause, help));
    }
    if let Some((region, name)) = in_use(pool, range) {
        let cause = format!("{:#x}..{:#x} is \"{name}\"", region.start, region.end());
        let mib = slice.memory.size / MIB;
        let help = match name {
            "System RAM" => format!(
                "boot Linux with `memmap={mib}M${:#x}`, or leave `base` out",
                range.start
            ),
            _ => "leave `base` out, or name memory that was reserved at boot".to_owned(),
        };
        return Err((cause, help));
    }
    let nodes = &pool.host.nodes;
    let inside = nodes
        .iter()
        .find(|n| n.ranges.iter().any(|r| r.contains(range)));
    let node = inside.map(|n| n.id);
    if node.is_none() && nodes.iter().any(|n| !n.ranges.is_empty()) {
        let cause = "the firmware knows no memory there".to_owned();
        let help = "`cellctl host --json` shows where each node's memory is".to_owned();
        return Err((cause, help));
    }
    match (slice.memory.numa_node, node) {
        (Some(wish), Some(node)) if wish != node => {
            let cause = format!("it is on node {node}, and `numa-node` is {wish}");
            Err((cause, "leave one of the two out".to_owned()))
        }
        _ => Ok(node),
    }
}

/// What Linux or a device uses of a range.
fn in_use<'h>(pool: &Pool<'h>, range: &Range) -> Option<(Range, &'h str)> {
    let regions = pool.host.iomem.iter().map(|r| {
        let size = r.end.saturating_sub(r.start).saturating_add(1);
        let start = r.start;
        (Range { start, size }, r.name.as_str())
    });
    // What `memmap=` set aside is "Reserved", too.
    regions
        .filter(|(_, name)| *name != "Reserved")
        .find(|(region, _)| region.overlaps(range))
}

/// Finds memory for a slice that says how much.
pub(super) fn wish(
    pool: &mut Pool<'_>,
    slice: &Slice,
    cpus: &[AssignedCpu],
    why: &mut Vec<String>,
) -> Option<Vec<MemoryShare>> {
    let order = order(pool, slice, cpus);
    let before = pool.memory.clone();
    let mut shares = Vec::new();
    let mut missing = slice.memory.size;
    for (node, most) in order {
        if let Some(memory) = pool.memory.get_mut(&node) {
            missing -= take(
                memory,
                node,
                missing.min(most),
                slice.memory.page_size,
                &mut shares,
            );
        }
    }
    if missing == 0 {
        why.push(reason(slice, &shares));
        return Some(merge(shares));
    }
    pool.memory = before;
    shortage(pool, slice);
    None
}

/// Nodes to take from, and how much at most: first the nodes of the CPUs, each
/// its part by CPUs, then the same without limit, then the others by distance.
fn order(pool: &Pool<'_>, slice: &Slice, cpus: &[AssignedCpu]) -> Vec<(u32, u64)> {
    if let Some(node) = slice.memory.numa_node {
        return vec![(node, u64::MAX)];
    }
    let mut count: BTreeMap<u32, u64> = BTreeMap::new();
    for cpu in cpus {
        *count.entry(cpu.node).or_default() += 1;
    }
    let page = slice.memory.page_size.unwrap_or(2 * MIB);
    let total: u64 = count.values().sum::<u64>().max(1);
    let part = |n: &u64| (slice.memory.size / page * n / total).saturating_mul(page);
    let mut order: Vec<(u32, u64)> = count.iter().map(|(node, n)| (*node, part(n))).collect();
    let distance = |node: u32| -> u64 {
        let each = count
            .iter()
            .map(|(from, n)| n * u64::from(pool.host.distance(*from, node)));
        each.sum()
    };
    let mut rest: Vec<u32> = pool.memory.keys().copied().collect();
    rest.sort_by_key(|node| (!count.contains_key(node), distance(*node), *node));
    order.extend(rest.into_iter().map(|node| (node, u64::MAX)));
    order
}

/// Takes up to `wanted` bytes from a node; returns how many.
pub(super) fn take(
    memory: &mut NodeMemory,
    node: u32,
    wanted: u64,
    page_size: Option<u64>,
    shares: &mut Vec<MemoryShare>,
) -> u64 {
    let fixed = page_size.is_some();
    let mut push = |bytes: u64, page_size: u64| {
        if bytes > 0 {
            shares.push(MemoryShare::Pages {
                node,
                bytes,
                page_size,
                fixed,
            });
        }
    };
    let mut got = 0;
    if page_size != Some(2 * MIB) {
        let giant = memory.giant.unwrap_or(0).min(memory.free);
        let bytes = (memory.giant_pages + giant / GIB * GIB).min(wanted / GIB * GIB);
        let set_aside = bytes.min(memory.giant_pages);
        memory.giant_pages -= set_aside;
        memory.free -= bytes - set_aside;
        memory.giant = memory.giant.map(|g| g.saturating_sub(bytes - set_aside));
        push(bytes, GIB);
        got += bytes;
    }
    if page_size != Some(GIB) {
        let most = memory.small_pages + memory.free / (2 * MIB) * (2 * MIB);
        let bytes = most.min((wanted - got) / (2 * MIB) * (2 * MIB));
        let set_aside = bytes.min(memory.small_pages);
        memory.small_pages -= set_aside;
        memory.free -= bytes - set_aside;
        push(bytes, 2 * MIB);
        got += bytes;
    }
    got
}

/// Joins shares of the same node and page size.
fn merge(shares: Vec<MemoryShare>) -> Vec<MemoryShare> {
    let mut sums: BTreeMap<(u32, u64), (u64, bool)> = BTreeMap::new();
    for share in shares {
        if let MemoryShare::Pages {
            node,
            bytes,
            page_size,
            fixed,
        } = share
        {
            // Larger pages first: they start at aligned guest addresses then.
            sums.entry((node, u64::MAX - page_size))
                .or_insert((0, fixed))
                .0 += bytes;
        }
    }
    let whole = |((node, page), (bytes, fixed))| MemoryShare::Pages {
        node,
        bytes,
        page_size: u64::MAX - page,
        fixed,
    };
    sums.into_iter().map(whole).collect()
}

/// Why this memory.
fn reason(slice: &Slice, shares: &[MemoryShare]) -> String {
    let part = |share: &MemoryShare| match share {
        MemoryShare::Pages {
            node,
            bytes,
            page_size,
            ..
        } => format!(
            "{} of node {node} in pages of {}",
            about(*bytes),
            Size(*page_size)
        ),
        MemoryShare::Reserved { base, .. } => format!("reserved at {base:#x}"),
    };
    let parts: Vec<String> = merge(shares.to_vec()).iter().map(part).collect();
    let why = match (slice.memory.numa_node, slice.memory.page_size) {
        (Some(_), Some(_)) => "node and page size as the file says",
        (Some(_), None) => "the node as the file says, the largest pages there",
        (None, Some(_)) => "next to the CPUs, page size as the file says",
        (None, None) => "next to the CPUs, the largest pages there",
    };
    format!("memory: {}: {why}", parts.join(", "))
}

/// Says how much there is instead.
fn shortage(pool: &mut Pool<'_>, slice: &Slice) {
    let wish = &slice.memory;
    if let Some(node) = wish.numa_node.filter(|n| pool.host.node(*n).is_none()) {
        let help = nodes_of(pool.host);
        let message = format!("there is no node {node}");
        return pool.wrong(
            slice,
            "memory.numa-node",
            message,
            "it is not on this machine",
            help,
        );
    }
    let mut most = 0;
    for (node, memory) in &pool.memory {
        if wish.numa_node.is_none_or(|n| n == *node) {
            most += take(
                &mut memory.clone(),
                *node,
                u64::MAX,
                wish.page_size,
                &mut Vec::new(),
            );
        }
    }
    let page = Size(wish.page_size.unwrap_or(2 * MIB));
    let place = wish
        .numa_node
        .map_or(String::new(), |n| format!(" on node {n}"));
    let message = format!(
        "slice `{}` wants {} of memory{place}",
        slice.name,
        Size(wish.size)
    );
    let cause = match most / page.0 {
        0 => format!("no page of {page} can be had{place}"),
        pages => format!(
            "{} of {page} can be had{place}: {}",
            count(pages, "page"),
            about(most)
        ),
    };
    let cause = match pool.memory_takers(wish.numa_node) {
        takers if takers.is_empty() => cause,
        takers => format!("{cause}; {takers}"),
    };
    let most = most / page.0 * page.0;
    let help = match most {
        0 if wish.page_size == Some(GIB) => "write `page-size = \"2MiB\"`".to_owned(),
        0 => "stop something that uses memory, or take another node".to_owned(),
        most => format!("write `size = \"{}\"` or less", Size(round(most))),
    };
    pool.wrong(slice, "memory.size", message, cause, help);
}

/// Rounds down to something that is easily written.
fn round(bytes: u64) -> u64 {
    match bytes {
        GIB.. => bytes / GIB * GIB,
        _ => bytes / (2 * MIB) * (2 * MIB),
    }
}
