//! Programs whose files tell where they lie: an uncompressed `vmlinux`, what is no Linux.
//!
//! A stock `vmlinux` has two entries for loaders: that of the 64-bit boot protocol,
//! which its ELF header names, and a 32-bit one in a note (PVH). The first is used:
//! it is the one behind a bzImage's decompressor as well, and wants no second set
//! of parameters. The kernel runs where it was linked; it is the decompressor that
//! would have moved it.

use super::{Kernel, Ram, layout, write};
use crate::error::{Error, Result};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_planner::check::{Program, Segment};
use vm_memory::GuestMemoryBackend;

/// Longest command line of Linux on x86, without its zero.
const CMDLINE_MAX: u64 = 2047;

const HELP: &str = "link it for physical addresses from 1 MiB on that the cell's memory covers";

/// Loads a program at the physical addresses that its file names.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    image: &[u8],
    program: &Program,
    at: &str,
) -> Result<Kernel> {
    let (entry, end) = (program.entry, program.end());
    let is_within = |s: &Segment| (s.address..s.address.saturating_add(s.size)).contains(&entry);
    if !program.segments.iter().any(is_within) {
        let why =
            format!("its entry {entry:#x} is outside of what it loads, which ends at {end:#x}");
        return Err(Error::new(at, why, HELP));
    }
    for segment in &program.segments {
        load_segment(memory, ram, image, segment, at)?;
    }
    Ok(Kernel {
        protocol: program.protocol,
        entry,
        start: layout::HIGH,
        end,
        initrd_max: u64::from(u32::MAX),
        initrd_above_4g: false,
        cmdline_max: CMDLINE_MAX,
    })
}

/// Loads what the file has of a segment, and zeros after it.
fn load_segment<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    image: &[u8],
    segment: &Segment,
    at: &str,
) -> Result<()> {
    let Segment {
        offset,
        filled,
        address,
        size,
    } = *segment;
    let end = address.saturating_add(size);
    if address < layout::HIGH || end > ram.low_end() {
        let why =
            format!("{address:#x} to {end:#x}, where it wants to lie, is outside of its memory");
        return Err(Error::new(at, why, HELP));
    }
    let place = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let filled = filled.min(size);
    let bytes = image.get(place(offset)..place(offset.saturating_add(filled)));
    let bytes = bytes.ok_or_else(|| {
        let (has, needs) = (image.len(), offset.saturating_add(filled));
        let why = format!("the file is cut short: it has {has} bytes, its header says {needs}");
        Error::new(at, why, "copy it again")
    })?;
    write(memory, bytes, address)?;
    // A cell that starts again finds there what it left.
    let zeros = [0; PAGE_SIZE as usize];
    let mut from = address + filled;
    while from < end {
        let part = (end - from).min(PAGE_SIZE);
        write(memory, zeros.get(..place(part)).unwrap_or(&zeros), from)?;
        from += part;
    }
    Ok(())
}
