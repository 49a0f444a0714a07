//! Which lanes this machine can have, and why not the others.

use super::{Binary, Emulator, Lane};
use crate::paths::Paths;
use crate::scenario::Machine;
use crate::setup::outer;
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Oldest QEMU with SR-IOV devices that work.
const QEMU_MAJOR: u32 = 10;

/// Stock QEMU's binary.
const STOCK: &str = "qemu-system-x86_64";

/// Why a lane cannot run; `Ok` if it can.
///
/// # Errors
///
/// The reason, as a sentence with the remedy where there is one.
pub(crate) fn available(paths: &Paths, lane: Lane) -> Result<()> {
    if lane == Lane::Kvm {
        nesting()?;
    }
    match lane.row().emulator {
        Emulator::Qemu(Binary::Patched, _) => patched(paths).map(drop),
        Emulator::Qemu(..) => stock().map(drop),
        Emulator::Outer(..) => patched(paths).and_then(|_| outer::files(paths)).map(drop),
        Emulator::Bochs => super::bochs::available(),
    }
}

/// The first lane that this machine can have.
///
/// # Errors
///
/// None can be had: the reason of each.
pub(crate) fn default_lane(paths: &Paths) -> Result<Lane> {
    let mut reasons = Vec::new();
    for lane in [Lane::Kvm, Lane::QemuVmx, Lane::Qemu] {
        match available(paths, lane) {
            Ok(()) => return Ok(lane),
            Err(why) => reasons.push(format!("{}: {why:#}", lane.name())),
        }
    }
    bail!("no lane can run here:\n{}", reasons.join("\n"))
}

/// Stock QEMU.
///
/// # Errors
///
/// It is missing or too old.
pub(crate) fn stock() -> Result<PathBuf> {
    let binary = find_program(STOCK)
        .with_context(|| format!("{STOCK} is not installed: run `cargo xtask setup`"))?;
    let version = Cmd::new(&binary).arg("--version").read()?;
    let major = version
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse::<u32>().ok())
        .with_context(|| format!("{STOCK} --version tells no version"))?;
    if major < QEMU_MAJOR {
        bail!("{STOCK} is version {major}, {QEMU_MAJOR} is needed: run `cargo xtask setup`");
    }
    Ok(binary)
}

/// True if a machine on this lane is one of the patched QEMU's.
pub(crate) fn wants_patched(lane: Lane, machine: &Machine) -> bool {
    match lane.row().emulator {
        Emulator::Qemu(binary, _) => binary.is_patched(machine.igb),
        Emulator::Outer(..) => true,
        Emulator::Bochs => false,
    }
}

/// Why a lane that this machine can have lacks devices of a scenario; `Ok` if
/// it lacks none.
///
/// # Errors
///
/// The emulator that has them is missing.
pub(crate) fn has_devices(paths: &Paths, lane: Lane, machine: &Machine) -> Result<()> {
    if wants_patched(lane, machine) {
        patched(paths)?;
    }
    Ok(())
}

/// Where the patched QEMU is kept once it is built.
pub(crate) fn patched_path(paths: &Paths) -> PathBuf {
    paths.cache.join("qemu-vmx/bin").join(STOCK)
}

/// The patched QEMU, or what `CELLVISOR_QEMU` names.
///
/// # Errors
///
/// It is not built, or the name is wrong.
pub(crate) fn patched(paths: &Paths) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CELLVISOR_QEMU").filter(|name| !name.is_empty()) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("CELLVISOR_QEMU names {}, which is no file", named.display());
        }
        return Ok(named);
    }
    let built = patched_path(paths);
    if !built.is_file() {
        bail!(
            "the patched QEMU is not built: `cargo xtask setup` builds it, or tells why it cannot"
        );
    }
    Ok(built)
}

/// A guest sees VT-x or AMD-V only if the host's CPU shows it and the host's
/// KVM module allows nesting; `/dev/kvm` alone says nothing.
///
/// # Errors
///
/// This host's KVM does not nest: what is missing.
pub(crate) fn nesting() -> Result<()> {
    let info = std::fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let has = |flag: &str| {
        let mut flags = info.lines().filter(|line| line.starts_with("flags"));
        flags
            .next()
            .is_some_and(|line| line.split_whitespace().any(|word| word == flag))
    };
    let module = if has("vmx") {
        "kvm_intel"
    } else if has("svm") {
        "kvm_amd"
    } else {
        bail!("this machine's KVM does not nest: its CPU shows neither vmx nor svm");
    };
    let parameter = format!("/sys/module/{module}/parameters/nested");
    let value = std::fs::read_to_string(&parameter)
        .with_context(|| format!("this machine's KVM does not nest: no {parameter}"))?;
    if !matches!(value.trim(), "Y" | "1") {
        bail!(
            "this machine's KVM does not nest: {parameter} is {}; \
             load {module} with nested=1",
            value.trim()
        );
    }
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
        .context("/dev/kvm cannot be opened: be in the group kvm, or root")
}
