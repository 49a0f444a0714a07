//! Entry in 32-bit mode with paging off: for programs with a note for PVH, and for
//! those of Multiboot.
//!
//! The monitor starts a cell in 64-bit mode. Some instructions placed below 1 MiB take it
//! to the mode that these programs expect, and jump to them with EBX pointing at what
//! they are told: command line, memory map, modules, and for PVH the ACPI tables.
//!
//! Spec: Xen, `docs/misc/pvh.pandoc` and `public/arch-x86/hvm/start_info.h`; "Multiboot
//! Specification", version 0.6.96, "Machine state", "Boot information format".

use super::{Kernel, Ram, layout, params, write};
use crate::error::{Error, Result};
use cellvisor_abi::plan::{Boot, Range};
use cellvisor_planner::check::Protocol;
use linux_loader::loader::bootparam::boot_e820_entry;
use vm_memory::GuestMemoryBackend;

/// Where what the program is told begins, in place of Linux boot parameters; the places
/// of its parts in that page.
const INFO: u64 = layout::BOOT_PARAMS;
const LOADER: u64 = INFO + 0x80;
const MODULES: u64 = INFO + 0x100;
const MAP: u64 = INFO + 0x800;
const MAP_END: u64 = INFO + 0x1000;

/// Words of firmware's own data (IBM, "BIOS data area").
const FIRMWARE_START: u64 = 0x40e;
const LOW_KIB: u64 = 0x413;

/// Bytes of a module and of an entry of the memory map, at most.
const MODULE: u64 = 32;
const ENTRY: u64 = 24;

/// What EBX points at begins so (PVH); what EAX holds (Multiboot).
const PVH_MAGIC: u32 = 0x336e_c578;
const MULTIBOOT_MAGIC: u32 = 0x2bad_b002;
/// Version of the start information with a memory map.
const PVH_VERSION: u32 = 1;

/// Fields of Multiboot information that are there: sizes of memory, command line,
/// modules, memory map, the loader's name.
const MULTIBOOT_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;
/// Its length in words of 32 bits.
const MULTIBOOT_WORDS: usize = 29;

/// Writes all that the program is told, and the instructions that enter it.
pub(super) fn write_all<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    kernel: Kernel,
    modules: &[Range],
    cmdline: &str,
) -> Result<Boot> {
    params::look(kernel, cmdline)?;
    write(
        memory,
        &[cmdline.as_bytes(), &[0]].concat(),
        layout::CMDLINE,
    )?;
    let map = params::memory_map(ram);
    fits(
        "files after `initrd`",
        modules.len(),
        (MAP - MODULES) / MODULE,
    )?;
    fits("stretches of memory", map.len(), (MAP_END - MAP) / ENTRY)?;
    let magic = match kernel.protocol {
        Protocol::Multiboot => {
            write_multiboot(memory, ram, modules, &map)?;
            MULTIBOOT_MAGIC
        }
        Protocol::Pvh | Protocol::Linux => {
            write_pvh(memory, modules, &map)?;
            0
        }
    };
    let entry = low(kernel.entry)?;
    write(memory, &stub(entry, magic), layout::STUB)?;
    Ok(Boot {
        rip: layout::STUB + STUB_CODE,
        rsi: INFO,
        cr3: layout::PAGE_TABLES,
        gdt: layout::GDT,
        gdt_limit: layout::GDT_LIMIT,
    })
}

fn fits(what: &str, count: usize, most: u64) -> Result<()> {
    if count as u64 <= most {
        return Ok(());
    }
    Err(Error::new(
        "cannot tell the program what it has",
        format!("there are {count} {what}, and {most} fit"),
        "give it fewer files, or memory in fewer pieces",
    ))
}

