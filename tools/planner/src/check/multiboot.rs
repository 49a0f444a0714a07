//! The header by which a file says that it is booted by the Multiboot protocol.
//!
//! Spec: "Multiboot Specification", version 0.6.96, "OS image format".

use super::elf::{Elf, Segment};
use super::image::number;

/// The header lies in so many bytes from the start of the file on.
pub(super) const REACH: usize = 8192;
/// The same for version 2 of the protocol.
pub(super) const REACH_2: usize = 32768;

const MAGIC: u64 = 0x1bad_b002;
const MAGIC_2: u64 = 0xe852_50d6;

/// Flags that ask for what every loader has: modules at pages, sizes of memory.
const ALIGNED: u64 = 1 << 0;
const SIZES: u64 = 1 << 1;
/// It wants a picture on a screen.
const VIDEO: u64 = 1 << 2;
/// Below this bit are flags that a loader must know.
const REQUIRED: u64 = 0xffff;
/// The header tells where to load, so the file need not be an ELF file.
const ADDRESSES: u64 = 1 << 16;

/// What is loaded of such a file, and where it is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Multiboot {
    /// First instruction, in 32-bit mode.
    pub(super) entry: u64,
    /// What is loaded.
    pub(super) segments: Vec<Segment>,
}

/// Finds the header in the first bytes of a file of `length` bytes; `elf` if it is
/// one. `None` without a header.
///
/// # Errors
///
/// What the file asks for that cells do not have, as the end of a sentence.
pub(super) fn find(
    head: &[u8],
    length: u64,
    elf: Option<&Elf>,
) -> Result<Option<Multiboot>, &'static str> {
    let head = head.get(..REACH).unwrap_or(head);
    let is_header = |at: &usize| {
        let field = |n: usize| number::<4>(head, at + n * 4);
        let sum = field(0) + field(1) + field(2);
        field(0) == MAGIC && sum & 0xffff_ffff == 0 && at + 12 <= head.len()
    };
    let Some(at) = (0..head.len()).step_by(4).find(is_header) else {
        return Ok(None);
    };
    let flags = number::<4>(head, at + 4);
    if flags & VIDEO != 0 {
        return Err("is a Multiboot program that wants a screen, which cells do not have");
    }
    if flags & REQUIRED & !(ALIGNED | SIZES) != 0 {
        return Err("is a Multiboot program that wants what this loader does not know");
    }
    if flags & ADDRESSES != 0 {
        return placed(head, at, length).map(Some);
    }
    let elf = elf.ok_or("has a Multiboot header without addresses, and is no ELF file")?;
    Ok(Some(Multiboot {
        entry: elf.entry,
        segments: elf.segments.clone(),
    }))
}

/// True if the file has the header of version 2 of the protocol.
pub(super) fn is_second(head: &[u8]) -> bool {
    let head = head.get(..REACH_2).unwrap_or(head);
    let is_header = |at: &usize| {
        let sum: u64 = (0..4).map(|n| number::<4>(head, at + n * 4)).sum();
        number::<4>(head, *at) == MAGIC_2 && sum & 0xffff_ffff == 0
    };
    (0..head.len()).step_by(8).any(|at| is_header(&at))
}

/// What is loaded as the header at `at` tells.
fn placed(head: &[u8], at: usize, length: u64) -> Result<Multiboot, &'static str> {
    let [header, load, load_end, bss_end, entry] =
        [12, 16, 20, 24, 28].map(|field| number::<4>(head, at + field));
    let before = header.checked_sub(load);
    let offset = before.and_then(|before| (at as u64).checked_sub(before));
    let offset = offset.ok_or("has a Multiboot header that names no place in it")?;
    let filled = match load_end {
        0 => length.saturating_sub(offset),
        end => end.saturating_sub(load),
    };
    let size = bss_end.saturating_sub(load).max(filled);
    let segment = Segment {
        offset,
        filled,
        address: load,
        size,
    };
    Ok(Multiboot {
        entry,
        segments: vec![segment],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a header at byte 32, of these flags and fields behind them.
    fn file(flags: u32, fields: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        let sum = 0x1bad_b002_u32.wrapping_add(flags).wrapping_neg();
        for number in [0x1bad_b002, flags, sum].iter().chain(fields) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.resize(4096, 0);
        bytes
    }

    #[test]
    fn a_header_with_addresses_tells_what_is_loaded() {
        let fields = [0x10_0020, 0x10_0010, 0x10_0410, 0x10_2010, 0x10_0100];
        let found = find(&file(1 << 16 | 3, &fields), 4096, None).expect("good");
        let segment = Segment {
            offset: 16,
            filled: 0x400,
            address: 0x10_0010,
            size: 0x2000,
        };
        assert_eq!(
            found,
            Some(Multiboot {
                entry: 0x10_0100,
                segments: vec![segment],
            })
        );
        let whole = [0x10_0020, 0x10_0000, 0, 0, 0x10_0100];
        let found = find(&file(1 << 16, &whole), 4096, None).expect("good");
        let segment = found.expect("a header").segments[0];
        assert_eq!(
            (segment.offset, segment.filled, segment.size),
            (0, 4096, 4096)
        );
        let early = [0x10_0020, 0x0f_0000, 0, 0, 0x10_0100];
        assert!(
            find(&file(1 << 16, &early), 4096, None).is_err(),
            "before the file"
        );
    }

    #[test]
    fn an_elf_file_tells_it_itself() {
        let elf = Elf {
            wide: false,
            entry: 7,
            segments: Vec::new(),
            pvh: None,
            linux: false,
        };
        let found = find(&file(3, &[]), 4096, Some(&elf)).expect("good");
        assert_eq!(found.map(|m| m.entry), Some(7));
        assert!(find(&file(3, &[]), 4096, None).is_err());
    }

    #[test]
    fn wishes_that_cannot_be_met_are_told() {
        let screen = find(&file(1 << 2, &[]), 4096, None).expect_err("a screen");
        assert!(screen.contains("wants a screen"), "{screen}");
        assert!(find(&file(1 << 9, &[]), 4096, None).is_err());
        let mut wrong = file(3, &[]);
        wrong[40] ^= 1;
        assert_eq!(find(&wrong, 4096, None), Ok(None), "the sum");
        assert_eq!(find(&vec![0; 40_000], 40_000, None), Ok(None));
    }

    #[test]
    fn version_2_is_told_apart() {
        let mut bytes = vec![0; 16_384];
        let sum = 0xe852_50d6_u32.wrapping_add(16).wrapping_neg();
        for number in [0xe852_50d6, 0, 16, sum] {
            bytes.extend(number.to_le_bytes());
        }
        assert!(is_second(&bytes));
        bytes[16_384] ^= 1;
        assert!(!is_second(&bytes));
    }
}
