//! Registers of a remapping unit, by their offset in bytes.

use crate::addr::Hpa;
use crate::paging::{PageSize, Width};

/// Version (32 bits).
pub const VER: u64 = 0x00;
/// Capabilities (64 bits); see [`Capabilities`].
pub const CAP: u64 = 0x08;
/// Extended capabilities (64 bits).
pub const ECAP: u64 = 0x10;
/// Global command (32 bits).
pub const GCMD: u64 = 0x18;
/// Global status (32 bits).
pub const GSTS: u64 = 0x1c;
/// Root table address (64 bits); bits 11:10 clear choose legacy mode.
pub const RTADDR: u64 = 0x20;
/// Context command (64 bits), for units without queued invalidation.
pub const CCMD: u64 = 0x28;
/// Fault status (32 bits).
pub const FSTS: u64 = 0x34;
/// Fault event control (32 bits); bit 31 masks the interrupt.
pub const FECTL: u64 = 0x38;
/// Fault event data (32 bits).
pub const FEDATA: u64 = 0x3c;
/// Fault event address (32 bits).
pub const FEADDR: u64 = 0x40;
/// Protected memory enable (32 bits).
pub const PMEN: u64 = 0x64;
/// Invalidation queue head (64 bits), bits 18:4.
pub const IQH: u64 = 0x80;
/// Invalidation queue tail (64 bits), bits 18:4.
pub const IQT: u64 = 0x88;
/// Invalidation queue address (64 bits); see [`queue_address`].
pub const IQA: u64 = 0x90;
/// Interrupt remapping table address (64 bits); see [`interrupt_table`].
pub const IRTA: u64 = 0xb8;

/// GCMD and GSTS: translation.
pub const TRANSLATION: u32 = 1 << 31;
/// GCMD and GSTS: take over, or has taken over, the root table's address.
pub const ROOT_TABLE: u32 = 1 << 30;
/// GCMD and GSTS: flush the write buffer.
pub const WRITE_BUFFER: u32 = 1 << 27;
/// GCMD and GSTS: queued invalidation.
pub const QUEUE: u32 = 1 << 26;
/// GCMD and GSTS: interrupt remapping.
pub const INTERRUPTS: u32 = 1 << 25;
/// GCMD and GSTS: take over the interrupt table's address.
pub const INTERRUPT_TABLE: u32 = 1 << 24;
/// GCMD and GSTS: let interrupts in compatibility format through.
pub const COMPATIBILITY: u32 = 1 << 23;

/// GSTS bits that GCMD has to repeat; the others are one-time commands.
const PERSISTENT: u32 = TRANSLATION | QUEUE | INTERRUPTS | COMPATIBILITY;

/// FSTS: a fault record is there.
pub const FAULT_PENDING: u32 = 1 << 1;
/// FSTS: faults were lost.
pub const FAULT_OVERFLOW: u32 = 1 << 0;
/// FSTS: the queue has stopped: a bad descriptor, or a time-out.
pub const QUEUE_ERRORS: u32 = 7 << 4;

/// Value for GCMD that switches `bits` on and leaves the rest as GSTS says.
#[must_use]
pub const fn switch_on(status: u32, bits: u32) -> u32 {
    status & PERSISTENT | bits
}

/// Value for GCMD that switches `bits` off and leaves the rest.
#[must_use]
pub const fn switch_off(status: u32, bits: u32) -> u32 {
    status & PERSISTENT & !bits
}

/// Value for [`IQA`]: a queue of `pages` pages, a power of two up to 128, with
/// 256 descriptors each.
#[must_use]
pub const fn queue_address(queue: Hpa, pages: u8) -> u64 {
    queue.0 | pages.trailing_zeros() as u64 & 7
}

/// Value for [`IRTA`]: a table of `entries`, a power of two from 2 to 65,536,
/// with 32-bit destinations (x2APIC) or 8-bit ones.
#[must_use]
pub const fn interrupt_table(table: Hpa, entries: u32, mode: super::Mode) -> u64 {
    let size = entries.trailing_zeros().saturating_sub(1) as u64 & 15;
    let extended = match mode {
        super::Mode::X2apic => 1 << 11,
        super::Mode::Xapic => 0,
    };
    table.0 | extended | size
}

/// Number of the first fault record that FSTS points at.
#[must_use]
pub const fn first_fault(status: u32) -> u8 {
    (status >> 8) as u8
}

/// What a unit can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    cap: u64,
    ecap: u64,
}

impl Capabilities {
    /// From the values of [`CAP`] and [`ECAP`].
    #[must_use]
    pub const fn new(cap: u64, ecap: u64) -> Self {
        Self { cap, ecap }
    }

