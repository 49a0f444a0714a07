//! Lanes: the machines that scenarios run on.

mod detect;
mod qemu;
pub(crate) mod run;

pub(crate) use detect::{available, default_lane, emulator, nesting, patched_path};
pub(crate) use qemu::{FIRMWARE, VMX_CPU};

use crate::image::RootImage;
use crate::paths::Paths;
use crate::scenario::Scenario;
use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;
use std::path::Path;
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
}

impl Lane {
    /// All lanes, best first.
    pub(crate) const ALL: &[Self] = &[Self::Kvm, Self::QemuVmx, Self::Qemu];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::QemuVmx => "qemu-vmx",
            Self::Qemu => "qemu",
        }
    }

    /// Its kind in a few words.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Kvm => "the host's VT-x or AMD-V, nested",
            Self::QemuVmx => "VT-x emulated by the patched QEMU",
            Self::Qemu => "AMD-V emulated by stock QEMU",
        }
    }

    /// How much longer than written a step may take here.
    pub(crate) const fn slowness(self) -> u32 {
        match self {
            Self::Kvm | Self::QemuVmx | Self::Qemu => 1,
        }
    }

    /// The emulator with its arguments; files that it writes go to `dir`. The
    /// root's console is its standard output, `monitor.log` the second port.
    ///
    /// # Errors
    ///
    /// The emulator is missing, or a disk image cannot be made.
    pub(crate) fn command(
        self,
        paths: &Paths,
        scenario: &Scenario,
        image: &RootImage,
        dir: &Path,
    ) -> Result<Command> {
        qemu::command(self, paths, scenario, image, dir)
    }
}
