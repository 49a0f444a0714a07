//! Any text as a host file, as TOML and as JSON: what loads can be planned on,
//! drawn, divided and saved.
#![no_main]

use cellvisor_planner::config;
use cellvisor_planner::draw::{self, Style};
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, Plan, Policy, Taken};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

const SLICE: &str = "version = 1\ncell.name = \"a\"\ncpus.count = 2\nmemory.size = \"64MiB\"\n\
    kernel.image = \"k\"\n[[pci]]\nsriov.pf = \"0000:01:00.0\"\n[[pci]]\naddress = \"0000:02:00.0\"\n";

fuzz_target!(|text: &str| {
    for name in ["host.toml", "host.json"] {
        match Host::parse(text, Path::new(name)) {
            Ok(host) => play(&host),
            Err(report) => drop(report.to_string()),
        }
    }
});

fn play(host: &Host) {
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
        let text = plan::generate(host, policy, "vmlinuz", None);
        // A machine of one core leaves nothing to divide.
        if let Err(report) = config::parse(&text, Path::new("generated.toml")) {
            assert!(report.to_string().contains("no slice"), "{report}\n{text}");
        }
    }
}
