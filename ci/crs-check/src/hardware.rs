//! What AML reaches beyond its own objects: memory, I/O ports, configuration
//! space.
//!
//! Reads are those of this machine. Writes never leave this program, since
//! Linux drives the same hardware at the same time: what is written to memory
//! is kept and read back here, as methods do with variables that they share
//! with the firmware. A write to a port or to configuration space would have an
//! effect that cannot be kept here, so the evaluation that needs one has failed.

use acpi::aml::AmlError;
use acpi::{Handle, Handler, PciAddress, PhysicalMapping};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The machine, seen by methods of its firmware.
#[derive(Debug)]
pub(crate) struct Hardware {
    /// False for tables of another machine: nothing can be reached then.
    live: bool,
    start: Instant,
    mutexes: Cell<u32>,
    /// Bytes of memory that methods wrote.
    written: RefCell<BTreeMap<u64, u8>>,
    /// Why the evaluation that runs is worth nothing.
    failure: RefCell<Option<String>>,
}

impl Hardware {
    /// This very machine.
    pub(crate) fn this_machine() -> Self {
        Self {
            live: true,
            ..Self::none()
        }
    }

    /// Nothing at all.
    pub(crate) fn none() -> Self {
        Self {
            live: false,
            start: Instant::now(),
            mutexes: Cell::new(0),
            written: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    /// The first access since the last call that could not be made.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.take()
    }

    fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }

    /// `N` bytes of a file; all ones, as from where nobody answers, if they
    /// cannot be had.
    fn read<const N: usize>(&self, file: &Path, at: u64, what: &str) -> [u8; N] {
        let mut bytes = [u8::MAX; N];
        if !self.live {
            self.fail(format!(
                "AML reads {what}, which only the machine itself has"
            ));
            return bytes;
        }
        let read = File::open(file).and_then(|file| file.read_exact_at(&mut bytes, at));
        if let Err(why) = read {
            self.fail(format!("AML reads {what}: {}: {why}", file.display()));
        }
        bytes
    }

    /// Memory, with what methods wrote to it.
    fn memory<const N: usize>(&self, address: usize) -> [u8; N] {
        let start = address as u64;
        let places = start..start.saturating_add(N as u64);
        let kept = |at: u64| self.written.borrow().get(&at).copied();
        let mut bytes = if places.clone().all(|at| kept(at).is_some()) {
            [0; N]
        } else {
            let what = format!("{N} bytes of memory at {address:#x}");
            self.read(Path::new("/dev/mem"), start, &what)
        };
        for (byte, at) in bytes.iter_mut().zip(places) {
            *byte = kept(at).unwrap_or(*byte);
        }
        bytes
    }

    fn keep(&self, address: usize, bytes: &[u8]) {
        let mut written = self.written.borrow_mut();
        written.extend((address as u64..).zip(bytes.iter().copied()));
    }

    /// An I/O port. Linux's `/dev/port` reads bytes one by one, which is not
    /// what a wider access does.
    fn port<const N: usize>(&self, port: u16) -> [u8; N] {
        let what = format!("I/O port {port:#x}");
        if N > 1 {
            self.fail(format!("AML reads {N} bytes at once from {what}"));
            return [u8::MAX; N];
        }
        self.read(Path::new("/dev/port"), port.into(), &what)
    }

    fn configuration<const N: usize>(&self, address: PciAddress, at: u16) -> [u8; N] {
        let name = function(address);
        let file = format!("/sys/bus/pci/devices/{name}/config");
        let what = format!("register {at:#x} of {name}");
        self.read(Path::new(&file), at.into(), &what)
    }

    fn refuse(&self, what: &str) {
        self.fail(format!(
            "AML writes to {what}, which this check does not do"
        ));
    }
}

/// A function as Linux names it.
fn function(address: PciAddress) -> String {
    format!(
        "{:04x}:{:02x}:{:02x}.{}",
        address.segment(),
        address.bus(),
        address.device(),
        address.function()
    )
}

