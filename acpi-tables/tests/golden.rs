//! Fields and descriptors byte by byte, written from the manuals by hand.
//!
//! Sources: ACPI 6.3, "Fixed ACPI Description Table (FADT)", "Resource Data Types
//! for ACPI", "ACPI Machine Language (AML) Specification".

use cellvisor_abi::plan::{Devices, Ecam};
use cellvisor_acpi_tables::{CellAcpi, Shared, build};

const DEVICES: Devices = Devices {
    uart_port: 0x2f8,
    uart_gsi: 3,
    power_port: 0x600,
    ioapic: 0xfec0_0000,
};

fn table(cell: &CellAcpi<'_>, signature: &[u8; 4]) -> Vec<u8> {
    let tables = build(cell).expect("tables");
    tables.table(signature).expect("is there").to_vec()
}

fn dsdt(cell: &CellAcpi<'_>) -> Vec<u8> {
    table(cell, b"DSDT")
}

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|at| *at == part).count()
}

#[test]
fn fadt_of_a_machine_without_fixed_hardware() {
    let cell = CellAcpi {
        devices: DEVICES,
        ..CellAcpi::new(1)
    };
    let fadt = table(&cell, b"FACP");
    assert_eq!(fadt[45], 4, "enterprise server");
    // WBINVD 0, no power button 4, no sleep button 5, reset register 10,
    // physical destinations 19, hardware-reduced 20; nothing else.
    assert_eq!(fadt[112..116], 0x0018_0431u32.to_le_bytes());
    assert_eq!(fadt[109..111], [0x34, 0]);
    assert_eq!(&fadt[268..276], b"CELLVISR", "hypervisor vendor");
    // What a hardware-reduced machine lacks: SMI command, PM blocks, GPEs, RTC.
    assert!(fadt[46..109].iter().all(|byte| *byte == 0));
    let off = Devices {
        power_port: 0,
        ..DEVICES
    };
    let cell = CellAcpi {
        devices: off,
        ..cell
    };
    let fadt = table(&cell, b"FACP");
    assert_eq!(fadt[112..116], 0x0018_0031u32.to_le_bytes(), "no reset");
}

#[test]
fn headers_say_which_revision_their_tables_have() {
    let cell = CellAcpi::new(1);
    for (signature, revision) in [(b"APIC", 5), (b"DSDT", 2), (b"FACP", 6)] {
        let table = table(&cell, signature);
        assert_eq!(table[8], revision);
        assert_eq!(&table[10..24], b"CELLVRCELLVISR");
    }
}

#[test]
fn power_off_is_a_package_of_four() {
    let cell = CellAcpi {
        devices: DEVICES,
        ..CellAcpi::new(1)
    };
    // Name (_S5_, Package (4) { 5, 5, 0, 0 })
    let s5 = b"\x08_S5_\x12\x08\x04\x0a\x05\x0a\x05\x00\x00";
    assert_eq!(count(&dsdt(&cell), s5), 1);
    let none = CellAcpi {
        devices: Devices {
            power_port: 0,
            ..DEVICES
        },
        ..cell
    };
    assert_eq!(count(&dsdt(&none), b"_S5_"), 0);
}

