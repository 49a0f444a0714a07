//! Prefixes, ModRM and immediates.

use super::{CpuMode, MAX_LEN};

/// Reads an instruction byte by byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream<'a> {
    bytes: &'a [u8],
    used: u8,
    pub(super) mode: CpuMode,
}

/// Prefixes that matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefixes {
    /// 0, or the REX prefix (40H to 4FH).
    rex: u8,
    operand: bool,
    address: bool,
    /// F2 or F3.
    pub(super) repeat: Option<u8>,
}

/// A ModRM byte with what REX adds to it. SIB and displacement are consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModRm {
    /// The r/m operand is memory.
    pub(super) memory: bool,
    /// Number in the reg field.
    pub(super) reg: u8,
    /// Number in the r/m field; a register unless `memory`.
    pub(super) rm: u8,
}

impl Prefixes {
    pub(super) const fn has_rex(self) -> bool {
        self.rex != 0
    }

    const fn wide(self) -> bool {
        self.rex & 8 != 0
    }

    /// One of 66, F2, F3 is there, which make other instructions of some
    /// two-byte opcodes ("mandatory prefixes").
    pub(super) const fn selects_opcode(self) -> bool {
        self.operand || self.repeat.is_some()
    }

    /// Operand size in bytes of opcodes that are not byte-sized.
    pub(super) const fn operand_size(self, mode: CpuMode) -> u8 {
        match (self.wide(), mode, self.operand) {
            (true, ..) => 8,
            (_, CpuMode::Bits16, false) | (_, CpuMode::Bits32 | CpuMode::Bits64, true) => 2,
            _ => 4,
        }
    }

    /// Address size in bytes.
    pub(super) const fn address_size(self, mode: CpuMode) -> u8 {
        match (mode, self.address) {
            (CpuMode::Bits64, false) => 8,
            (CpuMode::Bits16, false) | (CpuMode::Bits32, true) => 2,
            _ => 4,
        }
    }
}

impl<'a> Stream<'a> {
    pub(super) fn new(bytes: &'a [u8], mode: CpuMode) -> Self {
        let bytes = bytes.get(..MAX_LEN).unwrap_or(bytes);
        Self {
            bytes,
            used: 0,
            mode,
        }
    }

    /// Bytes consumed so far.
    pub(super) const fn used(&self) -> u8 {
        self.used
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(usize::from(self.used))?;
        self.used += 1;
        Some(byte)
    }

    /// A little-endian number of `size` bytes.
    pub(super) fn number(&mut self, size: u8) -> Option<u64> {
        let mut value = 0;
        for i in 0..size {
            value |= u64::from(self.byte()?) << (8 * i);
        }
        Some(value)
    }

    /// An immediate for operands of `size` bytes, sign-extended to 64 bits; it
    /// has at most four bytes.
    pub(super) fn immediate(&mut self, size: u8) -> Option<u64> {
        let size = size.min(4);
        let value = self.number(size)?;
        Some(sign_extend(value, size))
    }

    /// Consumes the prefixes and the byte after them, which it returns.
    pub(super) fn prefixes(&mut self) -> Option<(Prefixes, u8)> {
        let mut found = Prefixes::default();
        loop {
            let byte = self.byte()?;
            // A REX prefix counts only directly before the opcode.
            let rex = core::mem::take(&mut found.rex);
            match byte {
                0x66 => found.operand = true,
                0x67 => found.address = true,
                0xf2 | 0xf3 => found.repeat = Some(byte),
                // Segments and LOCK: no effect on what is accessed here.
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 => {}
                0x40..=0x4f if self.mode == CpuMode::Bits64 => found.rex = byte,
                opcode => {
                    found.rex = rex;
                    return Some((found, opcode));
                }
            }
        }
    }

    /// Consumes ModRM, SIB and displacement.
    pub(super) fn mod_rm(&mut self, prefixes: Prefixes) -> Option<ModRm> {
        let byte = self.byte()?;
        let (mode, rm) = (byte >> 6, byte & 7);
        let memory = mode != 3;
        if memory {
            let displacement = match prefixes.address_size(self.mode) {
                2 => displacement_16(mode, rm),
                _ => self.displacement_32(mode, rm)?,
            };
            self.number(displacement)?;
        }
        Some(ModRm {
            memory,
            reg: byte >> 3 & 7 | (prefixes.rex & 4) << 1,
            rm: rm | (prefixes.rex & 1) << 3,
        })
    }

    /// Consumes the ModRM byte of a move to or from a control or debug register,
    /// whose r/m operand is a register whatever the mod field says.
    pub(super) fn mod_rm_register(&mut self, prefixes: Prefixes) -> Option<ModRm> {
        let byte = self.byte()?;
        Some(ModRm {
            memory: false,
            reg: byte >> 3 & 7 | (prefixes.rex & 4) << 1,
            rm: byte & 7 | (prefixes.rex & 1) << 3,
        })
    }

    /// Size of the displacement with 32-bit and 64-bit addresses, in bytes;
    /// consumes the SIB byte.
    fn displacement_32(&mut self, mode: u8, rm: u8) -> Option<u8> {
        let base = if rm == 4 { self.byte()? & 7 } else { rm };
        Some(match (mode, base) {
            // No base; in 64-bit mode, without SIB, relative to RIP.
            (0, 5) | (2, _) => 4,
            (1, _) => 1,
            _ => 0,
        })
    }
}

/// Size of the displacement with 16-bit addresses, in bytes.
const fn displacement_16(mode: u8, rm: u8) -> u8 {
    match (mode, rm) {
        (0, 6) | (2, _) => 2,
        (1, _) => 1,
        _ => 0,
    }
}

/// All bits of an operand of `size` bytes.
pub(super) const fn mask(size: u8) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// Extends a signed number of `size` bytes to 64 bits.
pub(super) const fn sign_extend(value: u64, size: u8) -> u64 {
    match size {
        1 => value as u8 as i8 as u64,
        2 => value as u16 as i16 as u64,
        4 => value as u32 as i32 as u64,
        _ => value,
    }
}
