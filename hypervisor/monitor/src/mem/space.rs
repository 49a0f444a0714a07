//! Guest-physical address spaces: second-level tables in the format of the back
//! end that runs.

use crate::boot;
use crate::mem::pool::PoolTables;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::paging::{Attr, Ept, MapError, Mapping, Npt, PageSize, Stale, Tables};
use core::ops::Range;

/// Second-level tables, whose pages go back when they are dropped. Nothing may walk
/// them any more then.
pub(crate) struct Space(Format);

enum Format {
    /// Intel's format.
    Ept(Tables<Ept>),
    /// AMD's.
    Npt(Tables<Npt>),
}

/// Calls a method of whatever tables a space has.
macro_rules! tables {
    ($space:expr, $tables:ident => $call:expr) => {
        match $space {
            Format::Ept($tables) => $call,
            Format::Npt($tables) => $call,
        }
    };
}

impl Space {
    /// Empty tables for VT-x. `None` without a page for the root.
    pub(crate) fn ept(largest: PageSize) -> Option<Self> {
        Tables::new(&mut PoolTables, largest).map(|tables| Self(Format::Ept(tables)))
    }

    /// Empty tables for AMD-V, with as many levels as the monitor's own. `None`
    /// without a page for the root.
    pub(crate) fn npt(largest: PageSize) -> Option<Self> {
        let format = if boot::boot_info().la57 != 0 {
            Npt::Level5
        } else {
            Npt::Level4
        };
        Tables::with_format(format, &mut PoolTables, largest)
            .map(|tables| Self(Format::Npt(tables)))
    }

    /// Root of the tables.
    pub(crate) fn root(&self) -> Hpa {
        tables!(&self.0, t => t.root())
    }

    /// See [`Tables::map`].
    pub(crate) fn map(&mut self, at: Range<Gpa>, hpa: Hpa, attr: Attr) -> Result<(), MapError> {
        let (gpa, size) = (at.start, size(&at));
        tables!(&mut self.0, t => t.map(&mut PoolTables, gpa, hpa, size, attr))
    }

    /// See [`Tables::unmap`].
    pub(crate) fn unmap(&mut self, at: Range<Gpa>) -> Result<Stale, MapError> {
        let (gpa, size) = (at.start, size(&at));
        tables!(&mut self.0, t => t.unmap(&mut PoolTables, gpa, size))
    }

    /// See [`Tables::merge`].
    pub(crate) fn merge(&mut self, at: Range<Gpa>) -> Result<Stale, MapError> {
        let (gpa, size) = (at.start, size(&at));
        tables!(&mut self.0, t => t.merge(&mut PoolTables, gpa, size))
    }

    /// See [`Tables::translate`].
    pub(crate) fn translate(&self, gpa: Gpa) -> Option<Mapping> {
        tables!(&self.0, t => t.translate(&PoolTables, gpa))
    }
}

/// Bytes of a range; none of one that ends before it begins.
fn size(range: &Range<Gpa>) -> u64 {
    range.end.0.saturating_sub(range.start.0)
}

impl Drop for Space {
    fn drop(&mut self) {
        tables!(&mut self.0, t => t.free_all(&mut PoolTables));
    }
}
