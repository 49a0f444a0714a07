//! The tables of planned cells, read back byte by byte and by ACPICA's own
//! compiler.

use super::*;
use crate::loader::layout;
use crate::testing::record;
use acpi_tables::Access;
use cellvisor_abi::plan::{MAX_FUNCTIONS, Wire};
use cellvisor_planner::config;
use cellvisor_planner::host::{self, Host};
use cellvisor_planner::plan::{self, AssignedCpu, MemoryShare, Taken};
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn host(name: &str) -> Host {
    Host::load(&configs().join("hosts").join(name)).expect("a saved host")
}

/// The cell that `file` describes, planned on `host`.
fn planned(file: &str, host: &Host) -> CellAssignment {
    let slices = config::load(&[configs().join(file)]).expect("a slice file");
    let plan = plan::plan(host, &slices, &Taken::default()).expect("a plan");
    plan.cells.into_iter().next().expect("a cell")
}

fn tables_of(file: &str, machine: &str) -> Tables {
    let host = host(machine);
    let cell = planned(file, &host);
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    build(&cell, &around, &[]).expect("builds")
}

#[test]
fn tables_begin_with_the_rsdp_and_fill_the_first_mib() {
    let image = image(&record("a").assignment, &Surroundings::default(), &[]).expect("builds");
    assert!(image.starts_with(b"RSD PTR "));
    let room = layout::HIGH - layout::ACPI;
    assert_eq!(image.len() as u64, room);
}

#[test]
fn physical_uart_replaces_the_virtual_one_at_the_same_ports() {
    let mut cell = record("a").assignment;
    for (port, left) in [(0x3f8, 0), (0x2f8, 0x3f8)] {
        cell.console = Console::UartPort(port);
        assert_eq!(devices(&cell).uart_port, left);
        let tables = build(&cell, &Surroundings::default(), &[]).expect("builds");
        let dsdt = tables.table(b"DSDT").expect("a DSDT");
        let bytes = port.to_le_bytes();
        assert!(dsdt.windows(2).any(|w| w == bytes), "{port:#x}");
    }
}

/// One address descriptor of a `_CRS`: kind (0 memory, 1 I/O, 2 buses), first,
/// last, length.
type Descriptor = (u8, u64, u64, u64);

/// All word, double word and quad word address descriptors that follow each
/// other from `bytes` on.
fn descriptors(mut bytes: &[u8]) -> Vec<Descriptor> {
    let mut found = Vec::new();
    loop {
        let width = match bytes.first() {
            Some(0x88) => 2,
            Some(0x87) => 4,
            Some(0x8a) => 8,
            _ => return found,
        };
        // Tag, length (2), kind, flags (2), granularity, first, last, offset,
        // length.
        let field = |n: usize| {
            let at = 6 + n * width;
            let mut value = [0; 8];
            value[..width].copy_from_slice(&bytes[at..at + width]);
            u64::from_le_bytes(value)
        };
        assert_eq!((field(0), field(3)), (0, 0), "granularity and offset");
        found.push((bytes[3], field(1), field(2), field(4)));
        bytes = &bytes[6 + 5 * width..];
    }
}

/// The descriptors of each root bridge in `dsdt`: every run that begins with
/// bus numbers.
fn bridges(dsdt: &[u8]) -> Vec<Vec<Descriptor>> {
    let starts = dsdt.windows(4).enumerate();
    starts
        .filter(|(_, w)| *w == [0x88, 0x0d, 0x00, 0x02])
        .map(|(at, _)| descriptors(&dsdt[at..]))
        .collect()
}

