//! Checks that need no cell: formatting, lints, unit tests, builds, the image,
//! the patched QEMU by itself.

use super::pool::Load;
use super::{Check, Verdict, packages, passed, tools, unit};
use crate::build::monitor::{self, Image};
use crate::build::{self, cargo};
use crate::lane::{self, Lane};
use crate::paths::{Paths, make_dir};
use crate::setup::kernels::{self, Kernel};
use crate::sh::Cmd;
use crate::ui::Ui;
use crate::{emulators, header, layers, size};
use anyhow::{Context, Result, bail};

/// Everything in the workspace that runs on a host.
pub(super) const HOSTED: &str = "--workspace --exclude cellvisor --exclude cellvisor-cell --exclude cell-hello --exclude cell-latency --exclude cell-memtest";

/// Seconds that the bare-metal test of the patched QEMU may take.
const BARE_METAL_LIMIT: &str = "60";

/// All checks of this file, cheap ones first.
pub(super) fn all() -> Vec<Check> {
    let mut checks = vec![
        Check::host("fmt", |paths, _| {
            hosted(paths, "fmt --all -- --check", "fmt")
        }),
        Check::host("header", |paths, _| {
            header::check(paths).and_then(|()| passed())
        }),
        Check::host("layers", |paths, _| {
            layers::check(paths).map(Verdict::Passed)
        }),
        Check::host("mutants-list", |paths, _| {
            let count = crate::mutants::monitor::check(paths)?;
            Ok(Verdict::Passed(format!("{count} protections")))
        }),
        Check::host("clippy", |paths, _| {
            hosted(
                paths,
                &format!("clippy {HOSTED} --all-targets -- -D warnings"),
                "clippy",
            )
        }),
        Check::host("unit", |paths, _| unit::check(paths)),
        Check::host("fuzz", |paths, _| fuzz(paths)),
        Check::host("driver-tests", |paths, _| driver_tests(paths)),
        Check::host("crs-check", |paths, _| {
            let _alone = build::alone();
            let output = build::crs_check::check(paths)?;
            Ok(Verdict::Passed(passed_tests(&output)))
        }),
        Check {
            apart: true,
            ..Check::host("ring-model", |paths, _| ring_model(paths))
        },
        Check::host("doctest", |paths, _| {
            hosted(paths, &format!("test {HOSTED} --doc"), "doctest")
        }),
        Check::host("doc", |paths, _| doc(paths)),
        Check::host("monitor", |paths, _| image(paths)),
        Check::host("monitor-clippy", |paths, _| {
            monitor::clippy(paths).and_then(|()| passed())
        }),
        Check::host("monitor-doc", |paths, _| {
            monitor::doc(paths).and_then(|()| passed())
        }),
        Check::host("scripts", |paths, _| tools::scripts(paths)),
        Check::host("dependencies", |paths, _| tools::dependencies(paths)),
        Check::host("packages-lint", |paths, _| packages::lint(paths)),
        Check {
            apart: true,
            ..Check::host("packages-life", packages::life)
        },
        Check::host("cells-clippy", |paths, _| {
            build::bare::clippy(paths).and_then(|()| passed())
        }),
        Check::host("cellctl-static", |paths, _| {
            let _alone = build::alone();
            build::cellctl::build(paths).and_then(|_| passed())
        }),
    ];
    for kernel in Kernel::roots() {
        let name = format!("driver-{}", kernel.name());
        checks.push(Check::host(name, move |paths, ui| {
            driver(paths, ui, kernel)
        }));
    }
    checks.push(Check {
        load: Load::Boot { seconds: 5 },
        patched: true,
        ..Check::host("qemu-vmx-bare-metal", |paths, _| bare_metal(paths))
    });
    checks
}

fn hosted(paths: &Paths, words: &str, name: &str) -> Result<Verdict> {
    cargo(paths).words(words).run(paths, name)?;
    passed()
}

/// Seconds that each fuzz target gets; long runs are a command of their own.
const FUZZ_SECONDS: &str = "4";
const FUZZ_SEED: &str = "1";

/// Feeds every target for a short while, the same each time.
fn fuzz(paths: &Paths) -> Result<Verdict> {
    let output = cargo(paths)
        .words("run --quiet --package cellvisor-fuzz -- all")
        .args([FUZZ_SECONDS, FUZZ_SEED])
        .run(paths, "fuzz")?;
    let targets = output
        .lines()
        .filter(|line| line.contains(" inputs, seed "))
        .count();
    Ok(Verdict::Passed(format!(
        "{targets} targets, seed {FUZZ_SEED}"
    )))
}