fn write_pvh<M: GuestMemoryBackend>(
    memory: &M,
    modules: &[Range],
    map: &[boot_e820_entry],
) -> Result<()> {
    let mut info = Vec::new();
    for half in [PVH_MAGIC, PVH_VERSION, 0, modules.len() as u32] {
        info.extend(half.to_le_bytes());
    }
    for word in [MODULES, layout::CMDLINE, layout::ACPI, MAP] {
        info.extend(word.to_le_bytes());
    }
    for half in [map.len() as u32, 0] {
        info.extend(half.to_le_bytes());
    }
    write(memory, &info, INFO)?;
    let words = modules.iter().flat_map(|m| [m.start, m.size, 0, 0]);
    let list: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    write(memory, &list, MODULES)?;
    let mut entries = Vec::new();
    for entry in map {
        for word in [entry.addr, entry.size, u64::from(entry.r#type)] {
            entries.extend(word.to_le_bytes());
        }
    }
    write(memory, &entries, MAP)
}

fn write_multiboot<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    modules: &[Range],
    map: &[boot_e820_entry],
) -> Result<()> {
    // Each entry is behind its length, which does not count itself.
    let mut entries = Vec::new();
    for entry in map {
        entries.extend(20_u32.to_le_bytes());
        for word in [entry.addr, entry.size] {
            entries.extend(word.to_le_bytes());
        }
        entries.extend(entry.r#type.to_le_bytes());
    }
    write(memory, &entries, MAP)?;
    let mut list = Vec::new();
    for module in modules {
        for half in [low(module.start)?, low(layout::end(module))?, 0, 0] {
            list.extend(half.to_le_bytes());
        }
    }
    write(memory, &list, MODULES)?;
    write(memory, b"cellctl\0", LOADER)?;
    // Such programs look where firmware tells the end of low memory: in paragraphs the
    // start of what is its own above, in KiB what is below.
    let word = |value: u64| (value as u16).to_le_bytes();
    write(memory, &word(layout::LOW_END >> 4), FIRMWARE_START)?;
    write(memory, &word(layout::LOW_END >> 10), LOW_KIB)?;
    let mut info = [0_u32; MULTIBOOT_WORDS];
    let kib = |bytes: u64| low(bytes / 1024);
    for (at, value) in [
        (0, MULTIBOOT_FLAGS),
        (1, kib(layout::LOW_END)?),
        (2, kib(ram.low_end() - layout::HIGH)?),
        (4, low(layout::CMDLINE)?),
        (5, modules.len() as u32),
        (6, low(MODULES)?),
        (11, entries.len() as u32),
        (12, low(MAP)?),
        (16, low(LOADER)?),
    ] {
        if let Some(word) = info.get_mut(at) {
            *word = value;
        }
    }
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_le_bytes()).collect();
    write(memory, &bytes, INFO)
}

/// An address of the first 4 GiB.
fn low(address: u64) -> Result<u32> {
    u32::try_from(address).map_err(|e| Error::internal("an address of a 32-bit program", e))
}

/// Where the stub's code begins, behind its tables: descriptors, their pointer, a far
/// pointer to its second half.
const STUB_CODE: u64 = 0x40;
const STUB_POINTER: u64 = layout::STUB + 0x20;
const STUB_FAR: u64 = layout::STUB + 0x30;
/// Flat 32-bit code and data, and a task whose state nobody reads, at selectors 8, 10H
/// and 18H.
const STUB_GDT: [u64; 4] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x0000_8900_0000_0067,
];

/// Instructions from 64-bit mode to `entry` in 32-bit mode, with `eax` in EAX and
/// [`INFO`] in EBX.
fn stub(entry: u32, eax: u32) -> Vec<u8> {
    let [pointer, far] = [STUB_POINTER, STUB_FAR].map(|at| (at as u32).to_le_bytes());
    // lgdt [pointer]; jmp far [far]
    let wide = [
        &[0x0f, 0x01, 0x14, 0x25][..],
        &pointer,
        &[0xff, 0x2c, 0x25],
        &far,
    ]
    .concat();
    let target = layout::STUB + STUB_CODE + wide.len() as u64;
    let narrow = [
        // CR0: protection, no paging.
        &[0xb8, 0x11, 0, 0, 0, 0x0f, 0x22, 0xc0][..],
        // EFER.LME, the bit 8, off.
        &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32],
        &[0x25, 0xff, 0xfe, 0xff, 0xff, 0x0f, 0x30],
        // CR4: nothing.
        &[0x31, 0xc0, 0x0f, 0x22, 0xe0],
        // Data segments, then the task.
        &[0x66, 0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xc0],
        &[0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8],
        &[0x66, 0xb8, 0x18, 0, 0x0f, 0x00, 0xd8],
        // mov eax, …; mov ebx, …; mov ecx, …; jmp ecx
        &[0xb8],
        &eax.to_le_bytes(),
        &[0xbb],
        &(INFO as u32).to_le_bytes(),
        &[0xb9],
        &entry.to_le_bytes(),
        &[0xff, 0xe1],
    ]
    .concat();
    let mut bytes: Vec<u8> = STUB_GDT.iter().flat_map(|d| d.to_le_bytes()).collect();
    bytes.extend((STUB_GDT.len() as u16 * 8 - 1).to_le_bytes());
    bytes.extend(layout::STUB.to_le_bytes());
    bytes.resize((STUB_FAR - layout::STUB) as usize, 0);
    bytes.extend((target as u32).to_le_bytes());
    bytes.extend(8_u16.to_le_bytes());
    bytes.resize(STUB_CODE as usize, 0);
    bytes.extend(wide);
    bytes.extend(narrow);
    bytes
}
