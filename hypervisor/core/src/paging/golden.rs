//! Entries of all formats, bit by bit, written from the manuals by hand.
//!
//! Sources: SDM 3C, "EPT Translation Mechanism" (formats of EPT entries); APM 2,
//! "Nested Paging" and "Long-Mode Page Translation"; VT-d, "Second-Stage Paging
//! Entries"; AMD I/O Virtualization Technology, "I/O Page Tables for Host
//! Translations".

use super::*;

const NONE: Attr = Attr {
    read: false,
    write: false,
    execute: false,
    mem_type: MemType::WriteBack,
};
const READ: Attr = Attr { read: true, ..NONE };
const WRITE: Attr = Attr {
    write: true,
    ..NONE
};
const READ_EXECUTE: Attr = Attr {
    execute: true,
    ..READ
};
const READ_WRITE: Attr = Attr {
    write: true,
    ..READ
};

const fn typed(mem_type: MemType) -> Attr {
    Attr {
        mem_type,
        ..READ_WRITE
    }
}

/// One leaf: what it shall allow, at which level, its bits besides the address,
/// and what these say when they are read back.
type Leaf = (Attr, u8, u64, Attr);

fn assert_leaves<F: EntryFormat>(format: F, leaves: &[Leaf]) {
    // All address bits that a leaf of the largest size can have.
    let hpa = Hpa(0x000f_ffff_c000_0000);
    for (attr, level, bits, says) in leaves {
        let entry = format.leaf(hpa, *level, *attr);
        assert_eq!(entry, hpa.0 | bits, "{attr:?} at level {level}: {entry:x}");
        assert!(format.present(entry) && format.is_leaf(entry, *level));
        assert_eq!(format.addr(entry), hpa);
        assert_eq!(format.attr(entry, *level), *says, "{entry:x}");
    }
    for level in 1..=3 {
        assert!(!format.present(format.leaf(hpa, level, NONE)), "no rights");
    }
}

/// Entries that point at tables, by level: their bits besides the address.
fn assert_tables<F: EntryFormat>(format: F, tables: &[(u8, u64)]) {
    let hpa = Hpa(0x000f_ffff_ffff_f000);
    for (level, bits) in tables {
        let entry = format.table(hpa, *level);
        assert_eq!(entry, hpa.0 | bits, "level {level}");
        assert!(format.present(entry) && !format.is_leaf(entry, *level));
        assert_eq!(format.addr(entry), hpa);
    }
    assert!(!format.present(0));
}

#[test]
fn ept() {
    use MemType::{Uncached, WriteCombining, WriteProtected, WriteThrough};
    // Bits 2:0 read, write, execute; 5:3 memory type; 7 maps a page; 6 (ignore
    // PAT), 8 and 9 (accessed, dirty), 10 and above 51 stay clear.
    let leaves = [
        (Attr::RAM, 1, 0x37, Attr::RAM),
        (Attr::RAM, 2, 0xb7, Attr::RAM),
        (Attr::RAM, 3, 0xb7, Attr::RAM),
        (READ_EXECUTE, 1, 0x35, READ_EXECUTE),
        (READ_EXECUTE, 2, 0xb5, READ_EXECUTE),
        (READ, 1, 0x31, READ),
        // Writable but not readable would be a misconfiguration.
        (WRITE, 1, 0x33, READ_WRITE),
        (Attr::DEVICE, 1, 0x03, Attr::DEVICE),
        (Attr::DEVICE, 3, 0x83, Attr::DEVICE),
        (typed(Uncached), 1, 0x03, typed(Uncached)),
        (typed(WriteCombining), 1, 0x0b, typed(WriteCombining)),
        (typed(WriteThrough), 1, 0x23, typed(WriteThrough)),
        (typed(WriteProtected), 2, 0xab, typed(WriteProtected)),
    ];
    assert_leaves(Ept, &leaves);
    assert_tables(Ept, &[(2, 7), (3, 7), (4, 7)]);
    assert_eq!(Ept.levels(), 4);
    // Each right alone makes an entry present.
    assert!([1, 2, 4].map(|bit| Ept.present(bit)) == [true; 3] && !Ept.present(0xff8));
    // EPTP: write-back (6), four levels (3), no accessed and dirty flags.
    assert_eq!(Ept::pointer(Hpa(0xf_ffff_f000)), 0xf_ffff_f01e);
}

