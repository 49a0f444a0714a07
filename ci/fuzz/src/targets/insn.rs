//! Guests' instructions, against a second decoder.

use cellvisor_core::insn::{Bus, CpuMode, MAX_LEN, Op, control_move, decode, execute, length};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess};

struct Register(u64);

impl Bus for Register {
    fn read(&mut self, _size: u8) -> u64 {
        self.0
    }

    fn write(&mut self, size: u8, value: u64) {
        assert!(
            size == 8 || value >> (8 * size) == 0,
            "more than {size} bytes"
        );
    }
}

/// Lengths and accesses are those of the second decoder, where that knows the
/// instruction; executing it changes no flags but the status ones.
pub(crate) fn agree(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let (mode, bits) = match first % 3 {
        0 => (CpuMode::Bits16, 16),
        1 => (CpuMode::Bits32, 32),
        _ => (CpuMode::Bits64, 64),
    };
    let (second, accesses) = second_opinion(bytes, bits);
    let fits = |len: u8| usize::from(len) <= bytes.len().min(MAX_LEN);
    if let Some(len) = length(bytes, mode) {
        assert!(fits(len));
        assert!(
            second == 0 || usize::from(len) == second,
            "{mode:?} {bytes:x?}"
        );
    }
    let _ = control_move(bytes, mode);
    let mut regs = [0x1122_3344_5566_7788; 16];
    let Some(insn) = decode(bytes, mode, &regs) else {
        return;
    };
    assert!(fits(insn.len));
    if second != 0 {
        assert_eq!(usize::from(insn.len), second, "{mode:?} {bytes:x?}");
        let access = match insn.op {
            Op::Load { .. } | Op::Combine { .. } | Op::Compare { .. } => OpAccess::Read,
            Op::Store { .. } => OpAccess::Write,
            Op::Exchange { .. } | Op::Modify { .. } => OpAccess::ReadWrite,
        };
        let wanted = [(usize::from(insn.size), access)];
        assert_eq!(accesses, wanted, "{mode:?} {bytes:x?}");
    }
    let mut rflags = 2;
    execute(
        &insn,
        &mut regs,
        &mut rflags,
        &mut Register(0xa5a5_a5a5_a5a5_a5a5),
    );
    assert_eq!(rflags & !0x8d5, 2);
}

fn second_opinion(bytes: &[u8], bits: u32) -> (usize, Vec<(usize, OpAccess)>) {
    let insn = Decoder::new(bits, bytes, DecoderOptions::NONE).decode();
    if insn.is_invalid() {
        return (0, Vec::new());
    }
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&insn).used_memory().iter();
    let accesses = used.map(|memory| (memory.memory_size().size(), memory.access()));
    (insn.len(), accesses.collect())
}
