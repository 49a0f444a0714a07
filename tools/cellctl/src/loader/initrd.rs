//! The initial RAM disk: as high as the kernel takes it.

use super::{Kernel, Ram, layout, open};
use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::Range;
use std::fs::File;
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

const HELP: &str = "check [kernel] initrd in the slice's TOML file";

/// Loads the file and returns where it lies.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    kernel: Kernel,
    path: &Path,
) -> Result<Range> {
    let (mut file, bytes) = open_disk(path)?;
    let start =
        choose_address(ram, kernel, bytes).ok_or_else(|| too_large(ram, kernel, bytes, path))?;
    let length = usize::try_from(bytes).map_err(|e| Error::internal("cannot load a file", e))?;
    memory
        .read_exact_volatile_from(GuestAddress(start), &mut file, length)
        .map_err(|e| {
            let what = format!("cannot read {}", path.display());
            Error::new(what, e.to_string(), HELP)
        })?;
    Ok(Range { start, size: bytes })
}

/// Whether the file is there and fits behind the kernel.
pub(super) fn look(ram: Ram<'_>, kernel: Kernel, path: &Path) -> Result<()> {
    let (_, bytes) = open_disk(path)?;
    match choose_address(ram, kernel, bytes) {
        Some(_) => Ok(()),
        None => Err(too_large(ram, kernel, bytes, path)),
    }
}

/// The file and its length in bytes.
fn open_disk(path: &Path) -> Result<(File, u64)> {
    let file = open(path)?;
    match file.metadata() {
        Ok(found) => Ok((file, found.len())),
        Err(e) => Err(Error::file("cannot read", path, &e, HELP)),
    }
}

fn too_large(ram: Ram<'_>, kernel: Kernel, bytes: u64, path: &Path) -> Error {
    let have = ram.low_end().saturating_sub(kernel.end);
    Error::new(
        format!("cannot load {}", path.display()),
        format!(
            "it has {}, and {} are left behind the kernel",
            size(bytes),
            size(have)
        ),
        "give the cell more memory ([memory] size), or make the initial RAM disk smaller",
    )
}

/// The highest page-aligned place below 4 GiB, or above where only that fits.
fn choose_address(ram: Ram<'_>, kernel: Kernel, bytes: u64) -> Option<u64> {
    let below = |end: u64| Some(end.checked_sub(bytes)? / PAGE_SIZE * PAGE_SIZE);
    let low = below(ram.low_end().min(kernel.initrd_max.saturating_add(1)));
    if let Some(start) = low.filter(|start| *start >= kernel.end) {
        return Some(start);
    }
    let mut high = ram.high().iter().rev().filter(|_| kernel.initrd_above_4g);
    high.find_map(|range| below(layout::end(range)).filter(|start| *start >= range.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn kernel(initrd_max: u64, initrd_above_4g: bool) -> Kernel {
        Kernel {
            entry: 16 * MIB,
            start: 16 * MIB,
            end: 64 * MIB,
            initrd_max,
            initrd_above_4g,
            cmdline_max: 2047,
        }
    }

    fn ram(bytes: u64) -> Ram<'static> {
        let low = bytes.min(layout::HOLE);
        let ranges = [(0, low), (layout::HOLE_END, bytes - low)];
        let range = |(start, size)| Range { start, size };
        let there = ranges.map(range).into_iter().filter(|r| r.size > 0);
        Ram {
            ranges: there.collect::<Vec<_>>().leak(),
            reserved: &[],
        }
    }

    #[test]
    fn disk_lies_at_the_end_of_low_memory() {
        let found = choose_address(ram(256 * MIB), kernel(0x7fff_ffff, true), 10 * MIB + 1);
        assert_eq!(found, Some(246 * MIB - PAGE_SIZE));
    }

    #[test]
    fn disk_keeps_below_what_the_kernel_reaches() {
        let found = choose_address(ram(3 * GIB), kernel(0x7fff_ffff, true), MIB);
        assert_eq!(found, Some(2 * GIB - MIB));
    }

    #[test]
    fn large_disk_goes_above_4_gib_if_the_kernel_allows() {
        let ram = ram(8 * GIB);
        let bytes = 4 * GIB;
        assert_eq!(
            choose_address(ram, kernel(u64::MAX, true), bytes),
            Some(5 * GIB)
        );
        assert_eq!(choose_address(ram, kernel(u64::MAX, false), bytes), None);
    }

    #[test]
    fn disk_never_covers_the_kernel() {
        assert_eq!(
            choose_address(ram(70 * MIB), kernel(u64::MAX, true), 7 * MIB),
            None
        );
        assert_eq!(
            choose_address(ram(70 * MIB), kernel(u64::MAX, true), 300 * MIB),
            None
        );
    }
}
