//! The configurations that come with the project work on their hosts, and what
//! is generated from the Rust types is up to date.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, Link, schema};
use cellvisor_planner::draw::{self, Style};
use cellvisor_planner::host::{Host, Space};
use cellvisor_planner::plan::{self, Division, MemoryShare, Plan, Policy, Taken};
use ipnet::Ipv4Net;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn host(name: &str) -> Host {
    Host::load(&root().join(format!("configs/hosts/{name}.toml"))).expect("a host")
}

fn planned(host: &Host, names: &[&str]) -> Plan {
    let path = |name: &&str| root().join(format!("configs/{name}.toml"));
    let files: Vec<PathBuf> = names.iter().map(path).collect();
    let slices = config::load(&files).expect("good slice files");
    let report = check::check(host, &slices, &Taken::default(), Files::Skip);
    assert!(report.is_empty(), "{report}");
    plan::plan(host, &slices, &Taken::default()).expect("a plan")
}

/// Checks that a file is what it would be if it were generated now; `UPDATE=1`
/// in the environment writes it.
fn up_to_date(path: &str, content: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, content).expect("written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == content,
        "{}: run the tests with UPDATE=1",
        path.display()
    );
}

#[test]
fn z8_slices_get_what_the_published_scripts_took() {
    let host = host("z8");
    let start = Instant::now();
    let plan = planned(&host, &["z8-slice0", "z8-slice1"]);
    println!("planned in {:?}", start.elapsed());
    let first = &plan.cells[0];
    let cpus: Vec<u32> = first.cpus.iter().map(|c| c.linux).collect();
    assert_eq!(cpus, (12..20).collect::<Vec<_>>());
    let gib16 = MemoryShare::Pages {
        node: 1,
        bytes: 16 << 30,
        page_size: 1 << 30,
        fixed: false,
    };
    assert_eq!(first.memory, [gib16]);
    let functions: Vec<String> = first
        .functions
        .iter()
        .map(|f| f.address.to_string())
        .collect();
    assert_eq!(functions, ["0000:99:00.2", "0000:8d:00.1", "0000:21:00.0"]);
}

#[test]
fn z8_root_buses_have_the_published_windows() {
    // From the hand-made DSDT: bus range, ports, memory below and above 4 GiB.
    let published = [
        (
            0x20,
            0x2b,
            (0x6000, 0x7fff),
            (0xab00_0000, 0xb87f_ffff),
            (0x3880_0000_0000, 0x38bf_ffff_ffff),
        ),
        (
            0x8c,
            0x97,
            (0xa000, 0xbfff),
            (0xd380_0000, 0xe0ff_ffff),
            (0x3940_0000_0000, 0x397f_ffff_ffff),
        ),
        (
            0x98,
            0xa3,
            (0xc000, 0xdfff),
            (0xe100_0000, 0xee7f_ffff),
            (0x3980_0000_0000, 0x39bf_ffff_ffff),
        ),
    ];
    let host = host("z8");
    let plan = planned(&host, &["z8-slice0"]);
    let functions = &plan.cells[0].functions;
    let mut roots: Vec<_> = functions
        .iter()
        .map(|f| host.root_of(f.address).expect("a root bus"))
        .collect();
    roots.sort_by_key(|r| r.first_bus);
    assert_eq!(roots.len(), published.len());
    for (root, (first, last, io, low, high)) in roots.iter().zip(published) {
        assert_eq!((root.first_bus, root.last_bus), (first, last));
        let windows: Vec<_> = root
            .windows
            .iter()
            .map(|w| (w.space, (w.start, w.end)))
            .collect();
        assert_eq!(
            windows,
            [(Space::Io, io), (Space::Mem, low), (Space::Mem, high)]
        );
    }
}

#[test]
fn all_other_configurations_work_on_their_hosts() {
    planned(&host("z240"), &["z240"]);
    let popcorn = planned(&host("popcorn"), &["popcorn"]);
    assert_eq!(popcorn.cells.len(), 7);
    assert!(
        popcorn.cells.iter().all(|c| c.nodes().len() == 1),
        "a node each"
    );
    planned(&host("bochs"), &["bochs"]);
    planned(&host("qemu"), &["qemu", "qemu-cell1"]);
    planned(&host("qemu"), &["qemu-sriov"]);
    planned(&host("small"), &["minimal"]);
}

#[test]
fn policies_divide_a_numa_server() {
    let host = host("popcorn");
    let ways = [
        (Policy::Cluster, false, 7),
        (Policy::Cluster, true, 8),
        (Policy::Partition, false, 63),
        (Policy::Partition, true, 63),
    ];
    for (policy, boot_node, cells) in ways {
        let plan = divided(&host, policy, boot_node, None);
        assert_eq!(plan.cells.len(), cells);
        assert!(
            plan.cells.iter().all(|c| c.nodes().len() == 1),
            "a node each"
        );
    }
}

#[test]
fn a_cluster_can_be_in_one_network() {
    let host = host("popcorn");
    let addresses = "10.1.2.0/24".parse().expect("a network");
    let plan = divided(&host, Policy::Cluster, true, Some(addresses));
    let links: Vec<&Link> = plan.links.iter().map(|new| &new.link).collect();
    let [link] = links[..] else {
        unreachable!("one link: {links:?}");
    };
    let cells = (0..8).map(|node| format!("node{node} 10.1.2.{}/24", node + 1));
    let all: Vec<String> = cells.chain(["root 10.1.2.9/24".to_owned()]).collect();
    assert_eq!(link.network(), all);
}

/// The host as a policy divides it.
fn divided(host: &Host, policy: Policy, boot_node: bool, addresses: Option<Ipv4Net>) -> Plan {
    let initrd = ["initrd.img".to_owned()];
    let division = Division {
        policy,
        boot_node,
        image: "vmlinuz",
        initrd: &initrd,
        addresses,
    };
    let text = plan::generate(host, &division);
    let slices = config::parse(&text, Path::new("generated.toml")).expect("well formed");
    plan::plan(host, &slices, &Taken::default()).expect("it fits")
}

#[test]
fn pictures_show_every_owner() {
    let host = host("z8");
    let plan = planned(&host, &["z8-slice0", "z8-slice1"]);
    let svg = draw::svg(&host, &plan);
    for word in [
        "z8-slice0: 8 CPUs, 16GiB, 3 functions",
        "VF 1 of 0000:8d:00.0: z8-slice1",
    ] {
        assert!(svg.contains(word), "{word}");
    }
    up_to_date(
        "docs/z8-slices.txt",
        &draw::text(&host, &plan, Style::Plain),
    );
    up_to_date("docs/z8-slices.svg", &svg);
}

#[test]
fn schema_and_reference_are_those_of_the_types() {
    let schema = serde_json::to_string_pretty(&schema::schema()).expect("JSON");
    up_to_date("configs/slice.schema.json", &(schema + "\n"));
    up_to_date("docs/config.md", &config::reference());
}
