//! Instructions with a memory operand that is a device register.

use super::CpuMode;
use super::stream::{ModRm, Prefixes, Stream, mask, sign_extend};

/// A decoded access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioInsn {
    /// Length of the instruction, in bytes.
    pub len: u8,
    /// Bytes that it accesses: 1, 2, 4 or 8.
    pub size: u8,
    /// What it does with them.
    pub op: Op,
}

/// What is done with the device register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads it into a register.
    Load {
        /// Where the value goes.
        target: Target,
        /// How it is widened to the target's size.
        extend: Extend,
    },
    /// Writes this value to it.
    Store {
        /// The value; bits beyond the access are clear.
        value: u64,
    },
    /// Reads it into a register and writes the register's old value.
    Exchange {
        /// Where the value goes.
        target: Target,
        /// What is written.
        value: u64,
    },
    /// Reads it, computes, writes the result back and sets flags.
    Modify {
        /// The operation.
        alu: Alu,
        /// The other operand.
        operand: u64,
    },
    /// Reads it, computes, puts the result in a register and sets flags.
    Combine {
        /// The operation.
        alu: Alu,
        /// The other operand: the register's value.
        operand: u64,
        /// Where the result goes.
        target: Target,
    },
    /// Reads it, computes and only sets flags.
    Compare {
        /// The operation.
        alu: Alu,
        /// The other operand.
        operand: u64,
    },
}

/// How a loaded value is widened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// With zeros.
    Zero,
    /// With copies of its sign bit.
    Sign,
}

/// Operations on a memory value and another operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    /// Both.
    And,
    /// Either.
    Or,
    /// One of them.
    Xor,
    /// Memory minus operand.
    Sub,
    /// Operand minus memory.
    ReverseSub,
}

/// A general register, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Number as encoded: 0 is RAX, 4 is RSP.
    pub index: u8,
    /// Bytes that are written: 1, 2, 4 (clears the upper half) or 8.
    pub size: u8,
    /// True for AH, CH, DH and BH.
    pub high: bool,
}

impl Target {
    /// The register with this encoding.
    const fn new(number: u8, size: u8, prefixes: Prefixes) -> Self {
        let high = size == 1 && !prefixes.has_rex() && number >= 4;
        Self {
            index: if high { number & 3 } else { number & 15 },
            size,
            high,
        }
    }

    /// Its value; bits beyond its size are clear.
    #[must_use]
    pub fn get(self, regs: &[u64; 16]) -> u64 {
        let whole = regs.get(usize::from(self.index)).copied().unwrap_or(0);
        whole >> self.shift() & mask(self.size)
    }

    /// Writes it as an instruction does: parts leave the rest as it is, except
    /// that 32 bits clear the upper half.
    pub fn set(self, regs: &mut [u64; 16], value: u64) {
        let written = match self.size {
            4 | 8 => u64::MAX,
            size => mask(size) << self.shift(),
        };
        if let Some(whole) = regs.get_mut(usize::from(self.index)) {
            *whole = *whole & !written | (value & mask(self.size)) << self.shift();
        }
    }

    const fn shift(self) -> u32 {
        if self.high { 8 } else { 0 }
    }
}

/// Decodes the access at the start of `bytes`.
///
/// `regs` are the general registers in the order of their encoding. `None` for
/// instructions that are not among those of [`Op`], have no memory operand, or
/// do not end within `bytes`.
#[must_use]
pub fn decode(bytes: &[u8], mode: CpuMode, regs: &[u64; 16]) -> Option<MmioInsn> {
    match mode {
        CpuMode::Bits64 => plain_move(bytes, regs),
        _ => None,
    }
    .or_else(|| decode_any(bytes, mode, regs))
}

/// MOV between a register of 32 or 64 bits and memory, as compilers make it of a driver's
/// access in 64-bit code. `None` for all else.
fn plain_move(bytes: &[u8], regs: &[u64; 16]) -> Option<MmioInsn> {
    let (rex, rest) = match bytes {
        [rex @ 0x40..=0x4f, rest @ ..] => (*rex, rest),
        _ => (0, bytes),
    };
    let &[opcode @ (0x89 | 0x8b), mod_rm, sib, ..] = rest else {
        return None;
    };
    let has_sib = mod_rm & 7 == 4;
    let base = if has_sib { sib & 7 } else { mod_rm & 7 };
    let displacement = match (mod_rm >> 6, base) {
        (3, _) => return None,
        (0, 5) | (2, _) => 4,
        (1, _) => 1,
        _ => 0,
    };
    let len = u8::from(rex != 0) + 2 + u8::from(has_sib) + displacement;
    if usize::from(len) > bytes.len() {
        return None;
    }
    let size = if rex & 8 != 0 { 8 } else { 4 };
    let target = Target {
        index: mod_rm >> 3 & 7 | (rex & 4) << 1,
        size,
        high: false,
    };
    let op = match opcode {
        0x8b => load(target, Extend::Zero),
        _ => Op::Store {
            value: target.get(regs),
        },
    };
    Some(MmioInsn { len, size, op })
}

/// The same, one part of the instruction after the other.
pub(super) fn decode_any(bytes: &[u8], mode: CpuMode, regs: &[u64; 16]) -> Option<MmioInsn> {
    let mut stream = Stream::new(bytes, mode);
    let (prefixes, opcode) = stream.prefixes()?;
    let mut decoder = Decoder {
        stream,
        prefixes,
        regs,
    };
    let (size, op) = match opcode {
        0x0f => decoder.two_byte()?,
        _ => decoder.one_byte(opcode)?,
    };
    Some(MmioInsn {
        len: decoder.stream.used(),
        size,
        op,
    })
}

