//! Where things are in a cell's guest-physical memory.
//!
//! ```text
//! 0x0000_7000  boot parameters ("zero page")
//! 0x0000_8000  GDT
//! 0x0000_9000  page tables: level 4, level 3, four of level 2
//! 0x0002_0000  command line
//! 0x000e_0000  ACPI tables, RSDP first
//! 0x0010_0000  RAM: kernel, initial RAM disk at the end
//! 0xc000_0000  no RAM: APICs and device windows; lower where these are
//! 0x1_0000_0000 the rest of the RAM
//! ```
//!
//! What lies below 640 KiB is plain RAM to the kernel: it copies parameters and
//! command line and leaves our page tables and GDT before it gives any of that
//! memory away, and its decompressor keeps off parameters and command line.

use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::plan::{Memory, Range};

/// Boot parameters, one page.
pub(crate) const BOOT_PARAMS: u64 = 0x7000;
/// Global descriptor table.
pub(crate) const GDT: u64 = 0x8000;
/// Its limit: four entries.
pub(crate) const GDT_LIMIT: u16 = 4 * 8 - 1;
/// Page tables, six pages.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// Command line.
pub(crate) const CMDLINE: u64 = 0x2_0000;
/// Room for it with its zero, in bytes.
pub(crate) const CMDLINE_SIZE: u64 = 0x1_0000;
/// End of the memory below 1 MiB that is free for all uses.
pub(crate) const LOW_END: u64 = 0x9_fc00;
/// ACPI tables.
pub(crate) const ACPI: u64 = 0xe_0000;
/// Start of the memory above the tables.
pub(crate) const HIGH: u64 = 0x10_0000;
/// Start of the window without RAM below 4 GiB, unless devices lie lower.
pub(crate) const HOLE: u64 = 0xc000_0000;
/// Its end.
pub(crate) const HOLE_END: u64 = 0x1_0000_0000;

/// Least RAM of a cell, in bytes.
pub(crate) const LEAST: u64 = 2 << 20;

/// A cell's RAM: from 0 up, with the hole left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ram<'a> {
    /// Its size.
    pub(crate) bytes: u64,
    /// Where the hole starts: at [`HOLE`] or below.
    pub(crate) hole: u64,
    /// Ranges elsewhere that the memory map calls reserved: configuration space.
    pub(crate) reserved: &'a [Range],
}

impl Ram<'_> {
    /// End of the part below the hole.
    pub(crate) fn low_end(self) -> u64 {
        self.bytes.min(self.hole)
    }

    /// End of the part above the hole; `None` if there is none.
    pub(crate) fn high_end(self) -> Option<u64> {
        let above = self.bytes.checked_sub(self.hole).filter(|n| *n > 0)?;
        HOLE_END.checked_add(above)
    }

    /// True if `len` bytes from `start` are RAM without a gap.
    pub(crate) fn contains(self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        end <= self.low_end()
            || start >= HOLE_END && self.high_end().is_some_and(|high| end <= high)
    }
}

/// Start of the hole of a cell that must keep RAM off the ranges `taken`: it is
/// lower than [`HOLE`] if one of them lies in between.
pub(crate) fn hole(taken: &[Range]) -> u64 {
    let below = taken.iter().map(|t| t.start).filter(|start| *start >= HIGH);
    below.fold(HOLE, u64::min) / CHUNK_SIZE * CHUNK_SIZE
}