/// What the hand-made DSDT that the core-slicing work published for the HP Z8
/// has: bus numbers, ports, memory below and above 4 GiB of three bridges.
const PUBLISHED: [[Descriptor; 4]; 3] = [
    [
        (2, 0x20, 0x2b, 0xc),
        (1, 0x6000, 0x7fff, 0x2000),
        (0, 0xab00_0000, 0xb87f_ffff, 0x0d80_0000),
        (0, 0x3880_0000_0000, 0x38bf_ffff_ffff, 0x40_0000_0000),
    ],
    [
        (2, 0x8c, 0x97, 0xc),
        (1, 0xa000, 0xbfff, 0x2000),
        (0, 0xd380_0000, 0xe0ff_ffff, 0x0d80_0000),
        (0, 0x3940_0000_0000, 0x397f_ffff_ffff, 0x40_0000_0000),
    ],
    [
        (2, 0x98, 0xa3, 0xc),
        (1, 0xc000, 0xdfff, 0x2000),
        (0, 0xe100_0000, 0xee7f_ffff, 0x0d80_0000),
        (0, 0x3980_0000_0000, 0x39bf_ffff_ffff, 0x40_0000_0000),
    ],
];

#[test]
fn z8_slice_has_the_bridges_of_the_published_dsdt() {
    let tables = tables_of("z8-slice0.toml", "z8.toml");
    let dsdt = tables.table(b"DSDT").expect("a DSDT");
    assert_eq!(bridges(dsdt), PUBLISHED);
}

#[test]
fn mcfg_names_the_buses_of_the_bridges_alone() {
    let tables = tables_of("z8-slice0.toml", "z8.toml");
    let mcfg = tables.table(b"MCFG").expect("an MCFG");
    let entries: Vec<_> = mcfg[44..]
        .chunks(16)
        .map(|e| {
            let base = u64::from_le_bytes(e[..8].try_into().expect("8 bytes"));
            (base, e[8..10].to_vec(), e[10], e[11])
        })
        .collect();
    let segment = vec![0, 0];
    assert_eq!(
        entries,
        [
            (0x8000_0000, segment.clone(), 0x20, 0x2b),
            (0x8000_0000, segment.clone(), 0x8c, 0x97),
            (0x8000_0000, segment, 0x98, 0xa3),
        ]
    );
}

#[test]
fn a_console_that_takes_lines_has_a_bridge_and_one_bus_of_its_own() {
    let mut cell = record("a").assignment;
    cell.console = Console::Virtio;
    let tables = build(&cell, &Surroundings::default(), &[]).expect("builds");
    let dsdt = tables.table(b"DSDT").expect("a DSDT");
    let expected = [(2, 0, 0, 1), (0, 0xff10_0000, 0xff10_0fff, 0x1000)];
    assert_eq!(bridges(dsdt), [expected]);
    let mcfg = tables.table(b"MCFG").expect("an MCFG");
    assert_eq!(mcfg[44..56], [0, 0, 0, 0xff, 0, 0, 0, 0, 0xc1, 0, 0, 0]);
    assert_eq!(
        devices(&cell),
        Devices::STANDARD,
        "the 16550 is there as well"
    );
}

#[test]
fn cell_without_functions_on_one_node_needs_no_machine() {
    let cell = record("a").assignment;
    assert!(stands_alone(&cell));
    let tables = build(&cell, &Surroundings::default(), &[]).expect("builds");
    for signature in [b"MCFG", b"SRAT", b"SLIT", b"HMAT"] {
        assert!(tables.table(signature).is_none());
    }
}

/// A cell with a CPU and 4 GiB on each of nodes 2 and 5 of the Popcorn server,
/// without functions.
fn across(host: &Host) -> CellAssignment {
    let mut cell = record("far").assignment;
    let cpu = |node: u32| {
        let cpu = host.cpus.iter().find(|c| c.node == node).expect("a CPU");
        AssignedCpu {
            linux: cpu.linux,
            apic_id: cpu.apic_id,
            node,
        }
    };
    let share = |node: u32| MemoryShare::Pages {
        node,
        bytes: 2 * GIB,
        page_size: GIB,
        fixed: false,
    };
    cell.cpus = vec![cpu(5), cpu(2)];
    cell.memory = vec![share(5), share(2)];
    cell
}