struct Decoder<'a> {
    stream: Stream<'a>,
    prefixes: Prefixes,
    regs: &'a [u64; 16],
}

impl Decoder<'_> {
    /// Operand size of an opcode whose lowest bit says "not a byte".
    fn size(&self, opcode: u8) -> u8 {
        match opcode & 1 {
            0 => 1,
            _ => self.prefixes.operand_size(self.stream.mode),
        }
    }

    fn memory_operand(&mut self) -> Option<ModRm> {
        let found = self.stream.mod_rm(self.prefixes)?;
        found.memory.then_some(found)
    }

    fn target(&self, number: u8, size: u8) -> Target {
        Target::new(number, size, self.prefixes)
    }

    fn one_byte(&mut self, opcode: u8) -> Option<(u8, Op)> {
        let size = self.size(opcode);
        let op = match opcode {
            0xa0..=0xa3 => self.offset(opcode, size)?,
            0x80 | 0x81 | 0x83 | 0xc6 | 0xc7 | 0xf6 | 0xf7 => self.immediate(opcode, size)?,
            0x63 if self.stream.mode == CpuMode::Bits64 => {
                let reg = self.memory_operand()?.reg;
                let target = self.target(reg, self.size(1));
                return Some((target.size.min(4), load(target, Extend::Sign)));
            }
            _ => {
                let (shape, alu) = register_form(opcode)?;
                let reg = self.memory_operand()?.reg;
                let target = self.target(reg, size);
                let value = target.get(self.regs);
                match shape {
                    Shape::Load => load(target, Extend::Zero),
                    Shape::Store => Op::Store { value },
                    Shape::Exchange => Op::Exchange { target, value },
                    Shape::Modify => Op::Modify {
                        alu,
                        operand: value,
                    },
                    Shape::Combine => Op::Combine {
                        alu,
                        operand: value,
                        target,
                    },
                    Shape::Compare => Op::Compare {
                        alu,
                        operand: value,
                    },
                }
            }
        };
        Some((size, op))
    }

    /// MOV between the accumulator and an absolute address.
    fn offset(&mut self, opcode: u8, size: u8) -> Option<Op> {
        let address = self.prefixes.address_size(self.stream.mode);
        self.stream.number(address)?;
        let target = self.target(0, size);
        Some(match opcode {
            0xa0 | 0xa1 => load(target, Extend::Zero),
            _ => Op::Store {
                value: target.get(self.regs),
            },
        })
    }

    /// Opcodes whose reg field chooses the operation on an immediate.
    fn immediate(&mut self, opcode: u8, size: u8) -> Option<Op> {
        let group = self.memory_operand()?.reg & 7;
        let immediate = match opcode {
            0x83 => sign_extend(self.stream.number(1)?, 1),
            _ => self.stream.immediate(size)?,
        };
        let operand = immediate & mask(size);
        Some(match (opcode, group) {
            (0xc6 | 0xc7, 0) => Op::Store { value: operand },
            (0xf6 | 0xf7, 0 | 1) => Op::Compare {
                alu: Alu::And,
                operand,
            },
            (0x80..=0x83, 7) => Op::Compare {
                alu: Alu::Sub,
                operand,
            },
            (0x80..=0x83, 1) => Op::Modify {
                alu: Alu::Or,
                operand,
            },
            (0x80..=0x83, 4) => Op::Modify {
                alu: Alu::And,
                operand,
            },
            (0x80..=0x83, 6) => Op::Modify {
                alu: Alu::Xor,
                operand,
            },
            _ => return None,
        })
    }

    fn two_byte(&mut self) -> Option<(u8, Op)> {
        let opcode = self.stream.byte()?;
        let extend = match opcode {
            0xb6 | 0xb7 => Extend::Zero,
            0xbe | 0xbf => Extend::Sign,
            0xc3 => {
                // MOVNTI
                let reg = self.memory_operand()?.reg;
                let size = self.size(1).max(4);
                let value = self.target(reg, size).get(self.regs);
                return Some((size, Op::Store { value }));
            }
            _ => return None,
        };
        let reg = self.memory_operand()?.reg;
        let target = self.target(reg, self.size(1));
        Some((1 + (opcode & 1), load(target, extend)))
    }
}

const fn load(target: Target, extend: Extend) -> Op {
    Op::Load { target, extend }
}

/// What an instruction between memory and the register in its reg field does.
enum Shape {
    Load,
    Store,
    Exchange,
    Modify,
    Combine,
    Compare,
}

/// Shape of a one-byte opcode; moves and exchanges have no use for the second.
fn register_form(opcode: u8) -> Option<(Shape, Alu)> {
    Some(match opcode {
        0x88 | 0x89 => (Shape::Store, Alu::Or),
        0x8a | 0x8b => (Shape::Load, Alu::Or),
        0x86 | 0x87 => (Shape::Exchange, Alu::Or),
        0x84 | 0x85 => (Shape::Compare, Alu::And),
        0x38 | 0x39 => (Shape::Compare, Alu::Sub),
        0x3a | 0x3b => (Shape::Compare, Alu::ReverseSub),
        0x08 | 0x09 => (Shape::Modify, Alu::Or),
        0x0a | 0x0b => (Shape::Combine, Alu::Or),
        0x20 | 0x21 => (Shape::Modify, Alu::And),
        0x22 | 0x23 => (Shape::Combine, Alu::And),
        0x30 | 0x31 => (Shape::Modify, Alu::Xor),
        0x32 | 0x33 => (Shape::Combine, Alu::Xor),
        _ => return None,
    })
}
