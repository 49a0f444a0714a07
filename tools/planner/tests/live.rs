//! Reading a machine: two nodes, two cores with two threads each, an SR-IOV
//! card behind a root port, an NVMe drive with the root file system.

mod tree;

use cellvisor_planner::host::live::{self, Shifts};
use cellvisor_planner::host::{Access, Host, IommuKind, Range, Space};
use tree::{Tree, table};

const SHIFTS: Shifts = Shifts {
    thread: 1,
    package: 4,
};

fn address(text: &str) -> cellvisor_abi::Bdf {
    text.parse().expect("an address")
}

/// CPU 3 is offline: Linux shows neither its APIC id nor its package.
fn cpus(tree: &Tree) {
    let mut cpuinfo = String::new();
    for (linux, apic_id) in [(0, 0), (1, 16), (2, 1)] {
        cpuinfo += &format!(
            "processor\t: {linux}\nmodel name\t: Model X\nphysical id\t: {}\n\
             apicid\t\t: {apic_id}\nflags\t\t: fpu vmx sse\n\n",
            apic_id / 16
        );
    }
    tree.file("proc/cpuinfo", cpuinfo);
    let cpus = "sys/devices/system/cpu";
    tree.file(&format!("{cpus}/present"), "0-3\n");
    tree.file(&format!("{cpus}/online"), "0-2\n");
    for (linux, package) in [(0, 0), (1, 1), (2, 0)] {
        let folder = format!("{cpus}/cpu{linux}");
        tree.file(
            &format!("{folder}/topology/physical_package_id"),
            package.to_string(),
        );
        tree.file(&format!("{folder}/node{package}/cpulist"), "");
        let cache = format!("{folder}/cache/index3");
        tree.file(&format!("{cache}/level"), "3\n");
        tree.file(&format!("{cache}/type"), "Unified\n");
        tree.file(&format!("{cache}/size"), "8192K\n");
        let shared = if package == 0 { "0,2" } else { "1" };
        tree.file(&format!("{cache}/shared_cpu_list"), shared);
    }
    tree.file(&format!("{cpus}/cpu3/online"), "0\n");
}

fn memory(tree: &Tree) {
    for node in 0..2 {
        let folder = format!("sys/devices/system/node/node{node}");
        tree.file(
            &format!("{folder}/meminfo"),
            format!(
                "Node {node} MemTotal:  4194304 kB\nNode {node} MemFree:  3145728 kB\n\
                 Node {node} Inactive(file):  1024 kB\n"
            ),
        );
        tree.file(
            &format!("{folder}/distance"),
            if node == 0 { "10 21" } else { "21 10" },
        );
        if node == 1 {
            access(tree, &folder);
        }
        let pages = format!("{folder}/hugepages/hugepages-2048kB");
        tree.file(&format!("{pages}/nr_hugepages"), "8\n");
        tree.file(&format!("{pages}/free_hugepages"), "3\n");
    }
    tree.file(
        "proc/iomem",
        "00000000-00000fff : Reserved\n00001000-7fffffff : System RAM\n  01000000-01ffffff : Kernel code\n\
         80000000-8fffffff : PCI Bus 0000:00\n  80000000-801fffff : PCI Bus 0000:01\n\
         100000000-1ffffffff : System RAM\n4000000000-4fffffffff : PCI Bus 0000:00\n",
    );
    tree.file(
        "proc/ioports",
        "0000-0cf7 : PCI Bus 0000:00\n  03f8-03ff : serial\n0cf8-0cff : PCI conf1\n0d00-ffff : PCI Bus 0000:00\n",
    );
}

/// What Linux shows of an HMAT that tells no bandwidth for writes.
fn access(tree: &Tree, folder: &str) {
    let folder = format!("{folder}/access0/initiators");
    for (name, value) in [
        ("read_latency", "95\n"),
        ("write_latency", "110\n"),
        ("read_bandwidth", "204800\n"),
        ("write_bandwidth", "0\n"),
    ] {
        tree.file(&format!("{folder}/{name}"), value);
    }
    for node in 0..2 {
        tree.link(
            &format!("{folder}/node{node}"),
            &format!("sys/devices/system/node/node{node}"),
        );
    }
}

