//! A function as a kernel meets it, and as an attacker does.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// Configuration space of a device, by four-byte registers.
#[derive(Clone)]
pub(super) struct Device(Vec<u32>);

impl Device {
    pub(super) fn new(registers: &[(u16, u32)]) -> Self {
        let mut space = std::vec![0; 1024];
        for (offset, value) in registers {
            space[usize::from(*offset) / 4] = *value;
        }
        Self(space)
    }

    pub(super) fn read(&self, offset: u16) -> u32 {
        self.0[usize::from(offset) / 4]
    }
}

/// A virtual function: no ids, no BARs; MSI-X, PCI Express, and among the
/// extended ones error reporting first, ARI, ATS.
fn vf_device() -> Device {
    Device::new(&[
        (0x00, 0xffff_ffff),
        (0x04, 0x0010_0000),
        (0x08, 0x0200_0001),
        (0x2c, 0xa03c_8086),
        (0x34, 0x70),
        (0x70, 0x8002_a011), // MSI-X: 3 entries, enabled by someone before
        (0x74, 0x0003),
        (0x78, 0x2003),
        (0xa0, 0x0002_b010), // PCI Express
        (0xa4, 0x1000_8cc2),
        (0xa8, 0x000f_2810),
        (0xc4, 0x1f),
        (0xb0, 0x1234_5678), // link registers, part of the above
        (0x100, 0x1502_0001),
        (0x104, 0xdead_beef),
        (0x150, 0x1a01_000e),
        (0x154, 0x0000_0100),
        (0x1a0, 0x0001_000f),
        (0x1a4, 0x8000_0000),
    ])
}

pub(super) fn vf_description() -> Description {
    let mut bars = [Bar::Unused; 6];
    bars[0] = Bar::Memory {
        base: 0xfe80_4000,
        size: 0x4000,
        wide: true,
        prefetchable: true,
    };
    bars[1] = Bar::Upper;
    Description {
        bdf: Bdf::from_number(0x182),
        virtual_ids: Some((0x8086, 0x10ca)),
        bars,
        pin: 0,
        siblings: false,
    }
}

/// A conventional function with power management and MSI, and two BARs.
pub(super) fn physical() -> (Function, Device) {
    let device = Device::new(&[
        (0x00, 0x100e_8086),
        (0x04, 0x2310_0007),
        (0x08, 0x0200_0003),
        (0x0c, 0x0080_4010),
        (0x34, 0xc8),
        (0x3c, 0x0000_010b),
        (0xc8, 0xfe22_e801), // power management
        (0xcc, 0x0000_2103),
        (0xd0, 0x0181_0005), // MSI: on, 64 bits, masks
        (0xe4, 0xffff_ffff),
        (0xe8, 0x0000_d003), // vital product data: hidden
        (0xec, 0x1111_1111),
    ]);
    let mut bars = [Bar::Unused; 6];
    bars[0] = Bar::Memory {
        base: 0xfeb8_0000,
        size: 0x2_0000,
        wide: false,
        prefetchable: false,
    };
    bars[1] = Bar::Io {
        base: 0xc000,
        size: 0x40,
    };
    let about = Description {
        bdf: Bdf::from_number(0x10),
        virtual_ids: None,
        bars,
        pin: 1,
        siblings: false,
    };
    (
        Function::probe(about, |offset| device.read(offset)).expect("is a function"),
        device,
    )
}

pub(super) fn vf() -> (Function, Device) {
    let device = vf_device();
    let found = Function::probe(vf_description(), |offset| device.read(offset));
    (found.expect("is a function"), device)
}

fn access(offset: u16, size: u8) -> Access {
    Access::new(offset, size).expect("aligned")
}

fn read(function: &Function, device: &Device, offset: u16, size: u8) -> u32 {
    function.read(access(offset, size), |offset| device.read(offset))
}

