//! Random machines and wishes.

use cellvisor_abi::Bdf;
use cellvisor_planner::host::{
    Access, Bar, Bridge, Classes, Cpu, Function, Host, Iommu, IommuKind, Node, Pages, RootBus,
    Space, Sriov, VERSION, Window,
};
use cellvisor_planner::size::{GIB, MIB};
use proptest::prelude::*;
use std::fmt::Write;

/// Shape of a machine.
#[derive(Clone, Debug)]
struct Shape {
    nodes: u32,
    cores: u32,
    threads: u32,
    gib: u64,
    giant: bool,
    cards: u8,
    vfs: u16,
    iommu: bool,
    offline: Option<u32>,
    classes: Option<Classes>,
}

/// Machines with 1 to 4 nodes.
pub(crate) fn hosts() -> impl Strategy<Value = Host> {
    let first = (1..=4u32, 1..=6u32, 1..=2u32, 1..=32u64);
    let second = (any::<bool>(), 0..=3u8, 0..=4u16, prop::bool::weighted(0.8));
    let third = (prop::option::of(1..8u32), prop::option::of(classes()));
    let shape = (first, second, third).prop_map(|(first, second, (offline, classes))| {
        let (nodes, cores, threads, gib) = first;
        let (giant, cards, vfs, iommu) = second;
        Shape {
            nodes,
            cores,
            threads,
            gib,
            giant,
            cards,
            vfs,
            iommu,
            offline,
            classes,
        }
    });
    shape.prop_map(|shape| host(&shape))
}

/// An L3 cache for 4 CPUs or more, and perhaps limits of the bandwidth.
fn classes() -> impl Strategy<Value = Classes> {
    let delays = prop_oneof![Just((0, 0)), Just((90, 7)), Just((75, 2))];
    (1..=20u8, any::<bool>(), 1..=15u8, 2..=6u8, delays).prop_map(
        |(l3_ways, sparse, last, l3_shift, (most_delay, last_delayed))| Classes {
            l3_ways,
            sparse,
            last,
            l3_shift,
            most_delay,
            last_delayed,
            resctrl: false,
        },
    )
}

fn host(shape: &Shape) -> Host {
    let mut host = Host {
        version: VERSION,
        classes: shape.classes,
        name: "random".to_owned(),
        ..Host::default()
    };
    let cores = shape.nodes * shape.cores;
    // Linux counts the first threads of all cores first.
    for linux in 0..cores * shape.threads {
        let (core, thread) = (linux % cores, linux / cores);
        host.cpus.push(Cpu {
            linux,
            apic_id: core * 4 + thread,
            package: core / shape.cores,
            core: core % shape.cores,
            node: core / shape.cores,
            online: shape.offline != Some(linux),
        });
    }
    for id in 0..shape.nodes {
        let pages = |size, total| Pages {
            size,
            total,
            free: total,
        };
        let mut node = Node {
            id,
            memory: shape.gib * GIB,
            free: shape.gib * GIB - 200 * MIB,
            pages: vec![pages(2 * MIB, 0)],
            distances: (0..shape.nodes).map(|n| 10 + 10 * n.abs_diff(id)).collect(),
            ranges: Vec::new(),
            access: (id % 2 == 0).then(|| access(shape, id)),
        };
        if shape.giant {
            node.pages.push(pages(GIB, 0));
        }
        host.nodes.push(node);
        bus(&mut host, shape, id);
    }
    host
}

/// Memory of an even node, which its own CPUs reach best, and those of the node
/// before it just as well.
fn access(shape: &Shape, node: u32) -> Access {
    Access {
        initiators: (node.saturating_sub(1)..=node).collect(),
        read_latency_ns: 80 * shape.cores,
        write_latency_ns: 0,
        read_bandwidth_mbs: 100_000 / shape.threads,
        write_bandwidth_mbs: u32::MAX / 100,
    }
}

/// A root bus with cards, each behind a port of its own.
fn bus(host: &mut Host, shape: &Shape, node: u32) {
    let first = u8::try_from(node * 64).expect("at most 4 nodes");
    let base = 0x10_0000_0000 * (1 + u64::from(node));
    host.roots.push(RootBus {
        segment: 0,
        first_bus: first,
        last_bus: first + 63,
        node: Some(node),
        windows: vec![Window {
            space: Space::Mem,
            start: base,
            end: base + 0xf_ffff_ffff,
            prefetchable: true,
        }],
    });
    if shape.iommu && node == 0 {
        host.iommus.push(Iommu {
            kind: IommuKind::Vtd,
            base: 0xfed9_0000,
            segment: 0,
            all: true,
            scopes: Vec::new(),
        });
    }
    for card in 0..shape.cards {
        let bus = first + 1 + card;
        let start = base + u64::from(card) * 0x1000_0000 + 0x1000_0000;
        let mut port = function(first, (1 + card) << 3, 0x06_0400, start, 0);
        port.bridge = Some(Bridge {
            secondary: bus,
            subordinate: bus,
            windows: Vec::new(),
            acs: true,
        });
        host.functions.push(port);
        let mut pf = function(bus, 0, 0x02_0000, start, 0x10_0000);
        pf.sriov = (shape.vfs > 0).then(|| Sriov {
            total_vfs: shape.vfs,
            num_vfs: 0,
            offset: 8,
            stride: 1,
            vf_device: 0x10ca,
            bars: vec![bar(start + 0x10_0000, 0x40_0000)],
        });
        host.functions.push(pf);
    }
}

