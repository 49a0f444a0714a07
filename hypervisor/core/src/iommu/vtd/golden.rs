//! What VT-d's structures mean and which of the root's entries may stand, bit by
//! bit, written from the manual by hand.
//!
//! Source: Intel Virtualization Technology for Directed I/O: "Interrupt
//! Remapping Table Entry (IRTE) for Remapped Interrupts", "Capability Register",
//! "Extended Capability Register", "Fault Reason Encodings", "Interrupt Entry
//! Cache Invalidate Descriptor", "Invalidation Wait Descriptor".

use super::root_filter::{Request, covers, root_entry};
use super::*;
use crate::addr::Hpa;
use crate::icr::Dest;
use crate::paging::{PageSize, Width};
use std::vec::Vec;

/// Present, vector 31H, to APIC 2, from 00:01.0 only (SVT 1, SQ 0).
const LOW: u64 = 0x0000_0002_0031_0001;
const HIGH: u64 = 1 << 18 | 0x0008;
/// A function of a cell: 01:10.2.
const CELLS: u16 = 0x0182;

/// The root's entry as it may stand, when every destination is the root's.
fn stands(low: u64, high: u64) -> bool {
    let irte = Irte { low, high };
    let kept = root_entry(irte, Mode::X2apic, |_| true, [0x0180, CELLS]);
    assert!(kept == irte || kept == Irte::BLOCKED, "never changed");
    kept == irte
}

#[test]
fn delivery_modes() {
    // DLM, bits 7:5: fixed, lowest priority, SMI, reserved, NMI, INIT, reserved,
    // ExtINT.
    let modes = [true, true, false, false, false, false, false, false];
    for (mode, good) in (0u64..).zip(modes) {
        assert_eq!(stands(LOW | mode << 5, HIGH), good, "mode {mode}");
    }
}

#[test]
fn other_bits_of_the_lower_half() {
    assert!(stands(LOW, HIGH));
    assert!(!stands(LOW & !1, HIGH), "not present");
    // Fault processing, redirection hint, trigger mode, available bits.
    for bit in [1, 3, 4, 8, 9, 10, 11] {
        assert!(stands(LOW | 1 << bit, HIGH), "bit {bit}");
    }
    assert!(!stands(LOW | 1 << 15, HIGH), "IRTE mode: posted");
    let vector = |vector: u64| stands(LOW & !(0xff << 16) | vector << 16, HIGH);
    for number in 0..16 {
        assert!(!vector(number), "{number} is an exception's");
    }
    assert!(vector(16) && vector(0x80) && vector(255));
}

#[test]
fn destinations_are_asked_for_as_the_unit_reads_them() {
    let asked = |low, mode| {
        let mut asked = None;
        let irte = Irte { low, high: HIGH };
        let kept = root_entry(
            irte,
            mode,
            |dest| {
                asked = Some(dest);
                false
            },
            [],
        );
        assert_eq!(kept, Irte::BLOCKED, "not the root's");
        asked
    };
    let base = LOW & 0xffff_ffff;
    let logical = 1 << 2;
    // DST, bits 63:32; in xAPIC mode bits 47:40 alone count.
    let wide = base | 0x0001_0203 << 32;
    assert_eq!(asked(wide, Mode::X2apic), Some(Dest::Physical(0x1_0203)));
    assert_eq!(asked(wide, Mode::Xapic), Some(Dest::Physical(0x02)));
    assert_eq!(
        asked(wide | logical, Mode::X2apic),
        Some(Dest::LogicalX2 {
            cluster: 1,
            mask: 0x0203
        })
    );
    assert_eq!(
        asked(wide | logical, Mode::Xapic),
        Some(Dest::LogicalFlat(2))
    );
    assert_eq!(
        asked(base | 0xffff_ffff << 32, Mode::X2apic),
        Some(Dest::All)
    );
    assert_eq!(asked(base | 0xff00 << 32, Mode::Xapic), Some(Dest::All));
}