#[test]
fn npt() {
    const UC: MemType = MemType::Uncached;
    let device = Attr {
        execute: true,
        ..Attr::DEVICE
    };
    // P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7, NX 63. PAT entry 3 is UC
    // and has PWT and PCD set. D only where a write could set it.
    const NX: u64 = 1 << 63;
    let ram = [
        (Attr::RAM, 1, 0x67, Attr::RAM),
        (Attr::RAM, 2, 0xe7, Attr::RAM),
        (Attr::RAM, 3, 0xe7, Attr::RAM),
        (READ_EXECUTE, 1, 0x25, READ_EXECUTE),
        (READ_EXECUTE, 3, 0xa5, READ_EXECUTE),
        (READ, 1, NX | 0x25, READ),
        // What is not kept: types other than WB and UC, and "no reads".
        (WRITE, 1, NX | 0x67, READ_WRITE),
        (
            Attr {
                execute: true,
                ..NONE
            },
            1,
            0x25,
            READ_EXECUTE,
        ),
        (typed(MemType::WriteThrough), 1, NX | 0x67, READ_WRITE),
        (typed(MemType::WriteCombining), 2, NX | 0xe7, READ_WRITE),
        (typed(MemType::WriteProtected), 2, NX | 0xe7, READ_WRITE),
    ];
    let devices = [
        (Attr::DEVICE, 1, NX | 0x7f, typed(UC)),
        (Attr::DEVICE, 2, NX | 0xff, typed(UC)),
        (device, 1, 0x7f, device),
    ];
    for format in [Npt::Level4, Npt::Level5] {
        assert_leaves(format, &ram);
        assert_leaves(format, &devices);
        assert_tables(format, &[(2, 0x27), (3, 0x27), (4, 0x27), (5, 0x27)]);
    }
    assert_eq!((Npt::Level4.levels(), Npt::Level5.levels()), (4, 5));
    assert!(Npt::Level4.present(1) && !Npt::Level4.present(!1));
}

#[test]
fn vtd() {
    // R 0, W 1, PS 7, SNP 11; bit 2 (execute) and memory types are for other
    // modes.
    let width = Width::Bits48;
    let plain = Vtd {
        width,
        snoop: false,
    };
    let snooping = Vtd { width, snoop: true };
    let wc = typed(MemType::WriteCombining);
    assert_leaves(
        plain,
        &[
            (Attr::RAM, 1, 0x3, READ_WRITE),
            (Attr::RAM, 2, 0x83, READ_WRITE),
            (Attr::RAM, 3, 0x83, READ_WRITE),
            (READ_EXECUTE, 1, 0x1, READ),
            (READ, 2, 0x81, READ),
            (WRITE, 1, 0x2, WRITE),
            (wc, 1, 0x3, READ_WRITE),
        ],
    );
    assert_leaves(
        snooping,
        &[
            (Attr::RAM, 1, 0x803, READ_WRITE),
            (Attr::RAM, 3, 0x883, READ_WRITE),
            (READ, 2, 0x881, READ),
            (WRITE, 1, 0x802, WRITE),
        ],
    );
    for format in [plain, snooping] {
        assert_tables(format, &[(2, 3), (3, 3), (4, 3), (5, 3)]);
        assert_eq!(format.leaf(Hpa(0x7000), 1, NONE), 0);
    }
    assert!(plain.present(1) && plain.present(2) && !plain.present(!3));
    // Context entries, "address width", and levels.
    for (width, code, levels) in [
        (Width::Bits39, 1, 3),
        (Width::Bits48, 2, 4),
        (Width::Bits57, 3, 5),
    ] {
        let format = Vtd {
            width,
            snoop: false,
        };
        assert_eq!((width.code(), format.levels()), (code, levels));
    }
}

#[test]
fn amdvi() {
    // PR 0, next level 11:9, FC 60, IR 61, IW 62.
    let uncached_read = Attr {
        mem_type: MemType::Uncached,
        ..READ
    };
    assert_leaves(
        AmdVi,
        &[
            (Attr::RAM, 1, 0x7000_0000_0000_0001, READ_WRITE),
            (Attr::RAM, 2, 0x7000_0000_0000_0001, READ_WRITE),
            (Attr::RAM, 3, 0x7000_0000_0000_0001, READ_WRITE),
            (READ_EXECUTE, 1, 0x3000_0000_0000_0001, READ),
            (WRITE, 2, 0x5000_0000_0000_0001, WRITE),
            (
                Attr::DEVICE,
                1,
                0x6000_0000_0000_0001,
                typed(MemType::Uncached),
            ),
            (uncached_read, 3, 0x2000_0000_0000_0001, uncached_read),
        ],
    );
    assert_tables(
        AmdVi,
        &[
            (2, 0x6000_0000_0000_0201),
            (3, 0x6000_0000_0000_0401),
            (4, 0x6000_0000_0000_0601),
        ],
    );
    assert_eq!(AmdVi.levels(), 4);
    assert!(AmdVi.present(1) && !AmdVi.present(!1));
}

#[test]
fn memory_types_have_the_manuals_numbers() {
    use MemType::{Uncached, WriteBack, WriteCombining, WriteProtected, WriteThrough};
    // SDM 3A, "Memory Types That Can Be Encoded in MTRRs"; 2, 3 and 7 are reserved.
    let types = [
        Uncached,
        WriteCombining,
        Uncached,
        Uncached,
        WriteThrough,
        WriteProtected,
        WriteBack,
        Uncached,
    ];
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(MemType::from_bits), types);
}