#[test]
fn nodes_are_numbered_from_zero_and_memory_goes_around_the_hole() {
    let host = host("popcorn.toml");
    let cell = across(&host);
    assert!(!stands_alone(&cell));
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    let numa = around.numa().expect("nodes");
    assert_eq!((numa.nodes, numa.cpus), (2, &[1, 0][..]));
    let memory: Vec<_> = numa
        .memory
        .iter()
        .map(|m| (m.gpa, m.size, m.node))
        .collect();
    assert_eq!(
        memory,
        [(0, 2 * GIB, 1), (2 * GIB, GIB, 0), (4 * GIB, GIB, 0)]
    );
    let far = u8::try_from(host.distance(2, 5)).expect("a byte");
    assert_eq!(numa.distances, [10, far, far, 10]);
    let tables = build(&cell, &around, &[]).expect("builds");
    assert!(tables.table(b"SRAT").is_some() && tables.table(b"SLIT").is_some());
    assert!(numa.access.is_empty() && tables.table(b"HMAT").is_none());
}

/// Access to the memory of a node from `initiators`.
fn access(initiators: &[u32], read_latency_ns: u32) -> Option<host::Access> {
    Some(host::Access {
        initiators: initiators.to_vec(),
        read_latency_ns,
        write_latency_ns: 90,
        read_bandwidth_mbs: 204_800,
        write_bandwidth_mbs: 0,
    })
}

#[test]
fn a_cell_on_several_nodes_is_told_how_fast_their_memory_is() {
    let mut host = host("popcorn.toml");
    // Node 3 is not the cell's, and neither are its words on the others.
    host.nodes[2].access = access(&[2, 3], 80);
    host.nodes[3].access = access(&[2, 5], 70);
    host.nodes[5].access = access(&[2, 5], 120);
    let cell = across(&host);
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    let told = |initiator, target, read_latency_ns| Access {
        initiator,
        target,
        read_latency_ns,
        write_latency_ns: 90,
        read_bandwidth_mbs: 204_800,
        write_bandwidth_mbs: 0,
    };
    let numa = around.numa().expect("nodes");
    let expected = [told(0, 0, 80), told(0, 1, 120), told(1, 1, 120)];
    assert_eq!(numa.access, expected);
    let tables = build(&cell, &around, &[]).expect("builds");
    assert!(tables.table(b"HMAT").is_some());
    iasl_accepts("access", &tables);
}

#[test]
fn access_that_a_cell_has_no_use_for_is_left_out() {
    let mut host = host("popcorn.toml");
    host.nodes[2].access = access(&[2], 80);
    host.nodes[5].access = access(&[3], 120);
    let told = |cell: &CellAssignment| {
        let around = Surroundings::of(cell, &host).expect("surroundings");
        around.numa().map(|numa| numa.access.len())
    };
    let mut cell = across(&host);
    assert_eq!(told(&cell), Some(1), "its CPUs on node 5 are no initiators");
    cell.cpus[1].node = 5;
    assert_eq!(told(&cell), Some(0), "it has no CPU on node 2");
    let mut cell = across(&host);
    cell.memory.truncate(1);
    assert_eq!(told(&cell), Some(0), "it has no memory of node 2");
    cell.cpus.truncate(1);
    assert_eq!(
        told(&cell),
        None,
        "a cell on one node needs no tables of nodes"
    );
}

#[test]
fn a_cell_on_more_nodes_than_the_matrices_have_room_for_goes_by_distances() {
    for (nodes, tables_of_access) in [(64, true), (65, false), (256, false)] {
        let mut host = host("popcorn.toml");
        let node = host.nodes[0].clone();
        host.nodes = (0..nodes)
            .map(|id| host::Node {
                id,
                distances: (0..nodes).map(|n| if n == id { 10 } else { 20 }).collect(),
                access: access(&[id], 80 + id),
                ..node.clone()
            })
            .collect();
        let mut cell = record("wide").assignment;
        let cpu = |node| AssignedCpu {
            linux: node,
            apic_id: node,
            node,
        };
        let share = |node| MemoryShare::Pages {
            node,
            bytes: GIB,
            page_size: GIB,
            fixed: false,
        };
        cell.cpus = (0..nodes).map(cpu).collect();
        cell.memory = (0..nodes).map(share).collect();
        let around = Surroundings::of(&cell, &host).expect("surroundings");
        let tables = build(&cell, &around, &[]).expect("builds");
        assert_eq!(tables.table(b"HMAT").is_some(), tables_of_access, "{nodes}");
        assert!(tables.table(b"SLIT").is_some(), "{nodes}");
    }
}

