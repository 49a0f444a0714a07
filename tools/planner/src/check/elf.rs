//! As much of ELF files as tells how they are entered and where they lie.
//!
//! Spec: System V ABI, "Object Files"; Xen, `elfnote.h`.

use super::image::{Read, number};
use crate::size::MIB;

/// First bytes of an ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// Machines (`e_machine`) of cells: 32-bit and 64-bit code of a PC.
const I386: u64 = 3;
const X86_64: u64 = 62;
/// An object file (`e_type`), which is yet to be linked.
const RELOCATABLE: u64 = 1;
/// Kinds of program headers.
const LOAD: u64 = 1;
const NOTE: u64 = 4;
/// More of a note segment is not read: those of kernels have some hundred bytes.
const MOST_NOTES: u64 = MIB;

/// Notes named "Xen": the system that this is, its entry in 32-bit mode.
const GUEST_OS: u64 = 6;
const PHYS32_ENTRY: u64 = 18;

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes that the file has of it.
    pub filled: u64,
    /// Its physical address.
    pub address: u64,
    /// Bytes that it has in memory: zeros follow what the file has.
    pub size: u64,
}

/// An ELF file that is linked for PCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elf {
    /// It has 64-bit code.
    pub(super) wide: bool,
    /// The address that its header names as the first instruction's.
    pub(super) entry: u64,
    /// What is loaded, in the order of the file.
    pub(super) segments: Vec<Segment>,
    /// Its entry in 32-bit mode, as a note tells (PVH).
    pub(super) pvh: Option<u64>,
    /// A note says that it is Linux.
    pub(super) linux: bool,
}

/// Widths and places of fields, which differ between the classes.
struct Class {
    wide: bool,
    header: usize,
}

impl Elf {
    /// Reads the headers and notes of a file that begins as ELF files do.
    ///
    /// # Errors
    ///
    /// What it is instead of one that is linked for PCs, as the end of a sentence.
    pub(super) fn read(file: &Read<'_>) -> Result<Self, &'static str> {
        let head = file(0, 64);
        let class = match number::<1>(&head, 4) {
            1 => Class {
                wide: false,
                header: 52,
            },
            2 => Class {
                wide: true,
                header: 64,
            },
            _ => return Err("is an ELF file of no known class"),
        };
        match (class.wide, number::<2>(&head, 18)) {
            (true, X86_64) | (false, I386) => {}
            (true, _) => return Err("is an ELF file for another processor"),
            (false, _) => return Err("is a 32-bit ELF file for another processor"),
        }
        if number::<2>(&head, 16) == RELOCATABLE {
            return Err("is an object file or a kernel module");
        }
        if head.len() < class.header {
            return Err("is an ELF file that is cut short");
        }
        Ok(class.read(file, &head))
    }
}

impl Class {
    /// A field of 4 bytes in the one class and 8 in the other, at these places.
    fn word(&self, bytes: &[u8], narrow: usize, wide: usize) -> u64 {
        match self.wide {
            true => number::<8>(bytes, wide),
            false => number::<4>(bytes, narrow),
        }
    }

