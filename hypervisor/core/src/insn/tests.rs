//! Encodings as assemblers make them, and anything at all.

use super::*;
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess};
use proptest::prelude::*;
use std::vec::Vec;

const REGS: [u64; 16] = [
    0x1122_3344_5566_7788,
    0x0101_0101_0202_0202,
    0x8000_0000_9000_0001,
    3,
    0x4444,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    0xffff_eeee_dddd_cccc,
];

fn decoded(mode: CpuMode, bytes: &[u8]) -> MmioInsn {
    let insn = decode(bytes, mode, &REGS).expect("decodes");
    assert_eq!(usize::from(insn.len), bytes.len());
    insn
}

fn whole(index: u8, size: u8) -> Target {
    Target {
        index,
        size,
        high: false,
    }
}

/// A device register that remembers what was written.
struct Register {
    value: u64,
    written: Option<(u8, u64)>,
}

impl Bus for Register {
    fn read(&mut self, _size: u8) -> u64 {
        self.value
    }

    fn write(&mut self, size: u8, value: u64) {
        self.written = Some((size, value));
    }
}

/// Decodes and executes; returns registers, flags and what was written.
fn run(mode: CpuMode, bytes: &[u8], value: u64) -> ([u64; 16], u64, Option<(u8, u64)>) {
    let (mut regs, mut rflags) = (REGS, 0x202);
    let mut bus = Register {
        value,
        written: None,
    };
    execute(&decoded(mode, bytes), &mut regs, &mut rflags, &mut bus);
    (regs, rflags, bus.written)
}

#[test]
fn stores_of_all_sizes() {
    let store = |bytes: &[u8]| {
        let insn = decoded(CpuMode::Bits64, bytes);
        let Op::Store { value } = insn.op else {
            unreachable!("{insn:?}")
        };
        (insn.size, value)
    };
    assert_eq!(store(&[0x89, 0x10]), (4, 0x9000_0001), "mov [rax], edx");
    assert_eq!(store(&[0x66, 0x89, 0x10]), (2, 1), "mov [rax], dx");
    assert_eq!(store(&[0x48, 0x89, 0x10]), (8, REGS[2]), "mov [rax], rdx");
    assert_eq!(store(&[0x88, 0x20]), (1, 0x77), "mov [rax], ah");
    assert_eq!(store(&[0x40, 0x88, 0x20]), (1, 0x44), "mov [rax], spl");
    assert_eq!(
        store(&[0x44, 0x89, 0x38]),
        (4, 0xdddd_cccc),
        "mov [rax], r15d"
    );
    assert_eq!(store(&[0xc6, 0x00, 0xff]), (1, 0xff));
    let minus_two = [0x48, 0xc7, 0x00, 0xfe, 0xff, 0xff, 0xff];
    assert_eq!(store(&minus_two), (8, !1), "sign-extended");
    assert_eq!(store(&[0x66, 0xc7, 0x00, 0x34, 0x12]), (2, 0x1234));
    assert_eq!(store(&[0x0f, 0xc3, 0x10]), (4, 0x9000_0001), "movnti");
    let moffs = [0xa3, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0];
    assert_eq!(store(&moffs), (4, 0x5566_7788), "mov [0xfee00000], eax");
}

#[test]
fn all_addressing_forms_have_the_right_length() {
    for bytes in [
        &[0x8b, 0x00][..],                     // [rax]
        &[0x8b, 0x40, 0x10],                   // [rax + 0x10]
        &[0x8b, 0x80, 0, 3, 0, 0],             // [rax + 0x300]
        &[0x8b, 0x05, 0, 0, 0, 0],             // [rip + 0]
        &[0x8b, 0x04, 0x24],                   // [rsp]
        &[0x8b, 0x44, 0x24, 8],                // [rsp + 8]
        &[0x8b, 0x04, 0x25, 0, 3, 0x5f, 0xff], // [0xffffffffff5f0300]
        &[0x41, 0x8b, 0x04, 0x24],             // [r12]
        &[0x41, 0x8b, 0x45, 0],                // [r13 + 0]
        &[0x3e, 0x8b, 0x00],                   // ds: [rax]
        &[0x67, 0x8b, 0x00],                   // [eax]
        &[0xa1, 1, 2, 3, 4, 5, 6, 7, 8],       // moffs64
        &[0x67, 0xa1, 1, 2, 3, 4],             // moffs32
    ] {
        let insn = decoded(CpuMode::Bits64, bytes);
        let (target, extend) = (whole(0, 4), Extend::Zero);
        assert_eq!((insn.size, insn.op), (4, Op::Load { target, extend }));
    }
    for bytes in [
        &[0x8b, 0x07][..],         // [bx]
        &[0x8b, 0x47, 0x10],       // [bx + 0x10]
        &[0x8b, 0x06, 0, 3],       // [0x300]
        &[0x67, 0x8b, 0x04, 0x24], // [esp]
        &[0xa1, 0, 3],             // moffs16
    ] {
        assert_eq!(decoded(CpuMode::Bits16, bytes).size, 2);
    }
    assert_eq!(decoded(CpuMode::Bits32, &[0x67, 0x8b, 0x47, 1]).size, 4);
}

