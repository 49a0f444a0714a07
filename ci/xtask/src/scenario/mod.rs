//! Scenarios: what a machine is, what its root does, and what must be seen.
//!
//! Each is a folder `ci/scenarios/NAME/` with `scenario.toml` (this file's
//! types), the root's `run.sh`, and whatever else the script wants.

pub(crate) mod judge;
mod machine;
mod several;

pub(crate) use machine::{Access, Cable, Distances, Machine};

use crate::build::monitor::Image;
use crate::lane::Lane;
use crate::paths::{Paths, read, read_text};
use crate::setup::kernels::Kernel;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// The folder's name.
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    dir: PathBuf,
    /// What limits are multiplied by, its own and those of the scripts.
    #[serde(skip)]
    pub(crate) patience: u32,
    /// The first thing that is wrong does not end the run: all are told.
    #[serde(skip)]
    pub(crate) lenient: bool,
    /// One line for `--list`.
    pub(crate) about: String,
    /// Lanes that have what it needs; by default the standard machines. What
    /// runs on `kvm` runs on `kvm-on-vmx` and `kvm-on-svm`, too.
    #[serde(default = "standard")]
    pub(crate) lanes: Vec<Lane>,
    /// Those of `kvm-on-vmx` and `kvm-on-svm` on which `test` plays it without
    /// being asked for it by name: it takes minutes there.
    #[serde(default)]
    pub(crate) nested: Vec<Lane>,
    /// Lanes on which `test` plays it only if it is asked for by name: it takes minutes, and
    /// what it shows is shown on another lane.
    #[serde(default)]
    pub(crate) seldom: Vec<Lane>,
    /// It takes minutes: `test` plays it only if it is asked for by name.
    #[serde(default)]
    pub(crate) large: bool,
    /// Why `test` leaves it out as yet; `boot` plays it all the same.
    pub(crate) not_yet: Option<String>,
    /// Lanes on which it boots the image that checks the order of its locks.
    #[serde(default)]
    pub(crate) checked: Vec<Lane>,
    /// Lanes on which it boots the small image.
    #[serde(default)]
    pub(crate) small: Vec<Lane>,
    /// It boots the image whose steps fail when the script asks for it.
    #[serde(default)]
    pub(crate) provoked: bool,
    /// False for a bare Linux: no monitor, driver or tools are built.
    #[serde(default = "yes")]
    pub(crate) parts: bool,
    /// The machine.
    #[serde(default)]
    pub(crate) machine: Machine,
    /// Its Linux.
    #[serde(default)]
    pub(crate) root: Root,
    /// What its cells boot.
    #[serde(default)]
    pub(crate) cells: Cells,
    /// Complaints in the monitor's log (what was refused, say), as regular
    /// expressions. Each must be there, and no other may be.
    #[serde(default)]
    pub(crate) monitor: Vec<String>,
    /// What must be seen, in order.
    #[serde(rename = "step")]
    pub(crate) steps: Vec<Step>,
}

/// The Linux that loads the monitor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Root {
    /// Its kernel.
    pub(crate) kernel: Kernel,
    /// It is Debian with systemd, on a disk, with our packages beside it, and may
    /// restart. Its kernel is that of Debian's release.
    pub(crate) debian: bool,
    /// Modules to load before the script.
    pub(crate) modules: Vec<String>,
    /// Modules that are there, and that the script loads (`load NAME`).
    pub(crate) modules_later: Vec<String>,
    /// Files of this machine, by their paths, for the same paths there.
    pub(crate) files: Vec<String>,
    /// C programs for its `/bin`, by their paths in the repository.
    pub(crate) programs: Vec<String>,
    /// C sources of kernel modules that it may load, by their paths in the
    /// repository; requests for the monitor come with them, in `/frames`.
    pub(crate) provoke: Vec<String>,
    /// Programs of this machine for its `/bin`, with the libraries they need.
    pub(crate) tools: Vec<String>,
    /// Debian packages whose files it has, with those that they need: unpacked, so
    /// nothing of them is configured or started.
    pub(crate) packages: Vec<String>,
    /// The package `cellvisor-slurm` is unpacked in it as well.
    pub(crate) slurm: bool,
    /// And `cellvisor-redfish`.
    pub(crate) redfish: bool,
    /// `crs-check` is built and put into its `/bin`.
    pub(crate) crs_check: bool,
    /// More words for its command line.
    pub(crate) cmdline: String,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            kernel: Kernel::STANDARD,
            debian: false,
            modules: Vec::new(),
            modules_later: Vec::new(),
            files: Vec::new(),
            programs: Vec::new(),
            provoke: Vec::new(),
            tools: Vec::new(),
            packages: Vec::new(),
            slurm: false,
            redfish: false,
            crs_check: false,
            cmdline: String::new(),
        }
    }
}

