//! VMX controls and capabilities: which bits a VMCS gets.
//!
//! Source: SDM 3C, "VMX Capability Reporting Facility".

use crate::vcpu::{CR0_NE, CR0_PE, CR0_PG, CR4_MCE, CR4_VMXE};

/// Allowed settings of one control field, from its capability MSR: bits that
/// must be 1 in the low half, bits that may be 1 in the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed(pub u64);

impl Allowed {
    /// The field with all of `required` and those of `optional` that the CPU
    /// has.
    ///
    /// # Errors
    ///
    /// The required bits that are missing.
    pub const fn adjust(self, required: u32, optional: u32) -> Result<u32, u32> {
        let must = self.0 as u32;
        let may = (self.0 >> 32) as u32;
        let missing = required & !may;
        if missing != 0 {
            return Err(missing);
        }
        Ok((required | optional | must) & may)
    }
}

/// How CR0 and CR4 are shared between guest and monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRegisters {
    cr0_fixed0: u64,
    cr0_fixed1: u64,
    cr4_fixed0: u64,
    cr4_fixed1: u64,
}

/// What the fields of a VMCS become for a value that the guest wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The register that the CPU runs with.
    pub real: u64,
    /// The value that the guest reads where the mask is set.
    pub shadow: u64,
}

impl ControlRegisters {
    /// From IA32_VMX_CR0_FIXED0, _FIXED1, IA32_VMX_CR4_FIXED0, _FIXED1. With
    /// unrestricted guests PE and PG are the guest's.
    #[must_use]
    pub const fn new(cr0_fixed0: u64, cr0_fixed1: u64, cr4_fixed0: u64, cr4_fixed1: u64) -> Self {
        Self {
            cr0_fixed0: cr0_fixed0 & !(CR0_PE | CR0_PG),
            cr0_fixed1,
            cr4_fixed0,
            cr4_fixed1,
        }
    }

    /// Bits of CR0 whose change exits: those that the CPU fixes.
    #[must_use]
    pub const fn cr0_mask(&self) -> u64 {
        self.cr0_fixed0 | (!self.cr0_fixed1 & 0xffff_ffff)
    }

    /// Bits of CR4 whose change exits: VMXE, those that the CPU fixes, and MCE,
    /// which stays set: a machine check in a guest without it would reset the
    /// machine.
    #[must_use]
    pub const fn cr4_mask(&self) -> u64 {
        self.cr4_fixed0 | !self.cr4_fixed1 | CR4_VMXE | CR4_MCE
    }

    /// CR0 for a guest that wants `value`.
    #[must_use]
    pub const fn cr0(&self, value: u64) -> Split {
        Split {
            real: (value | self.cr0_fixed0) & self.cr0_fixed1,
            shadow: value,
        }
    }

    /// CR4 for a guest that wants `value`; `None` if it must not: VMX is not
    /// there for guests, and what the CPU does not allow faults.
    #[must_use]
    pub const fn cr4(&self, value: u64) -> Option<Split> {
        if value & (CR4_VMXE | !self.cr4_fixed1) != 0 {
            return None;
        }
        Some(Split {
            real: value | self.cr4_fixed0 | CR4_MCE,
            shadow: value,
        })
    }
}

/// True if the CPU raises #GP for this CR0: paging without protection, or
/// not-write-through without cache disable (SDM 3A, "Control Registers").
#[must_use]
pub const fn cr0_is_invalid(value: u64) -> bool {
    let paging_unprotected = value & CR0_PG != 0 && value & CR0_PE == 0;
    let write_through = value & (1 << 29) != 0 && value & (1 << 30) == 0;
    paging_unprotected || write_through || value >> 32 != 0
}

const _: () = assert!(CR0_NE == 0x20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjust_reports_what_is_missing_and_keeps_what_must_be() {
        let allowed = Allowed(0x0000_00f6_0000_0016);
        assert_eq!(allowed.adjust(0x20, 0x100), Ok(0x36));
        assert_eq!(allowed.adjust(0x120, 0), Err(0x100));
    }

    #[test]
    fn guest_keeps_pe_and_pg_and_never_sees_vmxe() {
        let regs = ControlRegisters::new(0x8000_0021, 0xffff_ffff, 0x2000, 0x3767ff);
        let real_mode = regs.cr0(0x10);
        assert_eq!((real_mode.real, real_mode.shadow), (0x30, 0x10));
        assert_eq!(regs.cr0_mask(), 0x20);
        let cr4 = regs.cr4(0x20).expect("PAE is allowed");
        assert_eq!((cr4.real, cr4.shadow), (0x2060, 0x20));
        assert_eq!(regs.cr4(CR4_VMXE), None);
        assert_eq!(regs.cr4(1 << 40), None);
    }

    #[test]
    fn invalid_cr0_values_are_those_of_the_manual() {
        assert!(cr0_is_invalid(1 << 31), "PG without PE");
        assert!(cr0_is_invalid(1 << 29), "NW without CD");
        assert!(cr0_is_invalid(1 << 32), "upper half");
        assert!(!cr0_is_invalid(0x8005_0033));
    }

    /// SDM 3C, "Guest/Host Masks and Read Shadows for CR0 and CR4": MCE and VMXE
    /// are the monitor's, and so is what the CPU fixes to 1 (bit 5 here) or 0.
    #[test]
    fn changes_of_bits_that_are_not_the_guests_exit() {
        let regs = ControlRegisters::new(0x21, 0x7fff_ffff, 0x2020, 0x3767ff);
        assert_eq!(regs.cr4_mask(), !0x3767ff | 0x2060);
        assert_eq!(regs.cr0_mask(), 0x8000_0020);
        let plain = ControlRegisters::new(0, 0xffff_ffff, 0, u64::MAX);
        assert_eq!(plain.cr4_mask(), 0x2040, "MCE and VMXE always");
        let cr4 = plain.cr4(0).expect("allowed");
        assert_eq!((cr4.real, cr4.shadow), (0x40, 0), "machine checks are on");
    }

    #[test]
    fn real_mode_and_the_state_after_reset_are_valid() {
        assert!(!cr0_is_invalid(0x10), "no paging, no protection");
        assert!(!cr0_is_invalid(0x6000_0010), "NW with CD");
        assert!(!cr0_is_invalid(0x4000_0010), "CD alone");
    }
}
