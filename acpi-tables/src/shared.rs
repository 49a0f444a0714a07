//! Memory that a cell shares with others, told by a device of its own.
//!
//! No driver claims it: a kernel lists the device with its range, its unique id is
//! the name of what is shared, and its string says what the cell may do there, and
//! which of its members the cell is.
//! Programs find both below `/sys/bus/acpi/devices` and in `/proc/iomem`, and map the
//! range.

use crate::parts::{Raw, bytes, name, unicode};
use acpi_tables::AmlSink;
use acpi_tables::aml::{BufferData, Device, Path, ResourceTemplate};
use alloc::borrow::ToOwned;
use alloc::{format, vec, vec::Vec};

/// Hardware id of the device.
const HARDWARE_ID: &str = "CLVS0001";

/// Names for devices.
pub(crate) const MAX_SHARED: usize = 256;

/// A stretch of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared<'a> {
    /// What it is called, in `a-z 0-9 - _`.
    pub name: &'a str,
    /// Guest-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// The cell may write there.
    pub writable: bool,
    /// What programs want to know beside, in printable ASCII; may be empty.
    pub note: &'a str,
}

/// The device that tells of it.
pub(crate) fn device(index: u32, shared: &Shared<'_>) -> Vec<u8> {
    let how = match shared.writable {
        true => "read and written",
        false => "read only",
    };
    let what = match shared.note {
        "" => format!("shared memory, {how}"),
        note => format!("shared memory, {how}, {note}"),
    };
    let mut items = Vec::new();
    name("_HID", &HARDWARE_ID, &mut items);
    name("_UID", &shared.name.to_owned(), &mut items);
    name("_STR", &BufferData::new(unicode(&what)), &mut items);
    name(
        "_CRS",
        &ResourceTemplate::new(vec![&Raw(range(shared))]),
        &mut items,
    );
    bytes(&Device::new(
        Path::new(&format!("SH{index:02X}")),
        vec![&Raw(items)],
    ))
}

/// "QWord Address Space Descriptor" of memory that the device takes up: fixed at both
/// ends, cacheable, and written if the cell may.
fn range(shared: &Shared<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    out.byte(0x8a);
    out.word(43);
    out.vec(&[0, 1 | 1 << 2 | 1 << 3, u8::from(shared.writable) | 1 << 1]);
    let last = shared.base + (shared.size - 1);
    for field in [0, shared.base, last, 0, shared.size] {
        out.qword(field);
    }
    out
}
