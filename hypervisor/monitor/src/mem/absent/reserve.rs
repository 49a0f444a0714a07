//! Pages that are kept for second-level tables, in an image in which no guest's doing asks
//! for any: there is no reserve.

use cellvisor_core::addr::Hva;

/// None.
pub(crate) enum Reserve {}

impl Reserve {
    /// Nobody has one to take a page from.
    pub(super) fn alloc(&mut self) -> Option<Hva> {
        match *self {}
    }

    /// Nor to give one to.
    pub(super) fn give(&mut self, _: Hva) {
        match *self {}
    }
}
