//! Root and context entries: which tables a requester's DMA goes through.

use crate::addr::Hpa;
use crate::paging::Width;

const PRESENT: u64 = 1 << 0;
const TRANSLATION_SHIFT: u32 = 2;
const ADDRESS: u64 = !0xfff;

/// Entry of the root table: one for each bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootEntry(pub u64);

impl RootEntry {
    /// No function of the bus reaches memory.
    pub const BLOCKED: Self = Self(0);

    /// Points at the context table of the bus. The upper half of the entry is
    /// reserved and zero.
    #[must_use]
    pub const fn new(context_table: Hpa) -> Self {
        Self(context_table.0 | PRESENT)
    }

    /// The context table.
    #[must_use]
    pub const fn table(self) -> Option<Hpa> {
        match self.0 & PRESENT {
            0 => None,
            _ => Some(Hpa(self.0 & ADDRESS)),
        }
    }
}

/// How a function's addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Through these second-stage tables.
    Tables(Hpa),
    /// Not at all.
    PassThrough,
}

/// Entry of a context table: one for each device and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Bits 63:0.
    pub low: u64,
    /// Bits 127:64.
    pub high: u64,
}

impl ContextEntry {
    /// The function reaches no memory.
    pub const BLOCKED: Self = Self { low: 0, high: 0 };

    /// Translation in `domain`, with tables of `width`. Pass-through needs the
    /// largest width that the unit has.
    #[must_use]
    pub const fn new(translation: Translation, width: Width, domain: u16) -> Self {
        let (kind, address) = match translation {
            // Requests that were translated already are blocked: no device
            // TLBs.
            Translation::Tables(root) => (0, root.0),
            Translation::PassThrough => (2, 0),
        };
        Self {
            low: address | kind << TRANSLATION_SHIFT | PRESENT,
            high: (domain as u64) << 8 | width.code() as u64,
        }
    }

    /// True if the function reaches memory.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.low & PRESENT != 0
    }

    /// Its domain.
    #[must_use]
    pub const fn domain(self) -> u16 {
        (self.high >> 8) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_the_manual() {
        assert_eq!(RootEntry::new(Hpa(0x1234_5000)), RootEntry(0x1234_5001));
        assert_eq!(RootEntry(0x7001).table(), Some(Hpa(0x7000)));
        assert_eq!(RootEntry::BLOCKED.table(), None);

        let tables = Translation::Tables(Hpa(0x1_2345_6000));
        let entry = ContextEntry::new(tables, Width::Bits48, 0x1234);
        assert_eq!((entry.low, entry.high), (0x1_2345_6001, 0x12_3402));
        assert_eq!((entry.domain(), entry.is_present()), (0x1234, true));

        let entry = ContextEntry::new(Translation::PassThrough, Width::Bits39, 1);
        assert_eq!((entry.low, entry.high), (0b1001, 0x101));
        assert!(!ContextEntry::BLOCKED.is_present());
    }
}
