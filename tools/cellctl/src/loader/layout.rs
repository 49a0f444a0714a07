//! Where things are in a cell's guest-physical memory.
//!
//! ```text
//! 0x0000_6000  the way to 32-bit mode, for what is entered there
//! 0x0000_7000  boot parameters ("zero page"), or what other programs are told
//! 0x0000_8000  GDT
//! 0x0000_9000  page tables: level 4, level 3, four of level 2
//! 0x0002_0000  command line
//! 0x000e_0000  ACPI tables, RSDP first
//! 0x0010_0000  RAM: kernel, initial RAM disk at the end
//! 0xc000_0000  no RAM: APICs and device windows; lower where these are
//! 0x1_0000_0000 the rest of the RAM, around device windows
//! ```
//!
//! What lies below 640 KiB is plain RAM to the kernel: it copies parameters and
//! command line and leaves our page tables and GDT before it gives any of that
//! memory away, and its decompressor keeps off parameters and command line.

use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_abi::CHUNK_SIZE;
use cellvisor_abi::plan::{Memory, Range, Share};

/// Instructions that enter 32-bit programs, with their tables.
pub(crate) const STUB: u64 = 0x6000;
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

/// RAM above 4 GiB keeps off windows by multiples of the largest page, so that
/// guest-physical and host-physical addresses stay aligned to each other.
const STEP: u64 = 1 << 30;

/// End of all guest-physical addresses: what four levels of tables reach.
const END: u64 = 1 << 48;

/// A cell's RAM, as its memory map tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ram<'a> {
    /// Where there is RAM: from 0 up to the hole, then above 4 GiB.
    pub(crate) ranges: &'a [Range],
    /// Ranges elsewhere that the memory map calls reserved: configuration space.
    pub(crate) reserved: &'a [Range],
}

impl<'a> Ram<'a> {
    /// End of the part below the hole.
    pub(crate) fn low_end(self) -> u64 {
        self.ranges.first().map_or(0, end)
    }

    /// The parts above the hole, in ascending order.
    pub(crate) fn high(self) -> &'a [Range] {
        self.ranges.get(1..).unwrap_or_default()
    }

    /// True if `len` bytes from `start` are RAM without a gap.
    pub(crate) fn contains(self, start: u64, len: u64) -> bool {
        let within = |end_of_bytes| {
            let mut ranges = self.ranges.iter();
            ranges.any(|r| r.start <= start && end_of_bytes <= end(r))
        };
        start.checked_add(len).is_some_and(within)
    }
}

/// The byte after the last of `range`.
pub(crate) const fn end(range: &Range) -> u64 {
    range.start.saturating_add(range.size)
}

/// Where a cell's memory, in ascending order, is RAM without gaps.
pub(crate) fn ranges(memory: &[Memory]) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    for piece in memory {
        match found.last_mut() {
            Some(last) if end(last) == piece.gpa => last.size += piece.size,
            _ => found.push(Range {
                start: piece.gpa,
                size: piece.size,
            }),
        }
    }
    found
}

/// Start of the hole of a cell that must keep RAM off the ranges `taken`: it is
/// lower than [`HOLE`] if one of them lies in between. Those below 1 MiB count
/// for nothing.
pub(crate) fn hole(taken: &[Range]) -> u64 {
    let above = taken.iter().filter(|t| end(t) > HIGH);
    let lowest = above.map(|t| t.start).fold(HOLE, u64::min);
    lowest / CHUNK_SIZE * CHUNK_SIZE
}

/// Stretches where RAM may lie: below the hole, then above 4 GiB between the
/// ranges `taken`.
fn free(taken: &[Range]) -> Vec<Range> {
    let above = taken.iter().filter(|t| end(t) > HOLE_END);
    let mut gaps: Vec<(u64, u64)> = above
        .map(|t| {
            let first = t.start.max(HOLE_END) / STEP * STEP;
            (first, end(t).div_ceil(STEP).saturating_mul(STEP))
        })
        .collect();
    gaps.sort_unstable();
    gaps.push((END, END));
    let mut free = vec![(0, hole(taken))];
    let mut from = HOLE_END;
    for (first, after) in gaps {
        free.push((from, first.min(END)));
        from = from.max(after);
    }
    let range = |(start, end): (u64, u64)| Range {
        start,
        size: end.saturating_sub(start),
    };
    free.into_iter().map(range).collect()
}

