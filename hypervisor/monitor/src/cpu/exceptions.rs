//! Exceptions of the monitor itself: a fault in the monitor's own code.
//!
//! No guest can cause one (that is what the tests of every exit are for); if
//! one happens all the same, this CPU says so, gives up what it was at with the locks
//! that it held, and goes on where its loop begins: the cell that it served fails. One
//! that has no such place, or that faults again on the way there, stops for good.
//!
//! Source: SDM 3A, "Exception and Interrupt Reference".

use crate::cpu::stack;
use crate::lock::{self, CHECKED};
use crate::log;
use cellvisor_core::locks::Rank;
use cellvisor_core::text::{Dec, Hex, Word};
use core::sync::atomic::Ordering;

/// Called by the exception stubs: the stack on which the CPU goes on that had this
/// stack pointer; 0 if there is none.
pub(crate) extern "C" fn refuge(rsp: u64) -> u64 {
    lock::notes_of(rsp).map_or(0, |notes| notes.refuge.load(Ordering::Relaxed))
}

/// Called by the exception stubs.
pub(crate) extern "C" fn fatal(vector: u64, error: u64, rip: u64, cr2: u64, rsp: u64) -> ! {
    let notes = lock::notes_of(rsp);
    let held = notes.map(lock::Notes::give_up);
    let complaint = lock::complaint();
    if CHECKED {
        tell(complaint);
    }
    log::emergency(format_args!(
        "fault in the monitor: vector={} error={} rip={} cr2={} lock={}",
        Dec(vector),
        Hex(error),
        Hex(rip),
        Hex(cr2),
        Hex(u64::from(complaint))
    ));
    if let (Some(notes), Some(held)) = (notes, held) {
        stack::give_up(notes, held);
    }
    stop()
}

/// Names the locks of a complaint. The standard image has their numbers alone.
fn tell(complaint: u32) {
    let [wanted, held, ..] = complaint.to_le_bytes();
    let rank = |number: u8| number.checked_sub(1).and_then(Rank::from_place);
    match (rank(wanted), rank(held)) {
        (Some(wanted), Some(held)) => log::emergency(format_args!(
            "lock order: {} asked for while {} is held",
            Word(wanted.name()),
            Word(held.name())
        )),
        (Some(wanted), None) => log::emergency(format_args!(
            "lock of {} does not come free",
            Word(wanted.name())
        )),
        (None, _) => {}
    }
}

/// Stops this CPU for good.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: halting is all that is left to do; an NMI only wakes the CPU
        // for another round.
        unsafe { x86::halt() };
    }
}
