//! How planning time grows with the machine: `cargo run --release -p
//! cellvisor-planner --example bench`.
//!
//! Machines have 16 CPUs, 4 functions per CPU and a slice for every 4 CPUs;
//! the largest has 1,024 CPUs in 64 nodes, 4,096 functions and 256 slices.

use cellvisor_abi::Bdf;
use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::host::{
    Access, Bar, Cpu, Function, Host, Iommu, IommuKind, Node, Pages, RootBus, Space, Sriov,
    VERSION, Window,
};
use cellvisor_planner::report::Report;
use cellvisor_planner::{check, draw, plan};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

const GIB: u64 = 1 << 30;
/// Threads of a core.
const THREADS: u32 = 2;

fn main() -> Result<(), Report> {
    println!("  CPUs  nodes  functions  slices   plan ms  check ms   draw ms");
    for cpus in [16, 32, 64, 128, 256, 512, 1024] {
        row(cpus)?;
    }
    Ok(())
}

/// Measures one machine.
fn row(cpus: u32) -> Result<(), Report> {
    let host = host(cpus);
    let slices = slices(&host)?;
    let taken = plan::Taken::default();
    let start = Instant::now();
    let planned = plan::plan(&host, &slices, &taken)?;
    let plan_ms = start.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    let report = check::check(&host, &slices, &taken, check::Files::Skip);
    let check_ms = start.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    let svg = draw::svg(&host, &planned);
    let draw_ms = start.elapsed().as_secs_f64() * 1e3;
    assert!(!report.has_errors() && !svg.is_empty());
    println!(
        "{:6} {:6} {:10} {:7} {plan_ms:9.2} {check_ms:9.2} {draw_ms:9.2}",
        host.cpus.len(),
        host.nodes.len(),
        host.functions.len(),
        slices.len(),
    );
    Ok(())
}

/// A machine with 16 CPUs on each node, a root bus for each, and 4 functions
/// for each CPU, one of 16 with 16 VFs.
fn host(cpus: u32) -> Host {
    let nodes = cpus.div_ceil(16);
    let mut host = Host {
        version: VERSION,
        name: format!("{cpus} CPUs"),
        ..Host::default()
    };
    host.cpus = (0..cpus)
        .map(|linux| Cpu {
            linux,
            apic_id: linux * 2,
            package: linux / 64,
            core: linux / THREADS,
            node: linux / 16,
            online: true,
        })
        .collect();
    for node in 0..nodes {
        host.nodes.push(Node {
            id: node,
            memory: 64 * GIB,
            free: 62 * GIB,
            pages: vec![Pages {
                size: GIB,
                total: 0,
                free: 0,
            }],
            distances: (0..nodes).map(|n| 10 + 6 * n.abs_diff(node)).collect(),
            ranges: Vec::new(),
            access: Some(Access {
                initiators: vec![node],
                read_latency_ns: 80,
                write_latency_ns: 85,
                read_bandwidth_mbs: 204_800,
                write_bandwidth_mbs: 102_400,
            }),
        });
        bus(&mut host, node);
    }
    host
}

/// Root bus of a node, in a segment of its own, with 64 functions.
fn bus(host: &mut Host, node: u32) {
    let segment = u16::try_from(node).unwrap_or_default();
    let base = 0x1000_0000_0000 + u64::from(node) * 64 * GIB;
    host.roots.push(RootBus {
        segment,
        first_bus: 0,
        last_bus: 255,
        node: Some(node),
        windows: vec![Window {
            space: Space::Mem,
            start: base,
            end: base + 64 * GIB - 1,
            prefetchable: true,
        }],
    });
    host.iommus.push(Iommu {
        kind: IommuKind::Vtd,
        base: base - 0x1000,
        segment,
        all: true,
        scopes: Vec::new(),
    });
    for device in 0..64u8 {
        let start = base + (1 + u64::from(device)) * (256 << 20);
        host.functions.push(function(segment, device, node, start));
    }
}

/// A function whose BARs are at `start`; one of 16 has virtual functions.
fn function(segment: u16, device: u8, node: u32, start: u64) -> Function {
    let bar = |at: u64, size| Bar {
        index: 0,
        space: Space::Mem,
        start: start + at,
        size,
        prefetchable: true,
        wide: true,
    };
    Function {
        address: Bdf::new(segment, 1 + device, 0),
        vendor: 0x8086,
        device: 0x1572,
        class: 0x02_0000,
        name: String::new(),
        node: Some(node),
        group: Some(node * 64 + u32::from(device)),
        driver: None,
        reset: vec!["flr".to_owned()],
        msix: 64,
        bars: vec![bar(0, 1 << 20)],
        bridge: None,
        sriov: device.is_multiple_of(16).then(|| Sriov {
            total_vfs: 16,
            num_vfs: 0,
            offset: 16,
            stride: 1,
            vf_device: 0x154c,
            bars: vec![bar(1 << 20, 16 << 20)],
        }),
        pf: None,
        conventional: false,
        acs: false,
        pin_only: false,
    }
}

/// A slice for every 4 CPUs: wishes alone, each with a VF of its own.
fn slices(host: &Host) -> Result<Vec<Slice>, Report> {
    let mut text = "version = 1\n".to_owned();
    // The root needs a core, so the last slice is smaller.
    let count = host.cpus.len() / 4;
    for i in 0..count {
        let node = i / 4;
        let cpus = if i + 1 == count { 2 } else { 4 };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[slice]]\ncell.name = \"s{i}\"\ncpus.count = {cpus}\nmemory.size = \"12GiB\"\n\
             kernel.image = \"vmlinuz\"\npci = [{{ sriov = {{ pf = \"{node:04x}:01:00.0\" }} }}]\n"
        );
    }
    config::parse(&text, Path::new("bench.toml"))
}