#[test]
fn loads_write_registers_as_the_cpu_does() {
    let rax = |bytes: &[u8]| run(CpuMode::Bits64, bytes, 0xffff_ffff_8765_43f1).0[0];
    assert_eq!(rax(&[0x8a, 0x03]), 0x1122_3344_5566_77f1, "al");
    assert_eq!(rax(&[0x8a, 0x23]), 0x1122_3344_5566_f188, "ah");
    assert_eq!(rax(&[0x66, 0x8b, 0x03]), 0x1122_3344_5566_43f1, "ax");
    assert_eq!(rax(&[0x8b, 0x03]), 0x8765_43f1, "eax clears the rest");
    assert_eq!(rax(&[0x48, 0x8b, 0x03]), 0xffff_ffff_8765_43f1, "rax");
    assert_eq!(rax(&[0x0f, 0xb6, 0x03]), 0xf1, "movzx eax, byte");
    assert_eq!(rax(&[0x0f, 0xbe, 0x03]), 0xffff_fff1, "movsx eax, byte");
    assert_eq!(rax(&[0x48, 0x0f, 0xbe, 0x03]), !0xe, "movsx rax, byte");
    assert_eq!(rax(&[0x48, 0x0f, 0xbf, 0x03]), 0x43f1, "movsx rax, word");
    assert_eq!(
        rax(&[0x66, 0x0f, 0xbe, 0x03]),
        0x1122_3344_5566_fff1,
        "movsx ax, byte"
    );
    assert_eq!(
        rax(&[0x48, 0x63, 0x03]),
        0xffff_ffff_8765_43f1,
        "movsxd rax, dword"
    );
    assert_eq!(rax(&[0x63, 0x03]), 0x8765_43f1, "movsxd eax, dword");
}

#[test]
fn exchange_reads_and_writes() {
    // xchg [rbx], ecx: how Linux writes some APIC registers.
    let (regs, _, written) = run(CpuMode::Bits64, &[0x87, 0x0b], 0x77);
    assert_eq!((regs[1], written), (0x77, Some((4, 0x0202_0202))));
}

#[test]
fn arithmetic_sets_results_and_flags() {
    let (_, flags, written) = run(CpuMode::Bits64, &[0x81, 0x23, 0, 0, 0, 0x80], 0x8000_0001);
    assert_eq!(written, Some((4, 0x8000_0000)), "and dword [rbx], imm");
    assert_eq!(flags, 0x202 | 0x80 | 4, "SF, PF");

    let (_, flags, written) = run(CpuMode::Bits64, &[0x83, 0x3b, 0xff], 0xffff_ffff);
    assert_eq!(written, None, "cmp dword [rbx], -1");
    assert_eq!(flags, 0x202 | 0x40 | 4, "ZF, PF");

    let (regs, flags, _) = run(CpuMode::Bits64, &[0x3a, 0x03], 0x89);
    assert_eq!(regs, REGS, "cmp al, [rbx]");
    assert_eq!(
        flags,
        0x202 | 1 | 0x10 | 0x80 | 4,
        "88H - 89H = FFH borrows"
    );

    let (_, flags, _) = run(CpuMode::Bits64, &[0x80, 0x3b, 1], 0x80);
    assert_eq!(flags, 0x202 | 0x10 | 0x800, "80H - 1 overflows to 7FH");

    let (regs, ..) = run(CpuMode::Bits64, &[0x33, 0x03], 0x5566_7788);
    assert_eq!(regs[0], 0, "xor eax, [rbx] clears the upper half");
}

