//! Exceptions of the monitor itself: a fault in the monitor's own code.
//!
//! No guest can cause one (that is what the tests of every exit are for); if
//! one happens all the same, this CPU says so and stops for good, and the cell
//! that it served fails.
//!
//! Source: SDM 3A, "Exception and Interrupt Reference".

use crate::log;

/// Called by the exception stubs.
pub(crate) extern "C" fn fatal(vector: u64, error: u64, rip: u64, cr2: u64) -> ! {
    log::emergency(format_args!(
        "fault in the monitor: vector={vector} error={error:#x} rip={rip:#x} cr2={cr2:#x}"
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