fn write(function: &mut Function, device: &Device, offset: u16, size: u8, value: u32) -> Effect {
    function.write(access(offset, size), value, |offset| device.read(offset))
}

#[test]
fn ports_and_ecam_lead_to_the_same_place() {
    let bdf = Bdf::from_number(0x01_8b);
    assert_eq!((bdf.bus(), bdf.device(), bdf.function()), (1, 17, 3));
    assert_eq!(std::format!("{bdf}"), "0000:01:11.3");
    let wanted = Some((bdf, access(0x3d, 1)));
    assert_eq!(Access::from_ports(0x8001_8b3c, 0xcfd, 1), wanted);
    assert_eq!(Access::from_ecam(0, 0x18_b03d, 1), wanted);
    let extended = Some((bdf, access(0x150, 4)));
    assert_eq!(Access::from_ports(0x8101_8b50, 0xcfc, 4), extended);
    assert_eq!(Access::from_ports(0x0001_8b3c, 0xcfc, 4), None, "disabled");
    assert_eq!(Access::from_ports(0x8001_8b3c, 0xcfd, 4), None, "unaligned");
    assert_eq!(Access::from_ecam(0, 1 << 28, 4), None, "bus 256");
    assert_eq!(Access::from_ecam(0, 0, 8), None);
    assert_eq!(access(0x3d, 1).merge(0x1122_3344, 0xab), 0x1122_ab44);
    assert_eq!(access(0x3e, 2).extract(0x1122_3344), 0x1122);
}

#[test]
fn a_virtual_function_looks_complete() {
    let (mut vf, device) = vf();
    assert_eq!(read(&vf, &device, 0x00, 4), 0x10ca_8086);
    assert_eq!(read(&vf, &device, 0x0a, 2), 0x0200, "class");
    assert_eq!(read(&vf, &device, 0x0e, 1), 0, "header type");
    assert_eq!(read(&vf, &device, 0x10, 4), 0xfe80_400c);
    // As Linux sizes it.
    let ones = u32::MAX;
    assert_eq!(write(&mut vf, &device, 0x10, 4, ones), Effect::Done);
    assert_eq!(write(&mut vf, &device, 0x14, 4, ones), Effect::Done);
    assert_eq!(read(&vf, &device, 0x10, 4), 0xffff_c00c);
    assert_eq!(read(&vf, &device, 0x14, 4), ones);
    let restore = write(&mut vf, &device, 0x10, 4, 0xfe80_400c);
    assert_eq!(restore, Effect::Done);
    assert_eq!(write(&mut vf, &device, 0x14, 4, 0), Effect::Done);
    assert_eq!(read(&vf, &device, 0x10, 4), 0xfe80_400c);
    // Memory decoding is kept for the cell, bus mastering is real.
    let command = write(&mut vf, &device, 0x04, 2, 0x0006);
    let (offset, value) = (4, 0x0010_0006);
    assert_eq!(command, Effect::Hardware { offset, value });
    assert_eq!(read(&vf, &device, 0x04, 2), 2);
}

#[test]
fn hidden_capabilities_are_not_in_the_lists() {
    let (vf, device) = vf();
    assert_eq!(read(&vf, &device, 0x34, 1), 0x70);
    assert_eq!(read(&vf, &device, 0x71, 1), 0xa0);
    assert_eq!(read(&vf, &device, 0xa1, 1), 0, "end of the list");
    assert_eq!(read(&vf, &device, 0x72, 2), 2, "MSI-X is off for the cell");
    assert_eq!(
        read(&vf, &device, 0x100, 4),
        0x150 << 20,
        "a null capability"
    );
    assert_eq!(read(&vf, &device, 0x104, 4), 0, "error reporting");
    assert_eq!(
        read(&vf, &device, 0x150, 4),
        0x0001_000e,
        "ATS does not follow"
    );
    assert_eq!(read(&vf, &device, 0x1a0, 4), 0);

    let (function, device) = physical();
    assert_eq!(read(&function, &device, 0xc9, 1), 0xd0, "VPD left out");
    assert_eq!(read(&function, &device, 0xec, 4), 0);
}

