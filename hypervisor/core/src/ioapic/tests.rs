//! A guest and its virtual I/O APIC.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn write(chip: &mut IoApic, register: u8, value: u32) -> Vec<Message> {
    let mut sent = Vec::new();
    write_select(chip, register);
    chip.write(WINDOW, value, |out| sent.push(message_of(out)));
    sent
}

fn message_of(out: Output) -> Message {
    match out {
        Output::Send(message) => message,
        Output::Wire(change) => unreachable!("nothing is wired: {change:?}"),
    }
}

/// Writes to a chip whose pins from 16 on are wired.
fn wire(chip: &mut IoApic, register: u8, value: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    write_select(chip, register);
    chip.write(WINDOW, value, |out| changes.push(change_of(out)));
    changes
}

fn change_of(out: Output) -> Change {
    match out {
        Output::Wire(change) => change,
        Output::Send(message) => unreachable!("no line is asserted: {message:?}"),
    }
}

fn read(chip: &mut IoApic, register: u8) -> u32 {
    write_select(chip, register);
    chip.read(WINDOW, |_| false)
}

fn write_select(chip: &mut IoApic, register: u8) {
    chip.write(SELECT, u32::from(register), |_| {
        unreachable!("selecting sends nothing")
    });
}

fn eoi(chip: &mut IoApic, vector: u8) -> Vec<Message> {
    let mut sent = Vec::new();
    chip.write(EOI, u32::from(vector), |out| sent.push(message_of(out)));
    sent
}

/// A chip whose pin 4 has this low half, for CPU 2.
fn chip(low: u32) -> IoApic {
    let mut chip = IoApic::new(0, 0);
    assert_eq!(write(&mut chip, 0x19, 0x0200_0000), []);
    assert_eq!(write(&mut chip, 0x18, low), []);
    chip
}

fn sent(level: bool) -> Message {
    Message {
        pin: 4,
        kind: Kind::Fixed(0x31),
        dest: 2,
        logical: false,
        level,
    }
}

#[test]
fn registers_after_reset() {
    let mut chip = IoApic::new(5, 0);
    assert_eq!(read(&mut chip, 0), 0x0500_0000);
    assert_eq!(
        read(&mut chip, 1),
        0x0017_0020,
        "24 pins, with EOI register"
    );
    for pin in 0..24 {
        assert_eq!(read(&mut chip, 0x10 + 2 * pin), 0x1_0000, "masked");
        assert_eq!(read(&mut chip, 0x11 + 2 * pin), 0);
    }
    assert_eq!(read(&mut chip, 0x40), 0, "no pin 24");
    assert_eq!(chip.read(0x20, |_| true), 0);
}

#[test]
fn edge_is_sent_once_until_the_line_falls() {
    let mut chip = chip(0x31);
    assert_eq!(chip.set_line(4, true), Some(sent(false)));
    assert_eq!(chip.set_line(4, true), None, "no new edge");
    assert_eq!(chip.set_line(4, false), None);
    assert_eq!(chip.set_line(4, true), Some(sent(false)));
    assert_eq!(eoi(&mut chip, 0x31), [], "edges need no EOI");
}

#[test]
fn masked_edge_is_lost() {
    let mut chip = chip(0x1_0031);
    assert_eq!(chip.set_line(4, true), None);
    assert_eq!(write(&mut chip, 0x18, 0x31), []);
}

#[test]
fn level_is_sent_again_after_eoi_while_asserted() {
    let mut chip = chip(0x8031);
    assert_eq!(chip.set_line(4, true), Some(sent(true)));
    assert_eq!(read(&mut chip, 0x18), 0xc031, "remote IRR");
    assert_eq!(chip.set_line(4, false), None);
    assert_eq!(chip.set_line(4, true), None, "EOI is awaited");
    assert_eq!(eoi(&mut chip, 0x32), [], "another's vector");
    assert_eq!(eoi(&mut chip, 0x31), [sent(true)]);
    assert_eq!(chip.set_line(4, false), None);
    assert_eq!(eoi(&mut chip, 0x31), []);
    assert_eq!(read(&mut chip, 0x18), 0x8031);
}

