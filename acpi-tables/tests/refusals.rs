//! Every contradiction in a description is refused by name.

mod cells;

use cellvisor_abi::plan::{Devices, Ecam};
use cellvisor_acpi_tables::{
    Access, CellAcpi, Error, Intx, NodeMemory, Numa, Pin, RootBridge, Shared, Window, build,
};

#[test]
fn too_little_room_is_told_with_the_size_that_would_do() {
    let needed = build(&cells::server()).expect("tables").bytes.len();
    let cell = |room| CellAcpi {
        room,
        ..cells::server()
    };
    assert!(build(&cell(needed)).is_ok());
    let refused = build(&cell(needed - 1));
    let room = needed - 1;
    assert_eq!(refused, Err(Error::TooLong { needed, room }));
    // A wild count is refused before anything is built.
    assert!(matches!(
        build(&CellAcpi::new(u32::MAX - 1)),
        Err(Error::TooLong { .. })
    ));
}

/// The error that a change to a bridge of bus 0 to 9 causes.
fn bridge_error(change: impl FnOnce(&mut RootBridge<'static>)) -> Option<Error> {
    let mut bridge = RootBridge {
        segment: 0,
        first_bus: 0,
        last_bus: 9,
        express: true,
        node: None,
        windows: &[],
        intx: &[],
    };
    change(&mut bridge);
    let other = RootBridge {
        first_bus: 10,
        last_bus: 19,
        windows: &[],
        intx: &[],
        node: None,
        ..bridge
    };
    build(&CellAcpi {
        bridges: &[other, bridge],
        ..CellAcpi::new(1)
    })
    .err()
}

#[test]
fn beside_an_extended_socket_there_are_ten_pins() {
    let with = |socket, uart_gsi, ioapic| {
        let devices = Devices {
            uart_gsi,
            ioapic,
            ..Devices::STANDARD
        };
        build(&CellAcpi {
            socket,
            devices,
            ..CellAcpi::new(1)
        })
        .err()
    };
    const AT: u64 = Devices::STANDARD.ioapic;
    assert_eq!(with(Some(5), 4, AT), None);
    assert_eq!(with(None, 10, AT), None);
    assert_eq!(with(Some(5), 10, AT), Some(Error::Gsi(10)));
    assert_eq!(with(Some(10), 4, AT), Some(Error::Gsi(10)));
    assert_eq!(with(Some(5), 4, 0), Some(Error::Gsi(5)), "no I/O APIC");
}

#[test]
fn contradictions_in_bridges_are_refused() {
    const WIRE: Intx = Intx {
        device: 31,
        pin: Pin::B,
        gsi: 23,
    };
    assert_eq!(bridge_error(|_| {}), None);
    assert_eq!(bridge_error(|b| b.first_bus = 10), Some(Error::Buses(1)));
    assert_eq!(
        bridge_error(|b| b.last_bus = 10),
        Some(Error::SharedBus(1, 0))
    );
    assert_eq!(
        bridge_error(|b| b.node = Some(0)),
        Some(Error::NoSuchNode(0))
    );
    let windows: [&[Window]; 3] = [
        &[Window::Io { first: 2, last: 1 }],
        &[Window::Memory {
            first: 2,
            last: 1,
            prefetchable: true,
        }],
        &[Window::Memory {
            first: 0,
            last: u64::MAX,
            prefetchable: false,
        }],
    ];
    for window in windows {
        assert_eq!(bridge_error(|b| b.windows = window), Some(Error::Window(1)));
    }
    assert_eq!(bridge_error(|b| b.intx = &[WIRE]), None);
    assert_eq!(
        bridge_error(|b| b.intx = &[WIRE, WIRE]),
        Some(Error::Intx(1))
    );
    assert_eq!(
        bridge_error(|b| b.intx = &[Intx { device: 32, ..WIRE }]),
        Some(Error::Intx(1))
    );
    assert_eq!(
        bridge_error(|b| b.intx = &[Intx { gsi: 24, ..WIRE }]),
        Some(Error::Gsi(24))
    );
}

#[test]
fn contradictions_elsewhere_are_refused() {
    let fails = |change: fn(&mut CellAcpi<'static>)| {
        let mut cell = CellAcpi::new(2);
        change(&mut cell);
        build(&cell).err()
    };
    const ECAM: Ecam = Ecam {
        base: u64::MAX - 0xfff_ffff,
        segment: 0,
        first_bus: 0,
        last_bus: 0xfe,
    };
    assert_eq!(fails(|c| c.base = 0xe_0008), Some(Error::Base(0xe_0008)));
    assert_eq!(
        fails(|c| c.base = u64::MAX - 15),
        Some(Error::Base(u64::MAX - 15))
    );
    assert_eq!(fails(|c| c.cpus = 0), Some(Error::Cpus(0)));
    assert_eq!(
        fails(|c| c.devices.power_port = 0xfffc),
        Some(Error::Port(0xfffc))
    );
    assert_eq!(
        fails(|c| c.devices.power_port = 0xfffb),
        None,
        "the last that fits"
    );
    assert_eq!(fails(|c| c.uarts = &[0xfff9]), Some(Error::Port(0xfff9)));
    assert_eq!(fails(|c| c.devices.uart_gsi = 24), Some(Error::Gsi(24)));
    assert_eq!(
        fails(|c| c.devices.ioapic = 1 << 32),
        Some(Error::Ioapic(1 << 32))
    );
    assert_eq!(
        fails(|c| c.devices.ioapic = 0x10),
        Some(Error::Ioapic(0x10))
    );
    assert_eq!(
        fails(|c| c.ecam = &[ECAM]),
        None,
        "all but the last bus fit"
    );
    assert_eq!(
        fails(|c| c.ecam = &[Ecam {
            last_bus: 0xff,
            ..ECAM
        }]),
        Some(Error::Ecam(0))
    );
    assert_eq!(
        fails(|c| c.ecam = &[Ecam {
            first_bus: 0xff,
            ..ECAM
        }]),
        Some(Error::Ecam(0))
    );
}

#[test]
fn contradictions_in_nodes_are_refused() {
    const GOOD: Numa<'static> = Numa {
        nodes: 2,
        cpus: &[0, 1],
        memory: &[],
        distances: &[10, 20, 20, 10],
        access: &[],
    };
    fn fails(numa: Numa<'_>) -> Option<Error> {
        let cell = CellAcpi {
            numa: Some(numa),
            ..CellAcpi::new(2)
        };
        build(&cell).err()
    }
    let distances = |distances| fails(Numa { distances, ..GOOD });
    let memory = |gpa, size, node| {
        let memory = &[NodeMemory { gpa, size, node }];
        fails(Numa { memory, ..GOOD })
    };
    assert_eq!(fails(GOOD), None);
    assert_eq!(fails(Numa { nodes: 0, ..GOOD }), Some(Error::Nodes(0)));
    assert_eq!(fails(Numa { nodes: 257, ..GOOD }), Some(Error::Nodes(257)));
    let too_few = Error::CpuNodes { cpus: 2, nodes: 1 };
    assert_eq!(fails(Numa { cpus: &[0], ..GOOD }), Some(too_few));
    assert_eq!(
        fails(Numa {
            cpus: &[0, 2],
            ..GOOD
        }),
        Some(Error::NoSuchNode(2))
    );
    assert_eq!(memory(0, 1, 2), Some(Error::NoSuchNode(2)));
    assert_eq!(memory(0, 0, 1), Some(Error::Memory(0)));
    assert_eq!(memory(u64::MAX, 1, 1), Some(Error::Memory(0)));
    assert_eq!(
        distances(&[10, 20, 20]),
        Some(Error::Distance(1, 1)),
        "one is missing"
    );
    assert_eq!(distances(&[11, 20, 20, 10]), Some(Error::Distance(0, 0)));
    assert_eq!(distances(&[10, 20, 21, 10]), Some(Error::Distance(0, 1)));
    assert_eq!(
        distances(&[10, 10, 10, 10]),
        Some(Error::Distance(0, 1)),
        "as near as itself"
    );
    assert_eq!(
        distances(&[10, 255, 255, 10]),
        Some(Error::Distance(0, 1)),
        "out of reach"
    );
}