#[test]
fn uarts_have_their_ports_and_one_its_interrupt() {
    let cell = CellAcpi {
        devices: DEVICES,
        uarts: &[0x3e8],
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    // EisaId ("PNP0501"); IO (Decode16, port, port, 0, 8).
    assert_eq!(count(&table, b"\x08_HID\x0c\x41\xd0\x05\x01"), 2);
    assert_eq!(count(&table, b"U000\x08_HID"), 1);
    assert_eq!(count(&table, b"U001\x08_HID"), 1);
    assert_eq!(count(&table, b"\x47\x01\xf8\x02\xf8\x02\x00\x08"), 1);
    assert_eq!(count(&table, b"\x47\x01\xe8\x03\xe8\x03\x00\x08"), 1);
    // Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 3 }
    let line = b"\x89\x06\x00\x03\x01\x03\x00\x00\x00";
    assert_eq!(count(&table, line), 1);
    assert_eq!(
        count(&table, b"\x89\x06"),
        2,
        "the event device has the other"
    );
    // Without an I/O APIC there is nobody to interrupt; without a port, no UART.
    let silent = CellAcpi {
        devices: Devices {
            ioapic: 0,
            ..DEVICES
        },
        ..cell
    };
    assert_eq!(count(&dsdt(&silent), b"\x89\x06"), 0);
    let none = CellAcpi {
        devices: Devices {
            uart_port: 0,
            ..DEVICES
        },
        uarts: &[],
        ..cell
    };
    assert_eq!(count(&dsdt(&none), b"\x0c\x41\xd0\x05\x01"), 0);
}

#[test]
fn extended_socket_is_what_its_driver_looks_for() {
    let cell = CellAcpi {
        devices: DEVICES,
        socket: Some(5),
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    // Device (ESKT) { Name (_HID, EisaId ("PNP0C02")) Name (_UID, 1)
    //     Name (_STR, Unicode ("Extended Socket")) Name (_STA, 0FH)
    let string: Vec<u8> = "Extended Socket\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut device = b"ESKT\x08_HID\x0c\x41\xd0\x0c\x02\x08_UID\x01".to_vec();
    device.extend(b"\x08_STR\x11\x23\x0a\x20");
    device.extend(&string);
    device.extend(b"\x08_STA\x0a\x0f");
    assert_eq!(count(&table, &device), 1);
    // DWordMemory (ResourceConsumer, , MinFixed, MaxFixed, NonCacheable, ReadWrite,
    //     0, FF200000H, FF200FFFH, 0, 1000H)
    let mut resources = b"\x87\x17\x00\x00\x0d\x01\0\0\0\0\x00\x00\x20\xff".to_vec();
    resources.extend(b"\xff\x0f\x20\xff\0\0\0\0\x00\x10\0\0");
    // Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 5 }
    resources.extend(b"\x89\x06\x00\x03\x01\x05\x00\x00\x00");
    // IRQNoFlags () { 11 }: behind ten pins and the event device's.
    resources.extend(b"\x22\x00\x08\x79\x00");
    assert_eq!(count(&table, &resources), 1);
    // A kernel numbers its interrupt before those of the serial ports.
    let place = |name: &[u8]| table.windows(5).position(|at| at == name);
    let places = [b"GED0\x08", b"ESKT\x08", b"U000\x08"].map(|name| place(name).expect("is there"));
    assert!(places.is_sorted(), "{places:?}");
    // Without an event device it is the first.
    let first = CellAcpi {
        devices: Devices {
            power_port: 0,
            ..DEVICES
        },
        ..cell
    };
    assert_eq!(count(&dsdt(&first), b"\x22\x00\x04\x79"), 1);
    let none = CellAcpi {
        socket: None,
        ..cell
    };
    assert_eq!(count(&dsdt(&none), b"ESKT"), 0);
}

#[test]
fn power_button_is_told_of_by_the_event_device() {
    let cell = CellAcpi {
        devices: DEVICES,
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    // Device (PWRB) { Name (_HID, EisaId ("PNP0C0C")) Name (_UID, 0) }
    let button = b"\x5b\x82\x15PWRB\x08_HID\x0c\x41\xd0\x0c\x0c\x08_UID\x00";
    assert_eq!(count(&table, button), 1);
    assert_eq!(count(&table, b"GED0\x08_HID\x0dACPI0013\0\x08_UID\x00"), 1);
    // Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 9 }
    assert_eq!(count(&table, b"\x89\x06\x00\x03\x01\x09\x00\x00\x00"), 1);
    // OperationRegion (EREG, SystemIO, 603H, 1)
    // Field (EREG, ByteAcc, NoLock, WriteAsZeros) { ESEL, 8 }
    let register = b"\x5b\x80EREG\x01\x0b\x03\x06\x01\x5b\x81\x0bEREG\x41ESEL\x08";
    assert_eq!(count(&table, register), 1);
    // Method (_EVT, 1, Serialized) { Local0 = ESEL
    //     If (Local0 & 1) { Notify (PWRB, 80H) } }
    let method = b"\x14\x19_EVT\x09\x70ESEL\x60\xa0\x0c\x7b\x60\x01\x00\x86PWRB\x0a\x80";
    assert_eq!(count(&table, method), 1);
    // Nobody reads the register without a port, nor is told without an I/O APIC.
    for (power_port, ioapic) in [(0, DEVICES.ioapic), (DEVICES.power_port, 0)] {
        let cell = CellAcpi {
            devices: Devices {
                power_port,
                ioapic,
                ..DEVICES
            },
            ..cell
        };
        assert_eq!(count(&dsdt(&cell), b"GED0"), 0);
        assert_eq!(count(&dsdt(&cell), b"PWRB"), 0);
    }
}

#[test]
fn panics_are_told_of_by_a_port() {
    let cell = CellAcpi {
        devices: DEVICES,
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    assert_eq!(count(&table, b"PEVT\x08_HID\x0dQEMU0001\0\x08_UID\x00"), 1);
    // IO (Decode16, 604H, 604H, 0, 1); Name (_STA, 0FH)
    assert_eq!(count(&table, b"\x47\x01\x04\x06\x04\x06\x00\x01"), 1);
    assert_eq!(count(&table, b"\x08_STA\x0a\x0f"), 1);
    let none = CellAcpi {
        devices: Devices {
            power_port: 0,
            ..DEVICES
        },
        ..cell
    };
    assert_eq!(count(&dsdt(&none), b"QEMU0001"), 0);
}

#[test]
fn configuration_space_is_reserved_where_the_buses_are() {
    let low = Ecam {
        base: 0xe000_0000,
        segment: 0,
        first_bus: 0x20,
        last_bus: 0x2b,
    };
    let high = Ecam {
        base: 0x40_0000_0000,
        segment: 1,
        first_bus: 0,
        last_bus: 0xff,
    };
    // Its last byte would be beyond 32 bits.
    let across = Ecam {
        base: 0xf800_0000,
        segment: 2,
        first_bus: 0,
        last_bus: 0xff,
    };
    let cell = CellAcpi {
        ecam: &[low, high, across],
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    assert_eq!(count(&table, b"ECAM\x08_HID\x0c\x41\xd0\x0c\x02"), 1);
    // Memory32Fixed (ReadWrite, E2000000H, 12 MiB)
    let fixed = b"\x86\x09\x00\x01\x00\x00\x00\xe2\x00\x00\xc0\x00";
    assert_eq!(count(&table, fixed), 1);
    // QWordMemory (ResourceConsumer, MinFixed, MaxFixed, NonCacheable, ReadWrite)
    let wide = |base: u64, size: u64| {
        let head = [0x8a, 43, 0, 0, 0x0d, 1];
        let fields = [0, base, base + size - 1, 0, size];
        let fields = fields.iter().flat_map(|field| field.to_le_bytes());
        head.into_iter().chain(fields).collect::<Vec<u8>>()
    };
    assert_eq!(count(&table, &wide(0x40_0000_0000, 0x1000_0000)), 1);
    assert_eq!(count(&table, &wide(0xf800_0000, 0x1000_0000)), 1);
}

#[test]
fn shared_memory_has_a_device_with_its_name_and_its_range() {
    let cell = CellAcpi {
        shared: &[Shared {
            name: "board",
            base: 0x1_4000_0000,
            size: 0x20_0000,
            writable: true,
            note: "member 1 of 2",
        }],
        ..CellAcpi::new(1)
    };
    let table = dsdt(&cell);
    assert_eq!(
        count(&table, b"SH00\x08_HID\x0dCLVS0001\0\x08_UID\x0dboard\0"),
        1
    );
    // QWordMemory (ResourceConsumer, MinFixed, MaxFixed, Cacheable, ReadWrite)
    let range = |how: u8| {
        let fields = [0, 0x1_4000_0000u64, 0x1_401f_ffff, 0, 0x20_0000];
        let fields = fields.iter().flat_map(|field| field.to_le_bytes());
        [0x8a, 43, 0, 0, 0x0d, how]
            .into_iter()
            .chain(fields)
            .collect::<Vec<u8>>()
    };
    assert_eq!(count(&table, &range(0b011)), 1);
    let utf16 = |text: &str| text.bytes().flat_map(|b| [b, 0]).collect::<Vec<u8>>();
    let told = "shared memory, read and written, member 1 of 2\0";
    assert_eq!(count(&table, &utf16(told)), 1);
    let read_only = Shared {
        writable: false,
        note: "",
        ..cell.shared[0]
    };
    let table = dsdt(&CellAcpi {
        shared: &[read_only],
        ..cell
    });
    assert_eq!(count(&table, &range(0b010)), 1);
    assert_eq!(count(&table, &utf16("shared memory, read only\0")), 1);
}
