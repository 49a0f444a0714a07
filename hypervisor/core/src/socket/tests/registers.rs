//! Registers, what has happened and what interrupts.

use super::*;
use cellvisor_abi::Bdf;
use cellvisor_abi::plan::{Class, Devices, Function, Ports, Wire};
use cellvisor_abi::wire::ListBuf;

#[test]
fn registers_are_where_the_driver_has_them() {
    let mut world = World::new();
    world.write(1, 0x84, RX_DATA);
    for (offset, value) in [
        (0x00, 1),
        (0x04, 3),
        (0x10, 0),
        (0x20, 0),
        (0x24, 1 << 31),
        (0x28, STATUS as u32),
        (0x2c, 0),
        (0x34, 32808),
        (0x38, REQUEST as u32),
        (0x3c, 0),
        (0x44, 14),
        (0x48, RESPONSE as u32),
        (0x4c, 0),
        (0x80, 0),
        (0x84, RX_DATA),
        (0x88, 0),
        (0x8c, 0),
        (0x90, 0),
        (0x29, 0),
        (0xffc, 0),
    ] {
        assert_eq!(world.read(1, offset), value, "{offset:#x}");
    }
    world.write(1, 0x4c, 7);
    assert_eq!(world.read(1, 0x4c), 7);
    world.write(1, 0x4d, 8);
    assert_eq!((world.read(1, 0x4c), world.read(1, 0x50)), (7, 0));
}

#[test]
fn each_read_takes_one_cause_of_one_member() {
    let mut world = World::new();
    world.write(0, 0x8c, RX_DATA | INFO_UPDATE | 2);
    world.write(1, 0x8c, RX_DATA | 2);
    world.write(1, 0x8c, RX_DATA | 2);
    assert_eq!(world.interrupts(2), 1, "one for all until it is read");
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA);
    assert_eq!(world.interrupts(2), 1, "there is more");
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA | 1);
    assert_eq!(world.read(2, 0x80), ASSERTED | INFO_UPDATE);
    assert_eq!(world.interrupts(2), 1);
    assert_eq!(world.read(2, 0x80), 0);
    assert_eq!(world.interrupts, [0; 3]);
}

#[test]
fn what_is_masked_waits() {
    let mut world = World::new();
    world.write(2, 0x84, RX_DATA);
    world.write(0, 0x8c, RX_DATA | 2);
    assert_eq!((world.interrupts(2), world.read(2, 0x80)), (0, 0));
    world.write(2, 0x88, RX_DATA);
    assert_eq!(world.interrupts(2), 1);
    assert_eq!(world.read(2, 0x80), ASSERTED | RX_DATA);
    // Who listens to nothing begins anew.
    world.write(0, 0x8c, DEV_STOP | 2);
    world.interrupts(2);
    world.write(2, 0x84, u32::MAX);
    assert_eq!(world.read(2, 0x84), ALL);
    world.write(0, 0x8c, RX_DATA | 2);
    assert_eq!(world.read(2, 0x80), 0);
    world.write(2, 0x88, ALL);
    assert_eq!((world.interrupts(2), world.read(2, 0x80)), (0, 0));
}

#[test]
fn rings_for_nobody_are_for_nobody() {
    let mut world = World::new();
    for whom in [0, 3, 255, 256, 0x102, 0xffff] {
        world.write(0, 0x8c, ALL | whom);
    }
    world.members.stop(2);
    world.write(0, 0x8c, ALL | 2);
    world.write(0, 0x8c, 1);
    assert_eq!(world.interrupts, [0; 3]);
}

#[test]
fn its_interrupt_is_its_own() {
    let none = ListBuf::default();
    let function = Function {
        bdf: Bdf::new(0, 1, 0),
        guest: Bdf::new(0, 0, 8),
        pf: None,
        bar_sizes: [0; 6],
        unprotected: false,
        wire: None,
    };
    let wire = Some(Wire {
        io_apic: 0,
        pin: 1,
        gsi: 16,
    });
    let (functions, wired) = (
        ListBuf::new(&[function]),
        ListBuf::new(&[Function { wire, ..function }]),
    );
    let plan = |functions| CellPlan {
        name: b"a",
        cpus: none.list(),
        memory: none.list(),
        ports: none.list::<Ports>(),
        functions,
        adapters: none.list(),
        console: false,
        socket: None,
        devices: Devices::STANDARD,
        dump: false,
        many_nodes: false,
        class: Class::ROOT,
        link: None,
    };
    let free: Vec<u8> = (0..=255)
        .filter(|gsi| has_interrupt(&plan(functions.list()), *gsi))
        .collect();
    assert_eq!(free, [0, 1, 2, 3, 5, 6, 7, 8]);
    assert!(!has_interrupt(&plan(wired.list()), 5));
}
