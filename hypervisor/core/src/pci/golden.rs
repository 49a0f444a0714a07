//! Configuration space of a cell's functions, register by register, written from
//! the manuals by hand: which bits a read takes from the hardware, which bits a
//! write can change there, and which capabilities are shown.
//!
//! Sources: PCI Local Bus 3.0, "Configuration Space Decoding", "Capabilities
//! List"; PCI Bus Power Management 1.2, "Register Descriptions"; PCI Express
//! Base 5.0, "PCI Express Capability Structure", "Extended Capabilities".

use super::tests::{Device, physical, vf, vf_description};
use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// What four bytes read before the cell has written anything: bits that are the
/// hardware's, and what the others say. Where nothing is listed they read zero.
type Reads = [(u16, u32, u32)];

fn assert_reads(name: &str, function: &Function, reads: &Reads) {
    let reads: BTreeMap<u16, (u32, u32)> = reads.iter().map(|r| (r.0, (r.1, r.2))).collect();
    for offset in (0..4096).step_by(4) {
        let access = Access::new(offset, 4).expect("aligned");
        let with = |hardware| function.read(access, |_| hardware);
        let found = (with(u32::MAX) ^ with(0), with(0));
        let wanted = reads.get(&offset).copied().unwrap_or((0, 0));
        assert_eq!(found, wanted, "{name}: {offset:#x}: {found:x?}");
    }
}

const ALL: u32 = u32::MAX;

#[test]
fn reads_of_a_physical_function() {
    let (function, _) = physical();
    let reads = [
        (0x00, ALL, 0),         // vendor, device
        (0x04, ALL, 0),         // command, status
        (0x08, ALL, 0),         // revision, class
        (0x0c, 0xffff, 0),      // cache line, latency; type 0, no self-test
        (0x10, 0, 0xfeb8_0000), // BARs as they were found
        (0x14, 0, 0xc001),
        (0x2c, ALL, 0),             // subsystem
        (0x34, 0, 0xc8),            // first capability shown
        (0x3c, 0xffff_0000, 0x100), // line 0, pin A
        // Power management, not of D3cold; the next shown is MSI.
        (0xc8, 0x07ff_00ff, 0xd000),
        (0xcc, 0, 1 << 3), // D0; D3hot keeps the state
        // MSI, the last: per-vector masks and 64 bits, but one message, and off.
        (0xd0, 0xff80_00ff, 0),
        (0xe0, 1, 0), // its mask bit
        (0xe4, 1, 0), // and what is pending
    ];
    assert_reads("physical", &function, &reads);
}

#[test]
fn reads_of_a_virtual_function() {
    let (function, _) = vf();
    let mut reads = std::vec![
        (0x00, 0, 0x10ca_8086), // its physical one's
        (0x04, ALL, 0),
        (0x08, ALL, 0),
        (0x0c, 0xffff, 0),
        (0x10, 0, 0xfe80_400c),
        (0x2c, ALL, 0),
        (0x34, 0, 0x70),
        (0x3c, 0xffff_0000, 0), // no pin
        // MSI-X: off and not masked; the next is PCI Express.
        (0x70, 0x3fff_00ff, 0xa000),
        (0x74, ALL, 0), // where table and pending bits are
        (0x78, ALL, 0),
        (0xa0, 0xffff_00ff, 0),
        // A null capability leads to ARI, the last of the extended ones.
        (0x100, 0, 0x150 << 20),
        (0x150, 0xf_ffff, 0),
        (0x154, ALL, 0),
    ];
    // PCI Express, version 2: 3CH bytes.
    reads.extend((0xa4..0xdc).step_by(4).map(|offset| (offset, ALL, 0)));
    assert_reads("virtual", &function, &reads);
}

/// What four bytes come to when ones are written to them: bits that change in
/// the hardware, and those among them that ones clear; or another effect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Writes {
    Hardware { set: u32, clear: u32 },
    Other(Effect),
}

/// A register's answer to `ones`, written as four bytes to a function as after a
/// reset.
fn written(function: &Function, offset: u16, ones: u32) -> Writes {
    let write = |offset, size, value, hardware| {
        let access = Access::new(offset, size).expect("aligned");
        function.clone().write(access, value, |_| hardware)
    };
    let set = match write(offset, 4, ones, 0) {
        Effect::Hardware { value, .. } => value,
        effect => return Writes::Other(effect),
    };
    let zeros = write(offset, 4, 0, ALL);
    let value = !set;
    assert_eq!(zeros, Effect::Hardware { offset, value }, "the same bits");
    // A write to one byte leaves the others as they read, but for bits that ones
    // clear: those get zeros.
    let clear = (0..4).map(|byte| match write(offset + byte, 1, 0xff & ones, ALL) {
        Effect::Hardware { value, .. } => !value,
        _ => 0,
    });
    Writes::Hardware {
        set,
        clear: clear.fold(0, |all, bits| all | bits),
    }
}

fn assert_writes(name: &str, function: &Function, writes: &[(u16, Writes)]) {
    let writes: BTreeMap<u16, Writes> = writes.iter().copied().collect();
    for offset in (0..4096).step_by(4) {
        // Bit 15 of PCI Express' device control is a reset of its own.
        let ones = if offset == 0xa8 { !0x8000 } else { ALL };
        let wanted = writes.get(&offset).copied();
        let wanted = wanted.unwrap_or(Writes::Other(Effect::Refused));
        assert_eq!(
            written(function, offset, ones),
            wanted,
            "{name}: {offset:#x}"
        );
    }
}

const DONE: Writes = Writes::Other(Effect::Done);

const fn hardware(set: u32, clear: u32) -> Writes {
    Writes::Hardware { set, clear }
}

