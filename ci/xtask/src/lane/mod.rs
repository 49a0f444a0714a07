//! Lanes: the machines that scenarios run on.

mod bochs;
mod detect;
mod qemu;
pub(crate) mod run;

pub(crate) use detect::{
    available, default_lane, has_devices, nesting, patched, patched_path, wants_patched,
};
pub(crate) use qemu::{FIRMWARE, VMX};

use crate::image::RootImage;
use crate::paths::Paths;
use crate::scenario::Scenario;
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
    /// VT-x emulated by stock Bochs.
    Bochs,
}

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
    pub(crate) const ALL: &[Self] = &[Self::Kvm, Self::QemuVmx, Self::Qemu, Self::Bochs];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::QemuVmx => "qemu-vmx",
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
        }
    }

    /// Its kind in a few words.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Kvm => "the host's VT-x or AMD-V, nested",
            Self::QemuVmx => "VT-x emulated by the patched QEMU",
            Self::Qemu => "AMD-V emulated by stock QEMU",
            Self::Bochs => "VT-x emulated by stock Bochs",
        }
    }

    /// How much longer than written a step may take here.
    pub(crate) const fn slowness(self) -> u32 {
        match self {
            Self::Kvm | Self::QemuVmx | Self::Qemu => 1,
            Self::Bochs => 10,
        }
    }

    /// Signs of trouble that the emulator itself is to blame for.
    pub(crate) const fn excused(self) -> &'static [&'static str] {
        match self {
            Self::Kvm | Self::QemuVmx | Self::Qemu => &[],
            // Its CPUID tells more cores than it numbers, and a gap in XSAVE.
            Self::Bochs => &["topology_common.c:", "kernel/fpu/xstate.c:"],
        }
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
        let (binary, cpu) = match self {
            Self::Kvm => (detect::stock()?, &qemu::NESTED),
            Self::QemuVmx => (detect::patched(paths)?, &qemu::VMX),
            Self::Qemu => (detect::with_svm(paths, &scenario.machine)?, &qemu::SVM),
            Self::Bochs => return bochs::power(paths, scenario, image, dir),
        };
        qemu::power(&binary, cpu, scenario, image, dir)
    }
}
