//! Names for files that are no kernel that a cell boots, or no initrd.

use super::image::{is_archive, is_bzimage};

/// Why a file is not what a slice's file takes it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, as the end of a sentence that begins with its name.
    pub what: &'static str,
    /// What helps.
    pub help: &'static str,
}

const NAME_ONE: &str = "name a bzImage, as /boot/vmlinuz-* of a distribution is";
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

    /// Kernels that only EFI firmware starts: those of other processors, which
    /// unpack themselves, and a kernel, an initrd and a command line in one file.
    fn of_efi(head: &[u8]) -> Self {
        let (what, help) = match head.get(4..8) {
            Some(b"zimg") => ("is a kernel for EFI alone, of another processor", NAME_ONE),
            _ => (
                "is a program for EFI firmware, which cells do not have",
                "for a unified kernel image, take the kernel out: \
                 `objcopy -O binary --only-section=.linux FILE vmlinuz`",
            ),
        };
        Self { what, help }
    }

    /// What an ELF file is that cells cannot enter in 64-bit mode at its entry;
    /// `None` for one that they can.
    pub(super) fn of_elf(head: &[u8], class: u64, kind: u64, machine: u64) -> Option<Self> {
        const WIDE: u64 = 2;
        const X86_64: u64 = 62;
        const RELOCATABLE: u64 = 1;
        let help = "name a bzImage, or a 64-bit ELF file that is linked for x86-64, as vmlinux is";
        let what = match (class, machine, kind) {
            (WIDE, X86_64, RELOCATABLE) => "is an object file or a kernel module",
            (WIDE, X86_64, _) if head.len() < 64 => "is an ELF file that is cut short",
            (WIDE, X86_64, _) => return None,
            (WIDE, ..) => "is an ELF file for another processor",
            _ => "is a 32-bit ELF file",
        };
        Some(Self { what, help })
    }
}
