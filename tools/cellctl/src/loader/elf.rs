//! 64-bit ELF files: an uncompressed `vmlinux`, and programs that need no Linux.
//!
//! A stock `vmlinux` has two entries for loaders: that of the 64-bit boot protocol,
//! which its ELF header names, and a 32-bit one in a note (PVH). The first is used:
//! it is the one behind a bzImage's decompressor as well, and wants no second set
//! of parameters. The kernel runs where it was linked; it is the decompressor that
//! would have moved it.

use super::{Kernel, Ram, bzimage, layout};
use crate::error::{Error, Result};
use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{Elf, KernelLoader};
use std::io::Cursor;
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// Longest command line of Linux on x86, without its zero.
const CMDLINE_MAX: u64 = 2047;

/// Loads an ELF file at the physical addresses that it names, and returns the
/// header for its boot parameters.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    image: &[u8],
    at: &str,
) -> Result<(Kernel, setup_header)> {
    let help = "link it for physical addresses from 1 MiB on that the cell's memory covers, \
                as a 64-bit ELF file";
    let floor = Some(GuestAddress(layout::HIGH));
    let loaded = Elf::load(memory, None, &mut Cursor::new(image), floor)
        .map_err(|e| Error::new(at, e.to_string(), help))?;
    let (entry, end) = (loaded.kernel_load.0, loaded.kernel_end);
    if entry >= end || !ram.contains(entry, end - entry) {
        return Err(Error::new(
            at,
            format!("its entry {entry:#x} or end {end:#x} is outside of its memory"),
            help,
        ));
    }
    let kernel = Kernel {
        entry,
        start: layout::HIGH,
        end,
        initrd_max: u64::from(u32::MAX),
        initrd_above_4g: false,
        cmdline_max: CMDLINE_MAX,
    };
    Ok((kernel, bzimage::header_of_loader()))
}