#[test]
fn writes_to_a_physical_function() {
    let (function, _) = physical();
    let msi = Writes::Other(Effect::Msi);
    let mut writes = std::vec![
        // Command: I/O, memory, bus master, parity, no INTx; not SERR, special
        // cycles, MWI, snoop, fast back-to-back. Status: its six error bits.
        (0x04, hardware(0xf900_0447, 0xf900_0000)),
        (0x0c, DONE),
        (0x30, DONE), // there is no ROM
        (0x3c, DONE), // interrupt line, which nobody uses
        (0xcc, DONE), // power state
        (0xd0, msi),
        (0xd4, msi),
        (0xd8, msi),
        (0xdc, msi),
        (0xe0, hardware(1, 0)), // the mask bit of one message
    ];
    writes.extend((0x10..0x28).step_by(4).map(|bar| (bar, DONE))); // sizing
    assert_writes("physical", &function, &writes);
}

#[test]
fn writes_to_a_virtual_function() {
    let (function, _) = vf();
    let mut writes = std::vec![
        (0x04, hardware(0xf900_0006, 0xf900_0000)),
        (0x0c, DONE),
        (0x30, DONE),
        (0x3c, DONE),
        (0x70, Writes::Other(Effect::Msix)),
        // Device control: relaxed ordering, extended tags, no snoop, read
        // request size; not error messages, payload size, phantom functions,
        // auxiliary power. Device status: its four error bits.
        (0xa8, hardware(0x000f_7910, 0x000f_0000)),
        // Device control 2: completion time-out, its value and switch.
        (0xc8, hardware(0x1f, 0)),
    ];
    writes.extend((0x10..0x28).step_by(4).map(|bar| (bar, DONE)));
    assert_writes("virtual", &function, &writes);
    let mut function = function;
    let access = Access::new(0xa8, 2).expect("aligned");
    assert_eq!(function.write(access, 0x8000, |_| 0), Effect::Reset);
}

/// A function with PCI Express at 40H, version 2, `first` at 80H and `extended`
/// at 100H.
fn with_capabilities(first: u32, extended: u32, second: u32) -> Function {
    let device = Device::new(&[
        (0x00, 0x0001_8086),
        (0x04, 1 << 20),
        (0x34, 0x40),
        (0x40, 0x0002_8010),
        (0x80, first),
        (0x100, extended),
        (0x104, second),
    ]);
    let about = Description {
        virtual_ids: None,
        ..vf_description()
    };
    Function::probe(about, |offset| device.read(offset)).expect("is one")
}

#[test]
fn shown_capabilities() {
    // Id, upper half of the header, length.
    let shown: BTreeMap<(u32, u32), u8> = [
        ((0x01, 0), 8),       // power management
        ((0x05, 0), 12),      // MSI: 32 bits
        ((0x05, 0x80), 16),   // 64 bits
        ((0x05, 0x100), 20),  // 32 bits, masks
        ((0x05, 0x180), 24),  // 64 bits, masks
        ((0x09, 0x14), 0x14), // vendor-specific: its own length
        ((0x09, 0x17), 0x14), // … down to a multiple of four
        ((0x09, 0), 4),       // … but the header is there
        ((0x10, 1), 0x14),    // PCI Express, version 1
        ((0x10, 2), 0x3c),    // version 2
        ((0x10, 3), 0x3c),
        ((0x11, 0), 12), // MSI-X
        ((0x13, 0), 8),  // advanced features
    ]
    .into();
    for id in 0..=0xff {
        for upper in [0, 1, 2, 3, 0x14, 0x17, 0x80, 0x100, 0x180] {
            let function = with_capabilities(upper << 16 | id, 0, 0);
            let found = function.capabilities().get(1).map(|cap| cap.len);
            let known = shown.keys().any(|(shown, _)| *shown == id);
            assert_eq!(found.is_some(), known, "{id:#x}");
            if let Some(len) = shown.get(&(id, upper)) {
                assert_eq!(found, Some(*len), "{id:#x} {upper:#x}");
            }
        }
    }
}

#[test]
fn shown_extended_capabilities() {
    // Serial number, vendor-specific (which says its length in the upper 12 bits
    // of what follows the header), ARI, latency tolerance. Not: error reporting,
    // ACS, ATS, SR-IOV, MR-IOV, page requests, resizable BARs, process ids,
    // precision time, DOE …
    let shown = [(0x0003, 12), (0x000b, 0x18), (0x000e, 8), (0x0018, 8)];
    let shown: BTreeMap<u32, u16> = shown.into();
    for id in (1..=0x60).chain([0xfff, 0xffff]) {
        let function = with_capabilities(0, 1 << 16 | id, 0x01a0_0000);
        let found: Vec<_> = function.extended.iter().map(|cap| cap.len).collect();
        let wanted: Vec<_> = shown.get(&id).copied().into_iter().collect();
        assert_eq!(found, wanted, "{id:#x}");
        let word = function.read(Access::new(0x104, 4).expect("aligned"), |_| ALL);
        assert_eq!(word == ALL, shown.contains_key(&id), "{id:#x}");
    }
    let short = with_capabilities(0, 0x1_000b, 0);
    assert_eq!(short.extended[0].len, 8, "the header's own");
}

#[test]
fn placeholder_has_three_registers() {
    for offset in (0..4096).step_by(4) {
        let wanted = match offset {
            0x00 => 0x0001_fffe, // ids that nobody has
            0x08 => 0xff00_0000, // class "does not fit in any defined classes"
            0x0c => 0x0080_0000, // type 0, more functions
            0x100.. => ALL,      // no extended space
            _ => 0,
        };
        assert_eq!(placeholder(offset), wanted, "{offset:#x}");
    }
}
