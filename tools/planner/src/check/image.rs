//! What kernel images and initrds look like from outside.

use super::foreign::Foreign;

/// So many bytes of a file are looked at.
pub(super) const HEAD: u64 = 0x264;

/// A sector of the set-up code, in bytes.
const SECTOR: u64 = 512;
/// Sectors of set-up code if the header says 0.
const SECTORS: u64 = 4;
/// Below this there is no room for a kernel.
const LOWEST: u64 = 1 << 20;

/// What a bzImage says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the file, at least.
    pub(super) length: u64,
    /// Longest command line without its zero, in bytes.
    pub(super) longest_line: u64,
    /// Least memory in which it can unpack itself, in bytes.
    pub(super) end: u64,
}

/// Reads the header of a kernel that cells boot. "HdrS" at 0x202 makes a file a
/// bzImage, `XLF_KERNEL_64` in bit 0 of 0x236 one with a 64-bit entry, from
/// version 2.12 of the boot protocol on (Linux, "The Linux/x86 Boot Protocol").
/// An ELF file for x86-64, which cells boot as well, has no such header.
///
/// # Errors
///
/// Why it is no such kernel.
pub(super) fn header(head: &[u8]) -> Result<Option<Header>, Foreign> {
    if head.starts_with(b"\x7fELF") {
        let [class, kind, machine] = [
            number::<1>(head, 4),
            number::<2>(head, 16),
            number::<2>(head, 18),
        ];
        return Foreign::of_elf(head, class, kind, machine).map_or(Ok(None), Err);
    }
    if !is_bzimage(head) {
        return Err(Foreign::of(head));
    }
    let modern = number::<2>(head, 0x206) >= 0x020c;
    if !modern || number::<2>(head, 0x236) & 1 == 0 {
        return Err(Foreign::OLD);
    }
    let sectors = match number::<1>(head, 0x1f1) {
        0 => SECTORS,
        sectors => sectors,
    };
    let alignment = number::<4>(head, 0x230).max(1);
    Ok(Some(Header {
        // Told in units of 16 bytes, of which the last may not be whole.
        length: ((sectors + 1) * SECTOR + number::<4>(head, 0x1f4) * 16).saturating_sub(15),
        longest_line: number::<4>(head, 0x238),
        end: LOWEST.next_multiple_of(alignment) + number::<4>(head, 0x260),
    }))
}

/// True if the set-up header of a bzImage is there.
pub(super) fn is_bzimage(head: &[u8]) -> bool {
    head.get(0x202..0x206) == Some(b"HdrS")
}

/// A number of `N` bytes at `at`, the lowest first; 0 past the end.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
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
    let only_zeros = rest.is_empty() && head.len() as u64 >= HEAD;
    only_zeros || ARCHIVES.iter().any(|magic| rest.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(header(&kernel()), Ok(Some(told)));
    }

    #[test]
    fn other_files_are_named() {
        let mut old = kernel();
        old[0x206] = 0x0b;
        let mut short = kernel();
        short[0x236] = 0;
        let elf = |class: u8, kind: u8, machine: u8| {
            let mut head = b"\x7fELF".to_vec();
            head.resize(64, 0);
            (head[4], head[16], head[18]) = (class, kind, machine);
            head
        };
        let efi = |name: &[u8]| [b"MZ\0\0", name].concat();
        for (head, what) in [
            (old, "is a bzImage without a 64-bit entry"),
            (short, "is a bzImage without a 64-bit entry"),
            (elf(1, 2, 3), "is a 32-bit ELF file"),
            (elf(2, 2, 183), "is an ELF file for another processor"),
            (elf(2, 1, 62), "is an object file or a kernel module"),
            (
                elf(2, 2, 62)[..63].to_vec(),
                "is an ELF file that is cut short",
            ),
            (
                efi(b"zimg"),
                "is a kernel for EFI alone, of another processor",
            ),
            (
                efi(b"\0\0\0\0"),
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
            assert_eq!(header(&head).map_err(|foreign| foreign.what), Err(what));
        }
        for kind in [2, 3] {
            assert_eq!(
                header(&elf(2, kind, 62)),
                Ok(None),
                "a program, moved or not"
            );
        }
    }

    #[test]
    fn archives_are_known_by_their_first_bytes() {
        let padded = [&[0; 4][..], b"070701"].concat();
        for good in [b"070701", &padded[..], b"\x1f\x8b\x08", &[0; 0x264]] {
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
