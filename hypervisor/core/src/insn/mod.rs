//! Instruction decoding, as far as a monitor without device emulation needs it:
//! accesses to the few device pages that are guarded, and the lengths of
//! intercepted instructions on CPUs that do not tell.
//!
//! Bytes come from the guest and may be anything, also other than what the CPU
//! executed; decoding is total, bounded and reads the bytes given only.
//!
//! Spec: SDM 2, "Instruction Format" and the opcode maps of its appendix.

mod control;
mod execute;
mod memory;
mod stream;

pub use control::{ControlMove, control_move, length};
pub use execute::{Bus, execute};
pub use memory::{Alu, Extend, MmioInsn, Op, Target, decode};

/// Longest instruction, in bytes.
pub const MAX_LEN: usize = 15;

/// Default sizes of operands and addresses, from CS and EFER.LMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// Real mode, virtual-8086 mode, 16-bit segments.
    Bits16,
    /// 32-bit segments, compatibility mode among them.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CpuMode {
    /// The mode that CS's L and D flags and EFER.LMA make.
    #[must_use]
    pub const fn from_flags(long_mode_active: bool, cs_long: bool, cs_default: bool) -> Self {
        match (long_mode_active && cs_long, cs_default) {
            (true, _) => Self::Bits64,
            (false, true) => Self::Bits32,
            (false, false) => Self::Bits16,
        }
    }
}

#[cfg(test)]
mod tests;
