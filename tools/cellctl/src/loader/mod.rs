//! Puts a kernel, its initial RAM disk, its parameters and the ACPI tables into
//! a cell's memory and says where its first CPU begins.
//!
//! Linux's bzImage is entered by the 64-bit boot protocol, and so are 64-bit ELF files;
//! others are entered in 32-bit mode, as a note for PVH or a Multiboot header says. The
//! planner finds out which is which. The cell's memory is whatever [`GuestMemoryBackend`] it is given, so
//! all of this runs in unit tests.
//!
//! Spec: Linux `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol".

mod bzimage;
mod initrd;
pub(crate) mod layout;
mod narrow;
mod params;
mod program;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::state::Payload;
use cellvisor_abi::plan::{Boot, Range};
use cellvisor_planner::check::{self, Foreign, Image, Protocol};
pub(crate) use layout::Ram;
use linux_loader::loader::bootparam::setup_header;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// Where the kernel lies and begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kernel {
    /// How it is entered.
    protocol: Protocol,
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
    let (kernel, header) = load_kernel(memory, ram, payload)?;
    let files = initrd::load(memory, ram, kernel, &payload.initrd)?;
    write_acpi(memory, acpi)?;
    params::write_tables(memory)?;
    if kernel.protocol != Protocol::Linux {
        let line = line(kernel, payload);
        return narrow::write_all(memory, ram, kernel, &files, &line);
    }
    let disk = files.first().zip(files.last());
    let disk = disk.map(|(first, last)| Range {
        start: first.start,
        size: layout::end(last) - first.start,
    });
    params::write_params(memory, ram, kernel, header, disk, &payload.cmdline)?;
    Ok(Boot {
        rip: kernel.entry,
        rsi: layout::BOOT_PARAMS,
        cr3: layout::PAGE_TABLES,
        gdt: layout::GDT,
        gdt_limit: layout::GDT_LIMIT,
    })
}

/// Finds what [`load`] would refuse of kernel, initial RAM disk and command line,
/// without a cell to load them into: whoever stops a cell to load it anew looks
/// first. The kernel goes into memory of this process, as far as it is written.
///
/// # Errors
///
/// As [`load`].
pub(crate) fn look(ram: Ram<'_>, payload: &Payload) -> Result<()> {
    let (kernel, _) = load_kernel(&scratch(ram)?, ram, payload)?;
    initrd::look(ram, kernel, &payload.initrd)?;
    params::look(kernel, &line(kernel, payload))
}

/// The command line as the program expects it: to those of Multiboot, their name is the
/// first word.
fn line(kernel: Kernel, payload: &Payload) -> String {
    let name = payload.image.file_name().unwrap_or_default();
    match kernel.protocol {
        Protocol::Multiboot => format!("{} {}", name.display(), payload.cmdline),
        Protocol::Linux | Protocol::Pvh => payload.cmdline.clone(),
    }
}

/// Loads the kernel; returns where it lies, and the header of its parameters.
fn load_kernel<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    payload: &Payload,
) -> Result<(Kernel, setup_header)> {
    let image = read_file(&payload.image)?;
    let at = format!("cannot load {}", payload.image.display());
    match check::image(&image) {
        Err(Foreign { what, help }) => Err(Error::new(at, format!("it {what}"), help)),
        Ok(Image::BzImage(_)) => bzimage::load(memory, ram, &image, &at),
        Ok(Image::Program(program)) => {
            let kernel = program::load(memory, ram, &image, &program, &at)?;
            Ok((kernel, bzimage::header_of_loader()))
        }
    }
}

/// Memory like the part of a cell's below 4 GiB. A page of it is allocated when it
/// is written: that of an anonymous mapping would be reserved beforehand where
/// Linux never overcommits.
fn scratch(ram: Ram<'_>) -> Result<GuestMemoryMmap> {
    let what = "cannot look at a kernel";
    let size = ram.low_end();
    let file = memfd_create("look", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|e| Error::internal(what, e))?;
    file.set_len(size).map_err(|e| Error::internal(what, e))?;
    let length = usize::try_from(size).map_err(|e| Error::internal(what, e))?;
    let range = (GuestAddress(0), length, Some(FileOffset::new(file, 0)));
    GuestMemoryMmap::from_ranges_with_files([range]).map_err(|e| Error::internal(what, e))
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
    let failed = |e| Error::file("cannot open", path, &e, help);
    let file = File::open(path).map_err(failed)?;
    // A device may have no end.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::new(
            format!("cannot open {}", path.display()),
            "it is no ordinary file",
            help,
        ));
    }
    Ok(file)
}
