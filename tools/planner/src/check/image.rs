//! What kernel images and initrds look like from outside.

use super::elf::{self, Elf, Segment};
use super::foreign::Foreign;
use super::multiboot;

/// Reads so many bytes of a file from somewhere on; fewer at its end.
pub(super) type Read<'a> = dyn Fn(u64, usize) -> Vec<u8> + 'a;

/// So many bytes tell whether a file is an initrd.
pub(super) const HEAD: usize = 1024;

/// A sector of the set-up code, in bytes.
const SECTOR: u64 = 512;
/// Sectors of set-up code if the header says 0.
const SECTORS: u64 = 4;
/// Below this there is no room for a kernel.
const LOWEST: u64 = 1 << 20;

/// A file that cells boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Linux as distributions pack it.
    BzImage(Header),
    /// Anything else.
    Program(Program),
}

/// What a bzImage says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the file, at least.
    pub length: u64,
    /// Longest command line without its zero, in bytes.
    pub longest_line: u64,
    /// Least memory in which it can unpack itself, in bytes.
    pub end: u64,
}

/// A program whose file tells where it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// How it is entered.
    pub protocol: Protocol,
    /// Its first instruction.
    pub entry: u64,
    /// What is loaded, in the order of the file.
    pub segments: Vec<Segment>,
}

/// How a program is entered, and what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// In 64-bit mode, with Linux boot parameters.
    Linux,
    /// In 32-bit mode, with the start information that Xen's PVH guests get.
    Pvh,
    /// In 32-bit mode, with Multiboot information.
    Multiboot,
}

impl Program {
    /// Bytes of the file, at least.
    #[must_use]
    pub fn length(&self) -> u64 {
        let ends = self.segments.iter();
        let ends = ends.map(|s| s.offset.saturating_add(s.filled));
        ends.max().unwrap_or_default()
    }

    /// The byte after the last that it uses in memory.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ends = self.segments.iter();
        let ends = ends.map(|s| s.address.saturating_add(s.size));
        ends.max().unwrap_or_default()
    }
}

/// Finds out how cells boot a file of `length` bytes. Of an ELF file's entries, that of
/// its header comes first for 64-bit Linux, which has one for PVH as well, and for what
/// has no other.
///
/// # Errors
///
/// What it is instead.
pub(super) fn image(file: &Read<'_>, length: u64) -> Result<Image, Foreign> {
    let head = file(0, multiboot::REACH_2);
    if is_bzimage(&head) {
        return header(&head).map(Image::BzImage);
    }
    // Firmware's programs may have other headers in what they load.
    if head.starts_with(b"MZ") {
        return Err(Foreign::of(&head));
    }
    let elf = match head.starts_with(elf::MAGIC) {
        true => Some(Elf::read(file).map_err(Foreign::of_elf)?),
        false => None,
    };
    let program = |protocol, entry, segments| {
        Ok(Image::Program(Program {
            protocol,
            entry,
            segments,
        }))
    };
    match elf {
        Some(elf) if elf.wide && elf.linux => {
            return program(Protocol::Linux, elf.entry, elf.segments);
        }
        Some(Elf {
            pvh: Some(entry),
            segments,
            ..
        }) => return program(Protocol::Pvh, entry, segments),
        _ => {}
    }
    let found = multiboot::find(&head, length, elf.as_ref()).map_err(Foreign::of_multiboot)?;
    match (found, elf) {
        (Some(found), _) => program(Protocol::Multiboot, found.entry, found.segments),
        (None, Some(elf)) if elf.wide => program(Protocol::Linux, elf.entry, elf.segments),
        (None, _) if multiboot::is_second(&head) => Err(Foreign::SECOND_MULTIBOOT),
        (None, Some(_)) => Err(Foreign::NARROW),
        (None, None) => Err(Foreign::of(&head)),
    }
}

