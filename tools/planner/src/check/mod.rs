//! Finds every conflict at once, before anything is touched.

mod command_line;
mod elf;
mod files;
mod foreign;
mod image;
mod multiboot;
mod pins;

pub use elf::Segment;
pub use foreign::Foreign;
pub use image::{Header, Image, Program, Protocol};

use crate::config::{self, Isolation, PciWish, Slice};
use crate::host::Host;
use crate::plan::{ROOT_MEMORY, Taken, attempt};
use crate::report::{Finding, Report};
use crate::size::{MIB, about};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Whether the files that slices name are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They must be there and be what they should.
    Look,
    /// The host is a saved one: they may be on that machine, but those that are
    /// here must be what they should.
    Elsewhere,
    /// They are not looked at.
    Skip,
}

/// Memory below which a root has a hard time.
const SCARCE: u64 = 256 * MIB;

/// Everything that is wrong with slice files on a machine, in the order of the
/// files: what [`config::read`] of `paths` told, and what [`check`] finds.
#[must_use]
pub fn check_files(
    host: &Host,
    paths: &[PathBuf],
    (slices, mut report): (&[Slice], Report),
    taken: &Taken,
    files: Files,
) -> Report {
    report.extend(check(host, slices, taken, files));
    report.in_order_of(&config::shown(paths));
    report
}

/// How cells boot a file.
///
/// # Errors
///
/// What it is instead of something that they boot.
pub fn image(file: &[u8]) -> Result<Image, Foreign> {
    let read = |at: u64, length: usize| {
        let rest = usize::try_from(at).ok().and_then(|at| file.get(at..));
        let rest = rest.unwrap_or_default();
        rest.get(..length.min(rest.len()))
            .unwrap_or_default()
            .to_vec()
    };
    image::image(&read, file.len() as u64)
}

/// What a file is that starts with `head`, if it is no initrd and no part of one: its
/// first kibibyte is enough.
#[must_use]
pub fn foreign_initrd(head: &[u8]) -> Option<Foreign> {
    Foreign::of_initrd(head)
}

/// Everything that is wrong with slices on a machine: what [`crate::plan::plan`]
/// refuses, and what would go wrong later. Of slices with mistakes that are
/// known already, the rest is checked.
#[must_use]
pub fn check(host: &Host, slices: &[Slice], taken: &Taken, files: Files) -> Report {
    let (plan, mut report) = attempt(host, slices, taken);
    let mut absent = BTreeSet::new();
    for slice in slices {
        report.extend(files::look(slice, files, &mut absent));
        report.extend(command_line::command_line(slice));
        report.extend(pins::pins(host, slice));
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
    let mut paths: Vec<PathBuf> = slices.iter().map(|s| s.source.path().to_owned()).collect();
    paths.dedup();
    report.in_order_of(&paths);
    report
}

/// The monitor needs the IOMMU for itself.
fn iommu_of_linux(host: &Host, slices: &[Slice]) -> Report {
    let driven = host.functions.iter().any(|f| f.group.is_some());
    let needs = |p: &&PciWish| p.isolation == Isolation::Iommu;
    let first = slices
        .iter()
        .find_map(|s| Some((s, s.pci.iter().find(needs)?)));
    let (true, Some((slice, wish))) = (driven, first) else {
        return Report::default();
    };
    Finding::warning("Linux drives the IOMMU itself")
        .at(slice.place(&format!("pci.{}", wish.at)))
        .because("the monitor needs it to keep this function's DMA in the slice")
        .help("boot Linux with `intel_iommu=off` (VT-d) or `amd_iommu=off` (AMD-Vi)")
        .into()
}