    /// Domain ids that exist; with caching mode, 0 is not to be used.
    #[must_use]
    pub const fn domains(self) -> u32 {
        1 << (4 + 2 * (self.cap & 7))
    }

    /// The unit caches what is not present, so that making an entry present
    /// needs an invalidation, too (emulated units).
    #[must_use]
    pub const fn caching_mode(self) -> bool {
        self.cap & 1 << 7 != 0
    }

    /// Writes to memory have to be flushed with [`WRITE_BUFFER`].
    #[must_use]
    pub const fn needs_write_buffer_flush(self) -> bool {
        self.cap & 1 << 4 != 0
    }

    /// Best width of second-stage tables: 48 bits where there is a choice.
    #[must_use]
    pub fn width(self) -> Option<Width> {
        let widths = [Width::Bits48, Width::Bits57, Width::Bits39];
        let known = |width: &Width| self.cap >> 8 & 1 << width.code() != 0;
        widths.into_iter().find(known)
    }

    /// Bits of guest addresses that the unit takes.
    #[must_use]
    pub const fn guest_bits(self) -> u8 {
        (self.cap >> 16 & 0x3f) as u8 + 1
    }

    /// Largest pages of second-stage tables.
    #[must_use]
    pub const fn page_size(self) -> PageSize {
        match self.cap >> 34 & 3 {
            3 => PageSize::Size1G,
            1 => PageSize::Size2M,
            _ => PageSize::Size4K,
        }
    }

    /// Offset of the first fault record, and how many there are.
    #[must_use]
    pub const fn fault_records(self) -> (u64, u16) {
        let offset = (self.cap >> 24 & 0x3ff) * 16;
        (offset, (self.cap >> 40 & 0xff) as u16 + 1)
    }

    /// Waits of the queue can drain reads and writes under way.
    #[must_use]
    pub const fn drains(self) -> bool {
        self.cap >> 54 & 3 == 3
    }

    /// Walks snoop the CPUs' caches; without it tables have to be cleaned.
    #[must_use]
    pub const fn coherent(self) -> bool {
        self.ecap & 1 << 0 != 0
    }

    /// Invalidations go through a queue in memory.
    #[must_use]
    pub const fn queue(self) -> bool {
        self.ecap & 1 << 1 != 0
    }

    /// Interrupts can be remapped.
    #[must_use]
    pub const fn interrupts(self) -> bool {
        self.ecap & 1 << 3 != 0
    }

    /// Interrupts can go to 32-bit APIC ids.
    #[must_use]
    pub const fn x2apic(self) -> bool {
        self.ecap & 1 << 4 != 0
    }

    /// Context entries can pass a function through without tables.
    #[must_use]
    pub const fn pass_through(self) -> bool {
        self.ecap & 1 << 6 != 0
    }

    /// Leaves can force snooping.
    #[must_use]
    pub const fn snoop_control(self) -> bool {
        self.ecap & 1 << 7 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    /// What QEMU's unit says with a width of 48 bits, caching mode off, and
    /// interrupt remapping.
    const QEMU: Capabilities = Capabilities::new(0x00d2_008c_222f_0606, 0x0f_0f5a);

    #[test]
    fn capabilities_of_a_known_unit() {
        assert_eq!(QEMU.domains(), 1 << 16);
        assert_eq!(QEMU.width(), Some(Width::Bits48));
        assert_eq!(QEMU.guest_bits(), 48);
        assert_eq!(QEMU.page_size(), PageSize::Size1G);
        assert_eq!(QEMU.fault_records(), (0x220, 1));
        assert!(QEMU.queue() && QEMU.interrupts() && QEMU.x2apic());
        assert!(QEMU.pass_through() && QEMU.drains());
        assert!(!QEMU.snoop_control() && !QEMU.caching_mode());
    }

    #[test]
    fn commands_do_not_repeat_one_time_bits() {
        let status = TRANSLATION | ROOT_TABLE | INTERRUPT_TABLE | QUEUE;
        assert_eq!(switch_on(status, INTERRUPTS), 0x8600_0000);
        assert_eq!(switch_off(status, TRANSLATION), QUEUE);
    }

    #[test]
    fn table_registers_match_the_manual() {
        assert_eq!(queue_address(Hpa(0x7000), 1), 0x7000);
        assert_eq!(queue_address(Hpa(0x8000), 4), 0x8002);
        let table = interrupt_table(Hpa(0x10_0000), 65_536, Mode::X2apic);
        assert_eq!(table, 0x10_080f);
        assert_eq!(interrupt_table(Hpa(0x7000), 256, Mode::Xapic), 0x7007);
        assert_eq!(first_fault(0x0302), 3);
    }
}
