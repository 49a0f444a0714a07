//! Reads the running machine: sysfs, procfs and the firmware's ACPI tables.
//!
//! Each part is a function of a folder that stands for `/`, so tests can make
//! a machine out of files. What a machine does not have is left empty; what
//! is there and cannot be understood is left out, since a newer kernel may
//! well say more than this code knows. The exceptions are in [`read`].

mod acpi;
mod cpus;
mod memory;
mod pci;
mod platform;
mod topology;
mod tree;

pub use pci::{bars_of, capability, extended_capability};
pub use topology::Shifts;

use super::{Classes, Host, VERSION};
use crate::report::{Finding, Report};
use std::path::Path;
use tree::Tree;

impl Host {
    /// Reads the machine that this program runs on. Needs root: others see
    /// neither physical addresses nor ACPI tables.
    ///
    /// # Errors
    ///
    /// sysfs or procfs are not mounted, or hide what is needed.
    pub fn live() -> Result<Self, Report> {
        let root = Path::new("/");
        let mut host = read(root, Shifts::of_this_cpu())?;
        host.classes = Classes::of_this_cpu(root);
        Ok(host)
    }
}

/// Reads the machine whose file tree is at `root`; `shifts` divide its APIC
/// ids.
///
/// # Errors
///
/// There are no CPUs or no memory in the tree, or addresses are hidden.
pub fn read(root: &Path, shifts: Shifts) -> Result<Host, Report> {
    let tree = Tree::new(root);
    let tables = acpi::Tables::read(&tree);
    let cpuinfo = cpus::CpuInfo::read(&tree);
    let mut host = Host {
        version: VERSION,
        name: platform::name(&tree),
        cpu_model: cpuinfo.model.clone(),
        virtualization: cpuinfo.virtualization.clone(),
        iomem: platform::regions(&tree, "proc/iomem", platform::Levels::Outermost),
        ioports: platform::regions(&tree, "proc/ioports", platform::Levels::All),
        ecam: tables.ecam(),
        ..Host::default()
    };
    host.cpus = cpus::cpus(&tree, &cpuinfo, &tables, shifts);
    host.smt_off = cpus::smt_off(&tree);
    host.caches = cpus::caches(&tree);
    host.nodes = memory::nodes(&tree, &tables);
    host.functions = pci::functions(&tree);
    host.roots = pci::roots(&tree, &host);
    host.io_apics = tables.io_apics(&host);
    host.iommus = tables.iommus(&host);
    host.reserved = tables.reserved(&host);
    host.root = platform::root(&tree);
    visible(&host, root)?;
    Ok(host)
}

/// Whether the tree shows what plans cannot do without.
fn visible(host: &Host, root: &Path) -> Result<(), Report> {
    let missing = |what: &str, help: &str| {
        Err(Finding::error(format!(
            "the machine at {} cannot be read: {what}",
            root.display()
        ))
        .help(help.to_owned())
        .into())
    };
    if host.cpus.is_empty() || host.nodes.is_empty() {
        return missing(
            "it shows no CPUs or no memory",
            "mount sysfs on /sys and procfs on /proc",
        );
    }
    if host.iomem.iter().all(|r| r.end == 0) {
        return missing("physical addresses are hidden", "run this as root");
    }
    Ok(())
}
