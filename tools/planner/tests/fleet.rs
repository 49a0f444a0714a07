//! What schedulers ask for: inventories, and which of several machines takes what.

use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::host::{Access, Host};
use cellvisor_planner::inventory::Inventory;
use cellvisor_planner::place::{self, Placement};
use cellvisor_planner::plan::{self, Taken};
use std::fs;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn host(name: &str) -> Host {
    Host::load(&root().join(format!("configs/hosts/{name}.toml"))).expect("a host")
}

/// The host `name` under another name.
fn called(name: &str, as_name: &str) -> Host {
    Host {
        name: as_name.to_owned(),
        ..host(name)
    }
}

/// Slices of these names and wishes.
fn slices(wishes: &[(&str, &str)]) -> Vec<Slice> {
    let mut text = "version = 1\n".to_owned();
    for (name, wish) in wishes {
        text += &format!("[[slice]]\ncell.name = \"{name}\"\nkernel.image = \"vmlinuz\"\n{wish}\n");
    }
    config::parse(&text, Path::new("fleet.toml")).expect("well formed")
}

/// What each machine takes.
fn takes(placement: &Placement) -> Vec<Vec<&str>> {
    let cells = placement.machines.iter().map(|m| &m.plan.cells);
    cells
        .map(|cells| cells.iter().map(|c| c.name.as_str()).collect())
        .collect()
}

#[test]
fn inventory_tells_what_there_is_and_what_cells_have() {
    let host = host("z8");
    let files = ["z8-slice0", "z8-slice1"].map(|f| root().join(format!("configs/{f}.toml")));
    let slices = config::load(&files).expect("well formed");
    let cells = plan::plan(&host, &slices, &Taken::default())
        .expect("a plan")
        .cells;
    let before = Inventory::of(&host, &Taken::default());
    let after = Inventory::of(&host, &Taken { cells });
    assert_eq!((before.sockets, before.nodes.len()), (2, 2));
    assert_eq!(before.cpus, host.cpus.len());
    let free = |inventory: &Inventory| inventory.head_room.cpus;
    assert_eq!(free(&before), host.cpus.len() - 1, "the boot CPU stays");
    assert_eq!(free(&before) - free(&after), 8 + 4);
    assert_eq!(before.head_room.vfs - after.head_room.vfs, 4);
    let names: Vec<&str> = after.cells.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["z8-slice0", "z8-slice1"]);
    assert_eq!(after.cells[0].cpus.to_string(), "12-19");
    assert_eq!(after.cells[0].memory, 16 * GIB);
    assert!(before.cells.is_empty());
}

#[test]
fn inventory_says_what_the_root_keeps_and_why() {
    let inventory = Inventory::of(&host("small"), &Taken::default());
    let disk = inventory
        .devices
        .iter()
        .find(|d| d.address == "0000:01:00.0")
        .expect("the disk");
    assert_eq!(disk.owner.as_deref(), Some("root"));
    assert_eq!(
        disk.reason.as_deref(),
        Some("the root's file system is on it")
    );
    // CPU 0 booted, and CPU 7 is offline: their siblings are free, their cores are not.
    assert_eq!(inventory.nodes[0].cpus.to_string(), "0-7");
    assert_eq!(inventory.nodes[0].free_cpus.to_string(), "1-6");
    assert_eq!(inventory.head_room.cores, 2);
    assert_eq!(inventory.threads_per_core, 2);
}

#[test]
fn inventory_says_how_fast_memory_is_where_the_firmware_does() {
    let mut host = host("z8");
    host.nodes[1].access = Some(Access {
        initiators: vec![1],
        read_latency_ns: 95,
        ..Access::default()
    });
    let nodes = Inventory::of(&host, &Taken::default()).nodes;
    let json = serde_json::to_value(&nodes).expect("JSON");
    assert!(json[0]["access"].is_null());
    let access = &json[1]["access"];
    assert_eq!(access["initiators"], serde_json::json!([1]));
    assert_eq!(access["read-latency-ns"], 95);
    assert_eq!(access["write-bandwidth-mbs"], 0);
}