#[test]
fn source_validation() {
    // SVT, bits 83:82; SQ, bits 81:80; SID, bits 79:64. The requester, and
    // whether the entry takes what it sends.
    let (svt_id, svt_bus, svt_reserved) = (1 << 18, 2 << 18, 3 << 18);
    let sq = |qualifier: u64| svt_id | qualifier << 16;
    for (high, id, takes) in [
        // SVT 0: no check, whatever SID says.
        (0x0008, 0x0008, true),
        (0x0008, 0xffff, true),
        // SQ 0: all 16 bits.
        (sq(0) | 0x0182, 0x0182, true),
        (sq(0) | 0x0182, 0x0183, false),
        (sq(0) | 0x0182, 0x0186, false),
        (sq(0) | 0x0182, 0x0282, false),
        // SQ 1: all but bit 2.
        (sq(1) | 0x0182, 0x0182, true),
        (sq(1) | 0x0182, 0x0186, true),
        (sq(1) | 0x0182, 0x0183, false),
        (sq(1) | 0x0182, 0x0180, false),
        // SQ 2: all but bits 2:1.
        (sq(2) | 0x0182, 0x0180, true),
        (sq(2) | 0x0182, 0x0186, true),
        (sq(2) | 0x0182, 0x0181, false),
        (sq(2) | 0x0182, 0x018a, false),
        // SQ 3: all but bits 2:0, every function of the device.
        (sq(3) | 0x0182, 0x0180, true),
        (sq(3) | 0x0182, 0x0187, true),
        (sq(3) | 0x0182, 0x0188, false),
        (sq(3) | 0x0182, 0x0082, false),
        // SVT 2: buses 02H to 04H, both included.
        (svt_bus | 0x0204, 0x01ff, false),
        (svt_bus | 0x0204, 0x0200, true),
        (svt_bus | 0x0204, 0x03a5, true),
        (svt_bus | 0x0204, 0x04ff, true),
        (svt_bus | 0x0204, 0x0500, false),
        // SVT 3 is reserved: a unit may do anything.
        (svt_reserved | 0x0008, 0x0182, true),
    ] {
        assert_eq!(covers(high, id), takes, "{high:#x} for {id:#x}");
    }
    // An entry that takes what one of the cell's functions sends may not stand.
    for high in [
        0x0008,
        sq(0) | 0x0182,
        sq(1) | 0x0186,
        sq(2) | 0x0184,
        sq(3) | 0x0187,
        svt_bus | 0x0001,
        svt_bus | 0x01ff,
        svt_reserved | 0x0008,
    ] {
        assert!(!stands(LOW, high), "{high:#x}");
    }
    for high in [
        HIGH,
        sq(3) | 0x0188,
        svt_bus | 0x0203,
        // Bits 127:84 are reserved and have no say.
        HIGH | 1 << 20,
    ] {
        assert!(stands(LOW, high), "{high:#x}");
    }
}

#[test]
fn requests_of_the_roots_queue() {
    let interrupt = |granularity: u64, mask: u64, index: u64| {
        Request::decode(4 | granularity << 4 | mask << 27 | index << 32, 0)
    };
    assert_eq!(interrupt(0, 0, 0), Request::Interrupts(0, u32::MAX));
    // IM, bits 31:27: so many low bits of the index, bits 47:32, do not count.
    assert_eq!(interrupt(1, 0, 0x1234), Request::Interrupts(0x1234, 1));
    assert_eq!(interrupt(1, 4, 0x123f), Request::Interrupts(0x1230, 16));
    assert_eq!(
        interrupt(1, 15, 0xffff),
        Request::Interrupts(0x8000, 0x8000)
    );
    assert_eq!(interrupt(1, 16, 0xffff), Request::Interrupts(0, 0x1_0000));
    assert_eq!(interrupt(1, 31, 0xffff), Request::Interrupts(0, 0x1_0000));
    // Wait: SW (bit 5) asks for a status write, IF (4) for an interrupt.
    let address = Hpa(0x1_0000_7ffc);
    let wait = |flags: u64| Request::decode(5 | flags | 0xabcd_1234 << 32, address.0 | 3);
    assert_eq!(wait(1 << 5), Request::Status(0xabcd_1234, address));
    assert_eq!(wait(1 << 5 | 1 << 4), Request::Status(0xabcd_1234, address));
    assert_eq!(wait(1 << 4), Request::Nothing);
    // Context, IOTLB, device TLB, and what other modes have.
    for kind in [0, 1, 2, 3, 6, 7, 8, 9, 15] {
        assert_eq!(
            Request::decode(kind | 1 << 5, 0),
            Request::Nothing,
            "{kind}"
        );
    }
}

