//! Guest-physical address spaces: second-level tables in the format of the back
//! end that runs.

use crate::boot;
use crate::mem::pool::PoolTables;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::paging::{Attr, Ept, MapError, Mapping, Npt, PageSize, Stale, Tables};

/// Second-level tables.
pub(crate) enum Space {
    /// Intel's format.
    Ept(Tables<Ept>),
    /// AMD's.
    Npt(Tables<Npt>),
}

/// Calls a method of whatever tables a space has.
macro_rules! tables {
    ($space:expr, $tables:ident => $call:expr) => {
        match $space {
            Space::Ept($tables) => $call,
            Space::Npt($tables) => $call,
        }
    };
}

impl Space {
    /// Empty tables for VT-x. `None` without a page for the root.
    pub(crate) fn ept(largest: PageSize) -> Option<Self> {
        Tables::new(&mut PoolTables, largest).map(Self::Ept)
    }

    /// Empty tables for AMD-V, with as many levels as the monitor's own. `None`
    /// without a page for the root.
    pub(crate) fn npt(largest: PageSize) -> Option<Self> {
        let format = if boot::boot_info().la57 != 0 {
            Npt::Level5
        } else {
            Npt::Level4
        };
        Tables::with_format(format, &mut PoolTables, largest).map(Self::Npt)
    }

    /// Root of the tables.
    pub(crate) fn root(&self) -> Hpa {
        tables!(self, t => t.root())
    }

    /// See [`Tables::map`].
    pub(crate) fn map(
        &mut self,
        gpa: Gpa,
        hpa: Hpa,
        size: u64,
        attr: Attr,
    ) -> Result<(), MapError> {
        tables!(self, t => t.map(&mut PoolTables, gpa, hpa, size, attr))
    }

    /// See [`Tables::unmap`].
    pub(crate) fn unmap(&mut self, gpa: Gpa, size: u64) -> Result<Stale, MapError> {
        tables!(self, t => t.unmap(&mut PoolTables, gpa, size))
    }

    /// See [`Tables::merge`].
    pub(crate) fn merge(&mut self, gpa: Gpa, size: u64) -> Result<Stale, MapError> {
        tables!(self, t => t.merge(&mut PoolTables, gpa, size))
    }

    /// See [`Tables::translate`].
    pub(crate) fn translate(&self, gpa: Gpa) -> Option<Mapping> {
        tables!(self, t => t.translate(&PoolTables, gpa))
    }

    /// See [`Tables::destroy`].
    pub(crate) fn destroy(self) {
        tables!(self, t => t.destroy(&mut PoolTables));
    }
}
