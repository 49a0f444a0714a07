//! Which lanes this machine can have, and why not the others.

use super::{Binary, Emulator, Lane};
use crate::emulators::{patched, stock};
use crate::image::outer;
use crate::paths::Paths;
use crate::scenario::Machine;
use anyhow::{Context, Result, bail};

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

/// True if a machine on this lane is one of the patched QEMU's.
pub(crate) fn wants_patched(lane: Lane, machine: &Machine) -> bool {
    match lane.row().emulator {
        Emulator::Qemu(binary, _) => binary.is_patched(machine),
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