fn acpi(tree: &Tree) {
    let lapic = |id: u8, flags: u32| bytes![0u8, 8u8, id, id, flags];
    let madt = [
        lapic(0, 1),
        lapic(16, 1),
        lapic(99, 0),
        lapic(1, 1),
        bytes![9u8, 16u8, 0u16, 17u32, 1u32, 0u32],
        bytes![1u8, 12u8, 8u8, 0u8, 0xfec0_0000u32, 0u32],
    ];
    let folder = "sys/firmware/acpi/tables";
    tree.file(&format!("{folder}/APIC"), table(&[0; 8], &madt));
    // Proximity domains 5 and 7 are Linux's nodes 0 and 1.
    let cpu = |id: u32, domain: u32| bytes![2u8, 24u8, 0u16, domain, id, 1u32, 0u32, 0u32];
    let ram = |domain: u32, start: u64, size: u64| {
        bytes![1u8, 40u8, domain, 0u16, start, size, 0u32, 1u32, 0u64]
    };
    let srat = [
        cpu(0, 5),
        cpu(16, 7),
        cpu(1, 5),
        cpu(17, 7),
        ram(5, 0, 0x8000_0000),
        ram(7, 0x1_0000_0000, 0x1_0000_0000),
    ];
    tree.file(&format!("{folder}/SRAT"), table(&[0; 12], &srat));
    let mcfg = [bytes![0xb000_0000u64, 0u16, 0u8, 63u8, 0u32]];
    tree.file(&format!("{folder}/MCFG"), table(&[0; 8], &mcfg));
    dmar(tree);
}

/// A unit for what is behind the root port (a path of one bridge), one for all
/// else, the I/O APIC among it; memory for a function whose path leads through the port.
fn dmar(tree: &Tree) {
    let dmar = [
        bytes![
            0u16,
            24u16,
            0u8,
            0u8,
            0u16,
            0xfed9_0000u64,
            2u8,
            8u8,
            0u16,
            0u8,
            0u8,
            1u8,
            0u8
        ],
        bytes![
            0u16,
            24u16,
            1u8,
            0u8,
            0u16,
            0xfed9_1000u64,
            3u8,
            8u8,
            0u16,
            8u8,
            0xf0u8,
            31u8,
            0u8
        ],
        bytes![
            1u16,
            34u16,
            0u16,
            0u16,
            0x7f00_0000u64,
            0x7f0f_ffffu64,
            1u8,
            10u8,
            0u16,
            0u8,
            0u8,
            1u8,
            0u8,
            0u8,
            0u8
        ],
    ];
    tree.file("sys/firmware/acpi/tables/DMAR", table(&[0; 12], &dmar));
}

fn pci(tree: &Tree) {
    let mut port = [0u8; 64];
    port[0x19..0x1b].copy_from_slice(&[1, 3]);
    let folder = tree.function(
        "pci0000:00",
        "0000:00:01.0",
        &[
            ("vendor", "0x8086"),
            ("device", "0x000c"),
            ("class", "0x060400"),
            ("numa_node", "0"),
        ],
    );
    tree.file(&format!("{folder}/config"), port);
    let zero = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    let mut resource = "0x0000000080000000 0x000000008001ffff 0x0000000000040200\n".to_owned();
    resource += &zero.repeat(6);
    resource += "0x0000000080100000 0x000000008011bfff 0x0000000000140204\n";
    let nic = tree.function(
        "pci0000:00/0000:00:01.0",
        "0000:01:00.0",
        &[
            ("vendor", "0x8086"),
            ("device", "0x10c9"),
            ("class", "0x020000"),
            ("numa_node", "0"),
            ("resource", &resource),
            ("reset_method", "flr bus\n"),
            ("sriov_totalvfs", "7"),
            ("sriov_numvfs", "0"),
            ("sriov_offset", "128"),
            ("sriov_stride", "2"),
            ("sriov_vf_device", "10ca"),
        ],
    );
    tree.link(&format!("{nic}/driver"), "sys/bus/pci/drivers/igb");
    tree.link(&format!("{nic}/iommu_group"), "sys/kernel/iommu_groups/4");
    needs(tree, &nic);
}

