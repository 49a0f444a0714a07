//! Edges of lists and registers: what lies just inside and just outside.

use super::tests::{Device, physical, vf, vf_description};
use super::*;

fn access(offset: u16, size: u8) -> Access {
    Access::new(offset, size).expect("aligned")
}

/// A function with these registers besides its ids and class.
fn probe(registers: &[(u16, u32)]) -> (Result<Function, ProbeError>, Device) {
    let mut all = std::vec![(0x00, 0x0001_8086), (0x08, 0x0200_0000)];
    all.extend(registers);
    let device = Device::new(&all);
    let about = Description {
        virtual_ids: None,
        ..vf_description()
    };
    (Function::probe(about, |at| device.read(at)), device)
}

fn capabilities(registers: &[(u16, u32)]) -> (usize, usize) {
    let function = probe(registers).0.expect("is one");
    (function.caps.len(), function.extended.len())
}

#[test]
fn lists_are_where_the_status_register_says() {
    let msix = [(0x34, 0x40), (0x40, 0x11)];
    assert_eq!(capabilities(&msix), (0, 0), "no list");
    let listed = [&[(0x04, 1 << 20)], &msix[..]].concat();
    assert_eq!(capabilities(&listed), (1, 0));
    // Extended ones are PCI Express' alone.
    let serial = [(0x100, 0x1_0003)];
    assert_eq!(capabilities(&[&listed[..], &serial].concat()), (1, 0));
    let express = [(0x40, 0x0002_0010)];
    let both = [&listed[..], &serial, &express].concat();
    assert_eq!(capabilities(&both), (1, 1));
}

#[test]
fn capabilities_fit_their_space() {
    let at = |offset: u8| {
        let pointer = (0x34, u32::from(offset));
        capabilities(&[(0x04, 1 << 20), pointer, (u16::from(offset), 0x11)]).0
    };
    assert_eq!(at(0xf4), 1, "twelve bytes to the end");
    assert_eq!(at(0xf8), 0, "eight are too few");
    let last = |offset: u32| {
        let express = [(0x04, 1 << 20), (0x34, 0x40), (0x40, 0x0002_0010)];
        let list = [(0x100, offset << 20 | 1), (offset as u16, 0x000e)];
        capabilities(&[&express[..], &list].concat()).1
    };
    assert_eq!((last(0xff8), last(0xffc)), (1, 0));
}

#[test]
fn shown_extended_capabilities_are_linked() {
    let (function, device) = probe(&[
        (0x04, 1 << 20),
        (0x34, 0x40),
        (0x40, 0x0002_0010),
        (0x100, 0x1401_0003), // serial number
        (0x140, 0x1801_0001), // error reporting: hidden
        (0x180, 0x2001_000e), // ARI
        (0x200, 0x0001_0018), // latency tolerance
    ]);
    let function = function.expect("is one");
    let next = |offset| function.read(access(offset, 4), |at| device.read(at)) >> 20;
    assert_eq!((next(0x100), next(0x180), next(0x200)), (0x180, 0x200, 0));
}

#[test]
fn absent_functions_are_absent() {
    let ids = |id, class| {
        let device = Device::new(&[(0x00, id), (0x08, class)]);
        let about = Description {
            virtual_ids: None,
            ..vf_description()
        };
        Function::probe(about, |at| device.read(at)).err()
    };
    assert_eq!(ids(0x0001_8086, 0x0200_0000), None);
    assert_eq!(ids(ABSENT, 0x0200_0000), Some(ProbeError::Absent));
    assert_eq!(ids(0x0001_8086, ABSENT), Some(ProbeError::Absent));
}

#[test]
fn addresses_and_accesses() {
    let bdf = Bdf {
        segment: 0x1234,
        requester: 0x5678,
    };
    assert_eq!(
        (Bdf::from_number(0x1234_5678), bdf.number()),
        (bdf, 0x1234_5678)
    );
    assert_eq!((bdf.bus(), bdf.device(), bdf.function()), (0x56, 0xf, 0));
    assert_eq!(Access::new(4095, 1).map(Access::size), Some(1));
    assert_eq!(Access::new(4092, 4).map(Access::size), Some(4));
    assert_eq!(Access::new(4096, 1), None);
    assert_eq!(Access::new(0, 3), None);
    for port in [0xcfb, 0xd00, 0xcf8] {
        assert_eq!(Access::from_ports(1 << 31, port, 1), None, "{port:x}");
    }
    let last = Access::from_ports(1 << 31 | 0xfc, 0xcff, 1).map(|(_, access)| access);
    assert_eq!(last, Access::new(0xff, 1));
}

#[test]
fn msix_layout_is_read_from_three_registers() {
    let layout = vf().0.msix().expect("has it");
    let place = |bar, offset| msix::Place { bar, offset };
    assert_eq!(
        (layout.table, layout.pending),
        (place(3, 0), place(3, 0x2000))
    );
    assert!(physical().0.msix().is_none());
}

