//! Slice and host files.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config;
use cellvisor_planner::draw::{self, Style};
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, Division, Plan, Policy, Taken};
use std::path::Path;
use std::sync::LazyLock;

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let text = include_str!("../../../../configs/hosts/z8.toml");
    Host::parse(text, Path::new("z8.toml")).expect("a host")
});

const SLICE: &str = "version = 1\ncell.name = \"a\"\ncpus.count = 2\nmemory.size = \"64MiB\"\n\
    kernel.image = \"k\"\n[[pci]]\nsriov.pf = \"0000:01:00.0\"\n[[pci]]\naddress = \"0000:02:00.0\"\n";

/// Any text as a slice file: findings or slices, and for slices a plan on the
/// reconstructed Z8 that `check` agrees with.
pub(crate) fn slice(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let slices = match config::parse(text, Path::new("fuzz.toml")) {
        Ok(slices) => slices,
        Err(report) => {
            assert!(report.has_errors());
            // Rendering slices the text by the places in the report.
            let _ = report.to_string();
            return;
        }
    };
    let taken = Taken::default();
    let report = check::check(&HOST, &slices, &taken, Files::Skip);
    let _ = report.to_string();
    match plan::plan(&HOST, &slices, &taken) {
        Ok(plan) => assert_eq!(plan.cells.len(), slices.len()),
        Err(_) => assert!(report.has_errors()),
    }
}

/// Any text as a host file, as TOML and as JSON: what loads can be planned on,
/// drawn, divided and saved.
pub(crate) fn host(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    for name in ["host.toml", "host.json"] {
        match Host::parse(text, Path::new(name)) {
            Ok(host) => use_host(&host),
            Err(report) => drop(report.to_string()),
        }
    }
}

fn use_host(host: &Host) {
    let slices = config::parse(SLICE, Path::new("slice.toml")).expect("a slice");
    let plan = match plan::plan(host, &slices, &Taken::default()) {
        Ok(plan) => plan,
        Err(report) => {
            let _ = report.to_string();
            Plan::default()
        }
    };
    let _ = draw::svg(host, &plan);
    let _ = draw::text(host, &plan, Style::Colour);
    for policy in [Policy::Cluster, Policy::Partition] {
        let division = Division {
            policy,
            boot_node: true,
            image: "vmlinuz",
            initrd: &[],
            addresses: None,
        };
        let text = plan::generate(host, &division);
        // A machine of one core leaves nothing to divide.
        if let Err(report) = config::parse(&text, Path::new("generated.toml")) {
            assert!(report.to_string().contains("no slice"), "{report}\n{text}");
        }
    }
}