/// A drive with the root file system, the network, a console.
fn needs(tree: &Tree, nic: &str) {
    let drive = tree.function(
        "pci0000:00",
        "0000:00:02.0",
        &[
            ("vendor", "0x144d"),
            ("device", "0xa808"),
            ("class", "0x010802"),
            ("numa_node", "-1"),
        ],
    );
    // The root file system is on a mapped device on a partition of the drive.
    let disk = format!("{drive}/nvme/nvme0/nvme0n1/nvme0n1p2");
    tree.link("sys/class/block/dm-0", "sys/devices/virtual/block/dm-0");
    tree.link("sys/devices/virtual/block/dm-0/slaves/nvme0n1p2", &disk);
    tree.link("sys/dev/block/253:0", "sys/devices/virtual/block/dm-0");
    tree.file(
        "proc/self/mountinfo",
        "22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n",
    );
    tree.link("sys/class/net/eth0/device", nic);
    tree.file("sys/class/net/eth0/flags", "0x1003\n");
    tree.file("proc/consoles", "ttyS0  -W- (EC p a)  4:64\n");
    tree.file("sys/class/tty/ttyS0/port", "0x3F8\n");
    tree.link(
        "sys/class/tty/ttyS0/device",
        "sys/devices/pnp0/00:04/00:04:0/00:04:0.0",
    );
    tree.file("proc/cmdline", "root=/dev/mapper/root intel_iommu=off\n");
}

fn machine(name: &str) -> (Tree, Host) {
    let tree = Tree::new(name);
    cpus(&tree);
    memory(&tree);
    acpi(&tree);
    pci(&tree);
    let host = live::read(tree.path(), SHIFTS).expect("the machine can be read");
    (tree, host)
}

#[test]
fn an_offline_cpu_is_found_in_the_firmwares_tables() {
    let (_tree, host) = machine("cpus");
    let seen: Vec<_> = host
        .cpus
        .iter()
        .map(|c| (c.linux, c.apic_id, c.package, c.core, c.node, c.online))
        .collect();
    let expected = [
        (0, 0, 0, 0, 0, true),
        (1, 16, 1, 8, 1, true),
        (2, 1, 0, 0, 0, true),
        (3, 17, 1, 8, 1, false),
    ];
    assert_eq!(seen, expected);
    assert_eq!(host.virtualization, "vmx");
    assert_eq!(host.caches.len(), 2, "shared caches are listed once");
    assert_eq!(host.caches[0].cpus.to_string(), "0,2");
}

#[test]
fn memory_has_its_nodes_ranges_and_pages() {
    let (_tree, host) = machine("memory");
    let node = host.node(1).expect("node 1");
    assert_eq!(node.memory, 4 << 30);
    assert_eq!(node.free, (3 << 30) + (1 << 20));
    assert_eq!((node.pages[0].size, node.pages[0].free), (2 << 20, 3));
    let range = Range {
        start: 1 << 32,
        size: 1 << 32,
    };
    assert_eq!(node.ranges, [range]);
    assert_eq!(host.distance(0, 1), 21);
}

#[test]
fn memory_is_as_fast_as_the_firmware_says() {
    let (_tree, host) = machine("access");
    assert_eq!(host.nodes[0].access, None, "it says nothing of node 0");
    let access = host.nodes[1].access.clone().expect("access");
    assert_eq!(
        access,
        Access {
            initiators: vec![0, 1],
            read_latency_ns: 95,
            write_latency_ns: 110,
            read_bandwidth_mbs: 204_800,
            write_bandwidth_mbs: 0,
        }
    );
}

#[test]
fn root_bus_has_its_own_windows_and_not_those_of_bridges() {
    let (_tree, host) = machine("roots");
    assert_eq!(host.roots.len(), 1);
    let root = &host.roots[0];
    assert_eq!(
        (root.first_bus, root.last_bus),
        (0, 63),
        "the last bus is MCFG's"
    );
    let windows: Vec<_> = root
        .windows
        .iter()
        .map(|w| (w.space, w.start, w.end))
        .collect();
    let expected = [
        (Space::Io, 0, 0xcf7),
        (Space::Io, 0xd00, 0xffff),
        (Space::Mem, 0x8000_0000, 0x8fff_ffff),
        (Space::Mem, 0x40_0000_0000, 0x4f_ffff_ffff),
    ];
    assert_eq!(windows, expected);
    assert!(
        host.iomem.iter().all(|r| r.name != "Kernel code"),
        "outermost ranges only"
    );
}