/// SDM 2, "Opcode Map": what each opcode does between [rbx], which reads A5H, and
/// AL, EAX or an immediate of 0FH. Results and flags by hand.
#[test]
fn every_operation_of_the_opcode_map() {
    const CF: u64 = 1;
    const PF: u64 = 4;
    const AF: u64 = 0x10;
    const ZF: u64 = 0x40;
    const SF: u64 = 0x80;
    let regs = |al: u64| {
        let mut regs = REGS;
        regs[0] = al;
        regs
    };
    // AL is 0FH; the memory byte A5H.
    let run = |bytes: &[u8]| {
        let insn = decode(bytes, CpuMode::Bits64, &regs(0x0f)).expect("decodes");
        assert_eq!(usize::from(insn.len), bytes.len());
        let (mut regs, mut rflags) = (regs(0x0f), 2);
        let mut bus = Register {
            value: 0xa5,
            written: None,
        };
        execute(&insn, &mut regs, &mut rflags, &mut bus);
        (regs[0], bus.written, rflags & !2)
    };
    let memory = |value| Some((1, value));
    for (bytes, al, written, flags, name) in [
        (
            &[0x08, 0x03][..],
            0x0f,
            memory(0xaf),
            SF | PF,
            "or [rbx], al",
        ),
        (&[0x20, 0x03], 0x0f, memory(0x05), PF, "and [rbx], al"),
        (&[0x30, 0x03], 0x0f, memory(0xaa), SF | PF, "xor [rbx], al"),
        (&[0x0a, 0x03], 0xaf, None, SF | PF, "or al, [rbx]"),
        (&[0x22, 0x03], 0x05, None, PF, "and al, [rbx]"),
        (&[0x32, 0x03], 0xaa, None, SF | PF, "xor al, [rbx]"),
        // A5H - 0FH = 96H borrows from the upper digit.
        (&[0x38, 0x03], 0x0f, None, AF | SF | PF, "cmp [rbx], al"),
        // 0FH - A5H = 6AH borrows.
        (&[0x3a, 0x03], 0x0f, None, CF | PF, "cmp al, [rbx]"),
        (&[0x84, 0x03], 0x0f, None, PF, "test [rbx], al"),
        (&[0x86, 0x03], 0xa5, memory(0x0f), 0, "xchg [rbx], al"),
        (&[0x88, 0x03], 0x0f, memory(0x0f), 0, "mov [rbx], al"),
        (&[0x8a, 0x03], 0xa5, None, 0, "mov al, [rbx]"),
        (&[0x80, 0x0b, 0x0f], 0x0f, memory(0xaf), SF | PF, "or, imm"),
        (&[0x80, 0x23, 0x0f], 0x0f, memory(0x05), PF, "and, imm"),
        (&[0x80, 0x33, 0x0f], 0x0f, memory(0xaa), SF | PF, "xor, imm"),
        (&[0x80, 0x3b, 0xa5], 0x0f, None, ZF | PF, "cmp, imm"),
        (&[0xf6, 0x03, 0x5a], 0x0f, None, ZF | PF, "test, imm"),
        (
            &[0xf6, 0x0b, 0x80],
            0x0f,
            None,
            SF,
            "test, imm, by its alias",
        ),
        (&[0xc6, 0x03, 0x77], 0x0f, memory(0x77), 0, "mov, imm"),
    ] {
        assert_eq!(run(bytes), (al, written, flags), "{name}");
    }
    // The same with four bytes: bit 0 of the opcode.
    for opcode in [
        0x09, 0x21, 0x31, 0x0b, 0x23, 0x33, 0x39, 0x3b, 0x85, 0x87, 0x89, 0x8b,
    ] {
        assert_eq!(decoded(CpuMode::Bits64, &[opcode, 0x03]).size, 4);
    }
}

