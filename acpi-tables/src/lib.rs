//! The ACPI tables of one cell: what a stock kernel needs to know of its share
//! of the machine, as one run of bytes.
//!
//! [`build`] lays out RSDP, XSDT, FADT, MADT, DSDT and, where the cell has use
//! for them, MCFG, SRAT, SLIT and HMAT. The machine that they describe is a
//! hardware-reduced one (ACPI, "Hardware-Reduced ACPI"): no PIC, PIT, HPET, PM
//! timer, RTC or SCI, but power-off, reset, a power button and panics by I/O ports.
//!
//! Pure: nothing here reads the host. The caller puts [`Tables::bytes`] into the
//! cell's memory at [`CellAcpi::base`], where the RSDP comes first, and
//! [`reset_code`] at [`RESET_VECTOR`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod dsdt;
mod error;
mod events;
mod fixed;
mod hmat;
mod numa;
mod parts;
mod pci;
mod reset;
mod shared;
mod socket;

use alloc::vec::Vec;
use cellvisor_abi::plan::{Devices, Ecam};

pub use error::Error;
pub use hmat::Access;
pub use numa::{NodeMemory, Numa};
pub use pci::{Intx, Pin, RootBridge, Window};
pub use reset::{RESET_CODE_SIZE, RESET_VECTOR, reset_code};
pub use shared::Shared;

/// Where PC firmware keeps its tables and where a kernel searches for the RSDP
/// when nobody tells it: a guest-physical address.
pub const STANDARD_BASE: u64 = 0xe_0000;

/// Bytes between [`STANDARD_BASE`] and [`RESET_VECTOR`], in the area that is
/// searched.
pub const STANDARD_ROOM: usize = (RESET_VECTOR - STANDARD_BASE) as usize;

/// APIC id in the MADT's I/O APIC entry and in the device's own id register.
///
/// Nothing shares an APIC bus any more, so it need not differ from the ids of
/// the CPUs.
pub const IOAPIC_ID: u8 = 0;

/// The first virtual APIC id that the MADT must name in an x2APIC entry; below,
/// a kernel expects the older entry and may ignore the newer one.
pub(crate) const FIRST_X2APIC_ID: u32 = 255;

/// Signature of a table.
pub type Signature = [u8; 4];

/// Who made the tables, in the form that their headers have.
const OEM: ([u8; 6], [u8; 8], u32) = (*b"CELLVR", *b"CELLVISR", 1);

/// Every table begins at a multiple of this, in bytes; the RSDP must.
const ALIGN: usize = 16;

/// Size of an RSDP of revision 2, in bytes.
const RSDP_SIZE: usize = 36;

/// Size of the header that tables share, in bytes.
const HEADER_SIZE: usize = 36;

/// One cell, as its tables tell of it.
#[derive(Clone, Copy, Debug)]
pub struct CellAcpi<'a> {
    /// Guest-physical address of the first byte, a multiple of 16.
    pub base: u64,
    /// Bytes that may be used from there.
    pub room: usize,
    /// CPUs; their virtual APIC ids and UIDs are 0 and up.
    pub cpus: u32,
    /// Virtual devices.
    pub devices: Devices,
    /// First ports of physical 16550s that the cell owns. Their interrupt does
    /// not reach the cell, so they are described without one and get polled.
    pub uarts: &'a [u16],
    /// Memory-mapped configuration space, at guest-physical addresses.
    pub ecam: &'a [Ecam],
    /// Root bridges above the cell's functions.
    pub bridges: &'a [RootBridge<'a>],
    /// Affinities, for a cell on more than one node.
    pub numa: Option<Numa<'a>>,
    /// Memory that it shares with others.
    pub shared: &'a [Shared<'a>],
    /// Its Extended Socket, by the pin of its interrupt, one of the first
    /// [`SOCKET_PINS`](cellvisor_abi::plan::SOCKET_PINS).
    pub socket: Option<u8>,
}

impl CellAcpi<'_> {
    /// A cell of `cpus` CPUs with the standard devices at the standard place,
    /// without PCI.
    #[must_use]
    pub const fn new(cpus: u32) -> Self {
        Self {
            base: STANDARD_BASE,
            room: STANDARD_ROOM,
            cpus,
            devices: Devices::STANDARD,
            uarts: &[],
            ecam: &[],
            bridges: &[],
            numa: None,
            shared: &[],
            socket: None,
        }
    }
}

/// Where one table lies in [`Tables::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its signature; `RSD ` for the RSDP.
    pub signature: Signature,
    /// Offset of its first byte.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

