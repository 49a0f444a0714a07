//! ELF cores: the headers and notes, byte by byte.
//!
//! Spec: System V ABI, "Object Files"; AMD64 supplement; Linux `elf_prstatus`.

use cellvisor_abi::call::Registers;

/// Sizes of the file's header and of one entry of the table of segments, in bytes.
const FILE_HEAD: usize = 64;
const SEGMENT: usize = 56;

/// Bytes of a note before its name: sizes of name and content, kind.
pub(super) const NOTE_HEAD: usize = 12;

/// Segments with memory begin at multiples of this in the file, so that holes are
/// whole blocks.
const ALIGN: usize = 4096;

const NT_PRSTATUS: u32 = 1;

/// Bytes of `elf_prstatus`, and where its registers begin.
const PRSTATUS: usize = 336;
const PRSTATUS_REGISTERS: usize = 112;

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Whose it is, with a zero behind.
    pub(super) name: &'static [u8],
    pub(super) kind: u32,
    pub(super) content: Vec<u8>,
}

/// Where a stretch of memory lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) gpa: u64,
    /// In bytes.
    pub(super) size: u64,
    pub(super) offset: u64,
}

/// All that comes before the memory, and where that goes: guest-physical addresses
/// and sizes in bytes.
pub(super) fn head(memory: &[(u64, u64)], notes: &[Note]) -> (Vec<u8>, Vec<Load>) {
    let table = FILE_HEAD + SEGMENT * (1 + memory.len());
    let notes: Vec<u8> = notes.iter().flat_map(encoded).collect();
    let mut offset = (table + notes.len()).next_multiple_of(ALIGN) as u64;
    let mut loads = Vec::new();
    for (gpa, size) in memory {
        loads.push(Load {
            gpa: *gpa,
            size: *size,
            offset,
        });
        offset += size;
    }
    let mut out = file_head(1 + memory.len());
    segment(&mut out, 4, table as u64, 0, notes.len() as u64);
    for load in &loads {
        segment(&mut out, 1, load.offset, load.gpa, load.size);
    }
    out.extend(notes);
    (out, loads)
}

fn file_head(segments: usize) -> Vec<u8> {
    // 64 bits, little-endian, version 1.
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    for half in [4u16, 62] {
        // A core, of x86-64.
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    // No entry; the segments follow; no sections, no flags.
    for word in [0, FILE_HEAD as u64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    // A cell's memory is in far fewer pieces than 65,535.
    let segments = u16::try_from(segments).unwrap_or(u16::MAX);
    for half in [FILE_HEAD as u16, SEGMENT as u16, segments, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    out
}

/// A segment: its kind (1 memory, 4 notes), place in the file, guest-physical
/// address. Where the kernel had it mapped its own description tells.
fn segment(out: &mut Vec<u8>, kind: u32, offset: u64, gpa: u64, size: u64) {
    const READ_WRITE_EXECUTE: u32 = 7;
    out.extend(kind.to_le_bytes());
    out.extend((if kind == 1 { READ_WRITE_EXECUTE } else { 0 }).to_le_bytes());
    for word in [offset, 0, gpa, size, size, 0] {
        out.extend(word.to_le_bytes());
    }
}

fn encoded(note: &Note) -> Vec<u8> {
    let mut out = Vec::new();
    for size in [note.name.len(), note.content.len()] {
        out.extend((size as u32).to_le_bytes());
    }
    out.extend(note.kind.to_le_bytes());
    for part in [note.name, &note.content] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// Bytes of content of the note that begins with `bytes`, if it is one of this name
/// and kind.
pub(super) fn size_of_note(bytes: &[u8], name: &[u8], kind: u32) -> Option<usize> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(word))
    };
    let is_named = bytes.get(NOTE_HEAD..)?.starts_with(name);
    let same = word(0)? as usize == name.len() && word(8)? == kind && is_named;
    same.then_some(word(4)? as usize)
}

/// The note of a CPU: its registers, zeros where they are not known.
pub(super) fn registers(regs: Option<Registers>) -> Note {
    let regs = regs.unwrap_or_default();
    let [
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
    ] = regs.general;
    let order = [
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        rax,
        regs.rip,
        regs.cs.into(),
        regs.rflags,
        rsp,
    ];
    let mut content = vec![0; PRSTATUS_REGISTERS];
    content.extend(order.iter().flat_map(|register| register.to_le_bytes()));
    content.resize(PRSTATUS, 0);
    Note {
        name: b"CORE\0",
        kind: NT_PRSTATUS,
        content,
    }
}