/// The release of a bzImage and what it says beside, as `uname` and `file` tell it; empty where
/// it says none (Linux, "The Linux/x86 Boot Protocol", `kernel_version`).
pub(super) fn release(file: &Read<'_>) -> String {
    const POINTER: u64 = 0x20e;
    const LONGEST: usize = 128;
    let head = file(0, 0x210);
    if !is_bzimage(&head) {
        return String::new();
    }
    let text = match number::<2>(&head, POINTER as usize) {
        0 => Vec::new(),
        at => file(at + 0x200, LONGEST),
    };
    let end = text.iter().position(|byte| *byte == 0).unwrap_or_default();
    let text = text.get(..end).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Reads the header of a bzImage. `XLF_KERNEL_64` in bit 0 of 0x236 makes it one with a
/// 64-bit entry, from version 2.12 of the boot protocol on (Linux, "The Linux/x86 Boot
/// Protocol").
fn header(head: &[u8]) -> Result<Header, Foreign> {
    let modern = number::<2>(head, 0x206) >= 0x020c;
    if !modern || number::<2>(head, 0x236) & 1 == 0 {
        return Err(Foreign::OLD);
    }
    let sectors = match number::<1>(head, 0x1f1) {
        0 => SECTORS,
        sectors => sectors,
    };
    let alignment = number::<4>(head, 0x230).max(1);
    Ok(Header {
        // Told in units of 16 bytes, of which the last may not be whole.
        length: ((sectors + 1) * SECTOR + number::<4>(head, 0x1f4) * 16).saturating_sub(15),
        longest_line: number::<4>(head, 0x238),
        end: LOWEST.next_multiple_of(alignment) + number::<4>(head, 0x260),
    })
}

/// True if "HdrS" stands where a bzImage has it.
pub(super) fn is_bzimage(head: &[u8]) -> bool {
    head.get(0x202..0x206) == Some(b"HdrS")
}

/// A number of `N` bytes at `at`, the lowest first; 0 past the end.
pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + N).unwrap_or_default();
    let all = bytes.iter().rev();
    all.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// First bytes of what Linux unpacks as an initial RAM disk: cpio ("newc", with
/// checksums or without), gzip, bzip2, LZMA, xz, LZO, LZ4, Zstandard.
const ARCHIVES: [&[u8]; 10] = [
    b"070701",
    b"070702",
    b"\x1f\x8b",
    b"\x1f\x9e",
    b"BZh",
    b"\x5d\x00\x00",
    b"\xfd7zXZ\x00",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
];

