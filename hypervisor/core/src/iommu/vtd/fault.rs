//! Fault records: who tried what.

/// What a function tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read at this address, 4 KiB aligned.
    Read(u64),
    /// A write at this address, 4 KiB aligned.
    Write(u64),
    /// An interrupt through the entry with this index.
    Interrupt(u16),
}

/// Why it was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The function, or its whole bus, is blocked.
    NoContext,
    /// The address is beyond the tables' width.
    AddressWidth,
    /// Not mapped for writing.
    NotWritable,
    /// Not mapped for reading.
    NotReadable,
    /// An interrupt with reserved bits set.
    MalformedInterrupt,
    /// An interrupt with an index beyond the table.
    InterruptIndex,
    /// An interrupt whose entry lets nothing through.
    InterruptBlocked,
    /// An interrupt in compatibility format.
    CompatibilityFormat,
    /// An interrupt through another function's entry.
    ForeignInterrupt,
    /// The unit's tables are wrong, or another code of the manual.
    Other(u8),
}

impl Reason {
    const fn from_code(code: u8) -> Self {
        match code {
            0x01 | 0x02 => Self::NoContext,
            0x04 => Self::AddressWidth,
            0x05 => Self::NotWritable,
            0x06 => Self::NotReadable,
            0x20 => Self::MalformedInterrupt,
            0x21 => Self::InterruptIndex,
            0x22 => Self::InterruptBlocked,
            0x25 => Self::CompatibilityFormat,
            0x26 => Self::ForeignInterrupt,
            code => Self::Other(code),
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// Requester id of the function.
    pub source: u16,
    /// What it tried.
    pub access: Access,
    /// Why it was blocked.
    pub reason: Reason,
}

/// Bit 31 of the last four bytes: a fault is recorded; writing it clears the
/// record.
const FAULT: u64 = 1 << 63;
const READ: u64 = 1 << 62;

impl FaultRecord {
    /// Value for the last four bytes of a record that clears it.
    pub const CLEAR: u32 = (FAULT >> 32) as u32;

    /// From a record's 16 bytes; `None` if it is empty.
    #[must_use]
    pub const fn decode(low: u64, high: u64) -> Option<Self> {
        if high & FAULT == 0 {
            return None;
        }
        let code = (high >> 32) as u8;
        let access = match (code, high & READ != 0) {
            (0x20..=0x2f, _) => Access::Interrupt((low >> 48) as u16),
            (_, true) => Access::Read(low & !0xfff),
            (_, false) => Access::Write(low & !0xfff),
        };
        Some(Self {
            source: high as u16,
            access,
            reason: Reason::from_code(code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_understood() {
        assert_eq!(FaultRecord::decode(0x1000, 0x0000_0006_0000_0182), None);
        assert_eq!(
            FaultRecord::decode(0x1_2345_6000, 0xc000_0006_0000_0182),
            Some(FaultRecord {
                source: 0x182,
                access: Access::Read(0x1_2345_6000),
                reason: Reason::NotReadable
            })
        );
        assert_eq!(
            FaultRecord::decode(0xfee0_0000, 0x8000_0005_0000_0008).map(|fault| fault.access),
            Some(Access::Write(0xfee0_0000))
        );
        assert_eq!(
            FaultRecord::decode(0x0042 << 48, 0x8000_0026_0000_0182),
            Some(FaultRecord {
                source: 0x182,
                access: Access::Interrupt(0x42),
                reason: Reason::ForeignInterrupt
            })
        );
        let odd = FaultRecord::decode(0, FAULT | 0x7f << 32);
        assert_eq!(odd.map(|fault| fault.reason), Some(Reason::Other(0x7f)));
    }
}