    fn read(&self, file: &Read<'_>, head: &[u8]) -> Elf {
        let mut elf = Elf {
            wide: self.wide,
            entry: self.word(head, 24, 24),
            segments: Vec::new(),
            pvh: None,
            linux: false,
        };
        let table = self.word(head, 28, 32);
        let (size, count) = match self.wide {
            true => (number::<2>(head, 54), number::<2>(head, 56)),
            false => (number::<2>(head, 42), number::<2>(head, 44)),
        };
        for n in 0..count {
            let header = file(table.saturating_add(n * size), 56);
            let segment = Segment {
                offset: self.word(&header, 4, 8),
                filled: self.word(&header, 16, 32),
                address: self.word(&header, 12, 24),
                size: self.word(&header, 20, 40),
            };
            match number::<4>(&header, 0) {
                LOAD if segment.size > 0 => elf.segments.push(segment),
                NOTE => elf.notes(&file(
                    segment.offset,
                    segment.filled.min(MOST_NOTES) as usize,
                )),
                _ => {}
            }
        }
        elf
    }
}

impl Elf {
    /// Takes what notes tell: each has lengths of name and content, a kind, and both,
    /// padded to four bytes.
    fn notes(&mut self, mut notes: &[u8]) {
        while notes.len() >= 12 {
            let padded = |length: u64| length.next_multiple_of(4) as usize;
            let (name, content) = (number::<4>(notes, 0), number::<4>(notes, 4));
            let kind = number::<4>(notes, 8);
            let from = 12 + padded(name);
            let owner = notes.get(12..12 + name as usize).unwrap_or_default();
            let text = notes.get(from..from + content as usize);
            let text = text.unwrap_or_default();
            match (owner, kind) {
                (b"Linux\0", _) => self.linux = true,
                (b"Xen\0", GUEST_OS) => self.linux |= text.starts_with(b"linux"),
                (b"Xen\0", PHYS32_ENTRY) => self.pvh = Some(number::<4>(text, 0)),
                _ => {}
            }
            notes = notes.get(from + padded(content)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A note as it stands in a file.
    fn note(owner: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [owner.len() as u32, content.len() as u32, kind] {
            bytes.extend(number.to_le_bytes());
        }
        for part in [owner, content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    /// A file of either class with a segment at 2 MiB and these notes.
    pub(in super::super) fn file(wide: bool, machine: u16, notes: &[u8]) -> Vec<u8> {
        let (header, entry): (usize, usize) = if wide { (64, 56) } else { (52, 32) };
        let notes_at = header + 2 * entry;
        let mut bytes = vec![0; notes_at];
        let mut put = |at: usize, value: u64, width: usize| {
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        };
        put(0, 0x464c_457f, 4);
        put(4, 1 + u64::from(wide), 1);
        put(16, 2, 2);
        put(18, machine.into(), 2);
        let word = if wide { 8 } else { 4 };
        put(24, 0x20_0010, word);
        put(if wide { 32 } else { 28 }, header as u64, word);
        put(if wide { 54 } else { 42 }, entry as u64, 2);
        put(if wide { 56 } else { 44 }, 2, 2);
        let fields = if wide {
            [8, 24, 32, 40]
        } else {
            [4, 12, 16, 20]
        };
        let segments = [
            (LOAD, [0, 0x20_0000, 0x40, 0x1000]),
            (NOTE, [notes_at as u64, 0, notes.len() as u64, 0]),
        ];
        for (n, (kind, values)) in segments.into_iter().enumerate() {
            put(header + n * entry, kind, 4);
            for (at, value) in fields.into_iter().zip(values) {
                put(header + n * entry + at, value, word);
            }
        }
        bytes.extend(notes);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Elf, &'static str> {
        Elf::read(&|at, length| {
            let rest = bytes.get(at as usize..).unwrap_or_default();
            rest.get(..length.min(rest.len()))
                .unwrap_or_default()
                .to_vec()
        })
    }

    #[test]
    fn both_classes_tell_segments_entry_and_notes() {
        let pvh = note(b"Xen\0", 18, &0x20_0040_u64.to_le_bytes());
        let narrow = note(b"Xen\0", 18, &0x20_0040_u32.to_le_bytes());
        let linux = note(b"Xen\0", 6, b"linux\0");
        let salt = note(b"Linux\0", 0x100, b"salt");
        let other = note(b"GNU\0", 18, b"abcdefgh");
        for (wide, machine, notes, pvh, linux) in [
            (
                true,
                62,
                [other.clone(), pvh.clone()].concat(),
                Some(0x20_0040),
                false,
            ),
            (false, 3, narrow, Some(0x20_0040), false),
            (
                true,
                62,
                [pvh.clone(), linux].concat(),
                Some(0x20_0040),
                true,
            ),
            (true, 62, [salt, pvh].concat(), Some(0x20_0040), true),
            (false, 3, other, None, false),
            (true, 62, vec![0xff; 40], None, false),
        ] {
            let elf = read(&file(wide, machine, &notes)).expect("it is one");
            let segment = Segment {
                offset: 0,
                filled: 0x40,
                address: 0x20_0000,
                size: 0x1000,
            };
            assert_eq!((elf.wide, elf.entry), (wide, 0x20_0010));
            assert_eq!(elf.segments, [segment]);
            assert_eq!((elf.pvh, elf.linux), (pvh, linux));
        }
    }

    #[test]
    fn files_for_others_are_named() {
        let module = {
            let mut bytes = file(true, 62, &[]);
            bytes[16] = 1;
            bytes
        };
        for (bytes, what) in [
            (file(true, 183, &[]), "is an ELF file for another processor"),
            (
                file(false, 40, &[]),
                "is a 32-bit ELF file for another processor",
            ),
            (module, "is an object file or a kernel module"),
            (
                file(true, 62, &[])[..63].to_vec(),
                "is an ELF file that is cut short",
            ),
            (
                file(false, 3, &[])[..51].to_vec(),
                "is an ELF file that is cut short",
            ),
            (b"\x7fELF".to_vec(), "is an ELF file of no known class"),
        ] {
            assert_eq!(read(&bytes), Err(what));
        }
    }
}