#[test]
fn level_waits_behind_the_mask_and_eoi_comes_by_register_too() {
    let mut chip = chip(0x1_8031);
    assert_eq!(chip.set_line(4, true), None);
    assert_eq!(write(&mut chip, 0x18, 0x8031), [sent(true)], "unmasked");
    let mut again = Vec::new();
    chip.write(EOI, 0x31, |out| again.push(message_of(out)));
    assert_eq!(again, [sent(true)]);
}

#[test]
fn going_through_edge_mode_clears_the_remote_irr() {
    let mut chip = chip(0x8031);
    assert!(chip.set_line(4, true).is_some());
    assert_eq!(write(&mut chip, 0x18, 0x1_0031), []);
    assert_eq!(read(&mut chip, 0x18), 0x1_0031);
    assert_eq!(write(&mut chip, 0x18, 0x8031), [sent(true)]);
}

#[test]
fn destinations_above_255_use_the_extended_bits() {
    let mut chip = IoApic::new(0, 0);
    // Bits 49 to 55 are bits 17 to 23 of the high half: id 0x155.
    assert_eq!(write(&mut chip, 0x13, 0x5502_0000), []);
    assert_eq!(write(&mut chip, 0x12, 0x0430), []);
    let sent = chip.set_line(1, true).expect("edge");
    assert_eq!(
        sent.ipi(),
        Ipi {
            kind: Kind::Nmi,
            dest: Dest::Physical(0x155)
        }
    );
}

const WIRED: u32 = 0x00ff_0000;

#[test]
fn wired_pin_tells_how_it_is_programmed_and_sends_nothing() {
    let mut chip = IoApic::new(0, WIRED);
    let changes = wire(&mut chip, 0x31, 0x0100_0000);
    assert!(changes.iter().all(|change| change.masked), "{changes:?}");
    let changes = wire(&mut chip, 0x30, 0xa021);
    let message = Message {
        pin: 16,
        kind: Kind::Fixed(0x21),
        dest: 1,
        logical: false,
        level: true,
    };
    let open = Change {
        message,
        masked: false,
        acknowledged: false,
    };
    assert_eq!(changes, [open]);
    assert_eq!(chip.set_line(16, true), None, "no line here");
    assert_eq!(read(&mut chip, 0x30), 0xa021);
    chip.reset();
    assert!(wire(&mut chip, 0x31, 0)[0].masked, "after a reset");
    assert_eq!(read(&mut chip, 0x30), 0x1_0000);
}

#[test]
fn remote_irr_of_a_wired_pin_is_the_hardware_s() {
    let mut chip = IoApic::new(0, WIRED);
    wire(&mut chip, 0x32, 0x8022);
    write_select(&mut chip, 0x32);
    assert_eq!(chip.read(WINDOW, |pin| pin == 17), 0xc022);
    assert_eq!(chip.read(WINDOW, |_| false), 0x8022);
    write_select(&mut chip, 0x18);
    assert_eq!(chip.read(WINDOW, |_| true), 0x1_0000, "pin 4 is virtual");
}

#[test]
fn edge_mode_and_the_eoi_register_acknowledge_a_wired_pin() {
    let mut chip = IoApic::new(0, WIRED);
    wire(&mut chip, 0x30, 0x8022);
    let changes = wire(&mut chip, 0x30, 0x1_0022);
    assert!(changes[0].acknowledged && changes[0].masked);
    assert!(!wire(&mut chip, 0x30, 0x8022)[0].acknowledged);
    let mut changes = Vec::new();
    chip.write(EOI, 0x22, |out| changes.push(change_of(out)));
    assert!(matches!(changes[..], [one] if one.acknowledged && !one.masked));
    chip.write(EOI, 0x23, |_| unreachable!("another's vector"));
}

