//! Registers of devices, as a CPU sees them through its window.
//!
//! Source: SDM 1, "Memory-Mapped I/O".

use cellvisor_abi::PAGE_SIZE;
use core::marker::PhantomData;

/// A page of device registers, as long as a window shows it.
pub(crate) struct DevicePage<'a> {
    page: *mut u8,
    /// The window stays where it is.
    _window: PhantomData<&'a mut ()>,
}

impl DevicePage<'_> {
    /// The page that the caller's window shows here, until the end of its borrow.
    pub(super) fn shown(page: *mut u8) -> Self {
        Self {
            page,
            _window: PhantomData,
        }
    }

    /// Reads a register of 1, 2, 4 or 8 bytes. What an offset has beyond the page and
    /// beside a multiple of the size is left out.
    #[inline(always)] // Sizes are mostly known.
    pub(crate) fn read(&self, offset: u64, size: u8) -> u64 {
        let at = self.at(offset, size);
        // SAFETY: the window shows the page, and an aligned register does not leave it.
        unsafe {
            match size {
                1 => u64::from(at.read_volatile()),
                2 => u64::from(at.cast::<u16>().read_volatile()),
                4 => u64::from(at.cast::<u32>().read_volatile()),
                _ => at.cast::<u64>().read_volatile(),
            }
        }
    }

    /// Writes one, in the same way. What a device does by that to memory, the caller
    /// answers for, who knows whose the device is.
    #[inline(always)] // As above.
    pub(crate) fn write(&self, offset: u64, size: u8, value: u64) {
        let at = self.at(offset, size);
        // SAFETY: as in `read`.
        unsafe {
            match size {
                1 => at.write_volatile(value as u8),
                2 => at.cast::<u16>().write_volatile(value as u16),
                4 => at.cast::<u32>().write_volatile(value as u32),
                _ => at.cast::<u64>().write_volatile(value),
            }
        }
    }

    fn at(&self, offset: u64, size: u8) -> *mut u8 {
        let inside = (offset % PAGE_SIZE) & !(u64::from(size.max(1)) - 1);
        self.page.wrapping_add(inside as usize)
    }
}
