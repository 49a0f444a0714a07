//! Finds every conflict at once, before anything is touched.

mod kernel;

use crate::config::{Isolation, Slice};
use crate::host::Host;
use crate::plan::{ROOT_MEMORY, Taken, attempt};
use crate::report::{Finding, Report};
use crate::size::{MIB, about};

/// Whether the files that slices name are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They must be there and be what they should.
    Look,
    /// They are somewhere else: the host is a saved one.
    Skip,
}

/// Memory below which a root has a hard time.
const SCARCE: u64 = 256 * MIB;

/// Everything that is wrong with slices on a machine: what [`crate::plan::plan`]
/// refuses, and what would go wrong later.
#[must_use]
pub fn check(host: &Host, slices: &[Slice], taken: &Taken, files: Files) -> Report {
    let (plan, mut report) = attempt(host, slices, taken);
    for slice in slices {
        if files == Files::Look {
            report.extend(kernel::files(slice));
        }
        report.extend(kernel::command_line(slice));
    }
    report.extend(iommu_of_linux(host, slices));
    let left: u64 = plan.left.iter().map(|n| n.memory).sum();
    let left = left.saturating_add(ROOT_MEMORY);
    let largest = slices.iter().max_by_key(|s| s.memory.size);
    if let Some(largest) = largest.filter(|_| left < SCARCE) {
        report.push(
            Finding::warning(format!(
                "the root keeps only {} of free memory",
                about(left)
            ))
            .at(largest.place("memory.size"))
            .because("this is the slice that takes most")
            .help("give it less, or programs of the root may not find enough"),
        );
    }
    report
}

/// The monitor needs the IOMMU for itself.
fn iommu_of_linux(host: &Host, slices: &[Slice]) -> Report {
    let driven = host.functions.iter().any(|f| f.group.is_some());
    let needs = |s: &&Slice| s.pci.iter().any(|p| p.isolation == Isolation::Iommu);
    let (true, Some(slice)) = (driven, slices.iter().find(needs)) else {
        return Report::default();
    };
    Finding::warning("Linux drives the IOMMU itself")
        .at(slice.place("pci.0"))
        .because("the monitor needs it to keep this function's DMA in the slice")
        .help("boot Linux with `intel_iommu=off` (VT-d) or `amd_iommu=off` (AMD-Vi)")
        .into()
}