#[test]
fn functions_have_bars_vfs_and_bridges() {
    let (_tree, host) = machine("functions");
    let nic = host.function(address("0000:01:00.0")).expect("the card");
    assert_eq!((nic.bars.len(), nic.bars[0].size), (1, 0x2_0000));
    assert_eq!((nic.group, nic.driver.as_deref()), (Some(4), Some("igb")));
    assert_eq!(nic.reset, ["flr", "bus"]);
    let sriov = nic.sriov.as_ref().expect("SR-IOV");
    assert_eq!((sriov.total_vfs, sriov.vf_device), (7, 0x10ca));
    assert_eq!(
        (sriov.bars[0].start, sriov.bars[0].size),
        (0x8010_0000, 0x1_c000)
    );
    assert_eq!(sriov.vf(nic.address, 1), Some(address("0000:01:10.2")));
    let port = host.function(address("0000:00:01.0")).expect("the port");
    let bridge = port.bridge.as_ref().expect("it is a bridge");
    assert_eq!((bridge.secondary, bridge.subordinate), (1, 3));
}

#[test]
fn functions_that_interrupt_by_their_pin_alone_are_known() {
    let (tree, host) = machine("pins");
    let card = address("0000:01:00.0");
    let nic = |host: &Host| host.function(card).expect("the card").pin_only;
    assert!(!nic(&host), "it cannot be read");
    // The pin, one capability, and how much of the space may be read.
    for (pin, capability, length, wanted) in [
        (1, 0x01, 256, true),
        (4, 0x10, 256, true),
        (0, 0x01, 256, false),
        (5, 0x01, 256, false),
        (1, 0x05, 256, false),
        (1, 0x11, 256, false),
        (1, 0x01, 64, false),
    ] {
        let mut config = vec![0u8; length];
        (config[0x34], config[0x3d]) = (0x40, pin);
        if let Some(place) = config.get_mut(0x40) {
            *place = capability;
        }
        let folder = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
        tree.file(&format!("{folder}/config"), config);
        let host = live::read(tree.path(), SHIFTS).expect("the machine can be read");
        assert_eq!(nic(&host), wanted, "{pin} {capability:#x} {length}");
    }
}

#[test]
fn iommus_know_what_they_serve() {
    let (_tree, host) = machine("iommus");
    assert_eq!(host.iommus.len(), 2);
    assert!(host.iommus.iter().all(|u| u.kind == IommuKind::Vtd));
    assert!(host.iommus[0].scopes[0].bridge && !host.iommus[0].all);
    assert!(host.iommus[1].all && host.iommus[1].scopes.is_empty());
    assert_eq!(host.io_apics[0].source, Some(0xf0f8));
    assert!(
        host.has_iommu(address("0000:01:10.2")),
        "a VF that does not exist yet"
    );
    let reserved = &host.reserved[0];
    assert_eq!(
        reserved.functions,
        [address("0000:01:00.0")],
        "the path goes through the port"
    );
    assert_eq!(
        (reserved.range.start, reserved.range.size),
        (0x7f00_0000, 0x10_0000)
    );
}

#[test]
fn what_the_root_needs_is_found_through_mapped_devices() {
    let (_tree, host) = machine("root");
    assert_eq!(host.root.storage, [address("0000:00:02.0")]);
    assert_eq!(host.root.networks, [address("0000:01:00.0")]);
    assert_eq!(host.root.console_ports, [0x3f8]);
    assert_eq!(host.root.consoles, [], "00:04:0.0 is no PCI address");
}

#[test]
fn a_tree_without_a_machine_says_what_to_mount() {
    let tree = Tree::new("empty");
    let report = live::read(tree.path(), SHIFTS).expect_err("nothing there");
    let text = report.to_string();
    assert!(text.contains("it shows no CPUs or no memory"), "{text}");
    assert!(
        text.contains("help: mount sysfs on /sys and procfs on /proc"),
        "{text}"
    );
}

#[test]
fn hidden_addresses_ask_for_root() {
    let (tree, _) = machine("hidden");
    tree.file(
        "proc/iomem",
        "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n",
    );
    let report = live::read(tree.path(), SHIFTS).expect_err("hidden");
    assert!(
        report.to_string().contains("help: run this as root"),
        "{report}"
    );
}
