//! Loads small made-up kernels into memory and looks at what a kernel sees.

use super::*;
use cellvisor_abi::plan::Range;
use std::fs;
use vm_memory::GuestMemoryMmap;

const MIB: u64 = 1 << 20;

/// Offsets in boot parameters, from `Documentation/arch/x86/zero-page.rst`.
const RSDP: u64 = 0x70;
const EXT_RAMDISK_IMAGE: u64 = 0xc0;
const E820_ENTRIES: u64 = 0x1e8;
const TYPE_OF_LOADER: u64 = 0x210;
const RAMDISK_IMAGE: u64 = 0x218;
const RAMDISK_SIZE: u64 = 0x21c;
const CMD_LINE_PTR: u64 = 0x228;
const E820: u64 = 0x2d0;

fn memory(bytes: u64) -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes as usize)]).expect("memory")
}

fn ram(bytes: u64) -> Ram<'static> {
    let all = Range {
        start: 0,
        size: bytes,
    };
    Ram {
        ranges: vec![all].leak(),
        reserved: &[],
    }
}

fn read<T: vm_memory::ByteValued>(memory: &GuestMemoryMmap, address: u64) -> T {
    memory.read_obj(GuestAddress(address)).expect("in memory")
}

fn bytes(memory: &GuestMemoryMmap, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let at = GuestAddress(address);
    memory.read_slice(&mut bytes, at).expect("in memory");
    bytes
}