#[test]
fn capabilities_are_single_bits() {
    type Has = fn(Capabilities) -> bool;
    let (cap, ecap) = (0, 1);
    let flags: [(&str, usize, u64, Has); 9] = [
        ("RWBF", cap, 1 << 4, Capabilities::needs_write_buffer_flush),
        ("CM", cap, 1 << 7, Capabilities::caching_mode),
        // Write draining and read draining.
        ("DWD, DRD", cap, 3 << 54, Capabilities::drains),
        ("C", ecap, 1 << 0, Capabilities::coherent),
        ("QI", ecap, 1 << 1, Capabilities::queue),
        ("IR", ecap, 1 << 3, Capabilities::interrupts),
        ("EIM", ecap, 1 << 4, Capabilities::x2apic),
        ("PT", ecap, 1 << 6, Capabilities::pass_through),
        ("SC", ecap, 1 << 7, Capabilities::snoop_control),
    ];
    for (name, register, bits, has) in flags {
        let with = |bits: u64| {
            let mut registers = [0, 0];
            registers[register] = bits;
            has(Capabilities::new(registers[0], registers[1]))
        };
        assert!(with(bits) && with(u64::MAX), "{name}");
        assert!(!with(0) && !with(!bits), "{name}");
    }
    let half = |bit: u64| Capabilities::new(1 << bit, 0).drains();
    assert!(!half(54) && !half(55), "one kind is not both");
}

#[test]
fn capabilities_are_numbers() {
    let cap = |bits| Capabilities::new(bits, 0);
    // ND, bits 2:0: 4, 6, 8 … 16 bits.
    let domains: Vec<u32> = (0..7).map(|nd| cap(nd).domains()).collect();
    assert_eq!(domains, [16, 64, 256, 1024, 4096, 16_384, 65_536]);
    // SAGAW, bits 12:8: bit 1 is 39 bits, 2 is 48, 3 is 57.
    let width = |bits: u64| cap(bits << 8).width();
    assert_eq!(width(0), None);
    assert_eq!(width(0b1_0001), None, "reserved ones");
    assert_eq!(width(0b0010), Some(Width::Bits39));
    assert_eq!(width(0b0100), Some(Width::Bits48));
    assert_eq!(width(0b1000), Some(Width::Bits57));
    assert_eq!(width(0b1110), Some(Width::Bits48));
    assert_eq!(width(0b1010), Some(Width::Bits57));
    // MGAW, bits 21:16, is one less.
    assert_eq!(cap(47 << 16).guest_bits(), 48);
    assert_eq!(cap(!(0x3f << 16)).guest_bits(), 1);
    // SLLPS, bits 37:34: 34 is 2 MiB, 35 is 1 GiB.
    let pages = [0, 1, 2, 3].map(|bits: u64| cap(bits << 34).page_size());
    use PageSize::{Size1G, Size2M, Size4K};
    assert_eq!(pages, [Size4K, Size2M, Size4K, Size1G]);
    // FRO, bits 33:24, in units of 16 bytes; NFR, bits 47:40, is one less.
    assert_eq!(cap(0x22 << 24).fault_records(), (0x220, 1));
    assert_eq!(cap(0x3ff << 24 | 7 << 40).fault_records(), (0x3ff0, 8));
    assert_eq!(cap(0xff << 40).fault_records(), (0, 256));
}

#[test]
fn fault_reasons() {
    let reason = |code: u64| {
        let fault = FaultRecord::decode(0, 1 << 63 | code << 32).expect("a fault");
        fault.reason
    };
    for (code, wanted) in [
        (0x01, Reason::NoContext), // root entry not present
        (0x02, Reason::NoContext), // context entry not present
        (0x03, Reason::Other(3)),  // context entry invalid
        (0x04, Reason::AddressWidth),
        (0x05, Reason::NotWritable),
        (0x06, Reason::NotReadable),
        (0x07, Reason::Other(7)), // next table's address invalid
        (0x20, Reason::MalformedInterrupt),
        (0x21, Reason::InterruptIndex),
        (0x22, Reason::InterruptBlocked),
        (0x23, Reason::Other(0x23)), // table not accessible
        (0x24, Reason::Other(0x24)), // reserved fields in the IRTE
        (0x25, Reason::CompatibilityFormat),
        (0x26, Reason::ForeignInterrupt),
    ] {
        assert_eq!(reason(code), wanted, "{code:#x}");
    }
    // Interrupts have codes 20H to 2FH and no address, whatever the type says.
    let access = |code: u64, read: u64| {
        let high = 1 << 63 | read << 62 | code << 32;
        FaultRecord::decode(0x0042_0000_1234_5678, high).map(|fault| fault.access)
    };
    let page = 0x0042_0000_1234_5000;
    for (code, read, wanted) in [
        (0x1f, 0, Access::Write(page)),
        (0x1f, 1, Access::Read(page)),
        (0x20, 0, Access::Interrupt(0x42)),
        (0x2f, 1, Access::Interrupt(0x42)),
        (0x30, 1, Access::Read(page)),
    ] {
        assert_eq!(access(code, read), Some(wanted), "{code:#x}");
    }
    assert_eq!(FaultRecord::CLEAR, 1 << 31);
}