#[test]
fn bars_stay_where_they_are() {
    let (mut function, device) = physical();
    for (offset, value) in [(0x10, 0xfec0_0000), (0x10, 0), (0x14, 0xc040)] {
        let moved = write(&mut function, &device, offset, 4, value);
        assert_eq!(moved, Effect::Refused, "{offset:x}");
    }
    assert_eq!(read(&function, &device, 0x10, 4), 0xfeb8_0000);
    assert_eq!(read(&function, &device, 0x14, 4), 0xc001);
    assert_eq!(write(&mut function, &device, 0x30, 4, !0x7ff), Effect::Done);
    assert_eq!(read(&function, &device, 0x30, 4), 0, "no ROM");
}

#[test]
fn command_writes_leave_status_alone() {
    let (mut function, device) = physical();
    let (offset, value) = (4, 0x0210_0006);
    assert_eq!(
        write(&mut function, &device, 4, 2, 0x0106),
        Effect::Hardware { offset, value },
        "status bit 29 is not written back; SERR is not passed on"
    );
    let value = 0x2210_0007;
    assert_eq!(
        write(&mut function, &device, 6, 2, 0x2000),
        Effect::Hardware { offset, value },
        "cleared when asked for"
    );
}

#[test]
fn power_states_are_played() {
    let (mut function, device) = physical();
    assert_eq!(read(&function, &device, 0xcc, 2), 8, "D0, keeps its state");
    assert_eq!(write(&mut function, &device, 0xcc, 2, 0x8003), Effect::Done);
    assert_eq!(read(&function, &device, 0xcc, 2), 11, "D3hot");
    function.reset();
    assert_eq!(read(&function, &device, 0xcc, 2), 8);
}

#[test]
fn msi_stays_in_the_model() {
    let (mut function, device) = physical();
    assert_eq!(
        read(&function, &device, 0xd2, 2),
        0x0180,
        "off, one message"
    );
    let mut set = |offset, size, value| write(&mut function, &device, offset, size, value);
    assert_eq!(set(0xd4, 4, 0xfee0_1000), Effect::Msi);
    assert_eq!(set(0xd8, 4, 0), Effect::Done, "no change");
    assert_eq!(set(0xdc, 2, 0x41), Effect::Msi);
    assert_eq!(set(0xd2, 2, 0x0181), Effect::Msi);
    assert_eq!(
        function.msi(),
        MsiState {
            enabled: true,
            address: 0xfee0_1000,
            data: 0x41
        }
    );
    assert_eq!(read(&function, &device, 0xd4, 4), 0xfee0_1000);
    assert_eq!(read(&function, &device, 0xe4, 4), 1, "one pending bit");
    let (offset, value) = (0xe0, 1);
    let mask = write(&mut function, &device, 0xe0, 4, u32::MAX);
    assert_eq!(mask, Effect::Hardware { offset, value });
}

#[test]
fn msix_control_and_reset_reach_the_monitor() {
    let (mut vf, device) = vf();
    assert_eq!(vf.msix().map(|layout| layout.entries), Some(3));
    assert_eq!(write(&mut vf, &device, 0x72, 2, 0xc002), Effect::Msix);
    assert_eq!(
        vf.msix_control(),
        MsixControl {
            enabled: true,
            masked: true
        }
    );
    assert_eq!(read(&vf, &device, 0x72, 2), 0xc002);
    assert_eq!(write(&mut vf, &device, 0xa8, 2, 0x8000), Effect::Reset);
    vf.reset();
    assert_eq!(read(&vf, &device, 0x72, 2), 2);
    // No error messages, no other payload size: 0x2810 → 0x7810.
    let effect = write(&mut vf, &device, 0xa8, 2, 0x78ff & !0x8000);
    let (offset, value) = (0xa8, 0x7810);
    assert_eq!(effect, Effect::Hardware { offset, value });
}