#[test]
fn memory_keeps_off_windows_and_configuration_space() {
    let host = host("z8.toml");
    let mut cell = planned("z8-slice0.toml", &host);
    cell.cpus[0].node = 0;
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    let numa = around.numa().expect("nodes");
    // Bus 20 of the configuration space is the lowest that the cell sees.
    let ram: Vec<_> = numa.memory.iter().map(|m| (m.gpa, m.size)).collect();
    let below = 0x8000_0000 + (0x20 << 20);
    assert_eq!(ram, [(0, below), (4 * GIB, 16 * GIB - below)]);
    // The bridge next to node 0 is next to the guest's node 0, too.
    let nodes: Vec<_> = around.bridges().iter().map(|b| b.node).collect();
    assert_eq!(nodes, [Some(0), Some(1), Some(1)]);
}

#[test]
fn ram_lies_around_a_window_above_4_gib() {
    let mut host = host("z8.toml");
    let mut cell = planned("z8-slice0.toml", &host);
    cell.cpus[0].node = 0;
    let below = 0x8000_0000 + (0x20 << 20);
    let mut with_window = |start, end| {
        for window in host.roots.iter_mut().flat_map(|r| &mut r.windows) {
            if [0x3880_0000_0000, 8 * GIB, MIB].contains(&window.start) {
                (window.start, window.end) = (start, end);
            }
        }
        Surroundings::of(&cell, &host)
    };
    let around = with_window(8 * GIB, 12 * GIB - 1).expect("surroundings");
    let numa = around.numa().expect("nodes");
    let ram: Vec<_> = numa.memory.iter().map(|m| (m.gpa, m.size)).collect();
    assert_eq!(
        ram,
        [(0, below), (4 * GIB, 4 * GIB), (12 * GIB, 12 * GIB - below)]
    );
    let error = with_window(MIB, 12 * GIB - 1).expect_err("in the way");
    let text = error.to_string();
    assert!(text.contains("from less than 2 MiB on"), "{text}");
}

#[test]
fn functions_are_devices_of_their_root_bus_whatever_is_above_them() {
    let host = host("z8.toml");
    let cell = planned("z8-slice0.toml", &host);
    let found = places(&cell, &host).expect("places");
    let mut next = std::collections::BTreeMap::new();
    for (function, assigned) in found.iter().zip(&cell.functions) {
        let root = host.root_of(assigned.address).expect("a root bus");
        let device = next.entry(root.first_bus).or_insert(0);
        *device += 1;
        let guest = u32::from(root.first_bus) << 8 | *device << 3;
        assert_eq!(function.plan.guest.number(), guest, "{}", assigned.address);
        assert_eq!(function.plan.bdf, assigned.address);
    }
    let kinds: Vec<_> = found.iter().map(|f| f.kind.as_str()).collect();
    assert!(kinds.contains(&"NVMe VF 0 of 0000:8d:00.0"), "{kinds:?}");
}

#[test]
fn more_functions_than_devices_become_second_functions() {
    let host = host("z8.toml");
    let mut cell = planned("z8-slice0.toml", &host);
    let one = cell.functions.first().expect("a function").clone();
    cell.functions = vec![one; MAX_FUNCTIONS];
    let found = places(&cell, &host).expect("places");
    let at = |n: usize| found[n].plan.guest.devfn();
    assert_eq!((at(0), at(30), at(31)), (1 << 3, 31 << 3, 1 << 3 | 1));
    assert_eq!(at(MAX_FUNCTIONS - 1), 2 << 3 | 2);
}

