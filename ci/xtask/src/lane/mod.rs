//! Lanes: the machines that scenarios run on.

mod bochs;
mod consoles;
mod detect;
mod outer;
mod panel;
mod qemu;
pub(crate) mod run;
mod topology;

pub(crate) use detect::{available, default_lane, has_devices, nesting, wants_patched};
pub(crate) use qemu::VMX;

use crate::emulators::{patched, stock};
use crate::image::RootImage;
use crate::paths::Paths;
use crate::scenario::{Machine, Scenario};
use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of machine, by who virtualizes its CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lane {
    /// Nested KVM: the host's own VT-x or AMD-V.
    Kvm,
    /// VT-x emulated by a patched QEMU.
    QemuVmx,
    /// AMD-V emulated by stock QEMU.
    Qemu,
    /// Nested KVM in an emulated machine with VT-x.
    KvmOnVmx,
    /// Nested KVM in an emulated machine with AMD-V.
    KvmOnSvm,
    /// VT-x emulated by stock Bochs.
    Bochs,
}

/// What there is to say of a lane.
#[derive(Debug)]
struct Row {
    lane: Lane,
    /// Its name on the command line.
    name: &'static str,
    /// Its kind in a few words.
    about: &'static str,
    /// How much longer than written a step may take.
    slowness: u32,
    /// Signs of trouble that the emulator itself is to blame for.
    excused: &'static [&'static str],
    /// The scenarios that are the main job here: a cell's whole life, then cells
    /// with devices.
    demo: &'static [&'static str],
    emulator: Emulator,
}

/// What plays a machine.
#[derive(Clone, Copy, Debug)]
enum Emulator {
    /// QEMU on this machine.
    Qemu(Binary, &'static qemu::Cpu),
    /// Stock QEMU on this KVM module, in a machine that QEMU plays here.
    Outer(&'static qemu::Cpu, &'static str),
    /// Bochs.
    Bochs,
}

/// Which QEMU it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    /// Debian's.
    Stock,
    /// The patched one.
    Patched,
    /// Debian's, but for machines with igb, or that ask for it, the patched one:
    /// Debian's 10.0.2 maps no BAR of igb's virtual functions above 4 GiB. AMD-V is as
    /// QEMU has it in either.
    StockUnlessWanted,
}

/// All lanes, in the order of [`Lane`].
static TABLE: &[Row] = &[
    Row {
        lane: Lane::Kvm,
        name: "kvm",
        about: "the host's VT-x or AMD-V, nested",
        slowness: 1,
        excused: &[],
        demo: &["main", "sriov"],
        emulator: Emulator::Qemu(Binary::Stock, &qemu::NESTED),
    },
    Row {
        lane: Lane::QemuVmx,
        name: "qemu-vmx",
        about: "VT-x emulated by the patched QEMU",
        slowness: 1,
        excused: &[],
        demo: &["main", "sriov"],
        emulator: Emulator::Qemu(Binary::Patched, &qemu::VMX),
    },
    Row {
        lane: Lane::Qemu,
        name: "qemu",
        about: "AMD-V emulated by stock QEMU",
        slowness: 1,
        excused: &[],
        // Two cells at once take their time under its AMD-V; `boot` plays them.
        demo: &["main"],
        emulator: Emulator::Qemu(Binary::StockUnlessWanted, &qemu::SVM),
    },
    Row {
        lane: Lane::KvmOnVmx,
        name: "kvm-on-vmx",
        about: "nested KVM in a machine with emulated VT-x",
        slowness: 6,
        excused: &[],
        demo: &["main"],
        emulator: Emulator::Outer(&qemu::VMX, "kvm_intel"),
    },
    Row {
        lane: Lane::KvmOnSvm,
        name: "kvm-on-svm",
        about: "nested KVM in a machine with emulated AMD-V",
        slowness: 6,
        excused: &[],
        demo: &["main"],
        emulator: Emulator::Outer(&qemu::SVM, "kvm_amd"),
    },
    Row {
        lane: Lane::Bochs,
        name: "bochs",
        about: "VT-x emulated by stock Bochs",
        slowness: 10,
        // Its CPUID tells more cores than it numbers, and a gap in XSAVE.
        excused: &["topology_common.c:", "kernel/fpu/xstate.c:"],
        demo: &["bochs"],
        emulator: Emulator::Bochs,
    },
];

/// A machine that is ready to be switched on.
#[derive(Debug)]
pub(crate) struct Power {
    /// The emulator with its arguments.
    pub(crate) command: Command,
    /// Where the root's console comes out.
    pub(crate) console: Console,
}

/// Where a console comes out.
#[derive(Debug)]
pub(crate) enum Console {
    /// The emulator's standard output.
    Output,
    /// A named pipe.
    Pipe(PathBuf),
}

impl Lane {
    /// All lanes, best first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.lane)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    /// Its kind in a few words.
    pub(crate) fn about(self) -> &'static str {
        self.row().about
    }

    /// The scenarios that are the main job here.
    pub(crate) fn demo(self) -> &'static [&'static str] {
        self.row().demo
    }

    /// True if its machine is that of the lane `kvm`, in another machine: what
    /// runs there runs here.
    pub(crate) fn is_outer(self) -> bool {
        matches!(self.row().emulator, Emulator::Outer(..))
    }

    /// How much longer than written a step may take here.
    pub(crate) fn slowness(self) -> u32 {
        self.row().slowness
    }

    /// Signs of trouble that the emulator itself is to blame for.
    pub(crate) fn excused(self) -> &'static [&'static str] {
        self.row().excused
    }

    /// The machine; files that it reads and writes are in `dir`, the second
    /// serial port's output in `monitor.log` there.
    ///
    /// # Errors
    ///
    /// The emulator is missing, or a disk image cannot be made.
    pub(crate) fn power(
        self,
        paths: &Paths,
        scenario: &Scenario,
        image: &RootImage,
        dir: &Path,
    ) -> Result<Power> {
        match self.row().emulator {
            Emulator::Qemu(binary, cpu) => {
                let binary = binary.find(paths, &scenario.machine)?;
                let mut power = qemu::power(&binary, cpu, scenario, image, dir)?;
                power.command.args(qemu::panel(dir));
                Ok(power)
            }
            Emulator::Outer(cpu, module) => {
                let binary = patched(paths)?;
                outer::power(paths, (&binary, cpu, module), scenario, image, dir)
            }
            Emulator::Bochs => bochs::power(paths, scenario, image, dir),
        }
    }
}

impl Binary {
    fn is_patched(self, machine: &Machine) -> bool {
        let wanted = machine.igb || machine.newer_qemu;
        self == Self::Patched || self == Self::StockUnlessWanted && wanted
    }

    /// The emulator of a machine.
    fn find(self, paths: &Paths, machine: &Machine) -> Result<PathBuf> {
        if self.is_patched(machine) {
            patched(paths)
        } else {
            stock()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_lanes_and_named_as_clap_names_them() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.lane as usize, index);
            let value = row.lane.to_possible_value();
            assert_eq!(
                value.map(|value| value.get_name().to_owned()).as_deref(),
                Some(row.name)
            );
        }
        assert_eq!(TABLE.len(), Lane::value_variants().len());
    }
}
