//! The initial RAM disk: as high as the kernel takes it.

use super::{Kernel, Ram, layout, open};
use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::Range;
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Loads the file and returns where it lies.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    kernel: Kernel,
    path: &Path,
) -> Result<Range> {
    let mut file = open(path)?;
    let help = "check [kernel] initrd in the slice's TOML file";
    let bytes = file
        .metadata()
        .map_err(|e| Error::file("cannot read", path, &e, help))?
        .len();
    let start = choose_address(ram, kernel, bytes).ok_or_else(|| {
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
    })?;
    let length = usize::try_from(bytes).map_err(|e| Error::internal("cannot load a file", e))?;
    memory
        .read_exact_volatile_from(GuestAddress(start), &mut file, length)
        .map_err(|e| {
            Error::new(
                format!("cannot read {}", path.display()),
                e.to_string(),
                help,
            )
        })?;
    Ok(Range { start, size: bytes })
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