/// A bzImage of protocol 2.15 with one sector of set-up and `body` as kernel.
fn bzimage(body: &[u8]) -> Vec<u8> {
    let mut image = vec![0u8; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1fe, &0xaa55u16.to_le_bytes());
    put(0x201, &[0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x020fu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(0x230, &(2u32 << 20).to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &0x0003u16.to_le_bytes());
    put(0x238, &2047u32.to_le_bytes());
    put(0x258, &(16 * MIB).to_le_bytes());
    put(0x260, &(8u32 << 20).to_le_bytes());
    // Behind the header there is code, which is no header.
    put(0x26c, &[0xcc; 16]);
    image.extend_from_slice(body);
    image
}

/// An ELF file with one segment of `body` at 2 MiB, entered at its start.
fn elf(body: &[u8], entry: u64) -> Vec<u8> {
    let mut image = vec![0u8; 120];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &2u16.to_le_bytes());
    put(0x12, &62u16.to_le_bytes());
    put(0x14, &1u32.to_le_bytes());
    put(0x18, &entry.to_le_bytes());
    put(0x20, &64u64.to_le_bytes());
    put(0x34, &64u16.to_le_bytes());
    put(0x36, &56u16.to_le_bytes());
    put(0x38, &1u16.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(64 + 8, &120u64.to_le_bytes());
    put(64 + 16, &(2 * MIB).to_le_bytes());
    put(64 + 24, &(2 * MIB).to_le_bytes());
    put(64 + 32, &(body.len() as u64).to_le_bytes());
    put(64 + 40, &(body.len() as u64).to_le_bytes());
    image.extend_from_slice(body);
    image
}

struct Files {
    dir: tempfile::TempDir,
    payload: Payload,
}

fn files(image: &[u8], initrd: &[&[u8]], cmdline: &str) -> Files {
    let dir = tempfile::tempdir().expect("temporary folder");
    let part = |n: usize| dir.path().join(format!("initrd{n}"));
    let payload = Payload {
        image: dir.path().join("kernel"),
        initrd: (0..initrd.len()).map(part).collect(),
        cmdline: cmdline.to_owned(),
    };
    fs::write(&payload.image, image).expect("writes");
    for (path, bytes) in payload.initrd.iter().zip(initrd) {
        fs::write(path, bytes).expect("writes");
    }
    Files { dir, payload }
}

/// An archive of `length` bytes.
fn archive(length: usize) -> Vec<u8> {
    let mut bytes = b"070701".to_vec();
    bytes.resize(length, 7);
    bytes
}

#[test]
fn kernel_finds_disk_command_line_tables_and_map() {
    let made = files(&bzimage(b"kernel"), &[&archive(5000)], "console=ttyS0 ro");
    let memory = memory(64 * MIB);
    let boot = load(&memory, ram(64 * MIB), &made.payload, b"RSD PTR ").expect("loads");

    assert_eq!(boot.rip, 16 * MIB + 0x200);
    assert_eq!(read::<[u8; 6]>(&memory, 16 * MIB), *b"kernel");
    let zero_page = boot.rsi;
    assert_eq!(read::<u64>(&memory, zero_page + RSDP), layout::ACPI);
    assert_eq!(read::<[u8; 8]>(&memory, layout::ACPI), *b"RSD PTR ");
    assert_eq!(read::<u8>(&memory, zero_page + TYPE_OF_LOADER), 0xff);
    let line = read::<u32>(&memory, zero_page + CMD_LINE_PTR);
    assert_eq!(
        read::<[u8; 17]>(&memory, line.into()),
        *b"console=ttyS0 ro\0"
    );
    let disk = read::<u32>(&memory, zero_page + RAMDISK_IMAGE);
    assert_eq!(u64::from(disk), 64 * MIB - 8192);
    assert_eq!(read::<u32>(&memory, zero_page + RAMDISK_SIZE), 5000);
    assert_eq!(read::<u32>(&memory, zero_page + EXT_RAMDISK_IMAGE), 0);
    assert_eq!(read::<[u8; 2]>(&memory, u64::from(disk) + 4998), [7, 7]);
    assert_eq!(
        read::<[u8; 16]>(&memory, zero_page + 0x26c),
        [0; 16],
        "code, no header"
    );
}

#[test]
fn memory_map_names_ram_once_and_tables_as_acpi() {
    let made = files(&bzimage(b"k"), &[], "");
    let memory = memory(64 * MIB);
    let boot = load(&memory, ram(64 * MIB), &made.payload, b"").expect("loads");
    let count = u64::from(read::<u8>(&memory, boot.rsi + E820_ENTRIES));
    let entry = |n: u64| {
        let at = boot.rsi + E820 + n * 20;
        (
            read::<u64>(&memory, at),
            read::<u64>(&memory, at + 8),
            read::<u32>(&memory, at + 16),
        )
    };
    let map: Vec<_> = (0..count).map(entry).collect();
    assert_eq!(
        map,
        [
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xe_0000, 0x2_0000, 3),
            (0x10_0000, 63 * MIB, 1),
        ]
    );
}

#[test]
fn memory_map_ends_at_the_hole_and_reserves_configuration_space() {
    let made = files(&bzimage(b"k"), &[], "");
    let memory = memory(64 * MIB);
    let range = |start, size| Range { start, size };
    let spaces = [range(0xb000_0000, 256 * MIB)];
    let ranges = [
        range(0, 2048 * MIB),
        range(4096 * MIB, 1024 * MIB),
        range(8192 * MIB, 1024 * MIB),
    ];
    let ram = Ram {
        ranges: &ranges,
        reserved: &spaces,
    };
    let boot = load(&memory, ram, &made.payload, b"").expect("loads");
    let count = u64::from(read::<u8>(&memory, boot.rsi + E820_ENTRIES));
    let last = |n: u64| {
        let at = boot.rsi + E820 + (count - n) * 20;
        let entry = (read::<u64>(&memory, at), read::<u64>(&memory, at + 8));
        (entry.0, entry.1, read::<u32>(&memory, at + 16))
    };
    assert_eq!(last(4), (MIB, 2047 * MIB, 1));
    assert_eq!(last(3), (0xb000_0000, 256 * MIB, 2));
    assert_eq!(last(2), (4096 * MIB, 1024 * MIB, 1));
    assert_eq!(last(1), (8192 * MIB, 1024 * MIB, 1));
}

#[test]
fn page_tables_map_4_gib_to_themselves() {
    let made = files(&bzimage(b"k"), &[], "");
    let memory = memory(64 * MIB);
    let boot = load(&memory, ram(64 * MIB), &made.payload, b"").expect("loads");
    let entry = |table: u64, index: u64| read::<u64>(&memory, (table & !0xfff) + index * 8);
    for address in [0, 16 * MIB, 0xfec0_0000, 0xffe0_0000] {
        let level_3 = entry(boot.cr3, 0);
        let level_2 = entry(level_3, address >> 30);
        let page = entry(level_2, address >> 21 & 511);
        assert_eq!(page & !0xfff, address / (2 * MIB) * 2 * MIB);
        assert_eq!(page & 0x83, 0x83, "present, writable, large");
    }
    assert_eq!(boot.gdt_limit, 31);
    assert_eq!(read::<u64>(&memory, boot.gdt + 0x10), 0x00af_9b00_0000_ffff);
    assert_eq!(read::<u64>(&memory, boot.gdt + 0x18), 0x00cf_9300_0000_ffff);
}

#[test]
fn kernel_moves_down_when_its_place_is_not_there() {
    let made = files(&bzimage(b"k"), &[], "");
    let memory = memory(20 * MIB);
    let boot = load(&memory, ram(20 * MIB), &made.payload, b"").expect("loads");
    assert_eq!(boot.rip, 2 * MIB + 0x200);
}

#[test]
fn kernel_that_does_not_fit_says_what_it_needs() {
    let made = files(&bzimage(b"k"), &[], "");
    let error = load(&memory(8 * MIB), ram(8 * MIB), &made.payload, b"").expect_err("too small");
    let text = error.to_string();
    assert!(text.contains("needs 8 MiB from 16 MiB on"), "{text}");
    assert!(text.contains("at least 24 MiB"), "{text}");
}

#[test]
fn elf_is_entered_where_it_says() {
    let made = files(&elf(b"\xf4payload", 2 * MIB), &[], "arg");
    let memory = memory(8 * MIB);
    let boot = load(&memory, ram(8 * MIB), &made.payload, b"RSD PTR ").expect("loads");
    assert_eq!(boot.rip, 2 * MIB);
    assert_eq!(read::<[u8; 8]>(&memory, 2 * MIB), *b"\xf4payload");
    let line = read::<u32>(&memory, boot.rsi + CMD_LINE_PTR);
    assert_eq!(read::<[u8; 4]>(&memory, line.into()), *b"arg\0");
    assert_eq!(read::<u64>(&memory, boot.rsi + RSDP), layout::ACPI);
}

#[test]
fn elf_kernel_takes_a_disk_as_from_a_loader_that_it_knows() {
    let made = files(&elf(b"\xf4", 2 * MIB), &[&archive(5000)], "");
    let memory = memory(8 * MIB);
    let boot = load(&memory, ram(8 * MIB), &made.payload, b"").expect("loads");
    // Linux ignores the disk of a loader of type 0.
    assert_eq!(read::<u8>(&memory, boot.rsi + TYPE_OF_LOADER), 0xff);
    assert_eq!(read::<u32>(&memory, boot.rsi + RAMDISK_SIZE), 5000);
    let disk = read::<u32>(&memory, boot.rsi + RAMDISK_IMAGE);
    assert_eq!(read::<[u8; 6]>(&memory, u64::from(disk)), *b"070701");
}

#[test]
fn files_of_a_disk_follow_each_other_at_multiples_of_four() {
    let parts: [&[u8]; 3] = [&archive(509), b"\x1f\x8bpacked", &archive(64)];
    let made = files(&bzimage(b"k"), &parts, "");
    let memory = memory(64 * MIB);
    // What an earlier run left must not stand between two archives.
    super::write(&memory, &vec![0xee; 8192], 64 * MIB - 8192).expect("writes");
    let boot = load(&memory, ram(64 * MIB), &made.payload, b"").expect("loads");
    let size = read::<u32>(&memory, boot.rsi + RAMDISK_SIZE);
    assert_eq!(size, 512 + 8 + 64);
    let disk = read::<u32>(&memory, boot.rsi + RAMDISK_IMAGE);
    let mut expected = archive(509);
    expected.extend(b"\0\0\0\x1f\x8bpacked");
    expected.extend(archive(64));
    assert_eq!(bytes(&memory, disk.into(), expected.len()), expected);
}

#[test]
fn a_file_of_several_is_named_alone_for_what_it_is_and_all_for_their_length() {
    let half = archive(25 << 20);
    for (second, named, why) in [
        (
            &b"text"[..],
            &["initrd1"][..],
            "it is no cpio archive, packed or not",
        ),
        (b"", &["initrd1"], "it is empty"),
        (&bzimage(b"k"), &["initrd1"], "it is a kernel"),
        (
            &half,
            &["initrd0", "initrd1"],
            "they have 50 MiB, and 40 MiB are left",
        ),
    ] {
        let made = files(&bzimage(b"k"), &[&half, second], "");
        let error = look(ram(64 * MIB), &made.payload).expect_err(why);
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
        for name in ["initrd0", "initrd1"] {
            assert_eq!(text.contains(name), named.contains(&name), "{text}");
        }
    }
}

/// A 32-bit ELF file with one segment of `body` at 2 MiB, entered at its start.
fn narrow(body: &[u8]) -> Vec<u8> {
    let mut image = vec![0u8; 84];
    let mut put = |at: usize, value: u32, width: usize| {
        image[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    };
    put(0, 0x464c_457f, 4);
    put(4, 1, 1);
    put(16, 2, 2);
    put(18, 3, 2);
    put(24, 0x20_0000, 4);
    put(28, 52, 4);
    put(42, 32, 2);
    put(44, 1, 2);
    let length = body.len() as u32;
    for (n, value) in [1, 84, 0, 0x20_0000, length, length + 5000]
        .iter()
        .enumerate()
    {
        put(52 + n * 4, *value, 4);
    }
    image.extend_from_slice(body);
    image
}

/// A segment that begins with a Multiboot header.
fn multiboot() -> Vec<u8> {
    let header = [0x1bad_b002_u32, 3, 0xe452_4ffb];
    narrow(&header.map(u32::to_le_bytes).concat())
}

/// The stub's last instructions: what is in EAX, EBX and ECX, to which it jumps.
fn entered(memory: &GuestMemoryMmap, boot: &Boot) -> [u32; 3] {
    let code = bytes(memory, boot.rip, 96);
    let jump = code
        .windows(2)
        .position(|b| b == [0xff, 0xe1])
        .expect("a jump");
    [15, 10, 5].map(|back| {
        let number = code[jump - back + 1..jump - back + 5].try_into();
        u32::from_le_bytes(number.expect("four bytes"))
    })
}

#[test]
fn multiboot_program_finds_line_map_and_modules_of_any_kind() {
    let parts: [&[u8]; 2] = [b"first", b"#!second"];
    let made = files(&multiboot(), &parts, "arg");
    let memory = memory(8 * MIB);
    // What an earlier run left must not be in the way of zeros.
    super::write(&memory, &[0xee; 8192], 2 * MIB).expect("writes");
    let boot = load(&memory, ram(8 * MIB), &made.payload, b"RSD PTR ").expect("loads");
    assert_eq!(
        read::<[u8; 4]>(&memory, 2 * MIB),
        0x1bad_b002_u32.to_le_bytes()
    );
    assert_eq!(bytes(&memory, 2 * MIB + 12, 5000), [0; 5000]);
    assert_eq!(read::<u8>(&memory, 2 * MIB + 5012), 0xee);
    let [magic, info, entry] = entered(&memory, &boot);
    assert_eq!((magic, entry), (0x2bad_b002, 0x20_0000));
    let word = |at: u32| read::<u32>(&memory, (info + at).into());
    assert_eq!(word(0), 0b10_0100_1101);
    assert_eq!((word(4), word(8)), (639, 7168), "KiB below and above 1 MiB");
    let line = read::<[u8; 11]>(&memory, word(16).into());
    assert_eq!(line, *b"kernel arg\0");
    assert_eq!(word(20), 2);
    for (n, part) in (0..).zip(parts) {
        let module = |at: u32| read::<u32>(&memory, (word(24) + n * 16 + at).into());
        assert_eq!(module(0) % 4096, 0, "on a page");
        assert_eq!(module(4) - module(0), part.len() as u32);
        let first = read::<[u8; 5]>(&memory, module(0).into());
        assert_eq!(first, part[..5]);
    }
    assert_eq!(word(44), 4 * 24, "four stretches of memory");
    let last = word(48) + 3 * 24;
    let field = |at: u32| read::<u32>(&memory, (last + at).into());
    assert_eq!(
        (field(0), field(4), field(12), field(20)),
        (20, 0x10_0000, 7 << 20, 1)
    );
    assert_eq!(read::<[u8; 8]>(&memory, word(64).into()), *b"cellctl\0");
    let firmware = [0x40e, 0x413].map(|at| read::<u16>(&memory, at));
    assert_eq!(firmware, [0x9fc0, 639]);
}

#[test]
fn pvh_program_finds_line_tables_map_and_modules() {
    let note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\x08\0\x20\0";
    let mut image = narrow(note);
    // Its one segment is loaded, and a second header makes notes of the same bytes.
    image.splice(84..84, vec![0; 32]);
    image[44] = 2;
    for (at, value) in [(56, 116), (84, 4), (88, 116), (100, 20)] {
        image[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
    }
    let made = files(&image, &[b"module"], "arg");
    let memory = memory(8 * MIB);
    let boot = load(&memory, ram(8 * MIB), &made.payload, b"RSD PTR ").expect("loads");
    let [_, info, entry] = entered(&memory, &boot);
    assert_eq!(entry, 0x20_0008, "where the note says");
    let half = |at: u32| read::<u32>(&memory, (info + at).into());
    let word = |at: u32| read::<u64>(&memory, (info + at).into());
    assert_eq!([0, 4, 8, 12].map(half), [0x336e_c578, 1, 0, 1]);
    let module = read::<u64>(&memory, word(16));
    assert_eq!(read::<[u8; 6]>(&memory, module), *b"module");
    assert_eq!(read::<u64>(&memory, word(16) + 8), 6);
    assert_eq!(read::<[u8; 4]>(&memory, word(24)), *b"arg\0");
    assert_eq!(word(32), layout::ACPI);
    assert_eq!(half(48), 4, "stretches of memory");
    let last = word(40) + 3 * 24;
    let map = [0, 8, 16].map(|at| read::<u64>(&memory, last + at));
    assert_eq!(map, [0x10_0000, 7 * MIB, 1]);
}

#[test]
fn too_many_modules_are_refused() {
    let parts: Vec<&[u8]> = vec![b"x"; 57];
    for (count, good) in [(56, true), (57, false)] {
        let made = files(&multiboot(), &parts[..count], "");
        let loaded = load(&memory(8 * MIB), ram(8 * MIB), &made.payload, b"");
        assert_eq!(loaded.is_ok(), good, "{count}");
    }
}

#[test]
fn elf_with_an_entry_elsewhere_is_refused() {
    for entry in [0x1000, 5 * MIB, u64::MAX] {
        let made = files(&elf(b"\xf4", entry), &[], "");
        assert!(
            load(&memory(8 * MIB), ram(8 * MIB), &made.payload, b"").is_err(),
            "{entry:#x}"
        );
    }
}

#[test]
fn files_that_are_no_kernels_are_named() {
    for (bytes, what) in [
        (&b""[..], "it is no bzImage and no ELF file"),
        (b"#!/bin/sh", "it is a script"),
        (b"\x28\xb5\x2f\xfd", "it is packed with zstd"),
        (&[0; 2000], "it is no bzImage and no ELF file"),
    ] {
        let made = files(bytes, &[], "");
        let error =
            load(&memory(8 * MIB), ram(8 * MIB), &made.payload, b"").expect_err("no kernel");
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
        assert!(
            text.contains(&made.dir.path().display().to_string()),
            "{text}"
        );
    }
}

#[test]
fn missing_file_names_the_key() {
    let mut made = files(&bzimage(b"k"), &[], "");
    made.payload.initrd = vec![made.dir.path().join("none")];
    let error = load(&memory(64 * MIB), ram(64 * MIB), &made.payload, b"").expect_err("no disk");
    assert!(error.to_string().contains("check [kernel]"), "{error}");
}

#[test]
fn command_line_of_any_length_fits_or_is_refused() {
    let memory = memory(64 * MIB);
    for (length, good) in [(2047, true), (2048, false)] {
        let made = files(&bzimage(b"k"), &[], &"x".repeat(length));
        let loaded = load(&memory, ram(64 * MIB), &made.payload, b"");
        assert_eq!(loaded.is_ok(), good, "{length}");
    }
}

#[test]
fn tables_that_are_too_long_are_refused() {
    let made = files(&bzimage(b"k"), &[], "");
    let memory = memory(64 * MIB);
    let error =
        load(&memory, ram(64 * MIB), &made.payload, &vec![0; 0x2_0001]).expect_err("too long");
    assert!(error.to_string().contains("131072 fit"), "{error}");
}

#[test]
fn a_look_finds_what_loading_would_refuse() {
    let good = bzimage(b"kernel");
    let mut cut = good.clone();
    // Says that there are 16 KiB more.
    cut[0x1f4..0x1f6].copy_from_slice(&1024u16.to_le_bytes());
    let high = elf(b"program", 65 * MIB);
    let mut beyond = elf(b"program", 2 * MIB);
    // Zeros behind what the file has, up to 66 MiB.
    beyond[64 + 40..64 + 48].copy_from_slice(&(64 * MIB).to_le_bytes());
    let short = elf(b"program", 2 * MIB)[..122].to_vec();
    let long = "x".repeat(3000);
    let (disk, large) = (archive(8), archive(50 << 20));
    for (image, disk, line, why) in [
        (&b"text"[..], &disk[..], "", "it is no bzImage"),
        (&cut, &disk, "", "it has 1030 bytes, its header says 17393"),
        (&high, &disk, "", "is outside of what it loads"),
        (&beyond, &disk, "", "is outside of its memory"),
        (&short, &disk, "", "the file is cut short: it has 122 bytes"),
        (
            &good,
            &disk,
            &long,
            "it has 3000 bytes, and the kernel takes 2047",
        ),
        (
            &good,
            &large,
            "",
            "it has 50 MiB, and 40 MiB are left behind the kernel",
        ),
        (&good, b"", "", "it is empty"),
        (
            &good,
            b"!<arch>\ndebian-binary",
            "",
            "it is a Debian package",
        ),
    ] {
        let made = files(image, &[disk], line);
        let error = look(ram(64 * MIB), &made.payload).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
        let memory = memory(64 * MIB);
        let loading = load(&memory, ram(64 * MIB), &made.payload, b"").expect_err(why);
        assert_eq!(loading.to_string(), error.to_string());
    }
    for good in [good, elf(b"program", 2 * MIB)] {
        let made = files(&good, &[&disk], "ro");
        look(ram(64 * MIB), &made.payload).expect("nothing to refuse");
    }
}

#[test]
fn a_look_finds_files_that_are_gone_or_have_no_end() {
    let made = files(&bzimage(b"kernel"), &[&archive(8)], "ro");
    fs::remove_file(&made.payload.image).expect("removed");
    let error = look(ram(64 * MIB), &made.payload).expect_err("no kernel");
    assert!(error.to_string().contains("No such file"), "{error}");
    let endless = Payload {
        image: "/dev/zero".into(),
        ..made.payload.clone()
    };
    let error = look(ram(64 * MIB), &endless).expect_err("a device");
    let why = "it is no ordinary file";
    assert!(error.to_string().contains(why), "{error}");
}