/// Files for cells, all in the root's `/etc/cellvisor`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Cells {
    /// Kernels, as `vmlinuz-NAME`; the first is also `vmlinuz`.
    pub(crate) kernels: Vec<Kernel>,
    /// Modules that their initramfs loads; it has those of all their kernels.
    pub(crate) modules: Vec<String>,
    /// `cellnet` and `cellmsg` are in their `/bin`, and in the root's.
    pub(crate) link_tools: bool,
    /// C programs for their `/bin`, by their paths in the repository.
    pub(crate) programs: Vec<String>,
    /// Programs of this machine for their `/bin`, with the libraries they need.
    pub(crate) tools: Vec<String>,
    /// Debian packages whose files they have, as [`Root::packages`].
    pub(crate) packages: Vec<String>,
    /// Scripts of the repository for their `/bin`.
    pub(crate) scripts: Vec<String>,
    /// C payloads that need no kernel, by their paths in the repository; cells
    /// boot them by their names without ending.
    pub(crate) payloads: Vec<String>,
    /// C programs that are entered in 32-bit mode, in the same way.
    pub(crate) narrow: Vec<String>,
    /// The first kernel is there unpacked as well, as `vmlinux`.
    pub(crate) vmlinux: bool,
    /// Files of Debian packages, as `PACKAGE:PATH`.
    pub(crate) package_files: Vec<String>,
    /// Bare-metal programs, by the names of their crates.
    pub(crate) bare: Vec<String>,
    /// Configs, by their paths in the repository.
    pub(crate) slices: Vec<String>,
    /// The NVMe controller's first namespace holds a Debian that `cellctl image build`
    /// makes; its kernel, initial RAM disk and slice file's words are `debian.…`, and
    /// `key` opens it to its user.
    pub(crate) debian: bool,
}

/// A part of the transcript. It begins when the root prints `step: NAME`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    /// The name that the script prints.
    pub(crate) name: String,
    /// What people read.
    pub(crate) title: String,
    /// Lanes that have what it needs; by default all of the scenario's. The script
    /// asks by `has_step NAME`.
    #[serde(default)]
    pub(crate) lanes: Vec<Lane>,
    /// Regular expressions, seen in this order on the root's console. Named
    /// groups are kept; `<NAME>` in a later one stands for what was seen.
    #[serde(default)]
    pub(crate) see: Vec<String>,
    /// The same for consoles of cells, by the cells' names; `core[1-63]` stands for
    /// 63 cells of which each says all of it.
    #[serde(default)]
    pub(crate) cells: BTreeMap<String, Vec<String>>,
    /// The same for the second machine's console, where there is one.
    #[serde(default)]
    pub(crate) twin: Vec<String>,
    /// Regular expressions that no line of this step may match.
    #[serde(default)]
    pub(crate) never: Vec<String>,
    /// Signs of trouble that belong here (`Kernel panic` of a cell, say).
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// Its figure in the summary, made of named groups: `<cpus> CPUs`.
    #[serde(default)]
    pub(crate) figure: String,
    /// Limit in seconds on the `qemu` lanes; slower lanes get a multiple.
    #[serde(default = "limit")]
    pub(crate) limit_s: u32,
}