/// Bytes of a register that a write does not touch stay as they are.
#[test]
fn writes_touch_their_own_bytes_alone() {
    let (mut function, device) = physical();
    let (mut vf, vf_hardware) = vf();
    let hw = |at| device.read(at);
    let on = |at| vf_hardware.read(at);
    // Power state: byte 4 of the capability.
    function.write(access(0xcc, 1), 3, hw);
    function.write(access(0xce, 2), 0, hw);
    assert_eq!(function.read(access(0xcc, 1), hw) & 3, 3);
    // MSI's enable bit: byte 2.
    function.write(access(0xd2, 2), 1, hw);
    assert_eq!(function.write(access(0xd0, 2), 0, hw), Effect::Done);
    assert!(function.msi().enabled);
    assert_eq!(function.write(access(0xd2, 2), 0, hw), Effect::Msi);
    assert!(!function.msi().enabled);
    // MSI-X's control: bits 15:14 of the same.
    assert_eq!(vf.write(access(0x72, 2), 0x8000, on), Effect::Msix);
    let control = vf.msix_control();
    assert!(control.enabled && !control.masked);
    assert_eq!(vf.write(access(0x70, 2), 0, on), Effect::Done);
    assert_eq!(vf.msix_control(), control);
    assert_eq!(vf.write(access(0x72, 2), 0x4000, on), Effect::Msix);
    assert!(!vf.msix_control().enabled && vf.msix_control().masked);
    // Memory decoding, which the model keeps for a virtual function.
    let status = |_| 0x0010_0000;
    vf.write(access(0x04, 2), 2, status);
    vf.write(access(0x06, 2), 0, status);
    vf.write(access(0x05, 1), 0, status);
    assert_eq!(vf.read(access(0x04, 2), status), 2);
    vf.write(access(0x04, 2), 4, status);
    assert_eq!(vf.read(access(0x04, 2), status), 0);
}

#[test]
fn msi_registers_are_kept_bit_by_bit() {
    let (mut function, device) = physical();
    let hw = |at| device.read(at);
    for (offset, value, kept) in [
        (0xd4, 0xffff_ffff, 0xffff_fffc), // address
        (0xd8, 0x1234_5678, 0x1234_5678), // its upper half
        (0xdc, 0xffff_4242, 0x4242),      // data
    ] {
        function.write(access(offset, 4), value, hw);
        assert_eq!(function.read(access(offset, 4), hw), kept, "{offset:x}");
    }
    function.write(access(0xd4, 1), 0, hw);
    let msi = function.msi();
    assert_eq!((msi.address, msi.data), (0x1234_5678_ffff_ff00, 0x4242));
    assert!(!msi.enabled);
    function.write(access(0x3c, 1), 0x2a, hw);
    assert_eq!(function.read(access(0x3c, 2), hw), 0x12a, "line and pin");
}

#[test]
fn sizing_begins_with_all_address_bits_and_ends_with_the_address() {
    let (mut function, device) = physical();
    let hw = |at| device.read(at);
    let mut bar = |index: u16, value| {
        let at = access(0x10 + 4 * index, 4);
        let effect = function.write(at, value, hw);
        (effect, function.read(at, hw))
    };
    assert_eq!(bar(0, 0xffff_fff0), (Effect::Done, 0xfffe_0000));
    assert_eq!(bar(0, 0xfeb8_0000), (Effect::Done, 0xfeb8_0000));
    assert_eq!(bar(0, 0x0000_000f), (Effect::Refused, 0xfeb8_0000));
    assert_eq!(bar(1, 0xffff_fffc), (Effect::Done, 0xffff_ffc1));
    assert_eq!(bar(1, 0xc000), (Effect::Done, 0xc001));
    assert_eq!(bar(2, u32::MAX), (Effect::Done, 0), "there is none");
    // A port's BAR that takes no address.
    assert_eq!(Bar::from_sizing((1, 1), (0, 0)), Bar::Unused);
}

/// A conventional function with the advanced-features capability.
#[test]
fn advanced_features_reset_functions() {
    let (function, device) = probe(&[
        (0x04, 1 << 20),
        (0x34, 0x50),
        (0x50, 0x0306_0013),
        (0x54, 0),
        (0x44, 0xffff_ffff),
        (0x48, 0xffff_ffff),
    ]);
    let mut function = function.expect("is one");
    let method = reset::Method::find(&function, |at| device.read(at));
    assert_eq!(method, Some(reset::Method::Advanced(0x50)));
    let method = method.expect("has one");
    let (first, second) = method.trigger();
    assert_eq!((first.offset, first.value, second), (0x54, 1, None));
    let pending = |word| method.is_pending(|at| if at == 0x54 { word } else { !word });
    assert!(pending(1 << 8) && !pending(0) && !pending(!(1 << 8)));
    let mut write = |value| function.write(access(0x54, 1), value, |_| 0);
    assert_eq!((write(1), write(0)), (Effect::Reset, Effect::Refused));
    // Express tells by bit 21 of control and status, power by nothing.
    let express = reset::Method::Express(0x50);
    let pending = |word| express.is_pending(|at| if at == 0x58 { word } else { !word });
    assert!(pending(1 << 21) && !pending(0) && !pending(!(1 << 21)));
    let power = reset::Method::Power(0x50);
    assert!(!power.is_pending(|_| u32::MAX));
    let (down, up) = power.trigger();
    let up = up.expect("and back");
    assert_eq!((down.offset, down.value), (0x54, 3));
    assert_eq!((up.offset, up.value), (0x54, 0));
}
