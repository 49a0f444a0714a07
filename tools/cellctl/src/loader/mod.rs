//! Puts a kernel, its initial RAM disk, its parameters and the ACPI tables into
//! a cell's memory and says where its first CPU begins.
//!
//! Two kinds of images are known: Linux's bzImage, entered by the 64-bit boot
//! protocol, and 64-bit ELF files with physical addresses, entered in the same
//! state. The cell's memory is whatever [`GuestMemoryBackend`] it is given, so
//! all of this runs in unit tests.
//!
//! Spec: Linux `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol".

mod bzimage;
mod initrd;
pub(crate) mod layout;
mod params;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::state::Payload;
use cellvisor_abi::plan::Boot;
pub(crate) use layout::Ram;
use linux_loader::loader::{Elf, KernelLoader};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// Where the kernel lies and begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    /// First instruction.
    entry: u64,
    /// First byte that it uses.
    start: u64,
    /// The byte after the last that it uses before it knows its memory.
    end: u64,
    /// Highest address that a byte of the initial RAM disk may have.
    initrd_max: u64,
    /// The initial RAM disk may lie above 4 GiB.
    initrd_above_4g: bool,
    /// Longest command line without its zero, in bytes.
    cmdline_max: u64,
}

/// First bytes of an ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Loads `payload` into `memory`, of which `ram` tells the layout, with `acpi`
/// (RSDP first) at [`layout::ACPI`].
///
/// # Errors
///
/// Files that cannot be read, are no kernel or do not fit. The memory may then
/// be partly written; the cell stays loadable.
pub(crate) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    payload: &Payload,
    acpi: &[u8],
) -> Result<Boot> {
    let image = read_file(&payload.image)?;
    let at = format!("cannot load {}", payload.image.display());
    let (kernel, header) = if image.starts_with(ELF_MAGIC) {
        (load_elf(memory, ram, &image, &at)?, None)
    } else {
        let (kernel, header) = bzimage::load(memory, ram, image, &at)?;
        (kernel, Some(header))
    };
    let disk = match &payload.initrd {
        Some(path) => Some(initrd::load(memory, ram, kernel, path)?),
        None => None,
    };
    write_acpi(memory, acpi)?;
    params::write_params(memory, ram, kernel, header, disk, &payload.cmdline)?;
    params::write_tables(memory)?;
    Ok(Boot {
        rip: kernel.entry,
        rsi: layout::BOOT_PARAMS,
        cr3: layout::PAGE_TABLES,
        gdt: layout::GDT,
        gdt_limit: layout::GDT_LIMIT,
    })
}

/// Loads an ELF file at the physical addresses that it names.
fn load_elf<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    image: &[u8],
    at: &str,
) -> Result<Kernel> {
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
    Ok(Kernel {
        entry,
        start: layout::HIGH,
        end,
        initrd_max: u64::from(u32::MAX),
        initrd_above_4g: false,
        cmdline_max: layout::CMDLINE_SIZE - 1,
    })
}

fn write_acpi<M: GuestMemoryBackend>(memory: &M, acpi: &[u8]) -> Result<()> {
    let room = layout::HIGH - layout::ACPI;
    if acpi.len() as u64 > room {
        return Err(Error::new(
            "cannot place the cell's ACPI tables",
            format!("they have {} bytes, and {room} fit", acpi.len()),
            "give the cell fewer CPUs or PCI functions",
        ));
    }
    write(memory, acpi, layout::ACPI)
}

/// Writes bytes into the cell's memory.
fn write<M: GuestMemoryBackend>(memory: &M, bytes: &[u8], address: u64) -> Result<()> {
    memory
        .write_slice(bytes, GuestAddress(address))
        .map_err(|e| Error::internal(&format!("cannot write to the cell at {address:#x}"), e))
}

/// A whole file.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .read_to_end(&mut bytes)
        .map_err(|e| Error::file("cannot read", path, &e, "check the file"))?;
    Ok(bytes)
}

fn open(path: &Path) -> Result<File> {
    let help = "check [kernel] in the slice's TOML file; paths count from its folder";
    File::open(path).map_err(|e| Error::file("cannot open", path, &e, help))
}