#[test]
fn errors_say_what_is_wrong_and_what_helps() {
    let text = |error: Error| error.to_string();
    assert_eq!(
        text(Error::TooLong {
            needed: 200,
            room: 100
        }),
        "ACPI tables take 200 bytes, 100 are there: give them a larger area or the cell fewer CPUs \
         or root bridges"
    );
    assert_eq!(
        text(Error::SharedBus(1, 3)),
        "PCI root bridges 1 and 3 share a bus: give each bus of a segment to one"
    );
    assert_eq!(
        text(Error::Distance(0, 1)),
        "NUMA distance from node 0 to node 1: give 10 for a node itself, else the same 11 to 254 \
         both ways"
    );
    assert_eq!(
        text(Error::Access(0, 1)),
        "NUMA access from node 0 to node 1: give it once, from a node with CPUs to one with memory"
    );
}

#[test]
fn shared_memory_without_name_or_place_is_refused() {
    const GOOD: Shared<'static> = Shared {
        name: "a-0_b",
        base: 0x1_0000_0000,
        size: 0x1000,
        writable: true,
        note: "a note",
    };
    let fails = |shared: &[Shared<'_>]| {
        let cell = CellAcpi {
            shared,
            ..CellAcpi::new(1)
        };
        build(&cell).err()
    };
    assert_eq!(fails(&[GOOD]), None);
    for wrong in [
        Shared { name: "", ..GOOD },
        Shared {
            name: "a\"b",
            ..GOOD
        },
        Shared { size: 0, ..GOOD },
        Shared {
            note: "two\nlines",
            ..GOOD
        },
        Shared {
            base: u64::MAX,
            ..GOOD
        },
    ] {
        assert_eq!(fails(&[GOOD, wrong]), Some(Error::Shared(1)), "{wrong:?}");
    }
    assert_eq!(fails(&[GOOD; 257]), Some(Error::Shared(256)));
}