/// Lanes of a scenario that names none.
fn standard() -> Vec<Lane> {
    vec![Lane::Kvm, Lane::QemuVmx, Lane::Qemu]
}

const fn yes() -> bool {
    true
}

const fn limit() -> u32 {
    60
}

/// What `CELLVISOR_SLOW` multiplies limits by, on a machine that has other work.
fn slow() -> Result<u32> {
    let Some(text) = std::env::var_os("CELLVISOR_SLOW") else {
        return Ok(1);
    };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(factor @ 1..=100) => Ok(factor),
        _ => bail!(
            "CELLVISOR_SLOW is {}: write a whole number from 1 to 100, by which all limits are multiplied",
            text.display()
        ),
    }
}

impl Scenario {
    /// Multiplies all its limits by `factor`, for emulators that share the CPUs.
    pub(crate) const fn stretch(&mut self, factor: u32) {
        self.patience *= factor;
    }

    /// True if a lane has what it needs.
    pub(crate) fn plays_on(&self, lane: Lane) -> bool {
        has(&self.lanes, lane)
    }

    /// The image that it boots on a lane, if that is not the one with all parts.
    pub(crate) fn image(&self, lane: Lane) -> Option<Image> {
        let checked = self.checked.contains(&lane).then_some(Image::Checked);
        let small = self.small.contains(&lane).then_some(Image::Small);
        self.provoked
            .then_some(Image::Provoked)
            .or(checked)
            .or(small)
    }

    /// As it is played on a lane: without the steps that the lane has not, and as
    /// patient as the lane is slow.
    pub(crate) fn on(&self, lane: Lane) -> Self {
        let mut scenario = self.clone();
        scenario
            .steps
            .retain(|step| step.lanes.is_empty() || has(&step.lanes, lane));
        scenario.stretch(lane.slowness());
        scenario
    }

    /// Kernels that root and cells boot.
    pub(crate) fn kernels(&self) -> impl Iterator<Item = Kernel> {
        std::iter::once(self.root.kernel).chain(self.cells.kernels.iter().copied())
    }

    /// Files of its folder that go into the root image.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub(crate) fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        let entries = std::fs::read_dir(&self.dir)
            .with_context(|| format!("cannot list {}", self.dir.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "scenario.toml" && entry.path().is_file() {
                files.push((name, read(&entry.path())?));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// What is on `kvm` is on the lanes whose inner machine is `kvm`'s, too.
fn has(lanes: &[Lane], lane: Lane) -> bool {
    lanes.contains(&lane) || lane.is_outer() && lanes.contains(&Lane::Kvm)
}

/// Reads a scenario.
///
/// # Errors
///
/// There is none of that name (those that there are stand in the error), or
/// its file has a mistake.
pub(crate) fn load(paths: &Paths, name: &str) -> Result<Scenario> {
    let dir = paths.repo("ci/scenarios").join(name);
    let file = dir.join("scenario.toml");
    if !file.is_file() {
        bail!(
            "no scenario is named {name}: there are {}",
            names(paths)?.join(", ")
        );
    }
    let mut scenario: Scenario = toml::from_str(&read_text(&file)?)
        .with_context(|| format!("mistake in {}", file.display()))?;
    name.clone_into(&mut scenario.name);
    scenario.patience = slow()?;
    scenario.dir = dir;
    for step in &mut scenario.steps {
        step.cells =
            several::each(&step.cells).with_context(|| format!("mistake in {}", file.display()))?;
    }
    Ok(scenario)
}

/// Names of all scenarios.
///
/// # Errors
///
/// The folder cannot be read.
pub(crate) fn names(paths: &Paths) -> Result<Vec<String>> {
    let dir = paths.repo("ci/scenarios");
    let entries =
        std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("scenario.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