/// Lays host ranges out from guest-physical 0 up, in their order; from `hole`
/// to [`HOLE_END`] there is none. Ranges stay apart even if they touch, because
/// the driver maps no range across two pins.
///
/// # Errors
///
/// Less than [`LEAST`] bytes, or more than a CPU can address.
pub(crate) fn place(host: &[Range], hole: u64) -> Result<Vec<Memory>> {
    let total: u64 = host.iter().map(|r| r.size).sum();
    if total < LEAST {
        return Err(Error::new(
            "cannot lay out the cell's memory",
            format!(
                "{} is less than the {} that a cell needs",
                size(total),
                size(LEAST)
            ),
            "ask for more: [memory] size",
        ));
    }
    let mut placed: Vec<Memory> = Vec::new();
    let mut gpa = 0;
    for range in host {
        let (mut hpa, mut left) = (range.start, range.size);
        while left > 0 {
            let size = if gpa < hole {
                left.min(hole - gpa)
            } else {
                left
            };
            placed.push(Memory { gpa, hpa, size });
            (gpa, hpa, left) = (gpa + size, hpa + size, left - size);
            if gpa == hole {
                gpa = HOLE_END;
            }
        }
    }
    Ok(placed)
}

/// Pages of one size as ranges, in ascending order, so that as many as
/// possible are contiguous.
pub(crate) fn pages_to_ranges(addresses: &[u64], page_size: u64) -> Vec<Range> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    for start in sorted {
        match ranges.last_mut() {
            Some(last) if last.start + last.size == start => last.size += page_size,
            _ => ranges.push(Range {
                start,
                size: page_size,
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn pages_out_of_order_become_few_ranges() {
        let pages = [6 * MIB, 2 * MIB, 4 * MIB, 10 * MIB];
        assert_eq!(
            pages_to_ranges(&pages, 2 * MIB),
            [
                Range {
                    start: 2 * MIB,
                    size: 6 * MIB
                },
                Range {
                    start: 10 * MIB,
                    size: 2 * MIB
                },
            ]
        );
    }

    #[test]
    fn memory_is_laid_around_the_hole() {
        let host = [
            Range {
                start: 8 * GIB,
                size: 2 * GIB,
            },
            Range {
                start: 20 * GIB,
                size: 2 * GIB,
            },
        ];
        assert_eq!(
            place(&host, HOLE).expect("fits"),
            [
                Memory {
                    gpa: 0,
                    hpa: 8 * GIB,
                    size: 2 * GIB
                },
                Memory {
                    gpa: 2 * GIB,
                    hpa: 20 * GIB,
                    size: GIB
                },
                Memory {
                    gpa: 4 * GIB,
                    hpa: 21 * GIB,
                    size: GIB
                },
            ]
        );
    }

    fn ram(bytes: u64) -> Ram<'static> {
        Ram {
            bytes,
            hole: HOLE,
            reserved: &[],
        }
    }

    #[test]
    fn hole_reaches_down_to_the_lowest_window() {
        let window = |start| Range { start, size: MIB };
        assert_eq!(hole(&[]), HOLE);
        let taken = [window(0xb000_1000), window(0xa_0000), window(8 * GIB)];
        assert_eq!(hole(&taken), 0xb000_0000, "not the window below 1 MiB");
        let lower = Ram {
            hole: GIB,
            ..ram(2 * GIB)
        };
        assert_eq!(lower.low_end(), GIB);
        assert_eq!(lower.high_end(), Some(5 * GIB));
        assert!(!lower.contains(GIB, 1) && lower.contains(4 * GIB, GIB));
    }

    #[test]
    fn ram_knows_its_edges() {
        let small = ram(256 * MIB);
        assert!(small.contains(255 * MIB, MIB) && !small.contains(255 * MIB, MIB + 1));
        assert_eq!(small.high_end(), None);
        let large = ram(4 * GIB);
        assert_eq!(large.high_end(), Some(5 * GIB));
        assert!(large.contains(4 * GIB, GIB) && !large.contains(3 * GIB - 1, 2));
        assert!(!large.contains(u64::MAX, 2));
        assert_eq!(ram(3 * GIB).high_end(), None);
    }

    #[test]
    fn too_little_memory_is_refused() {
        let little = Range {
            start: 0,
            size: MIB,
        };
        let error = place(&[little], HOLE).expect_err("1 MiB");
        assert!(
            error.to_string().contains("1 MiB is less than the 2 MiB"),
            "{error}"
        );
    }
}
