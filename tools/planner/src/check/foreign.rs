//! Names for files that are no kernel that a cell boots, or no initrd.

use super::image::{is_archive, is_bzimage, number};

/// Why a file is not what a slice's file takes it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, as the end of a sentence that begins with its name.
    pub what: &'static str,
    /// What helps.
    pub help: &'static str,
}

const NAME_ONE: &str = "name a bzImage, as /boot/vmlinuz-* of a distribution is";
const LINKED: &str =
    "name a bzImage, or an ELF file that is linked for x86, as vmlinux is, with an entry";
const UNPACK: &str = "unpack it: a bzImage unpacks itself, a packed vmlinux does not";

/// First bytes of files that are mistaken for kernels.
#[rustfmt::skip]
const KNOWN: [(&[u8], &str, &str); 13] = [
    (b"\x1f\x8b", "is packed with gzip", UNPACK),
    (b"\xfd7zXZ\x00", "is packed with xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", UNPACK),
    (b"\x02\x21\x4c\x18", "is packed with lz4", UNPACK),
    (b"\x04\x22\x4d\x18", "is packed with lz4", UNPACK),
    (b"BZh", "is packed with bzip2", UNPACK),
    (b"\x5d\x00\x00", "is packed with lzma", UNPACK),
    (b"\x89LZO", "is packed with lzo", UNPACK),
    (b"07070", "is a cpio archive, as initrds are", "name it as `initrd`, and a kernel as `image`"),
    (b"!<arch>\ndebian-binary", "is a Debian package", "unpack it with `dpkg -x`, and name the kernel in it"),
    (b"\x27\x05\x19\x56", "is an image for U-Boot", NAME_ONE),
    (b"\xd0\x0d\xfe\xed", "is an image for U-Boot", NAME_ONE),
    (b"#!", "is a script", NAME_ONE),
];

const PACK: &str = "name one, as /boot/initrd.img-* of a distribution is";
const NEWC: &str = "write it anew: `cpio -o -H newc`";
const LEGACY: &str = "pack it anew: `lz4 -l`";

/// First bytes of files that are mistaken for initrds.
#[rustfmt::skip]
const NO_INITRDS: [(&[u8], &str, &str); 8] = [
    (b"\x7fELF", "is an ELF file", PACK),
    (b"MZ", "is a program for EFI firmware", PACK),
    (b"\x04\x22\x4d\x18", "is packed with lz4 in frames, which Linux does not unpack", LEGACY),
    (b"hsqs", "is a SquashFS", "name it as a disk of the slice: an initrd is a cpio archive"),
    (b"0707", "is a cpio archive of an old form", NEWC),
    (b"\xc7\x71", "is a cpio archive of an old form", NEWC),
    (b"!<arch>\ndebian-binary", "is a Debian package", PACK),
    (b"#!", "is a script", PACK),
];

impl Foreign {
    /// What a file is that starts with `head`, if Linux does not unpack it as (a part
    /// of) an initial RAM disk.
    pub(super) fn of_initrd(head: &[u8]) -> Option<Self> {
        if is_archive(head) {
            return None;
        }
        if is_bzimage(head) {
            let (what, help) = (
                "is a kernel",
                "name it as `image`, and an initrd as `initrd`",
            );
            return Some(Self { what, help });
        }
        let known = NO_INITRDS
            .iter()
            .find(|(start, ..)| head.starts_with(start));
        let (_, what, help) = known.unwrap_or(&(b"", "is no cpio archive, packed or not", PACK));
        Some(Self { what, help })
    }

    /// A 32-bit program that names no entry that a loader could take.
    pub(super) const NARROW: Self = Self {
        what: "is a 32-bit ELF file without an entry for PVH or Multiboot",
        help: LINKED,
    };

    /// Version 2 alone.
    pub(super) const SECOND_MULTIBOOT: Self = Self {
        what: "is a program for version 2 of Multiboot alone",
        help: "build it with a header of version 1, or with a note for PVH",
    };

    /// A kernel from before 64-bit entries, or one for 32-bit CPUs.
    pub(super) const OLD: Self = Self {
        what: "is a bzImage without a 64-bit entry",
        help: NAME_ONE,
    };

    /// What a file is that starts with `head`, neither as bzImages do nor as ELF
    /// files.
    pub(super) fn of(head: &[u8]) -> Self {
        if head.starts_with(b"MZ") {
            return Self::of_efi(head);
        }
        let known = KNOWN.iter().find(|(start, ..)| head.starts_with(start));
        let (_, what, help) = known.unwrap_or(&(b"", "is no bzImage and no ELF file", NAME_ONE));
        Self { what, help }
    }

    /// Kernels that only EFI firmware starts: those that unpack themselves there, and a
    /// kernel, an initrd and a command line in one file.
    fn of_efi(head: &[u8]) -> Self {
        if head.get(4..8) == Some(b"zimg") {
            let what = "is a kernel for EFI firmware alone, which cells do not have";
            return Self {
                what,
                help: NAME_ONE,
            };
        }
        if has_section(head, b".linux\0\0") {
            return Self {
                what: "is a unified kernel image for EFI firmware, which cells do not have",
                help: "take the kernel out: \
                       `objcopy -O binary --only-section=.linux FILE vmlinuz`",
            };
        }
        Self {
            what: "is a program for EFI firmware, which cells do not have",
            help: NAME_ONE,
        }
    }

    /// An ELF file that is not linked for PCs.
    pub(super) const fn of_elf(what: &'static str) -> Self {
        Self { what, help: LINKED }
    }

    /// A Multiboot program that asks for too much.
    pub(super) const fn of_multiboot(what: &'static str) -> Self {
        let help = "build it for a serial console and with no more than module alignment and \
                    memory sizes among its flags";
        Self { what, help }
    }
}

/// True if a PE file has a section of this name (Microsoft, "PE Format").
fn has_section(file: &[u8], name: &[u8]) -> bool {
    let header = number::<4>(file, 0x3c) as usize;
    if file.get(header..header + 4) != Some(b"PE\0\0") {
        return false;
    }
    let sections = number::<2>(file, header + 6) as usize;
    let first = header + 24 + number::<2>(file, header + 20) as usize;
    let mut places = (0..sections).map(|n| first + n * 40);
    places.any(|at| file.get(at..at + 8) == Some(name))
}
