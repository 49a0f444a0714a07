//! Network adapters, in an image without them: no cell has any.

use crate::cell::{Cell, Guest};
use crate::mem::map::Window;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::CellPlan;
use cellvisor_core::net::Place;
use cellvisor_core::pci::ABSENT;

/// Not there.
pub(crate) const PART: Parts = Parts::NONE;

/// None.
pub(crate) struct Adapters;

/// Why a cell cannot have its adapters.
pub(crate) enum Refused {
    /// Their number, or an address.
    Plan,
    /// There is no room for more.
    Full,
}

impl Adapters {
    /// None.
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Those of a plan, which has none.
    pub(crate) fn take(&mut self, _: &CellPlan<'_>) -> Result<(), Refused> {
        Ok(())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        0
    }

    /// Nothing changes.
    pub(crate) fn reset(&self, _: Option<&'static Cell>) {}
}

/// There is no adapter at any place.
pub(crate) fn read(_: &Cell, _: Place, _: u8) -> u64 {
    ABSENT.into()
}

/// As [`read`].
pub(crate) fn write(_: &mut Window, _: &'static Cell, _: Place, _: u8, _: u64) -> bool {
    true
}

/// No console takes lines.
pub(crate) fn type_on(_: &mut Window, _: &Guest, _: &[u8]) -> Option<u32> {
    None
}