#[test]
fn flags_of_subtraction_and_what_they_leave_alone() {
    // cmp [rbx], al with AL = `b`; all flags set before.
    let cmp = |a: u64, b: u64| {
        let mut regs = [0; 16];
        regs[0] = b;
        let insn = decode(&[0x38, 0x03], CpuMode::Bits64, &regs).expect("decodes");
        let mut rflags = 0xfff;
        let mut bus = Register {
            value: a,
            written: None,
        };
        execute(&insn, &mut regs, &mut rflags, &mut bus);
        rflags
    };
    // What is no status flag (reserved, TF, IF, DF) stays.
    const REST: u64 = 0xfff & !0x8d5;
    assert_eq!(cmp(5, 3), REST, "2");
    assert_eq!(cmp(3, 3), REST | 0x44, "ZF, PF");
    assert_eq!(cmp(3, 5), REST | 0x91, "FEH: CF, AF, SF");
    assert_eq!(cmp(0x80, 1), REST | 0x810, "7FH: OF, AF");
    assert_eq!(cmp(0x7f, 0xff), REST | 0x881, "80H: OF, SF, CF");
    assert_eq!(cmp(0x40, 0x30), REST, "10H");
}

#[test]
fn modes_follow_the_code_segment() {
    for (active, long, default, mode) in [
        (true, true, false, CpuMode::Bits64),
        (true, false, true, CpuMode::Bits32),
        (true, false, false, CpuMode::Bits16),
        (false, true, true, CpuMode::Bits32),
        (false, true, false, CpuMode::Bits16),
        (false, false, true, CpuMode::Bits32),
        (false, false, false, CpuMode::Bits16),
    ] {
        assert_eq!(CpuMode::from_flags(active, long, default), mode);
    }
}

#[test]
fn what_is_no_such_access_is_refused() {
    for bytes in [
        &[0x89, 0xc3][..],      // mov ebx, eax: no memory
        &[0xff, 0x10],          // call [rax]
        &[0x80, 0x00, 1],       // add byte [rax], 1
        &[0xf3, 0xa5],          // rep movsd
        &[0x0f, 0x10, 0x00],    // movups xmm0, [rax]
        &[0x8b],                // cut off
        &[0x8b, 0x80, 0, 0, 0], // cut off in the displacement
        &[],
    ] {
        assert_eq!(decode(bytes, CpuMode::Bits64, &REGS), None, "{bytes:x?}");
    }
    let mut long = [0x66; 16];
    long[14..].copy_from_slice(&[0x8b, 0x00]);
    assert_eq!(decode(&long, CpuMode::Bits64, &REGS), None, "16 bytes");
    assert_eq!(decode(&[0x63, 0x00], CpuMode::Bits32, &REGS), None, "arpl");
}

#[test]
fn rex_counts_only_before_the_opcode() {
    let insn = decoded(CpuMode::Bits64, &[0x48, 0x66, 0x89, 0x10]);
    assert_eq!(insn.size, 2, "a prefix after REX.W voids it");
    let insn = decoded(CpuMode::Bits32, &[0x66, 0x89, 0x10]);
    assert_eq!(insn.size, 2);
    assert_eq!(
        decode(&[0x48, 0x89, 0x10], CpuMode::Bits32, &REGS),
        None,
        "dec eax"
    );
}

#[test]
fn intercepted_instructions_have_their_length() {
    for (bytes, name) in [
        (&[0x0f, 0xa2][..], "cpuid"),
        (&[0x0f, 0x32], "rdmsr"),
        (&[0x48, 0x0f, 0x30], "rex.w wrmsr"),
        (&[0x0f, 0x01, 0xd9], "vmmcall"),
        (&[0x0f, 0x01, 0xd1], "xsetbv"),
        (&[0x0f, 0x01, 0x18], "lidt [rax]"),
        (&[0x0f, 0x01, 0x5c, 0x24, 8], "lidt [rsp + 8]"),
        (&[0x0f, 0x22, 0xc0], "mov cr0, rax"),
        (&[0x0f, 0x22, 0x04], "mov cr0, rsp with a mod field of 0"),
        (&[0xf4], "hlt"),
        (&[0xf3, 0x90], "pause"),
        (&[0x0f, 0x09], "wbinvd"),
        (&[0xf3, 0x0f, 0x09], "wbnoinvd"),
        (&[0xe4, 0x60], "in al, 0x60"),
        (&[0x66, 0xef], "out dx, ax"),
        (&[0xf3, 0x6e], "rep outsb"),
        (&[0xcd, 0x80], "int 0x80"),
        (&[0x66, 0x0f, 0x38, 0x82, 0x00], "invpcid"),
    ] {
        let mut padded = [0x90; 15];
        padded[..bytes.len()].copy_from_slice(bytes);
        let len = length(&padded, CpuMode::Bits64).map(usize::from);
        assert_eq!(len, Some(bytes.len()), "{name}");
        assert_eq!(length(&bytes[..bytes.len() - 1], CpuMode::Bits64), None);
    }
    assert_eq!(length(&[0x0f, 0x0b], CpuMode::Bits64), None, "ud2");
}