/// Lays host ranges out from guest-physical 0 up, in their order, around the
/// ranges `taken` and what lies between the hole and [`HOLE_END`]. Ranges stay
/// apart even if they touch, because the driver maps no range across two pins.
///
/// # Errors
///
/// Less than [`LEAST`] bytes, or more than a CPU can address; a range that is in
/// the way of a kernel.
pub(crate) fn place(host: &[Range], taken: &[Range]) -> Result<Vec<Memory>> {
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
    if hole(taken) < LEAST {
        return Err(Error::new(
            "cannot lay out the cell's memory",
            "its PCI functions have addresses from less than 2 MiB on, where a kernel begins",
            "leave out the functions behind that root bus: see `cellctl host`",
        ));
    }
    let mut placed: Vec<Memory> = Vec::new();
    let mut rest = host.iter().copied().filter(|r| r.size > 0);
    let mut next = rest.next();
    for Range { start, size: room } in free(taken) {
        let (mut gpa, mut room) = (start, room);
        while let Some(Range { start: hpa, size }) = next.filter(|_| room > 0) {
            let part = size.min(room);
            let piece = Memory {
                gpa,
                hpa,
                size: part,
                share: Share::Own,
            };
            placed.push(piece);
            (gpa, room) = (gpa + part, room - part);
            let left = Range {
                start: hpa + part,
                size: size - part,
            };
            next = Some(left).filter(|r| r.size > 0).or_else(|| rest.next());
        }
    }
    match next {
        None => Ok(placed),
        Some(_) => Err(Error::new(
            "cannot lay out the cell's memory",
            format!("{} are more than a CPU can address", size(total)),
            "ask for less: [memory] size",
        )),
    }
}

