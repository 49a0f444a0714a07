//! Any of the formats: code that works with all of them is there once.

use super::{Attr, EntryFormat, Ept, Npt, Vtd};
use crate::addr::Hpa;

/// Which format tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyFormat {
    /// VT-x.
    Ept(Ept),
    /// AMD-V.
    Npt(Npt),
    /// VT-d.
    Vtd(Vtd),
}

/// Asks whichever format it is.
macro_rules! format {
    ($any:expr, $format:ident => $call:expr) => {
        match $any {
            AnyFormat::Ept($format) => $call,
            AnyFormat::Npt($format) => $call,
            AnyFormat::Vtd($format) => $call,
        }
    };
}

impl EntryFormat for AnyFormat {
    fn levels(&self) -> u8 {
        format!(self, f => f.levels())
    }

    fn leaf(&self, hpa: Hpa, level: u8, attr: Attr) -> u64 {
        format!(self, f => f.leaf(hpa, level, attr))
    }

    fn table(&self, hpa: Hpa, level: u8) -> u64 {
        format!(self, f => f.table(hpa, level))
    }

    fn present(&self, entry: u64) -> bool {
        format!(self, f => f.present(entry))
    }

    fn is_leaf(&self, entry: u64, level: u8) -> bool {
        format!(self, f => f.is_leaf(entry, level))
    }

    fn attr(&self, entry: u64, level: u8) -> Attr {
        format!(self, f => f.attr(entry, level))
    }

    fn addr(&self, entry: u64) -> Hpa {
        format!(self, f => f.addr(entry))
    }
}