#[test]
fn sse4a_is_not_taken_for_vmread() {
    for mode in [CpuMode::Bits16, CpuMode::Bits32, CpuMode::Bits64] {
        assert_eq!(length(&[0x0f, 0x78, 0xc0], mode), Some(3), "vmread");
        assert_eq!(length(&[0x0f, 0x79, 0xc0], mode), Some(3), "vmwrite");
        for prefix in [0x66, 0xf2, 0xf3] {
            // Found by `lengths_agree_with_a_second_decoder`: F2 0F 78 C0 ib ib
            // is INSERTQ, 66 0F 78 C0 ib ib is EXTRQ, and 79 has no immediates.
            for opcode in [0x78, 0x79] {
                let bytes = [prefix, 0x0f, opcode, 0xc0, 1, 2];
                assert_eq!(length(&bytes, mode), None, "{bytes:x?}");
            }
        }
    }
}

#[test]
fn control_register_moves_name_their_registers() {
    let of = |bytes: &[u8]| control_move(bytes, CpuMode::Bits64);
    let (len, general) = (3, 3);
    assert_eq!(
        of(&[0x0f, 0x22, 0xe3]),
        Some(ControlMove::Write {
            cr: 4,
            general,
            len
        }),
        "mov cr4, rbx"
    );
    assert_eq!(
        of(&[0x0f, 0x20, 0xc3]),
        Some(ControlMove::Read {
            cr: 0,
            general,
            len
        }),
        "mov rbx, cr0"
    );
    assert_eq!(
        of(&[0x45, 0x0f, 0x22, 0xc3]),
        Some(ControlMove::Write {
            cr: 8,
            general: 11,
            len: 4
        }),
        "mov cr8, r11"
    );
    assert_eq!(of(&[0x0f, 0x06]), Some(ControlMove::Clts { len: 2 }));
    assert_eq!(
        of(&[0x0f, 0x01, 0xf0]),
        Some(ControlMove::Lmsw { general: 0, len: 3 })
    );
    assert_eq!(of(&[0x0f, 0x01, 0x30]), None, "lmsw [rax]");
    assert_eq!(of(&[0x0f, 0x01, 0xd9]), None, "vmmcall");
}

fn modes() -> impl Strategy<Value = CpuMode> {
    prop_oneof![
        Just(CpuMode::Bits16),
        Just(CpuMode::Bits32),
        Just(CpuMode::Bits64)
    ]
}