/// Where windows of these sizes lie, in their order: above all RAM and 4 GiB, around
/// the ranges `taken`, each at a multiple of [`STEP`].
///
/// # Errors
///
/// They end beyond what a CPU can address.
pub(crate) fn windows(memory: &[Memory], taken: &[Range], sizes: &[u64]) -> Result<Vec<u64>> {
    let ends = memory.iter().map(|m| m.gpa + m.size);
    let mut from = ends.fold(HOLE_END, u64::max).next_multiple_of(STEP);
    let mut starts = Vec::new();
    for wanted in sizes {
        let room = free(taken).into_iter().find_map(|gap| {
            let start = gap.start.max(from);
            (start.checked_add(*wanted)? <= end(&gap)).then_some(start)
        });
        let start = room.ok_or_else(|| {
            Error::new(
                "cannot lay out the cell's memory",
                format!(
                    "a link of {} ends beyond what a CPU can address",
                    size(*wanted)
                ),
                "ask for less: [[link]] size",
            )
        })?;
        starts.push(start);
        from = (start + wanted).next_multiple_of(STEP);
    }
    Ok(starts)
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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
            place(&host, &[]).expect("fits"),
            [
                Memory {
                    gpa: 0,
                    hpa: 8 * GIB,
                    size: 2 * GIB,
                    share: Share::Own,
                },
                Memory {
                    gpa: 2 * GIB,
                    hpa: 20 * GIB,
                    size: GIB,
                    share: Share::Own,
                },
                Memory {
                    gpa: 4 * GIB,
                    hpa: 21 * GIB,
                    size: GIB,
                    share: Share::Own,
                },
            ]
        );
    }

    /// RAM of `bytes` around the ranges `taken`.
    fn ram(bytes: u64, taken: &[Range]) -> Ram<'static> {
        let all = Range {
            start: 0,
            size: bytes,
        };
        Ram {
            ranges: ranges(&place(&[all], taken).expect("fits")).leak(),
            reserved: &[],
        }
    }

    const fn window(start: u64, size: u64) -> Range {
        Range { start, size }
    }

    #[test]
    fn hole_reaches_down_to_the_lowest_window() {
        assert_eq!(hole(&[]), HOLE);
        let taken = [
            window(0xb000_1000, MIB),
            window(0xa_0000, 0x2_0000),
            window(8 * GIB, MIB),
        ];
        assert_eq!(hole(&taken), 0xb000_0000, "not the window below 1 MiB");
        let lower = ram(2 * GIB, &[window(GIB, MIB)]);
        assert_eq!(lower.low_end(), GIB);
        assert_eq!(lower.high(), [window(4 * GIB, GIB)]);
        assert!(!lower.contains(GIB, 1) && lower.contains(4 * GIB, GIB));
    }

    #[test]
    fn ram_lies_between_windows_above_4_gib() {
        let taken = [
            window(10 * GIB, 2 * GIB),
            window(6 * GIB + 5, MIB),
            window(6 * GIB, MIB),
        ];
        let high = [
            window(4 * GIB, 2 * GIB),
            window(7 * GIB, 3 * GIB),
            window(12 * GIB, GIB),
        ];
        assert_eq!(ram(9 * GIB, &taken).high(), high);
    }

    fn windows() -> impl Strategy<Value = Vec<Range>> {
        let low = (HIGH..HOLE_END, 1..GIB);
        let high = (HOLE_END..64 * GIB, 1..8 * GIB);
        let window = prop_oneof![low, high].prop_map(|(start, size)| Range { start, size });
        vec(window, 0..8)
    }

    proptest! {
        #[test]
        fn all_ram_is_placed_and_none_in_a_window(
            taken in windows(),
            chunks in vec(1..2048_u64, 1..6),
        ) {
            let taken: Vec<Range> = taken;
            // The lowest window leaves room for something.
            prop_assume!(hole(&taken) > 0);
            let at = |n: usize| (n as u64 + 1) << 40;
            let size = |(n, chunks): (usize, &u64)| window(at(n), chunks * CHUNK_SIZE);
            let host: Vec<Range> = chunks.iter().enumerate().map(size).collect();
            let placed = place(&host, &taken).expect("fits");
            let mut after = 0;
            let mut parts = host.iter().copied().map(|r| (r.start, r.size));
            let mut part = parts.next();
            for piece in &placed {
                prop_assert!(piece.gpa >= after, "ascending");
                after = piece.gpa + piece.size;
                let meets = |t: &&Range| t.start < after && piece.gpa < end(t);
                prop_assert_eq!(taken.iter().find(meets), None);
                prop_assert!(after <= HOLE || piece.gpa >= HOLE_END);
                for number in [piece.gpa, piece.hpa, piece.size] {
                    prop_assert_eq!(number % CHUNK_SIZE, 0);
                }
                // Each byte once, in the host's order.
                let (from, left) = part.expect("no more than there is");
                prop_assert_eq!(piece.hpa, from);
                prop_assert!(piece.size <= left);
                part = match left - piece.size {
                    0 => parts.next(),
                    left => Some((from + piece.size, left)),
                };
            }
            prop_assert_eq!(part, None);
        }
    }

    #[test]
    fn ram_knows_its_edges() {
        let small = ram(256 * MIB, &[]);
        assert!(small.contains(255 * MIB, MIB) && !small.contains(255 * MIB, MIB + 1));
        assert_eq!(small.high(), []);
        let large = ram(4 * GIB, &[]);
        assert_eq!(large.high(), [window(4 * GIB, GIB)]);
        assert!(large.contains(4 * GIB, GIB) && !large.contains(3 * GIB - 1, 2));
        assert!(!large.contains(u64::MAX, 2));
        assert_eq!(ram(3 * GIB, &[]).high(), []);
    }

    #[test]
    fn too_little_memory_is_refused() {
        let little = Range {
            start: 0,
            size: MIB,
        };
        let error = place(&[little], &[]).expect_err("1 MiB");
        assert!(
            error.to_string().contains("1 MiB is less than the 2 MiB"),
            "{error}"
        );
    }
}
