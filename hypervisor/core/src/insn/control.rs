//! Lengths of intercepted instructions and the operands of control-register
//! moves, for AMD-V without next-RIP save and decode assists.

use super::CpuMode;
use super::stream::{Prefixes, Stream};

/// An instruction that reads or writes a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMove {
    /// MOV to a control register.
    Write {
        /// Its number.
        cr: u8,
        /// Number of the general register with the value, as encoded.
        general: u8,
        /// Length of the instruction, in bytes.
        len: u8,
    },
    /// MOV from a control register.
    Read {
        /// Its number.
        cr: u8,
        /// Number of the general register that receives it.
        general: u8,
        /// Length of the instruction, in bytes.
        len: u8,
    },
    /// CLTS: clears CR0.TS.
    Clts {
        /// Length of the instruction, in bytes.
        len: u8,
    },
    /// LMSW from a register: its bits 3:0 go to CR0, which does not clear PE.
    Lmsw {
        /// Number of the general register with the value.
        general: u8,
        /// Length of the instruction, in bytes.
        len: u8,
    },
}

/// Decodes a control-register access at the start of `bytes`. `None` for other
/// instructions, and for LMSW from memory, which no system uses.
#[must_use]
pub fn control_move(bytes: &[u8], mode: CpuMode) -> Option<ControlMove> {
    let mut stream = Stream::new(bytes, mode);
    let (prefixes, opcode) = stream.prefixes()?;
    if opcode != 0x0f {
        return None;
    }
    let opcode = stream.byte()?;
    if opcode == 0x06 {
        return Some(ControlMove::Clts { len: stream.used() });
    }
    if !matches!(opcode, 0x01 | 0x20 | 0x22) {
        return None;
    }
    let operands = match opcode {
        0x01 => stream.mod_rm(prefixes)?,
        _ => stream.mod_rm_register(prefixes)?,
    };
    let (cr, general, len) = (operands.reg, operands.rm, stream.used());
    match opcode {
        0x22 => Some(ControlMove::Write { cr, general, len }),
        0x20 => Some(ControlMove::Read { cr, general, len }),
        _ if cr & 7 == 6 && !operands.memory => Some(ControlMove::Lmsw { general, len }),
        _ => None,
    }
}

/// Length in bytes of the intercepted instruction at the start of `bytes`;
/// `None` for those that a monitor does not intercept.
#[must_use]
pub fn length(bytes: &[u8], mode: CpuMode) -> Option<u8> {
    // CPUID, RDMSR and WRMSR come most often, and without prefixes.
    if let [0x0f, 0xa2 | 0x30 | 0x32, ..] = bytes {
        return Some(2);
    }
    let mut stream = Stream::new(bytes, mode);
    let (prefixes, opcode) = stream.prefixes()?;
    match opcode {
        // INS, OUTS, PAUSE (NOP), PUSHF, POPF, INT3, IRET, INT1, HLT; IN and
        // OUT by DX.
        0x6c..=0x6f | 0x90 | 0x9c | 0x9d | 0xcc | 0xcf | 0xf1 | 0xf4 | 0xec..=0xef => {}
        // INT n; IN and OUT with an immediate port.
        0xcd | 0xe4..=0xe7 => {
            stream.byte()?;
        }
        0x0f => two_byte(&mut stream, prefixes)?,
        _ => return None,
    }
    Some(stream.used())
}

fn two_byte(stream: &mut Stream<'_>, prefixes: Prefixes) -> Option<()> {
    match stream.byte()? {
        // CLTS, INVD, WBINVD, WRMSR, RDTSC, RDMSR, RDPMC, CPUID, RSM.
        0x06 | 0x08 | 0x09 | 0x30..=0x33 | 0xa2 | 0xaa => {}
        // Descriptor-table registers, INVLPG, LMSW, XSETBV, VMMCALL, RDTSCP,
        // MONITOR, MWAIT, and SVM's and VMX's own: one ModRM tells them apart.
        0x00 | 0x01 => {
            stream.mod_rm(prefixes)?;
        }
        // MOV to and from control and debug registers.
        0x20..=0x23 => {
            stream.mod_rm_register(prefixes)?;
        }
        // VMREAD, VMWRITE. With a prefix these are SSE4a's EXTRQ and INSERTQ,
        // which have immediates and are never intercepted (APM 4).
        0x78 | 0x79 if !prefixes.selects_opcode() => {
            stream.mod_rm(prefixes)?;
        }
        // RDRAND, XSAVES, VMPTRLD and others.
        0xc7 => {
            stream.mod_rm(prefixes)?;
        }
        // INVEPT, INVVPID, INVPCID.
        0x38 if matches!(stream.byte()?, 0x80..=0x82) => {
            stream.mod_rm(prefixes)?;
        }
        _ => return None,
    }
    Some(())
}