proptest! {
    /// Whatever a guest does, a wired pin's changes are exactly what it reads.
    #[test]
    fn wired_pins_are_told_of_as_they_read(
        ops in proptest::collection::vec((0x30u8..0x40, any::<u32>()), 1..50),
    ) {
        let mut chip = IoApic::new(0, WIRED);
        for (register, value) in ops {
            let changes = wire(&mut chip, register, value);
            let entry = chip.entry((register - FIRST_ENTRY) / 2);
            prop_assert_eq!(changes.len(), 1);
            prop_assert_eq!(changes[0].masked, entry & MASKED != 0);
            prop_assert_eq!(changes[0].message.level, entry & LEVEL != 0);
            prop_assert_eq!(changes[0].acknowledged, entry & LEVEL == 0);
            prop_assert_eq!(entry & REMOTE_IRR, 0);
        }
    }
    /// Whatever a guest does, nothing panics, read-only bits stay what the
    /// device made them, and a masked pin is silent.
    #[test]
    fn any_access_is_harmless(
        ops in proptest::collection::vec((0u8..4, any::<u8>(), any::<u32>()), 0..200),
    ) {
        let mut chip = IoApic::new(0, 0);
        for (op, small, value) in ops {
            let mut sent = Vec::new();
            match op {
                0 => sent = write(&mut chip, small, value),
                1 => sent.extend(chip.set_line(small % 32, value & 1 != 0)),
                2 => sent = eoi(&mut chip, small),
                _ => chip.write(u64::from(small), value, |out| sent.push(message_of(out))),
            }
            for message in sent {
                let entry = chip.entry(message.pin);
                prop_assert_eq!(entry & MASKED, 0);
                prop_assert_eq!(entry & REMOTE_IRR != 0, message.level);
            }
            for entry in chip.entries {
                prop_assert_eq!(entry & !(WRITABLE | REMOTE_IRR), 0);
                prop_assert!(entry & LEVEL != 0 || entry & REMOTE_IRR == 0);
            }
        }
    }
}

#[test]
fn identification_is_kept_and_nothing_else_of_its_register() {
    let mut chip = IoApic::new(0x1f, 0);
    assert_eq!(read(&mut chip, 0), 0x0f00_0000, "four bits");
    assert_eq!(write(&mut chip, 0, 0xf5ff_ffff), []);
    assert_eq!(read(&mut chip, 0), 0x0500_0000);
    assert_eq!(read(&mut chip, 2), 0x0500_0000, "arbitration id");
    assert_eq!(write(&mut chip, 1, 0xffff_ffff), []);
    assert_eq!(write(&mut chip, 2, 0xffff_ffff), []);
    assert_eq!(read(&mut chip, 0), 0x0500_0000, "both are for reading");
    assert_eq!(chip.read(SELECT, |_| false), 0);
    write_select(&mut chip, 0x25);
    assert_eq!(chip.read(SELECT, |_| false), 0x25);
}

#[test]
fn software_is_told_of_few_pins_if_it_is_to_have_few() {
    let mut all = IoApic::new(0, 0);
    let mut few = IoApic::new(0, 0).with_pins(10);
    few.reset();
    assert_eq!(read(&mut all, VERSION_REGISTER), 0x17_0020);
    assert_eq!(read(&mut few, VERSION_REGISTER), 0x09_0020);
}

#[test]
fn upper_halves_read_as_written() {
    let mut chip = IoApic::new(0, 0);
    // Destination and KVM's extended bits; the others are reserved.
    assert_eq!(write(&mut chip, 0x3f, 0xffff_ffff), []);
    assert_eq!(read(&mut chip, 0x3f), 0xfffe_0000);
    assert_eq!(write(&mut chip, 0x3e, 0xffff_ffff), []);
    assert_eq!(
        read(&mut chip, 0x3e),
        0x1_afff,
        "no delivery status, no IRR"
    );
}

#[test]
fn there_are_24_lines() {
    let mut chip = IoApic::new(0, 0);
    write(&mut chip, 0x3e, 0x31);
    assert!(chip.set_line(23, true).is_some());
    for pin in [24, 31, 32, 255] {
        assert_eq!(chip.set_line(pin, true), None, "{pin}");
    }
    assert_eq!(chip.lines, 1 << 23);
}

#[test]
fn eoi_goes_to_pins_that_wait_for_it() {
    let mut chip = chip(0x8031);
    // Asserted but masked: nothing was sent, so nothing is awaited.
    write(&mut chip, 0x1a, 0x1_8031);
    assert_eq!(chip.set_line(5, true), None);
    assert_eq!(eoi(&mut chip, 0x31), []);
    assert!(chip.set_line(4, true).is_some());
    assert_eq!(eoi(&mut chip, 0x31), [sent(true)]);
}
