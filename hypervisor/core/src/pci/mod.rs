//! PCI functions in cells: addresses, configuration space and interrupts.
//!
//! A cell sees the functions that it owns and nothing else. What it reads and
//! writes there goes through [`Function`], which decides what the hardware gets
//! to see; the monitor only carries it out.
//!
//! Spec: PCI Local Bus 3.0, PCI Express Base 5.0.

mod bar;
mod bus;
mod caps;
pub mod claim;
mod function;
pub mod msi;
pub mod msix;
mod registers;
pub mod reset;
pub mod route;
pub mod sriov;

pub use bar::Bar;
pub use bus::{Seen, has_siblings, placeholder, seen};
pub use caps::{Capability, ExtCapability, WalkError};
pub use cellvisor_abi::Bdf;
pub use function::{Description, Effect, Function, MsiState, MsixControl, ProbeError};

/// Bytes of a function's configuration space.
pub const CONFIG_SIZE: u64 = 4096;

/// What a read of a function that is not there gives.
pub const ABSENT: u32 = u32::MAX;

/// One naturally aligned access to a function's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    offset: u16,
    size: u8,
}

impl Access {
    /// `None` unless `size` is 1, 2 or 4 bytes, `offset` a multiple of it, and
    /// both within configuration space.
    #[must_use]
    pub const fn new(offset: u16, size: u8) -> Option<Self> {
        let fits = (offset as u64) < CONFIG_SIZE;
        match size {
            1 | 2 | 4 if fits && offset.is_multiple_of(size as u16) => Some(Self { offset, size }),
            _ => None,
        }
    }

    /// Of an access of `size` bytes to I/O port `port` while the address port
    /// (CF8H) has the value `address`: which function of segment 0, and where.
    /// `None` if the enable bit is clear or the port is none of CFCH to CFFH.
    #[must_use]
    pub fn from_ports(address: u32, port: u16, size: u8) -> Option<(Bdf, Self)> {
        let byte = port.checked_sub(0xcfc).filter(|byte| *byte < 4)?;
        if address & 1 << 31 == 0 {
            return None;
        }
        // Bits 27:24 are AMD's way to registers from 100H on.
        let register = (address & 0xfc) as u16 | (address >> 16 & 0xf00) as u16;
        let bdf = Bdf {
            segment: 0,
            requester: (address >> 8) as u16,
        };
        Some((bdf, Self::new(register + byte, size)?))
    }

    /// Of an access `offset` bytes after where bus 0 of a segment's
    /// memory-mapped configuration space would begin.
    #[must_use]
    pub fn from_ecam(segment: u16, offset: u64, size: u8) -> Option<(Bdf, Self)> {
        let requester = u16::try_from(offset / CONFIG_SIZE).ok()?;
        let access = Self::new((offset % CONFIG_SIZE) as u16, size)?;
        Some((Bdf { segment, requester }, access))
    }

    /// First byte.
    #[must_use]
    pub const fn offset(self) -> u16 {
        self.offset
    }

    /// Bytes.
    #[must_use]
    pub const fn size(self) -> u8 {
        self.size
    }

    /// Offset of the four bytes that contain the access.
    #[must_use]
    pub const fn dword(self) -> u16 {
        self.offset & !3
    }

    /// The part of those four bytes that is accessed.
    #[must_use]
    pub const fn extract(self, dword: u32) -> u32 {
        (dword & self.mask()) >> self.shift()
    }

    /// Those four bytes after `value` has been written to its part.
    #[must_use]
    pub const fn merge(self, dword: u32, value: u32) -> u32 {
        dword & !self.mask() | value << self.shift() & self.mask()
    }

    /// The bits of the four bytes that are accessed.
    const fn mask(self) -> u32 {
        let ones = match self.size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        };
        ones << self.shift()
    }

    const fn shift(self) -> u32 {
        (self.offset & 3) as u32 * 8
    }
}

#[cfg(test)]
mod edges;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
