//! Linux's bzImage.

use super::{Kernel, Ram, layout};
use crate::error::{Error, Result};
use crate::output::size;
use cellvisor_planner::check::Protocol;
use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, KernelLoader};
use std::io::Cursor;
use vm_memory::{ByteValued, GuestAddress, GuestMemoryBackend};

/// Where the set-up header begins in the file.
const HEADER: usize = 0x1f1;
/// The file's byte that tells the header's end, counted from [`HEADER_BASE`].
const HEADER_LENGTH: usize = 0x201;
/// See [`HEADER_LENGTH`].
const HEADER_BASE: usize = 0x202;
/// "HdrS".
const MAGIC: u32 = 0x5372_6448;
/// First protocol version with `xloadflags`: 2.12 (Linux 3.8).
const LEAST_VERSION: u16 = 0x020c;
/// `xloadflags`: there is a 64-bit entry at 0x200.
const XLF_KERNEL_64: u16 = 1;
/// `xloadflags`: kernel and initrd may lie above 4 GiB.
const XLF_ABOVE_4G: u16 = 2;
/// Bytes of a sector of set-up code.
const SECTOR: u64 = 512;
/// Sectors of set-up code if the header says 0.
const SECTORS: u64 = 4;
/// The 64-bit entry, counted from where the kernel is loaded.
const ENTRY_64: u64 = 0x200;
/// `type_of_loader` of a loader without a number.
const LOADER_OTHER: u8 = 0xff;
/// `vid_mode`: "normal".
const NORMAL_VIDEO: u16 = 0xffff;

/// Loads a bzImage and returns the header for its boot parameters.
pub(super) fn load<M: GuestMemoryBackend>(
    memory: &M,
    ram: Ram<'_>,
    image: &[u8],
    at: &str,
) -> Result<(Kernel, setup_header)> {
    let header = whole(image, at)?;
    let start = choose_address(&header, ram, at)?;
    let loaded = BzImage::load(
        memory,
        Some(GuestAddress(start)),
        &mut Cursor::new(image),
        None,
    )
    .map_err(|e| {
        Error::new(
            at,
            e.to_string(),
            "the file may be cut short: copy it again",
        )
    })?;
    let kernel = Kernel {
        protocol: Protocol::Linux,
        entry: start + ENTRY_64,
        start,
        end: loaded.kernel_end.max(start + u64::from(header.init_size)),
        initrd_max: u64::from(header.initrd_addr_max),
        initrd_above_4g: header.xloadflags & XLF_ABOVE_4G != 0,
        cmdline_max: u64::from(header.cmdline_size),
    };
    Ok((
        kernel,
        setup_header {
            type_of_loader: LOADER_OTHER,
            vid_mode: NORMAL_VIDEO,
            ..header
        },
    ))
}

/// The header of a kernel that brings none: what the loader says of itself, without
/// which Linux takes no initial RAM disk.
pub(super) fn header_of_loader() -> setup_header {
    setup_header {
        header: MAGIC,
        version: LEAST_VERSION,
        type_of_loader: LOADER_OTHER,
        vid_mode: NORMAL_VIDEO,
        ..setup_header::default()
    }
}

/// The header of a kernel that is there to its end.
fn whole(image: &[u8], at: &str) -> Result<setup_header> {
    let header = header(image).ok_or_else(|| {
        let help = "the file may be cut short: copy it again";
        Error::new(at, "its header is not whole", help)
    })?;
    let sectors = match header.setup_sects {
        0 => SECTORS,
        sectors => u64::from(sectors),
    };
    let (has, length) = (image.len() as u64, u64::from(header.syssize));
    // Told in units of 16 bytes, of which the last may not be whole.
    let needs = ((sectors + 1) * SECTOR + length * 16).saturating_sub(15);
    if has < needs {
        let why = format!("the file is cut short: it has {has} bytes, its header says {needs}");
        return Err(Error::new(at, why, "copy it again"));
    }
    Ok(header)
}

/// The set-up header, if this is a kernel with a 64-bit entry. What lies past
/// the length that the header tells is code and becomes zero.
fn header(image: &[u8]) -> Option<setup_header> {
    let end = HEADER_BASE + usize::from(*image.get(HEADER_LENGTH)?);
    let told = image.get(HEADER..end)?;
    let mut header = setup_header::default();
    let bytes = header.as_mut_slice();
    let len = told.len().min(bytes.len());
    bytes.get_mut(..len)?.copy_from_slice(told.get(..len)?);
    let good = header.header == MAGIC
        && header.version >= LEAST_VERSION
        && header.xloadflags & XLF_KERNEL_64 != 0;
    good.then_some(header)
}

/// The preferred address where it fits; else, for a kernel that can be moved,
/// the lowest that it takes.
fn choose_address(header: &setup_header, ram: Ram<'_>, at: &str) -> Result<u64> {
    let (room, preferred) = (u64::from(header.init_size), header.pref_address);
    if preferred >= layout::HIGH && ram.contains(preferred, room) {
        return Ok(preferred);
    }
    let alignment = u64::from(header.kernel_alignment).max(1);
    let lowest = layout::HIGH.next_multiple_of(alignment);
    if header.relocatable_kernel != 0 && ram.contains(lowest, room) {
        return Ok(lowest);
    }
    Err(Error::new(
        at,
        format!(
            "the kernel needs {} from {} on to unpack itself, and the cell's memory ends at {}",
            size(room),
            size(preferred),
            size(ram.low_end())
        ),
        format!(
            "give the cell at least {}: [memory] size",
            size(preferred + room)
        ),
    ))
}