/// True if Linux unpacks what starts so; it skips zeros before it.
pub(super) fn is_archive(head: &[u8]) -> bool {
    let zeros = head.iter().take_while(|b| **b == 0).count();
    let rest = head.get(zeros..).unwrap_or_default();
    let only_zeros = rest.is_empty() && head.len() >= HEAD;
    only_zeros || ARCHIVES.iter().any(|magic| rest.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::file as elf_file;
    use super::*;

    /// What is told of a file with these bytes.
    fn look(bytes: &[u8]) -> Result<Image, Foreign> {
        let read = |at: u64, length: usize| {
            let rest = bytes.get(at as usize..).unwrap_or_default();
            rest.get(..length.min(rest.len()))
                .unwrap_or_default()
                .to_vec()
        };
        image(&read, bytes.len() as u64)
    }

    /// A PE file for EFI firmware with one section; `mark` stands in its DOS header.
    fn efi(mark: &[u8], section: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x100];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, b"MZ");
        put(4, mark);
        put(0x3c, &[0x40]);
        put(0x40, b"PE\0\0\x64\x86\x01\0");
        put(0x54, &[0x20]);
        put(0x40 + 24 + 0x20, section);
        bytes
    }

    /// The header of a kernel of 5 sectors and 16 KiB that takes 2047 bytes and
    /// unpacks in 8 MiB from 2 MiB on.
    fn kernel() -> Vec<u8> {
        let mut head = vec![0; 0x264];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[4]);
        put(0x1f4, &1024u32.to_le_bytes());
        put(0x202, b"HdrS");
        put(0x206, &0x020fu16.to_le_bytes());
        put(0x230, &0x20_0000u32.to_le_bytes());
        put(0x236, &1u16.to_le_bytes());
        put(0x238, &2047u32.to_le_bytes());
        put(0x260, &0x80_0000u32.to_le_bytes());
        head
    }

    #[test]
    fn headers_tell_length_line_and_room() {
        let told = Header {
            length: 5 * 512 + 16384 - 15,
            longest_line: 2047,
            end: 10 << 20,
        };
        assert_eq!(look(&kernel()), Ok(Image::BzImage(told)));
    }

    #[test]
    fn other_files_are_named() {
        let mut old = kernel();
        old[0x206] = 0x0b;
        let mut short = kernel();
        short[0x236] = 0;
        let narrow = "is a 32-bit ELF file without an entry for PVH or Multiboot";
        let second = [0xe852_50d6_u32, 0, 16, 0x17ad_af1a];
        let second: Vec<u8> = second.iter().flat_map(|n| n.to_le_bytes()).collect();
        for (head, what) in [
            (old, "is a bzImage without a 64-bit entry"),
            (short, "is a bzImage without a 64-bit entry"),
            (elf_file(false, 3, &[]), narrow),
            (
                elf_file(true, 183, &[]),
                "is an ELF file for another processor",
            ),
            (second, "is a program for version 2 of Multiboot alone"),
            (
                efi(b"zimg", b""),
                "is a kernel for EFI firmware alone, which cells do not have",
            ),
            (
                efi(b"", b".linux"),
                "is a unified kernel image for EFI firmware, which cells do not have",
            ),
            (
                efi(b"", b".text"),
                "is a program for EFI firmware, which cells do not have",
            ),
            (b"\x1f\x8b\x08".to_vec(), "is packed with gzip"),
            (b"\xfd7zXZ\0".to_vec(), "is packed with xz"),
            (b"\x28\xb5\x2f\xfd".to_vec(), "is packed with zstd"),
            (b"\x02\x21\x4c\x18".to_vec(), "is packed with lz4"),
            (b"070701".to_vec(), "is a cpio archive, as initrds are"),
            (b"!<arch>\ndebian-binary".to_vec(), "is a Debian package"),
            (b"#!/bin/sh".to_vec(), "is a script"),
            (b"hello".to_vec(), "is no bzImage and no ELF file"),
            (Vec::new(), "is no bzImage and no ELF file"),
        ] {
            assert_eq!(look(&head).map_err(|foreign| foreign.what), Err(what));
        }
    }

    #[test]
    fn programs_are_entered_as_their_files_say() {
        let pvh = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x40\0\x20\0";
        let linux = b"\x06\0\0\0\x04\0\0\0\0\x01\0\0Linux\0\0\0salt";
        let both = [&linux[..], pvh].concat();
        let header = [0x1bad_b002_u32, 0, 0xe452_4ffe];
        let header: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
        for (file, protocol, entry) in [
            (elf_file(true, 62, &[]), Protocol::Linux, 0x20_0010),
            (elf_file(true, 62, linux), Protocol::Linux, 0x20_0010),
            (elf_file(true, 62, &both), Protocol::Linux, 0x20_0010),
            (elf_file(true, 62, pvh), Protocol::Pvh, 0x20_0040),
            (elf_file(false, 3, pvh), Protocol::Pvh, 0x20_0040),
            (elf_file(false, 3, &header), Protocol::Multiboot, 0x20_0010),
            (elf_file(true, 62, &header), Protocol::Multiboot, 0x20_0010),
        ] {
            let Ok(Image::Program(program)) = look(&file) else {
                unreachable!("{protocol:?}: no program");
            };
            assert_eq!((program.protocol, program.entry), (protocol, entry));
            assert_eq!((program.length(), program.end()), (0x40, 0x20_1000));
        }
    }

    #[test]
    fn archives_are_known_by_their_first_bytes() {
        let padded = [&[0; 4][..], b"070701"].concat();
        for good in [b"070701", &padded[..], b"\x1f\x8b\x08", &[0; HEAD]] {
            assert!(is_archive(good), "{good:?}");
        }
        for bad in [&b"hello"[..], b"", b"PK\x03\x04", b"\0\0"] {
            assert!(!is_archive(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_initrd_is_named() {
        let lz4 = "is packed with lz4 in frames, which Linux does not unpack";
        for (head, what) in [
            (kernel(), "is a kernel"),
            (b"\x7fELF\x02".to_vec(), "is an ELF file"),
            (b"MZ".to_vec(), "is a program for EFI firmware"),
            (b"\x04\x22\x4d\x18".to_vec(), lz4),
            (b"hsqs".to_vec(), "is a SquashFS"),
            (b"!<arch>\ndebian-binary".to_vec(), "is a Debian package"),
            (b"#!/bin/sh".to_vec(), "is a script"),
            (b"070707".to_vec(), "is a cpio archive of an old form"),
            (b"hello".to_vec(), "is no cpio archive, packed or not"),
        ] {
            let told = Foreign::of_initrd(&head).map(|foreign| foreign.what);
            assert_eq!(told, Some(what));
        }
        assert_eq!(Foreign::of_initrd(b"070701"), None);
    }
}