fn bar(start: u64, size: u64) -> Bar {
    Bar {
        index: 0,
        space: Space::Mem,
        start,
        size,
        prefetchable: false,
        wide: true,
    }
}

fn function(bus: u8, devfn: u8, class: u32, start: u64, size: u64) -> Function {
    Function {
        address: Bdf::new(0, bus, devfn),
        vendor: 0x8086,
        device: 0x10c9,
        class,
        name: String::new(),
        node: None,
        group: None,
        driver: None,
        reset: vec!["flr".to_owned()],
        msix: 4,
        bars: (size > 0).then(|| bar(start, size)).into_iter().collect(),
        bridge: None,
        sriov: None,
        pf: None,
        conventional: false,
        acs: false,
        pin_only: false,
    }
}

/// One slice to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// How many CPUs; 0 stands for 1.
    pub(crate) cpus: u32,
    /// Just these.
    pub(crate) list: Option<(u32, u32)>,
    /// Only on this node.
    pub(crate) node: Option<u32>,
    /// Siblings may be split.
    pub(crate) split: bool,
    /// Memory in MiB beyond 64.
    pub(crate) mib: u64,
    /// Card, and the number of its VF or any.
    pub(crate) vf: Option<(usize, Option<u16>)>,
    /// Ways of the L3 cache.
    pub(crate) ways: Option<u32>,
    /// Percent of the memory bandwidth.
    pub(crate) percent: Option<u32>,
}

/// Up to 8 wishes for this machine.
pub(crate) fn wishes(host: &Host) -> impl Strategy<Value = Vec<Wish>> + use<> {
    let cpus = u32::try_from(host.cpus.len()).expect("few CPUs");
    let nodes = u32::try_from(host.nodes.len()).expect("few nodes");
    let memory: u64 = host.nodes.iter().map(|n| n.memory / MIB).sum();
    let vf = prop::option::of((0..4usize, prop::option::of(0..5u16)));
    let list = prop::option::weighted(0.2, (0..cpus, 0..3u32));
    let wish = (
        1..=cpus.div_ceil(3) + 1,
        list,
        prop::option::weighted(0.3, 0..nodes + 1),
        any::<bool>(),
        0..memory.div_ceil(3),
        vf,
        prop::option::weighted(0.3, 1..=6u32),
        prop::option::weighted(0.1, prop_oneof![Just(50u32), Just(25), Just(33)]),
    );
    let pfs: Vec<Bdf> = pfs(host);
    let wish = wish.prop_map(
        move |(cpus, list, node, split, mib, vf, ways, percent)| Wish {
            cpus,
            node: node.filter(|_| list.is_none()),
            list,
            split,
            mib,
            vf: vf.filter(|(card, _)| *card < pfs.len()),
            ways,
            percent,
        },
    );
    prop::collection::vec(wish, 0..8)
}

/// Physical functions that have virtual ones.
fn pfs(host: &Host) -> Vec<Bdf> {
    let pfs = host.functions.iter().filter(|f| f.sriov.is_some());
    pfs.map(|f| f.address).collect()
}

/// The wishes as a slice file; cards are those of a machine whose root bus 0
/// has them first.
pub(crate) fn text(wishes: &[Wish]) -> String {
    let mut text = "version = 1\n".to_owned();
    for (i, wish) in wishes.iter().enumerate() {
        let cpus = match wish.list {
            Some((first, more)) => format!("list = \"{first}-{}\"", first + more),
            None => format!("count = {}", wish.cpus.max(1)),
        };
        let node = wish
            .node
            .map_or(String::new(), |n| format!(", numa-node = {n}"));
        let pci = wish.vf.map_or(String::new(), |(card, vf)| {
            let vf = vf.map_or(String::new(), |n| format!(", vf = {n}"));
            format!(
                "pci = [{{ sriov = {{ pf = \"0000:{:02x}:00.0\"{vf} }} }}]\n",
                card + 1
            )
        });
        let ways = wish
            .ways
            .map_or(String::new(), |ways| format!("cache.l3-ways = {ways}\n"));
        let percent = wish
            .percent
            .map_or(String::new(), |n| format!("bandwidth.percent = {n}\n"));
        let size = 64 + wish.mib / 2 * 2;
        let split = wish.split;
        write!(
            text,
            "\n[[slice]]\ncell.name = \"s{i}\"\ncpus = {{ {cpus}{node}, split-siblings = {split} }}\n\
             memory.size = \"{size}MiB\"\nkernel.image = \"vmlinuz\"\n{pci}{ways}{percent}"
        )
        .expect("writing to a string");
    }
    text
}
