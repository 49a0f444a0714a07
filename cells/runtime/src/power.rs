//! The end of a cell.

use cellvisor_abi::plan::{Devices, POWER_OFF};
use x86::io::outb;

/// Switches the cell off: it is stopped, and can be started again.
pub fn off() -> ! {
    // SAFETY: the port is the cell's sleep control register.
    unsafe { outb(Devices::STANDARD.power_port, POWER_OFF) };
    loop {
        core::hint::spin_loop();
    }
}