#[test]
fn what_is_no_endpoint_is_refused() {
    let about = physical().0.about;
    let probe = |registers: &[(u16, u32)]| {
        let device = Device::new(registers);
        Function::probe(about, |offset| device.read(offset)).err()
    };
    assert_eq!(probe(&[(0, ABSENT), (8, ABSENT)]), Some(ProbeError::Absent));
    let bridge = [(0, 0x1_8086), (0x0c, 0x0081_0000)];
    assert_eq!(probe(&bridge), Some(ProbeError::Bridge(1)));
    let looped = [(0, 0x1_8086), (4, 1 << 20), (0x34, 0x40), (0x40, 0x4001)];
    let at = WalkError { at: 0x40 };
    assert_eq!(probe(&looped), Some(ProbeError::Capabilities(at)));
    let outside = [(0, 0x1_8086), (4, 1 << 20), (0x34, 0x3c)];
    let at = WalkError { at: 0x34 };
    assert_eq!(probe(&outside), Some(ProbeError::Capabilities(at)));
}

#[test]
fn first_of_several_functions_says_so() {
    let device = vf_device();
    let about = Description {
        siblings: true,
        ..vf_description()
    };
    let function = Function::probe(about, |offset| device.read(offset)).expect("is one");
    assert_eq!(read(&function, &device, 0x0e, 1), 0x80);
}

/// Bits that a cell may change in hardware, by offset.
fn allowed(offset: u16, is_virtual: bool) -> u32 {
    match (offset, is_virtual) {
        (0x04, false) => 0xf900_0447,
        (0x04, true) => 0xf900_0006,
        (0xa8, true) => 0x000f_7910,
        (0xc8, true) => 0x1f,
        (0xe0, false) => 1,
        _ => 0,
    }
}

proptest! {
    #[test]
    fn no_write_goes_beyond_the_allow_list(which: bool, accesses in proptest::collection::vec((0..4096u16, prop_oneof![Just(1u8), Just(2), Just(4)], any::<u32>()), 1..200)) {
        let (mut function, device) = if which { vf() } else { physical() };
        let bars = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];
        let before = bars.map(|bar| read(&function, &device, bar, 4));
        for (offset, size, value) in accesses {
            let offset = offset & !(u16::from(size) - 1);
            match write(&mut function, &device, offset, size, value) {
                Effect::Hardware { offset: dword, value } => {
                    prop_assert_eq!(dword, offset & !3);
                    let changed = device.read(dword) ^ value;
                    prop_assert_eq!(changed & !allowed(dword, which), 0, "{:x}", dword);
                }
                Effect::Reset => function.reset(),
                Effect::Done | Effect::Refused | Effect::Msi | Effect::Msix => {}
            }
            read(&function, &device, offset, size);
        }
        for (bar, before) in bars.iter().zip(before) {
            // Ends any sizing that the accesses began.
            write(&mut function, &device, *bar, 4, 0);
            prop_assert_eq!(read(&function, &device, *bar, 4), before);
        }
    }

    #[test]
    fn any_device_is_probed_within_bounds(words in proptest::collection::vec(any::<u32>(), 64), accesses in proptest::collection::vec(0..1024u16, 20)) {
        // Lists made of anything; the device's own space repeats every 256 bytes.
        let device = |offset: u16| {
            assert!(offset < 4096 && offset.is_multiple_of(4));
            let word = words[usize::from(offset) / 4 % 64];
            if offset == 0x0c { word & 0xff80_ffff } else { word }
        };
        let about = Description { virtual_ids: Some((1, 2)), ..vf_description() };
        if let Ok(mut function) = Function::probe(about, device) {
            for dword in accesses {
                function.read(access(dword * 4, 4), device);
                let _effect = function.write(access(dword * 4, 4), 0, device);
            }
        }
    }
}