/// What [`build`] makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// All tables, the RSDP first; they go to [`CellAcpi::base`].
    pub bytes: Vec<u8>,
    /// Guest-physical address of the RSDP (`acpi_rsdp_addr` of the boot
    /// parameters).
    pub rsdp: u64,
    /// Where each table lies, in ascending order.
    pub entries: Vec<Entry>,
}

impl Tables {
    /// The bytes of the table with this signature.
    #[must_use]
    pub fn table(&self, signature: &Signature) -> Option<&[u8]> {
        let entry = self.entries.iter().find(|e| e.signature == *signature)?;
        self.bytes.get(entry.offset..entry.offset + entry.len)
    }

    /// The tables with [`reset_code`] behind them, as one run of bytes that ends
    /// with the first MiB; just the tables if they lie above [`RESET_VECTOR`] or
    /// the cell has no ports for a reset.
    #[must_use]
    pub fn with_reset_code(self, devices: &Devices) -> Vec<u8> {
        let mut bytes = self.bytes;
        let room = RESET_VECTOR
            .checked_sub(self.rsdp)
            .and_then(|room| usize::try_from(room).ok())
            .filter(|room| *room >= bytes.len());
        if let (Some(room), Some(code)) = (room, reset_code(devices)) {
            bytes.resize(room, 0);
            bytes.extend(code);
        }
        bytes
    }
}

/// Builds the tables of `cell`, in time linear in their size.
///
/// # Errors
///
/// See [`Error`]; every contradiction in `cell` is found before a byte is made.
pub fn build(cell: &CellAcpi<'_>) -> Result<Tables, Error> {
    check::check(cell)?;
    let mut bodies = Vec::from([fixed::madt(cell)]);
    if !cell.ecam.is_empty() {
        bodies.push(fixed::mcfg(cell.ecam));
    }
    if let Some(numa) = &cell.numa {
        bodies.push(numa::srat(numa));
        bodies.push(numa::slit(numa));
        if !numa.access.is_empty() {
            bodies.push(hmat::hmat(numa.access));
        }
    }
    let layout = Layout::new(cell.base, &bodies);
    let dsdt = dsdt::dsdt(cell);
    let needed = layout.dsdt + dsdt.len();
    if needed > cell.room {
        return Err(Error::TooLong {
            needed,
            room: cell.room,
        });
    }
    let mut blob = Blob::default();
    blob.place(*b"RSD ", &fixed::rsdp(cell.base + layout.xsdt as u64));
    blob.place(*b"XSDT", &fixed::xsdt(&layout.listed));
    blob.place(
        *b"FACP",
        &fixed::fadt(&cell.devices, cell.base + layout.dsdt as u64),
    );
    for body in &bodies {
        blob.place(signature(body), body);
    }
    blob.place(*b"DSDT", &dsdt);
    Ok(Tables {
        bytes: blob.bytes,
        rsdp: cell.base,
        entries: blob.entries,
    })
}

/// Where the tables go. The DSDT is last, because it alone has a length that is
/// known only when it is made.
struct Layout {
    /// Offset of the XSDT.
    xsdt: usize,
    /// Guest-physical addresses of the tables that the XSDT lists.
    listed: Vec<u64>,
    /// Offset of the DSDT.
    dsdt: usize,
}

impl Layout {
    fn new(base: u64, bodies: &[Vec<u8>]) -> Self {
        let xsdt = RSDP_SIZE.next_multiple_of(ALIGN);
        let xsdt_size = HEADER_SIZE + 8 * (1 + bodies.len());
        let mut next = (xsdt + xsdt_size).next_multiple_of(ALIGN);
        let mut listed = Vec::new();
        for size in core::iter::once(fixed::FADT_SIZE).chain(bodies.iter().map(Vec::len)) {
            listed.push(base + next as u64);
            next = (next + size).next_multiple_of(ALIGN);
        }
        Self {
            xsdt,
            listed,
            dsdt: next,
        }
    }
}

/// Tables one behind the other.
#[derive(Default)]
struct Blob {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Blob {
    fn place(&mut self, signature: Signature, table: &[u8]) {
        let offset = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(table);
        self.entries.push(Entry {
            signature,
            offset,
            len: table.len(),
        });
    }
}

/// The first four bytes of a table.
fn signature(table: &[u8]) -> Signature {
    table.first_chunk().copied().unwrap_or_default()
}

/// A table of `body` behind the shared header.
fn table(signature: Signature, revision: u8, body: &[u8]) -> Vec<u8> {
    let (oem, oem_table, oem_revision) = OEM;
    let header = acpi_tables::sdt::Sdt::new(
        signature,
        HEADER_SIZE as u32,
        revision,
        oem,
        oem_table,
        oem_revision,
    );
    let mut sdt = header;
    sdt.append_slice(body);
    sdt.as_slice().to_vec()
}
