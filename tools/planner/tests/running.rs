//! Slices against cells that run, and against files that are there.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::host::{Function, Host, Range, Reserved, Space};
use cellvisor_planner::plan::{self, Taken};
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn z8() -> Host {
    Host::load(&configs().join("hosts/z8.toml")).expect("a host")
}

fn slice(resources: &str) -> Vec<Slice> {
    let text =
        format!("version = 1\ncell.name = \"new\"\nkernel.image = \"vmlinuz\"\n{resources}\n");
    config::parse(&text, Path::new("new.toml")).expect("well formed")
}

/// The Z8 with its first slice running, which has 4 of the VFs that exist.
fn running() -> (Host, Taken) {
    let mut host = z8();
    let slices = config::load(&[configs().join("z8-slice0.toml")]).expect("well formed");
    let cells = plan::plan(&host, &slices, &Taken::default())
        .expect("a plan")
        .cells;
    for function in &mut host.functions {
        if let Some(sriov) = &mut function.sriov {
            sriov.num_vfs = 4;
        }
    }
    for cpu in host.cpus.iter_mut().filter(|c| (12..20).contains(&c.linux)) {
        cpu.online = false;
    }
    (host, Taken { cells })
}

fn told(resources: &str) -> String {
    let (host, taken) = running();
    check::check(&host, &slice(resources), &taken, Files::Skip).to_string()
}

#[test]
fn cpu_of_a_running_cell_is_refused_by_the_cells_name() {
    let expected = "\
error: slice `new` cannot have CPUs 18-19
 --> new.toml:4:13
  |
4 | cpus.list = \"18-21\"
  |             ^^^^^^^ cell `z8-slice0` runs and has it
  |
  = help: list other CPUs; `cellctl plan` shows which are left";
    assert_eq!(
        told("cpus.list = \"18-21\"\nmemory.size = \"1GiB\""),
        expected
    );
}

#[test]
fn vf_of_a_running_cell_is_refused_and_the_next_is_found() {
    let text = told(
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\", vf = 0 } }]",
    );
    assert!(text.contains("cell `z8-slice0` runs and has it"), "{text}");
    let (host, taken) = running();
    let any = slice(
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\" } }]",
    );
    let plan = plan::plan(&host, &any, &taken).expect("a plan");
    assert_eq!(plan.cells[0].functions[0].vf, Some(1));
    assert_eq!(plan.running, taken.cells);
}

