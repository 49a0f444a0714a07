//! Guest-physical address spaces: second-level tables in the format of the back
//! end that runs.

use crate::boot;
use crate::mem::pool::PoolTables;
use crate::mem::reserve::Reserve;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::paging::{
    AnyFormat, Attr, Ept, MapError, Mapping, Npt, PageSize, Stale, Tables,
};
use core::ops::Range;

/// Second-level tables, whose pages go back when they are dropped. Nothing may walk
/// them any more then.
pub(crate) struct Space(Tables<AnyFormat>);

impl Space {
    /// Empty tables for VT-x. `None` without a page for the root.
    pub(crate) fn ept(largest: PageSize) -> Option<Self> {
        Self::new(AnyFormat::Ept(Ept), largest)
    }

    /// Empty tables for AMD-V, with as many levels as the monitor's own. `None`
    /// without a page for the root.
    pub(crate) fn npt(largest: PageSize) -> Option<Self> {
        let format = if boot::boot_info().la57 != 0 {
            Npt::Level5
        } else {
            Npt::Level4
        };
        Self::new(AnyFormat::Npt(format), largest)
    }

    fn new(format: AnyFormat, largest: PageSize) -> Option<Self> {
        Tables::with_format(format, &mut PoolTables::Coherent, largest).map(Self)
    }

    /// Root of the tables.
    pub(crate) fn root(&self) -> Hpa {
        self.0.root()
    }

    /// See [`Tables::map`].
    pub(crate) fn map(&mut self, at: Range<Gpa>, hpa: Hpa, attr: Attr) -> Result<(), MapError> {
        let size = size(&at);
        self.0
            .map(&mut PoolTables::Coherent, at.start, hpa, size, attr)
    }

    /// See [`Tables::unmap`].
    pub(crate) fn unmap(&mut self, at: Range<Gpa>) -> Result<Stale, MapError> {
        let size = size(&at);
        self.0.unmap(&mut PoolTables::Coherent, at.start, size)
    }

    /// See [`Tables::replace`]; tables come from a reserve.
    pub(crate) fn replace(
        &mut self,
        gpa: Gpa,
        hpa: Hpa,
        attr: Attr,
        tables: &mut Reserve,
    ) -> Result<(), MapError> {
        self.0
            .replace(&mut PoolTables::Reserved(tables), gpa, hpa, attr)
    }

    /// The same where nothing walks the tables; those that are not needed go to a reserve.
    pub(crate) fn merge_to(&mut self, at: Range<Gpa>, tables: &mut Reserve) {
        if let Ok(stale) = self.merge(at) {
            stale.flushed(&mut PoolTables::Reserved(tables));
        }
    }

    /// See [`Tables::merge`].
    pub(crate) fn merge(&mut self, at: Range<Gpa>) -> Result<Stale, MapError> {
        let size = size(&at);
        self.0.merge(&mut PoolTables::Coherent, at.start, size)
    }

    /// See [`Tables::translate`].
    pub(crate) fn translate(&self, gpa: Gpa) -> Option<Mapping> {
        self.0.translate(&PoolTables::Coherent, gpa)
    }
}

/// Bytes of a range; none of one that ends before it begins.
fn size(range: &Range<Gpa>) -> u64 {
    range.end.0.saturating_sub(range.start.0)
}

impl Drop for Space {
    fn drop(&mut self) {
        self.0.free_all(&mut PoolTables::Coherent);
    }
}
