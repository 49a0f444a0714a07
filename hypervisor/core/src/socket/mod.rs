//! Extended Sockets: what Linux's driver `fjes` makes a network of, by memory that cells
//! share.
//!
//! A link has a buffer for each ordered pair of its members. A member's driver names pages
//! of its own for what it sends to another one and for what it receives ([`Command`]); from
//! then on these lead to the buffers ([`Notes`]), and frames go from one to the other
//! without the monitor. What is left to it are the registers ([`Members`]): who is there, who
//! shares with whom, and interrupts.
//!
//! What a member says is bounded and believed in nothing: all that it can bring about at
//! another one is an interrupt. Only a cell's own CPUs write to its RAM, when they read what
//! has happened.
//!
//! The registers are those that Linux's driver has been seen to use
//! (drivers/net/fjes/fjes_regs.h and fjes_hw.h say what they are).

mod command;
mod members;
mod notes;

pub use command::{Command, Pages};
pub use members::{Effect, Members, Outcome};
pub use notes::{Note, Notes};

use cellvisor_abi::plan::{CellPlan, EVENT_GSI, MAX_SOCKET_MEMBERS, SOCKET_PAGES, SOCKET_PINS};

/// Most members.
const MOST: usize = MAX_SOCKET_MEMBERS as usize;

/// Pages that a member shares with one other: those that it sends by, and those that it
/// receives by.
pub const LISTED: usize = 2 * SOCKET_PAGES;

/// True if the interrupt of a plan's socket is nobody else's, and is among the pins that the
/// virtual I/O APIC tells of, which has none of functions then.
#[must_use]
pub fn has_interrupt(plan: &CellPlan<'_>, gsi: u8) -> bool {
    let wired = plan
        .functions
        .iter()
        .any(|function| function.wire.is_some());
    gsi < SOCKET_PINS && gsi != EVENT_GSI && gsi != plan.devices.uart_gsi && !wired
}

/// The first page of the buffer from one of `count` members to another, counted from the
/// first page of the link.
const fn buffer(count: u8, from: u8, to: u8) -> u64 {
    from as u64 * (count as u64 - 1) * SOCKET_PAGES as u64
        + place(from, to) as u64 * SOCKET_PAGES as u64
}

/// The place of `other` among those that are not `own`.
const fn place(own: u8, other: u8) -> usize {
    if other > own {
        other as usize - 1
    } else {
        other as usize
    }
}

/// Why a command is not carried out. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such command, or its buffers are not what they should be.
    Parameter = 1,
    /// It cannot be done now, or not with these pages.
    State = 2,
}

#[cfg(test)]
mod tests;