#[test]
fn number_of_vfs_cannot_grow_under_a_running_cell() {
    let expected = "\
error: VF 5 of 0000:99:00.0 cannot be created now
 --> new.toml:6:46
  |
6 | pci = [{ sriov = { pf = \"0000:99:00.0\", vf = 5 } }]
  |                                              ^ 4 VFs exist, and cell `z8-slice0` uses one of them
  |
  = help: create all slices with one command, write a number below 4, or destroy `z8-slice0` first";
    let text = told(
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\", vf = 5 } }]",
    );
    assert_eq!(text, expected);
}

#[test]
fn slice_that_runs_keeps_what_it_has_when_a_file_gets_a_second_one() {
    let (host, taken) = running();
    let files = ["z8-slice0.toml", "z8-slice1.toml"].map(|f| configs().join(f));
    let slices = config::load(&files).expect("well formed");
    let plan = plan::plan(&host, &slices, &taken).expect("a plan");
    assert_eq!(plan.cells[0].cpus, taken.cells[0].cpus);
    assert_eq!(plan.cells[0].why, ["it runs, and keeps what it has"]);
    assert_eq!(plan.cells[1].cpus[0].linux, 20);
    assert!(plan.running.is_empty());
}

#[test]
fn linux_that_drives_the_iommu_is_warned_about() {
    let mut host = z8();
    for (i, function) in host.functions.iter_mut().enumerate() {
        function.group = u32::try_from(i).ok();
    }
    let wish = slice(
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\" } }]",
    );
    let report = check::check(&host, &wish, &Taken::default(), Files::Skip);
    assert!(!report.has_errors());
    assert!(
        report
            .to_string()
            .starts_with("warning: Linux drives the IOMMU itself"),
        "{report}"
    );
}

#[test]
fn reports_are_json_for_programs() {
    let (host, taken) = running();
    let report = check::check(
        &host,
        &slice("cpus.list = \"18\"\nmemory.size = \"1GiB\""),
        &taken,
        Files::Skip,
    );
    let json = serde_json::to_value(&report).expect("JSON");
    let expected = serde_json::json!([{
        "severity": "error",
        "file": "new.toml",
        "line": 4,
        "column": 13,
        "message": "slice `new` cannot have CPU 18",
        "cause": "cell `z8-slice0` runs and has it",
        "help": "list other CPUs; `cellctl plan` shows which are left",
    }]);
    assert_eq!(json, expected);
    let whole = config::load(&["/none".into()]).expect_err("no file");
    let json = serde_json::to_value(&whole).expect("JSON");
    assert_eq!(json[0]["file"], "/none");
    assert!(json[0]["line"].is_null() && json[0]["column"].is_null());
}

#[test]
fn physical_function_goes_away_only_without_its_virtual_ones() {
    let (host, _) = running();
    let wish = "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ address = \"0000:99:00.0\" }]";
    let told = check::check(&host, &slice(wish), &Taken::default(), Files::Skip).to_string();
    assert!(told.contains("it has 4 virtual functions"), "{told}");
    assert!(
        told.contains("echo 0 > /sys/bus/pci/devices/0000:99:00.0/sriov_numvfs"),
        "{told}"
    );
}

#[test]
fn function_behind_a_bridge_that_the_firmware_names_is_refused() {
    let mut host = z8();
    let wish = "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ sriov = { pf = \"0000:99:00.0\", vf = 0 } }]";
    let pf = "0000:99:00.0".parse().expect("an address");
    assert_eq!(host.reserved_for(pf), None);
    let above = |f: &&Function| f.bridge.as_ref().is_some_and(|b| b.secondary == 0x99);
    let bridge = host.functions.iter().find(above).expect("a bridge").address;
    host.reserved.push(Reserved {
        range: Range {
            start: 0x7f00_0000,
            size: 0x10_0000,
        },
        functions: vec![bridge],
    });
    let report = check::check(&host, &slice(wish), &Taken::default(), Files::Skip);
    let text = report.to_string();
    let expected = "the firmware wants it to reach 0x7f000000..0x7f100000 at all times";
    assert!(text.contains(expected), "{text}");
    assert!(host.reserved_for(pf).is_some());
}

#[test]
fn namespace_of_a_running_cell_is_refused() {
    let wish = |namespace: u32| {
        told(&format!(
            "cpus.count = 1\nmemory.size = \"1GiB\"\n\
             pci = [{{ sriov = {{ pf = \"0000:8d:00.0\", vf = 1 }}, namespace = {namespace} }}]"
        ))
    };
    let text = wish(1);
    let message = "namespace 1 of 0000:8d:00.0 would have two owners";
    assert!(text.contains(message), "{text}");
    assert!(text.contains("`z8-slice0` has it"), "{text}");
    let text = wish(2);
    assert!(!text.contains("namespace"), "{text}");
}

#[test]
fn physical_function_of_a_running_cells_vf_is_refused() {
    let text =
        told("cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ address = \"0000:99:00.0\" }]");
    assert!(
        text.contains("slice `new` cannot have 0000:99:00.0"),
        "{text}"
    );
    let cause = "cell `z8-slice0` runs and has it, namely its virtual function 0000:99:00.2";
    assert!(text.contains(cause), "{text}");
}

/// A cell that runs and has a whole card, and slices that want a part of it.
#[test]
fn vf_of_a_running_cells_physical_function_is_refused() {
    let host = z8();
    let whole = slice(
        "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ address = \"0000:99:00.0\", isolation = \"none\" }]",
    );
    let cells = plan::plan(&host, &whole, &Taken::default())
        .expect("a plan")
        .cells;
    let taken = Taken { cells };
    for vf in ["", ", vf = 0"] {
        let text = format!(
            "version = 1\ncell.name = \"other\"\nkernel.image = \"vmlinuz\"\ncpus.count = 1\n\
             memory.size = \"1GiB\"\npci = [{{ sriov = {{ pf = \"0000:99:00.0\"{vf} }} }}]\n"
        );
        let part = config::parse(&text, Path::new("other.toml")).expect("well formed");
        let told = check::check(&host, &part, &taken, Files::Skip).to_string();
        let message = "slice `other` cannot have a VF of 0000:99:00.0";
        assert!(told.contains(message), "{told}");
        assert!(told.contains("cell `new` runs and has it"), "{told}");
    }
}

#[test]
fn bar_has_to_lie_in_a_window_with_both_ends() {
    let wish =
        slice("cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ address = \"0000:99:00.0\" }]");
    let pf = "0000:99:00.0".parse().expect("an address");
    let host = z8();
    let root = host.root_of(pf).expect("a root bus");
    let function = host.functions.iter().find(|f| f.address == pf);
    let bar = function.expect("is there").bars[0];
    let inside = |start, end| {
        root.windows
            .iter()
            .any(|w| w.contains(bar.space, start, end))
    };
    // The last address after which the window goes on no more.
    let mut last = bar.start + bar.size - 1;
    assert!(inside(bar.start, last));
    for step in (0..64).rev().map(|bit| 1u64 << bit) {
        if last
            .checked_add(step)
            .is_some_and(|end| inside(bar.start, end))
        {
            last += step;
        }
    }
    let told = |size| {
        let mut host = z8();
        let mut functions = host.functions.iter_mut();
        let function = functions.find(|f| f.address == pf).expect("is there");
        function.bars[0].size = size;
        check::check(&host, &wish, &Taken::default(), Files::Skip).to_string()
    };
    let most = last - bar.start + 1;
    assert!(!told(most).contains("window"), "{}", told(most));
    let cause = format!("BAR 0 at {:#x} is in no window of root bus", bar.start);
    assert!(told(most + 1).contains(&cause), "{}", told(most + 1));
}

#[test]
fn windows_of_a_root_bus_leave_the_adapters_of_networks_their_place() {
    let pci = "cpus.count = 1\nmemory.size = \"1GiB\"\npci = [{ address = \"0000:99:00.0\" }]\n";
    let lan = "[[link]]\nname = \"lan\"\nkind = \"ethernet\"\nmembers = [\"new\", \"other\"]\n";
    let pf = "0000:99:00.0".parse().expect("an address");
    let told = |text: &str, (start, end)| {
        let mut host = z8();
        let bus = host.root_of(pf).expect("a root bus").first_bus;
        let root = host.roots.iter_mut().find(|r| r.first_bus == bus);
        let windows = &mut root.expect("is there").windows;
        let mut window = *windows.iter().find(|w| w.space == Space::Mem).expect("one");
        (window.start, window.end) = (start, end);
        windows.push(window);
        let wish = slice(text);
        check::check(&host, &wish, &Taken::default(), Files::Skip).to_string()
    };
    let both = format!("{pci}{lan}");
    for over in [(0xfe00_0000, 0xff00_0000), (0xff10_8fff, 0xffff_ffff)] {
        let told = told(&both, over);
        assert!(
            told.contains("the adapter of link `lan` is in 0xff000000..0xff109000"),
            "{told}"
        );
    }
    for beside in [(0xfe00_0000, 0xfeff_ffff), (0xff10_9000, 0xffff_ffff)] {
        let told = told(&both, beside);
        assert!(!told.contains("the adapter of link"), "{told}");
    }
    let over = (0xfe00_0000, 0xffff_ffff);
    let neither = told(pci, over);
    assert!(!neither.contains("is in 0xff000000.."), "{neither}");
    let console = told(&format!("console.kind = \"virtio\"\n{pci}"), over);
    assert!(
        console.contains("its virtio console is in 0xff000000.."),
        "{console}"
    );
}