#[test]
fn hole_begins_where_the_cell_s_configuration_space_does() {
    let host = host("z8.toml");
    let cell = planned("z8-slice0.toml", &host);
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    assert_eq!(layout::hole(around.taken()), 0x8000_0000 + (0x20 << 20));
    let spaces = around.configuration();
    assert_eq!(
        spaces.first().map(|s| (s.start, s.size)),
        Some((0x8200_0000, 12 << 20))
    );
    assert_eq!(layout::hole(Surroundings::default().taken()), layout::HOLE);
}

/// A cell whose functions interrupt by their pins, two of them as functions of
/// one device.
fn wired() -> Tables {
    let host = host("qemu.toml");
    let cell = planned("qemu-sriov.toml", &host);
    let mut functions = places(&cell, &host).expect("places");
    for (function, devfn, gsi) in [(0, 1 << 3, 16), (1, 1 << 3 | 1, 17)] {
        let plan = &mut functions[function].plan;
        plan.guest = cellvisor_abi::Bdf::new(0, 0, devfn);
        plan.wire = Some(Wire {
            io_apic: 0xfec0_0000,
            pin: 20,
            gsi,
        });
    }
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    build(&cell, &around.wired(&functions), &[]).expect("builds")
}

#[test]
fn wires_are_routed_by_device_and_pin() {
    let tables = wired();
    let dsdt = tables.table(b"DSDT").expect("a DSDT");
    // Packages of four: device 1 and any function, the pin, no link, the GSI.
    let inta = [0x0c, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00, 0x0a, 0x10];
    let intb = [0x0c, 0xff, 0xff, 0x01, 0x00, 0x01, 0x00, 0x0a, 0x11];
    for route in [inta, intb] {
        assert!(dsdt.windows(9).any(|bytes| bytes == route), "{route:x?}");
    }
    let without = tables_of("qemu-sriov.toml", "qemu.toml");
    let dsdt = without.table(b"DSDT").expect("a DSDT");
    assert!(!dsdt.windows(4).any(|name| name == b"_PRT"));
}

/// Has `iasl` take each table apart and put it together again.
fn iasl_accepts(name: &str, tables: &Tables) {
    let dir = tempfile::tempdir().expect("temporary folder");
    for entry in tables.entries.iter().filter(|e| e.signature != *b"RSD ") {
        let table = String::from_utf8_lossy(&entry.signature).to_lowercase();
        let bytes = tables.table(&entry.signature).expect("listed");
        std::fs::write(dir.path().join(format!("{table}.dat")), bytes).expect("writes");
        for args in [
            vec!["-d".to_owned(), format!("{table}.dat")],
            vec!["-we".to_owned(), format!("{table}.dsl")],
        ] {
            let run = Command::new("iasl").args(&args).current_dir(&dir).output();
            let Ok(out) = run else {
                let demanded = std::env::var_os("CELLVISOR_REQUIRE_TOOLS").is_some();
                assert!(!demanded, "iasl cannot be run: install acpica-tools");
                println!("SKIPPED: iasl cannot be run: install acpica-tools");
                return;
            };
            let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            assert!(out.status.success(), "{name}, {table}: {said}");
            let said = said.replace("0 Errors, 0 Warnings", "");
            for word in ["Warning", "Error", "Invalid", "checksum"] {
                assert!(!said.contains(word), "{name}, {table}: {said}");
            }
        }
    }
}

#[test]
fn iasl_accepts_tables_with_bridges_and_with_nodes() {
    iasl_accepts("z8", &tables_of("z8-slice0.toml", "z8.toml"));
    iasl_accepts("z240", &tables_of("z240.toml", "z240.toml"));
    iasl_accepts("qemu", &tables_of("qemu-sriov.toml", "qemu.toml"));
    iasl_accepts("wired", &wired());
    let host = host("popcorn.toml");
    let cell = across(&host);
    let around = Surroundings::of(&cell, &host).expect("surroundings");
    iasl_accepts("popcorn", &build(&cell, &around, &[]).expect("builds"));
}
