//! Descriptors of the invalidation queue.

use crate::addr::Hpa;

/// The 16 bytes of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes 0 to 7.
    pub low: u64,
    /// Bytes 8 to 15.
    pub high: u64,
}

/// What is to be forgotten, or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidate {
    /// All context entries.
    AllContexts,
    /// The context entry of one requester, cached under `domain`.
    Context {
        /// Its domain before the change.
        domain: u16,
        /// Its id.
        source: u16,
    },
    /// All translations.
    AllTranslations,
    /// Translations of one domain.
    Translations {
        /// Which.
        domain: u16,
    },
    /// All interrupt entries.
    AllInterrupts,
    /// One interrupt entry.
    Interrupt {
        /// Its index.
        index: u16,
    },
    /// Everything before is done: writes `value` to the four bytes at `address`,
    /// a multiple of 4.
    Wait {
        /// What is written.
        value: u32,
        /// Where.
        address: Hpa,
    },
}

const CONTEXT: u64 = 1;
const IOTLB: u64 = 2;
const INTERRUPT: u64 = 4;
const WAIT: u64 = 5;

const GLOBAL: u64 = 1 << 4;
const DOMAIN: u64 = 2 << 4;
const DEVICE: u64 = 3 << 4;
/// Reads and writes under way are waited for. Units that cannot ignore it.
const DRAIN: u64 = 1 << 6 | 1 << 7;
const ONE_INTERRUPT: u64 = 1 << 4;
const STATUS_WRITE: u64 = 1 << 5;
/// Later descriptors wait, too.
const FENCE: u64 = 1 << 6;

impl Invalidate {
    /// As the queue wants it.
    #[must_use]
    pub const fn descriptor(self) -> Descriptor {
        let (low, high) = match self {
            Self::AllContexts => (CONTEXT | GLOBAL, 0),
            Self::Context { domain, source } => {
                let ids = (domain as u64) << 16 | (source as u64) << 32;
                (CONTEXT | DEVICE | ids, 0)
            }
            Self::AllTranslations => (IOTLB | GLOBAL | DRAIN, 0),
            Self::Translations { domain } => (IOTLB | DOMAIN | DRAIN | (domain as u64) << 16, 0),
            Self::AllInterrupts => (INTERRUPT, 0),
            Self::Interrupt { index } => (INTERRUPT | ONE_INTERRUPT | (index as u64) << 32, 0),
            Self::Wait { value, address } => {
                let flags = WAIT | STATUS_WRITE | FENCE;
                (flags | (value as u64) << 32, address.0)
            }
        };
        Descriptor { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_match_the_manual() {
        let (domain, source, index) = (0x1234, 0x0182, 0x42);
        let address = Hpa(0x7ff8);
        for (what, low, high) in [
            (Invalidate::AllContexts, 0x11, 0),
            (Invalidate::Context { domain, source }, 0x0182_1234_0031, 0),
            (Invalidate::AllTranslations, 0xd2, 0),
            (Invalidate::Translations { domain }, 0x1234_00e2, 0),
            (Invalidate::AllInterrupts, 0x04, 0),
            (Invalidate::Interrupt { index }, 0x0042_0000_0014, 0),
            (
                Invalidate::Wait { value: 1, address },
                0x0001_0000_0065,
                0x7ff8,
            ),
        ] {
            assert_eq!(what.descriptor(), Descriptor { low, high }, "{what:?}");
        }
    }
}
