//! Boot parameters, command line, memory map, page tables and GDT.

use super::{Kernel, Ram, layout, write};
use crate::error::{Error, Result};
use cellvisor_abi::plan::Range;
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{ByteValued, GuestMemoryBackend};

/// Kinds of memory in the map that firmware gives ("E820").
const USABLE: u32 = 1;
const RESERVED: u32 = 2;
const ACPI: u32 = 3;

/// Flat 64-bit code and data, at selectors 0x10 and 0x18.
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Page table entry: present and writable.
const TABLE: u64 = 0b11;
/// Page table entry of a 2 MiB page: present, writable, large.
const LARGE: u64 = 0b1000_0011;
/// GiB that the page tables cover.
const MAPPED_GIB: u64 = 4;

/// Writes boot parameters and command line: memory map, disk and ACPI tables.
pub(super) fn write_params<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    kernel: Kernel,
    header: setup_header,
    disk: Option<Range>,
    cmdline: &str,
) -> Result<()> {
    look(kernel, cmdline)?;
    let mut text = cmdline.as_bytes().to_vec();
    text.push(0);
    write(memory, &text, layout::CMDLINE)?;

    let mut params = boot_params {
        acpi_rsdp_addr: layout::ACPI,
        hdr: header,
        ..boot_params::default()
    };
    params.hdr.cmd_line_ptr = low_half(layout::CMDLINE);
    if let Some(disk) = disk {
        params.hdr.ramdisk_image = low_half(disk.start);
        params.hdr.ramdisk_size = low_half(disk.size);
        params.ext_ramdisk_image = high_half(disk.start);
        params.ext_ramdisk_size = high_half(disk.size);
    }
    let map = memory_map(ram);
    let mut table = params.e820_table;
    for (slot, entry) in table.iter_mut().zip(&map) {
        *slot = *entry;
    }
    params.e820_table = table;
    params.e820_entries = u8::try_from(map.len()).unwrap_or(u8::MAX);
    write(memory, params.as_slice(), layout::BOOT_PARAMS)
}

/// Whether the kernel takes so long a command line.
pub(super) fn look(kernel: Kernel, cmdline: &str) -> Result<()> {
    let length = cmdline.len() as u64;
    let longest = kernel.cmdline_max.min(layout::CMDLINE_SIZE - 1);
    if length <= longest {
        return Ok(());
    }
    Err(Error::new(
        "cannot pass the kernel command line",
        format!("it has {length} bytes, and the kernel takes {longest}"),
        "shorten [kernel] cmdline",
    ))
}

/// Writes identity page tables for the first 4 GiB, and the GDT.
pub(super) fn write_tables<M: GuestMemoryBackend>(memory: &M) -> Result<()> {
    let level_4 = layout::PAGE_TABLES;
    let level_3 = level_4 + cellvisor_abi::PAGE_SIZE;
    let level_2 = level_3 + cellvisor_abi::PAGE_SIZE;
    put(memory, &[level_3 | TABLE], level_4)?;
    let tables: Vec<_> = (0..MAPPED_GIB)
        .map(|n| (level_2 + n * cellvisor_abi::PAGE_SIZE) | TABLE)
        .collect();
    put(memory, &tables, level_3)?;
    let pages: Vec<_> = (0..MAPPED_GIB * 512).map(|n| n << 21 | LARGE).collect();
    put(memory, &pages, level_2)?;
    put(memory, &GDT, layout::GDT)
}

fn put<M: GuestMemoryBackend>(memory: &M, words: &[u64], address: u64) -> Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    write(memory, &bytes, address)
}

/// The memory map. Without an entry for configuration space, Linux would take
/// the firmware's word for it as a mistake. What is between 640 KiB and 1 MiB is not for use, as
/// everywhere on PCs, and holds the ACPI tables.
pub(super) fn memory_map(ram: Ram<'_>) -> Vec<boot_e820_entry> {
    let entry = |start: u64, end: u64, kind: u32| boot_e820_entry {
        addr: start,
        size: end - start,
        r#type: kind,
    };
    let mut map = vec![
        entry(0, layout::LOW_END, USABLE),
        entry(layout::LOW_END, 0xa_0000, RESERVED),
        entry(layout::ACPI, layout::HIGH, ACPI),
        entry(layout::HIGH, ram.low_end(), USABLE),
    ];
    let reserved = ram.reserved.iter();
    map.extend(reserved.map(|r| entry(r.start, layout::end(r), RESERVED)));
    let high = ram.high().iter();
    map.extend(high.map(|r| entry(r.start, layout::end(r), USABLE)));
    map
}

fn low_half(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high_half(value: u64) -> u32 {
    (value >> 32) as u32
}
