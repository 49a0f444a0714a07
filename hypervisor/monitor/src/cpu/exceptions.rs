//! Exceptions of the monitor itself: a fault in the monitor's own code.
//!
//! No guest can cause one (that is what the tests of every exit are for); if
//! one happens all the same, this CPU says so and stops for good, and the cell
//! that it served fails.
//!
//! Source: SDM 3A, "Exception and Interrupt Reference".

use crate::log;
use cellvisor_core::text::{Dec, Hex};

/// Called by the exception stubs.
pub(crate) extern "C" fn fatal(vector: u64, error: u64, rip: u64, cr2: u64) -> ! {
    log::emergency(format_args!(
        "fault in the monitor: vector={} error={} rip={} cr2={}",
        Dec(vector),
        Hex(error),
        Hex(rip),
        Hex(cr2)
    ));
    stop()
}

/// Stops this CPU for good.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: halting is all that is left to do; an NMI only wakes the CPU
        // for another round.
        unsafe { x86::halt() };
    }
}
