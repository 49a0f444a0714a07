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
mod elf;
mod initrd;
pub(crate) mod layout;
mod params;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::state::Payload;
use cellvisor_abi::plan::Boot;
use cellvisor_planner::check::{self, Foreign};
pub(crate) use layout::Ram;
use std::fs::File;
use std::io::Read;
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
    if let Some(Foreign { what, help }) = check::foreign(&image) {
        return Err(Error::new(at, format!("it {what}"), help));
    }
    let (kernel, header) = if image.starts_with(ELF_MAGIC) {
        elf::load(memory, ram, &image, &at)?
    } else {
        bzimage::load(memory, ram, image, &at)?
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