#[test]
fn schema_is_that_of_the_type() {
    let schema = schemars::schema_for!(Inventory).to_value();
    let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
    let path = root().join("configs/inventory.schema.json");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).expect("written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "run the tests with UPDATE=1");
}

#[test]
fn slices_go_to_the_first_machine_with_room() {
    let hosts = [host("small"), called("z240", "second")];
    let wish = "cpus.count = 2\nmemory.size = \"1GiB\"";
    let all = [("a", wish), ("b", wish), ("c", wish)];
    let placement = place::first_fit(&hosts, &slices(&all)).expect("placed");
    assert_eq!(takes(&placement), [vec!["a", "b"], vec!["c"]]);
    assert!(placement.unplaced.is_empty());
}

#[test]
fn a_small_slice_fills_the_room_that_a_large_one_left() {
    let hosts = [host("small"), host("z8")];
    let wishes = [
        ("large", "cpus.count = 16\nmemory.size = \"32GiB\""),
        ("little", "cpus.count = 2\nmemory.size = \"1GiB\""),
    ];
    let placement = place::first_fit(&hosts, &slices(&wishes)).expect("placed");
    assert_eq!(takes(&placement), [["little"], ["large"]]);
}

#[test]
fn a_device_decides_where_a_slice_goes() {
    let hosts = [host("small"), host("z8")];
    let wish =
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\" } }]";
    let placement = place::first_fit(&hosts, &slices(&[("web", wish)])).expect("placed");
    assert_eq!(takes(&placement), [vec![], vec!["web"]]);
    assert!(placement.unplaced.is_empty());
}

#[test]
fn what_fits_nowhere_has_a_reason_of_each_machine() {
    let mut old = called("small", "old");
    old.virtualization.clear();
    let hosts = [old, host("small")];
    let wish = "cpus.count = 64\nmemory.size = \"1GiB\"";
    let placement = place::first_fit(&hosts, &slices(&[("huge", wish)])).expect("looked at");
    assert!(takes(&placement).iter().all(Vec::is_empty));
    assert_eq!(placement.unplaced.len(), 1);
    assert_eq!(placement.unplaced[0].slices, ["huge"]);
    let reasons: Vec<String> = placement.unplaced[0]
        .refusals
        .iter()
        .map(|r| format!("{}: {}", r.machine, r.findings.findings[0].message))
        .collect();
    assert_eq!(
        reasons,
        [
            "old: machine `old` cannot have cells",
            "small desktop: slice `huge` wants 64 CPUs, but only 4 can be had",
        ]
    );
    let left: usize = placement.machines[1].plan.left[0].cpus.len();
    assert_eq!(left, 7, "nothing is taken of a machine that takes nothing");
}

#[test]
fn slices_that_share_a_link_go_to_one_machine() {
    let hosts = [host("small"), host("z8")];
    let link = "[[link]]\nname = \"board\"\nkind = \"window\"\nsize = \"4MiB\"\n\
                members = [\"a\", \"b\"]\n";
    let file = |name: &str| {
        format!(
            "version = 1\ncell.name = \"{name}\"\ncpus.count = 4\nmemory.size = \"1GiB\"\n\
             kernel.image = \"vmlinuz\"\n{link}"
        )
    };
    let dir = std::env::temp_dir().join(format!("cellvisor-fleet-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    let files = ["a", "b"].map(|name| dir.join(format!("{name}.toml")));
    for (path, name) in files.iter().zip(["a", "b"]) {
        fs::write(path, file(name)).expect("written");
    }
    let linked = config::load(&files).expect("well formed");
    fs::remove_dir_all(&dir).expect("removed");
    // The first machine has room for one of them alone.
    let placement = place::first_fit(&hosts, &linked).expect("placed");
    assert_eq!(takes(&placement), [vec![], vec!["a", "b"]]);
}

#[test]
fn machines_need_names_of_their_own() {
    let report = place::first_fit(&[host("z8"), host("z8")], &[]).expect_err("refused");
    let name = host("z8").name;
    assert!(
        report
            .to_string()
            .contains(&format!("two machines are called `{name}`"))
    );
}