#[expect(unsafe_code, reason = "the trait has an unsafe method")]
impl Handler for &Hardware {
    // The interpreter maps memory for tables that it looks for by itself, for
    // the FACS and for registers in memory; it is given none of these.
    unsafe fn map_physical_region<T>(&self, address: usize, _: usize) -> PhysicalMapping<Self, T> {
        unreachable!("nobody asks for a mapping of memory at {address:#x}")
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    fn read_u8(&self, address: usize) -> u8 {
        u8::from_le_bytes(self.memory(address))
    }

    fn read_u16(&self, address: usize) -> u16 {
        u16::from_le_bytes(self.memory(address))
    }

    fn read_u32(&self, address: usize) -> u32 {
        u32::from_le_bytes(self.memory(address))
    }

    fn read_u64(&self, address: usize) -> u64 {
        u64::from_le_bytes(self.memory(address))
    }

    fn write_u8(&self, address: usize, value: u8) {
        self.keep(address, &[value]);
    }

    fn write_u16(&self, address: usize, value: u16) {
        self.keep(address, &value.to_le_bytes());
    }

    fn write_u32(&self, address: usize, value: u32) {
        self.keep(address, &value.to_le_bytes());
    }

    fn write_u64(&self, address: usize, value: u64) {
        self.keep(address, &value.to_le_bytes());
    }

    fn read_io_u8(&self, port: u16) -> u8 {
        u8::from_le_bytes(self.port(port))
    }

    fn read_io_u16(&self, port: u16) -> u16 {
        u16::from_le_bytes(self.port(port))
    }

    fn read_io_u32(&self, port: u16) -> u32 {
        u32::from_le_bytes(self.port(port))
    }

    fn write_io_u8(&self, port: u16, _: u8) {
        self.refuse(&format!("I/O port {port:#x}"));
    }

    fn write_io_u16(&self, port: u16, _: u16) {
        self.refuse(&format!("I/O port {port:#x}"));
    }

    fn write_io_u32(&self, port: u16, _: u32) {
        self.refuse(&format!("I/O port {port:#x}"));
    }

    fn read_pci_u8(&self, address: PciAddress, at: u16) -> u8 {
        u8::from_le_bytes(self.configuration(address, at))
    }

    fn read_pci_u16(&self, address: PciAddress, at: u16) -> u16 {
        u16::from_le_bytes(self.configuration(address, at))
    }

    fn read_pci_u32(&self, address: PciAddress, at: u16) -> u32 {
        u32::from_le_bytes(self.configuration(address, at))
    }

    fn write_pci_u8(&self, address: PciAddress, at: u16, _: u8) {
        self.refuse(&format!("register {at:#x} of {}", function(address)));
    }

    fn write_pci_u16(&self, address: PciAddress, at: u16, _: u16) {
        self.refuse(&format!("register {at:#x} of {}", function(address)));
    }

    fn write_pci_u32(&self, address: PciAddress, at: u16, _: u32) {
        self.refuse(&format!("register {at:#x} of {}", function(address)));
    }

    fn nanos_since_boot(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn stall(&self, microseconds: u64) {
        std::thread::sleep(Duration::from_micros(microseconds));
    }

    fn sleep(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn create_mutex(&self) -> Handle {
        self.mutexes.set(self.mutexes.get() + 1);
        Handle(self.mutexes.get())
    }

    // There is one thread, and AML's mutexes may be taken twice.
    fn acquire(&self, _: Handle, _: u16) -> Result<(), AmlError> {
        Ok(())
    }

    fn release(&self, _: Handle) {}

    fn handle_fatal_error(&self, kind: u8, code: u32, argument: u64) {
        self.fail(format!(
            "AML gave up: Fatal({kind}, {code:#x}, {argument:#x})"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_written_is_read_back() {
        let hardware = Hardware::none();
        let handler = &hardware;
        handler.write_u32(0x1000, 0x1234_5678);
        handler.write_u8(0x1001, 0xab);
        assert_eq!(handler.read_u32(0x1000), 0x1234_ab78);
        assert_eq!(hardware.failure(), None);
    }

    #[test]
    fn access_that_cannot_be_made_is_told_once() {
        let hardware = Hardware::none();
        let handler = &hardware;
        assert_eq!(handler.read_u16(0x2000), u16::MAX);
        handler.write_io_u8(0x70, 1);
        let why = hardware.failure().expect("a failure");
        assert!(why.contains("2 bytes of memory at 0x2000"), "{why}");
        assert_eq!(hardware.failure(), None);
        handler.write_pci_u8(PciAddress::new(0, 0x40, 3, 1), 4, 7);
        let why = hardware.failure().expect("a failure");
        assert!(
            why.contains("writes to register 0x4 of 0000:40:03.1"),
            "{why}"
        );
    }
}
