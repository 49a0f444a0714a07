//! Any text as a slice file: findings or slices, and for slices a plan on the
//! reconstructed Z8 that `check` agrees with.
#![no_main]

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config;
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, Taken};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let text = include_str!("../../../../configs/hosts/z8.toml");
    Host::parse(text, Path::new("z8.toml")).expect("a host")
});

fuzz_target!(|text: &str| {
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
});
