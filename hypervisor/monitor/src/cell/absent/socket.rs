//! Extended Sockets, in an image without them: no cell has one.

use crate::cell::Cell;
use crate::lock::Mutex;
use crate::mem::map::Window;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::CellPlan;
use cellvisor_abi::status::CallStatus;
use cellvisor_core::locks::Rank;

/// Not there.
pub(crate) const PART: Parts = Parts::NONE;

/// None.
pub(crate) enum Socket {}

/// Of a link that nobody shares by a socket.
pub(crate) struct Members;

impl Members {
    /// Nobody.
    pub(crate) const NONE: Self = Self;
}

/// Members, and their lock.
pub(crate) type Locked = Mutex<Members, { Rank::Members as u8 }>;

/// The socket of a plan, which has none.
pub(crate) fn take(_: &CellPlan<'_>) -> Result<Option<Socket>, CallStatus> {
    Ok(None)
}

/// All pages lead to the cell's own.
pub(crate) fn put_back(_: &mut Window, _: &Cell) {}

/// Nobody waits for the cell.
pub(crate) fn start(_: &'static Cell) {}

/// As [`start`].
pub(crate) fn stop(_: &Cell) {}

/// There is no register.
pub(crate) fn read(_: &mut Window, _: &Cell, _: u64, _: u8) -> u64 {
    u64::MAX
}

/// As [`read`].
pub(crate) fn write(_: &mut Window, _: &Cell, _: u64, _: u8, _: u64) {}