/// Plays a ring of the crate for links under all orders of accesses, in a folder of its
/// own: its atomics are none that anything else could be built with.
fn ring_model(paths: &Paths) -> Result<Verdict> {
    let output = cargo(paths)
        .env("CARGO_TARGET_DIR", paths.target.join("model"))
        .words("test --package cellvisor-window --no-default-features --features loom --lib")
        .run(paths, "ring-model")?;
    Ok(Verdict::Passed(passed_tests(&output)))
}

/// The driver's tests compile; they run on a machine to throw away
/// (docs/driver.md).
fn driver_tests(paths: &Paths) -> Result<Verdict> {
    let dir = paths.target.join("programs");
    make_dir(&dir)?;
    let mut sources = Vec::new();
    for name in ["main.c", "pins.c", "images.c"] {
        sources.push(paths.repo("driver/tests").join(name));
    }
    Cmd::new("gcc")
        .words("-static -O1 -Wall -Wextra -Werror -o")
        .arg(dir.join("ioctl"))
        .args(&sources)
        .run(paths, "driver-tests")?;
    Ok(Verdict::Passed("compiled".to_owned()))
}

/// How many tests `cargo test` ran, from its output.
pub(super) fn passed_tests(output: &str) -> String {
    let runs = output
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "));
    let count: u32 = runs
        .filter_map(|line| line.split(' ').next()?.parse::<u32>().ok())
        .sum();
    format!("{count} tests")
}

fn doc(paths: &Paths) -> Result<Verdict> {
    cargo(paths)
        .env("RUSTDOCFLAGS", "-D warnings")
        .words(&format!("doc {HOSTED} --no-deps --document-private-items"))
        .run(paths, "doc")?;
    passed()
}

fn image(paths: &Paths) -> Result<Verdict> {
    let _alone = build::alone();
    for image in [Image::Full, Image::Small] {
        image.build(paths)?;
        monitor::check(paths, image)?;
    }
    Ok(Verdict::Passed(size::limits(paths)?))
}

/// Builds the driver against a kernel's headers, with the compiler that they want.
fn driver(paths: &Paths, ui: &Ui, kernel: Kernel) -> Result<Verdict> {
    if let Some(why) = kernels::missing(paths, ui, kernel)? {
        return Ok(Verdict::Skipped(why));
    }
    let files = kernels::files(paths, kernel)?;
    let _alone = build::alone();
    build::driver::build(paths, &files)?;
    Ok(Verdict::Passed(files.release))
}

/// The test that the emulation of VT-x was made with, outside of any Linux.
fn bare_metal(paths: &Paths) -> Result<Verdict> {
    lane::available(paths, Lane::QemuVmx)?;
    let dir = paths.target.join("vmxtest");
    make_dir(&dir)?;
    let mut out = std::ffi::OsString::from("OUT=");
    out.push(&dir);
    Cmd::new("make")
        .arg("-C")
        .arg(paths.repo("ci/qemu-vmx/test"))
        .arg(out)
        .run(paths, "vmxtest")?;
    let qemu = emulators::patched(paths)?;
    // The exit status is that of the test's debug-exit device, so it says
    // nothing that the last line does not.
    let output = std::process::Command::new("timeout")
        .args(["--kill-after=5", BARE_METAL_LIMIT])
        .arg(qemu)
        .args(emulators::FIRMWARE.iter().flat_map(|dir| ["-L", dir]))
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-machine",
            "q35",
            "-smp",
            "2",
            "-m",
            "512",
        ])
        .args([
            "-accel",
            lane::VMX.accelerator,
            "-cpu",
            lane::VMX.model,
            "-serial",
            "stdio",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
        .arg(dir.join("vmxtest.bin"))
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot start the patched QEMU")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let good = text.lines().filter(|line| line.starts_with("ok ")).count();
    if text.lines().last().map(str::trim) != Some("RESULT PASS") {
        bail!(
            "the bare-metal test did not end well:\n{}",
            crate::sh::tail(&text, 12)
        );
    }
    Ok(Verdict::Passed(format!("{good} checks")))
}
