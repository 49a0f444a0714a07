//! Machine checks: whether one concerns the CPU that hears of it. Intel's CPUs tell
//! all others of an error that one of them has met.
//!
//! Spec: SDM 3B, "Machine-Check Architecture"; APM 2, "Machine Check Architecture".

use crate::ids::Msr;

/// MCG_CAP; bits 7:0 are the number of banks.
pub const MCG_CAP: Msr = Msr(0x179);
/// MCG_STATUS.
pub const MCG_STATUS: Msr = Msr(0x17a);
/// MC0_STATUS, and how far it is to the next bank's.
const FIRST_STATUS: u32 = 0x401;
const BANK: u32 = 4;

/// MCG_STATUS: the program can go on where it was.
const RIPV: u64 = 1;
/// Of a bank: it holds an error, which was not corrected, and for which the bank
/// raises machine checks.
const VALID: u64 = 1 << 63;
const UNCORRECTED: u64 = 1 << 61;
const ENABLED: u64 = 1 << 60;
const HERE: u64 = VALID | UNCORRECTED | ENABLED;

/// Numbers of the banks' status registers.
pub fn banks(mcg_cap: u64) -> impl Iterator<Item = Msr> {
    (0..mcg_cap as u32 & 0xff).map(|bank| Msr(FIRST_STATUS + BANK * bank))
}

/// True if the error is another CPU's: this one can go on, and none of its banks,
/// whose status registers read as told, has raised it.
pub fn is_elsewhere(mcg_status: u64, mut banks: impl Iterator<Item = u64>) -> bool {
    mcg_status & RIPV != 0 && !banks.any(|status| status & HERE == HERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_another_cpu_costs_nothing_here() {
        let elsewhere = |status, banks: &[u64]| is_elsewhere(status, banks.iter().copied());
        assert!(elsewhere(5, &[0, 0]));
        assert!(elsewhere(5, &[0x9000_0000_0000_0000]), "corrected");
        assert!(elsewhere(5, &[0xa000_0000_0000_0000]), "not enabled");
        assert!(elsewhere(5, &[0x3000_0000_0000_0000]), "nothing in it");
        assert!(!elsewhere(5, &[0, 0xb000_0000_0000_0000]), "its own");
        assert!(!elsewhere(4, &[0, 0]), "it cannot go on");
    }

    #[test]
    fn banks_are_four_registers_each() {
        assert!(banks(0x1c0a).eq((0..10).map(|n| Msr(0x401 + 4 * n))));
        assert_eq!(banks(0xffff_ff00).count(), 0);
    }
}