/// Up to 19 bytes, among them many that begin an instruction. Made of a few
/// numbers, since each strategy of its own costs time in every case.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let numbers = (any::<[u64; 3]>(), any::<u32>(), any::<u64>(), 0usize..20);
    numbers.prop_map(|(random, usual, which, len)| {
        let random = random.map(u64::to_le_bytes).concat();
        let byte = |(i, byte): (usize, &u8)| match usual >> i & 1 {
            0 => *byte,
            _ => [0x0f, 0x66, 0x48, 0x8b][(which >> (2 * i) & 3) as usize],
        };
        random.iter().enumerate().take(len).map(byte).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn any_bytes_are_decoded_within_bounds(bytes in bytes(), mode in modes(), value: u64) {
        if let Some(insn) = decode(&bytes, mode, &REGS) {
            prop_assert!(usize::from(insn.len) <= bytes.len().min(MAX_LEN));
            prop_assert!(matches!(insn.size, 1 | 2 | 4 | 8));
            let (mut regs, mut rflags) = (REGS, 2);
            let mut bus = Register { value, written: None };
            execute(&insn, &mut regs, &mut rflags, &mut bus);
            if let Some((size, written)) = bus.written {
                prop_assert_eq!(size, insn.size);
                prop_assert!(size == 8 || written >> (8 * size) == 0);
            }
            prop_assert_eq!(rflags & !0x8d5, 2, "only status flags change");
            // The length depends on these bytes alone.
            let exact = &bytes[..usize::from(insn.len)];
            prop_assert_eq!(decode(exact, mode, &REGS), Some(insn));
            prop_assert_eq!(decode(&exact[..exact.len() - 1], mode, &REGS), None);
        }
        for len in [length(&bytes, mode), control_move(&bytes, mode).and_then(|_| length(&bytes, mode))].into_iter().flatten() {
            prop_assert!(usize::from(len) <= bytes.len().min(MAX_LEN));
        }
    }
}

fn bitness(mode: CpuMode) -> u32 {
    match mode {
        CpuMode::Bits16 => 16,
        CpuMode::Bits32 => 32,
        CpuMode::Bits64 => 64,
    }
}

/// How a second decoder sees the bytes: length, and the memory accesses with
/// their size in bytes.
fn second_opinion(bytes: &[u8], mode: CpuMode) -> (usize, Vec<(usize, OpAccess)>) {
    let mut decoder = Decoder::new(bitness(mode), bytes, DecoderOptions::NONE);
    let insn = decoder.decode();
    if insn.is_invalid() {
        return (0, Vec::new());
    }
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&insn).used_memory().iter();
    let accesses = used.map(|memory| (memory.memory_size().size(), memory.access()));
    (insn.len(), accesses.collect())
}

/// Bytes that often are an instruction of interest.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop_oneof![
        4 => Just(None),
        1 => proptest::sample::select(&[0x66, 0x67, 0x2e, 0x64, 0xf0, 0xf2, 0xf3][..]).prop_map(Some),
        2 => (0x40..0x50u8).prop_map(Some),
    ];
    let prefixes = proptest::collection::vec(prefix, 0..3);
    let opcode = prop_oneof![
        any::<u8>().prop_map(|byte| std::vec![byte]),
        any::<u8>().prop_map(|byte| std::vec![0x0f, byte]),
    ];
    let rest = proptest::collection::vec(any::<u8>(), 12);
    (prefixes, opcode, rest).prop_map(|(prefixes, opcode, rest)| {
        let prefixes = prefixes.into_iter().flatten();
        prefixes.chain(opcode).chain(rest).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn accesses_agree_with_a_second_decoder(bytes in likely_bytes(), mode in modes()) {
        let Some(insn) = decode(&bytes, mode, &REGS) else {
            return Ok(());
        };
        let (len, accesses) = second_opinion(&bytes, mode);
        // LOCK and the like on a MOV are invalid: the CPU gives #UD, so that no
        // such access arrives here.
        if len == 0 {
            return Ok(());
        }
        prop_assert_eq!(usize::from(insn.len), len, "{:x?}", &bytes);
        let access = match insn.op {
            Op::Load { .. } | Op::Combine { .. } | Op::Compare { .. } => OpAccess::Read,
            Op::Store { .. } => OpAccess::Write,
            Op::Exchange { .. } | Op::Modify { .. } => OpAccess::ReadWrite,
        };
        prop_assert_eq!(accesses, [(usize::from(insn.size), access)], "{:x?}", &bytes);
    }

    #[test]
    fn lengths_agree_with_a_second_decoder(bytes in likely_bytes(), mode in modes()) {
        let Some(len) = length(&bytes, mode) else {
            return Ok(());
        };
        let (expected, _) = second_opinion(&bytes, mode);
        prop_assert!(expected == 0 || usize::from(len) == expected, "{:x?}", &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    /// What is decoded in one go is what the decoder makes of it part by part.
    #[test]
    fn plain_moves_are_decoded_as_all_others(
        rex in proptest::option::of(0x40u8..=0x4f),
        opcode in proptest::sample::select(&[0x89u8, 0x8b][..]),
        rest in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let bytes: Vec<u8> = rex.into_iter().chain([opcode]).chain(rest).collect();
        let whole = decode(&bytes, CpuMode::Bits64, &REGS);
        prop_assert_eq!(whole, memory::decode_any(&bytes, CpuMode::Bits64, &REGS));
    }
}
