//! Carries a decoded access out.

use super::memory::{Alu, Extend, MmioInsn, Op};
use super::stream::{mask, sign_extend};

/// The device behind an access. Sizes are in bytes; values use as many bits.
pub trait Bus {
    /// Reads the register.
    fn read(&mut self, size: u8) -> u64;
    /// Writes the register.
    fn write(&mut self, size: u8, value: u64);
}

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// Does what `insn` does, with registers in the order of their encoding. The
/// instruction pointer is left to the caller.
pub fn execute(insn: &MmioInsn, regs: &mut [u64; 16], rflags: &mut u64, bus: &mut impl Bus) {
    let size = insn.size;
    match insn.op {
        Op::Load { target, extend } => {
            let value = bus.read(size) & mask(size);
            target.set(
                regs,
                match extend {
                    Extend::Zero => value,
                    Extend::Sign => sign_extend(value, size),
                },
            );
        }
        Op::Store { value } => bus.write(size, value),
        Op::Exchange { target, value } => {
            let old = bus.read(size);
            bus.write(size, value);
            target.set(regs, old);
        }
        Op::Modify { alu, operand } => {
            let result = compute(alu, bus.read(size), operand, size, rflags);
            bus.write(size, result);
        }
        Op::Combine {
            alu,
            operand,
            target,
        } => {
            let result = compute(alu, bus.read(size), operand, size, rflags);
            target.set(regs, result);
        }
        Op::Compare { alu, operand } => {
            compute(alu, bus.read(size), operand, size, rflags);
        }
    }
}

/// Result of an operation; sets the flags as it does. AF, which logic
/// operations leave undefined, is cleared by them.
fn compute(alu: Alu, memory: u64, operand: u64, size: u8, rflags: &mut u64) -> u64 {
    let (a, b) = match alu {
        Alu::ReverseSub => (operand & mask(size), memory & mask(size)),
        _ => (memory & mask(size), operand & mask(size)),
    };
    let sign = mask(size) ^ mask(size) >> 1;
    let (result, carries) = match alu {
        Alu::And => (a & b, 0),
        Alu::Or => (a | b, 0),
        Alu::Xor => (a ^ b, 0),
        Alu::Sub | Alu::ReverseSub => {
            let result = a.wrapping_sub(b) & mask(size);
            let flags = flag(CF, a < b)
                | flag(AF, a & 15 < b & 15)
                | flag(OF, (a ^ b) & (a ^ result) & sign != 0);
            (result, flags)
        }
    };
    let even = (result as u8).count_ones().is_multiple_of(2);
    *rflags = *rflags & !(CF | PF | AF | ZF | SF | OF)
        | carries
        | flag(PF, even)
        | flag(ZF, result == 0)
        | flag(SF, result & sign != 0);
    result
}

const fn flag(bit: u64, set: bool) -> u64 {
    if set { bit } else { 0 }
}