#[test]
fn contradictions_in_access_are_refused() {
    let fails = |cpus: &[u32], memory: &[u32], pairs: &[(u32, u32)]| {
        let memory = memory.iter().map(|node| NodeMemory {
            gpa: u64::from(*node) << 30,
            size: 1 << 30,
            node: *node,
        });
        let access = pairs.iter().map(|(initiator, target)| Access {
            initiator: *initiator,
            target: *target,
            ..Access::default()
        });
        let (memory, access): (Vec<_>, Vec<_>) = (memory.collect(), access.collect());
        let cell = CellAcpi {
            numa: Some(Numa {
                nodes: 2,
                cpus,
                memory: &memory,
                distances: &[10, 20, 20, 10],
                access: &access,
            }),
            ..CellAcpi::new(2)
        };
        build(&cell).err()
    };
    let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
    assert_eq!(fails(&[0, 1], &[0, 1], &all), None);
    assert_eq!(
        fails(&[0, 1], &[0, 1], &[(2, 0)]),
        Some(Error::NoSuchNode(2))
    );
    assert_eq!(
        fails(&[0, 1], &[0, 1], &[(0, 2)]),
        Some(Error::NoSuchNode(2))
    );
    assert_eq!(
        fails(&[0, 1], &[0, 1], &[(0, 1), (1, 1), (0, 1)]),
        Some(Error::Access(0, 1)),
        "twice"
    );
    assert_eq!(
        fails(&[0, 0], &[0, 1], &[(1, 1)]),
        Some(Error::Access(1, 1)),
        "no CPU"
    );
    assert_eq!(
        fails(&[0, 1], &[0], &[(0, 1)]),
        Some(Error::Access(0, 1)),
        "no memory: Linux takes the whole table for broken then"
    );
}
