//! The initial RAM disk, of one file or several: as high as the kernel takes it. For
//! what is no Linux the files are modules: anything, each on pages of its own.
//!
//! Linux unpacks archives that follow each other, packed or not, with zeros between
//! them; one that is not packed must start at a multiple of four bytes.
//!
//! Spec: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.

use super::{Kernel, Ram, layout, open, write};
use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::Range;
use cellvisor_planner::check::{self, Foreign, Protocol};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

const HELP: &str = "check [kernel] initrd in the slice's TOML file";

/// What the start of each archive is a multiple of, in bytes.
const ALIGNMENT: u64 = 4;

/// So many bytes tell what a file is.
const HEAD: usize = 1024;

/// One of its files.
struct Part<'a> {
    path: &'a Path,
    file: File,
    /// Where it starts in the disk, in bytes.
    start: u64,
    /// Its length in bytes.
    size: u64,
}

impl Part<'_> {
    const fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// Loads the files, each behind the one before, and returns where each lies.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    kernel: Kernel,
    paths: &[PathBuf],
) -> Result<Vec<Range>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let parts = open_all(kernel, paths)?;
    let disk = place(ram, kernel, &parts)?;
    let (mut end, mut ranges) = (0, Vec::new());
    for mut part in parts {
        // A cell that starts again finds there what it left.
        let gap = usize::try_from(part.start - end).unwrap_or_default();
        write(memory, &vec![0; gap], disk.start + end)?;
        read(memory, &mut part, disk.start)?;
        end = part.end();
        ranges.push(Range {
            start: disk.start + part.start,
            size: part.size,
        });
    }
    Ok(ranges)
}

/// Whether the files are there, are what Linux unpacks, and fit behind the kernel.
pub(super) fn look(ram: Ram<'_>, kernel: Kernel, paths: &[PathBuf]) -> Result<()> {
    match paths.is_empty() {
        true => Ok(()),
        false => place(ram, kernel, &open_all(kernel, paths)?).map(drop),
    }
}

/// Reads a file into the disk that starts at `start`.
fn read<M: GuestMemoryBackend>(memory: &M, part: &mut Part<'_>, start: u64) -> Result<()> {
    let length = usize::try_from(part.size);
    let length = length.map_err(|e| Error::internal("cannot load a file", e))?;
    memory
        .read_exact_volatile_from(GuestAddress(start + part.start), &mut part.file, length)
        .map_err(|e| {
            let what = format!("cannot read {}", part.path.display());
            Error::new(what, e.to_string(), HELP)
        })
}

/// The files, with their places in the disk.
fn open_all(kernel: Kernel, paths: &[PathBuf]) -> Result<Vec<Part<'_>>> {
    let (alignment, anything) = match kernel.protocol {
        Protocol::Linux => (ALIGNMENT, false),
        Protocol::Pvh | Protocol::Multiboot => (PAGE_SIZE, true),
    };
    let mut parts: Vec<Part<'_>> = Vec::new();
    for path in paths {
        let end = parts.last().map_or(0, Part::end);
        let start = end.next_multiple_of(alignment);
        parts.push(open_part(path, start, anything)?);
    }
    Ok(parts)
}

/// A file that is an initial RAM disk, a part of one, or anything.
fn open_part(path: &Path, start: u64, anything: bool) -> Result<Part<'_>> {
    let file = open(path)?;
    let unread = |e| Error::file("cannot read", path, &e, HELP);
    let size = file.metadata().map_err(unread)?.len();
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0).map_err(unread)?;
    let what = format!("cannot load {}", path.display());
    if length == 0 {
        let help = "build it again, or leave it out: [kernel] initrd";
        return Err(Error::new(what, "it is empty", help));
    }
    let foreign = check::foreign_initrd(head.get(..length).unwrap_or_default());
    match foreign.filter(|_| !anything) {
        Some(Foreign { what: is, help }) => Err(Error::new(what, format!("it {is}"), help)),
        None => Ok(Part {
            path,
            file,
            start,
            size,
        }),
    }
}

/// Where the disk lies.
fn place(ram: Ram<'_>, kernel: Kernel, parts: &[Part<'_>]) -> Result<Range> {
    let size = parts.last().map_or(0, Part::end);
    match choose_address(ram, kernel, size) {
        Some(start) => Ok(Range { start, size }),
        None => Err(too_large(ram, kernel, size, parts)),
    }
}

fn too_large(ram: Ram<'_>, kernel: Kernel, bytes: u64, parts: &[Part<'_>]) -> Error {
    let have = ram.low_end().saturating_sub(kernel.end);
    let names: Vec<_> = parts.iter().map(|p| p.path.display().to_string()).collect();
    let they_have = if names.len() == 1 {
        "it has"
    } else {
        "they have"
    };
    Error::new(
        format!("cannot load {}", names.join(", ")),
        format!(
            "{they_have} {}, and {} are left behind the kernel",
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
            protocol: Protocol::Linux,
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
