//! What every reader of the tables relies on: places, lengths, sums, and the
//! fields by which a kernel finds its machine.

mod cells;

use cellvisor_abi::plan::{Devices, Ecam, POWER_OFF, RESET_VALUE, SLP_TYP_S5};
use cellvisor_acpi_tables::{
    CellAcpi, RESET_VECTOR, RootBridge, STANDARD_BASE, STANDARD_ROOM, Tables, Window, build,
};
use proptest::prelude::*;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Follows the pointers as a kernel does, from the RSDP to the DSDT, and checks
/// each table on the way.
fn walk(cell: &CellAcpi<'_>, tables: &Tables) {
    let blob = &tables.bytes;
    let at = |address: u64| usize::try_from(address - cell.base).expect("inside");
    assert_eq!(tables.rsdp, cell.base);
    assert_eq!(&blob[..8], b"RSD PTR ");
    assert_eq!(
        (sum(&blob[..20]), sum(&blob[..36])),
        (0, 0),
        "both sums of the RSDP"
    );
    assert_eq!((blob[15], u32_at(blob, 16), u32_at(blob, 20)), (2, 0, 36));

    let xsdt = at(u64_at(blob, 24));
    let mut addresses = vec![u64_at(blob, 24)];
    let listed = (xsdt + 36..xsdt + u32_at(blob, xsdt + 4) as usize).step_by(8);
    addresses.extend(listed.map(|entry| u64_at(blob, entry)));
    let fadt = at(addresses[1]);
    assert_eq!(&blob[fadt..fadt + 4], b"FACP", "it is listed first");
    addresses.push(u64_at(blob, fadt + 140));

    let mut end = 36;
    let mut sorted = addresses.clone();
    sorted.sort_unstable();
    for address in sorted {
        let start = at(address);
        let len = u32_at(blob, start + 4) as usize;
        assert_eq!(address % 16, 0, "aligned");
        assert!(start >= end, "no overlap");
        assert_eq!(
            sum(&blob[start..start + len]),
            0,
            "{:?}",
            &blob[start..start + 4]
        );
        end = start + len;
    }
    assert_eq!(end, blob.len());
    assert_eq!(addresses.len() + 1, tables.entries.len());
    assert!(blob.len() <= cell.room);
}

#[test]
fn pointers_lead_to_every_table() {
    for cell in [CellAcpi::new(1), CellAcpi::new(1024), cells::server()] {
        walk(&cell, &build(&cell).expect("tables"));
    }
}

#[test]
fn tables_are_there_when_they_are_needed() {
    let names = |cell: &CellAcpi<'_>| {
        let tables = build(cell).expect("tables");
        let all: Vec<_> = tables.entries.iter().map(|e| e.signature).collect();
        String::from_utf8(all.concat()).expect("letters")
    };
    assert_eq!(names(&CellAcpi::new(2)), "RSD XSDTFACPAPICDSDT");
    assert_eq!(
        names(&cells::server()),
        "RSD XSDTFACPAPICMCFGSRATSLITHMATDSDT"
    );
}

#[test]
fn fadt_names_the_power_registers() {
    let tables = build(&CellAcpi::new(1)).expect("tables");
    let fadt = tables.table(b"FACP").expect("a FADT");
    assert_eq!(
        (fadt[8], fadt[131], fadt.len()),
        (6, 3, 276),
        "revision 6.3"
    );
    let flags = u32_at(fadt, 112);
    assert_ne!(flags & 1 << 20, 0, "hardware-reduced");
    assert_ne!(flags & 1 << 10, 0, "reset register");
    assert_eq!(fadt[109], 0x34, "no VGA, hands off ASPM, no CMOS clock");
    let io = |at: usize| (fadt[at..at + 4].to_vec(), u64_at(fadt, at + 4));
    let byte_wide = vec![1, 8, 0, 1];
    assert_eq!(io(244), (byte_wide.clone(), 0x600), "sleep control");
    assert_eq!(io(256), (byte_wide.clone(), 0x601), "sleep status");
    assert_eq!(io(116), (byte_wide, 0x602), "reset");
    assert_eq!(fadt[128], RESET_VALUE);
    assert_eq!(POWER_OFF, SLP_TYP_S5 << 2 | 0x20);
}

#[test]
fn devices_with_port_0_are_left_out() {
    let cell = CellAcpi {
        devices: Devices {
            uart_port: 0,
            uart_gsi: 0,
            power_port: 0,
            ioapic: 0,
        },
        ..CellAcpi::new(1)
    };
    let tables = build(&cell).expect("tables");
    let fadt = tables.table(b"FACP").expect("a FADT");
    assert_eq!(u32_at(fadt, 112) & 1 << 10, 0, "no reset register");
    assert_eq!(&fadt[244..268], [0; 24], "no sleep registers");
    assert_eq!(
        tables.table(b"APIC").expect("a MADT").len(),
        44 + 8,
        "one CPU, nothing else"
    );
    let dsdt = tables.table(b"DSDT").expect("a DSDT");
    assert_eq!(&dsdt[36..], b"\x10\x05_SB_", "an empty scope");
}

#[test]
fn madt_switches_to_x2apic_entries_at_id_255() {
    let tables = build(&CellAcpi::new(257)).expect("tables");
    let madt = tables.table(b"APIC").expect("a MADT");
    assert_eq!((u32_at(madt, 36), u32_at(madt, 40)), (0xfee0_0000, 0));
    let (small, rest) = madt[44..].split_at(255 * 8);
    for (id, entry) in (0u8..=254).zip(small.chunks(8)) {
        assert_eq!(entry, [0, 8, id, id, 1, 0, 0, 0]);
    }
    let (large, ioapic) = rest.split_at(2 * 16);
    for (id, entry) in (255u32..).zip(large.chunks(16)) {
        assert_eq!(&entry[..4], [9, 16, 0, 0]);
        assert_eq!([4, 8, 12].map(|at| u32_at(entry, at)), [id, 1, id]);
    }
    assert_eq!(ioapic, [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
}

#[test]
fn mcfg_srat_and_slit_say_what_they_were_given() {
    let tables = build(&cells::server()).expect("tables");
    let mcfg = tables.table(b"MCFG").expect("an MCFG");
    assert_eq!(u64_at(mcfg, 44), 0xe000_0000);
    assert_eq!(mcfg[52..56], [0, 0, 0x20, 0x2b]);
    assert_eq!(u64_at(mcfg, 60), 0x40_0000_0000);
    assert_eq!(mcfg[68..72], [1, 0, 0, 0xff]);

    let srat = tables.table(b"SRAT").expect("an SRAT");
    let body = &srat[48..];
    assert_eq!(
        body[..16],
        [0, 16, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let large = &body[255 * 16..];
    assert_eq!(
        [4, 8, 12].map(|at| u32_at(large, at)),
        [1, 255, 1],
        "node, id, enabled"
    );
    let memory = &large[45 * 24..];
    assert_eq!(memory.len(), 2 * 40);
    assert_eq!((u32_at(memory, 42), u64_at(memory, 48)), (1, 0x1_0000_0000));

    let slit = tables.table(b"SLIT").expect("a SLIT");
    assert_eq!((u64_at(slit, 36), &slit[44..]), (2, &[10, 21, 21, 10][..]));
}

#[test]
fn standard_place_ends_at_the_reset_vector() {
    assert_eq!(STANDARD_BASE + STANDARD_ROOM as u64, RESET_VECTOR);
    let needed = build(&CellAcpi::new(1024)).expect("tables").bytes.len();
    assert!(needed < STANDARD_ROOM / 4, "1024 CPUs take {needed} bytes");
}

#[test]
fn reset_code_ends_the_first_mib() {
    let cell = CellAcpi::new(2);
    let tables = build(&cell).expect("tables");
    let image = tables.clone().with_reset_code(&cell.devices);
    assert_eq!(cell.base + image.len() as u64, 0x10_0000);
    assert!(image.starts_with(&tables.bytes));
    assert_eq!(image[STANDARD_ROOM..][..3], [0xba, 0x02, 0x06]);

    let high = CellAcpi {
        base: 0x20_0000,
        ..cell
    };
    let tables = build(&high).expect("tables");
    assert_eq!(tables.clone().with_reset_code(&cell.devices), tables.bytes);
}

proptest! {
    /// Any place, any number of CPUs and any wild description: tables that a
    /// kernel can follow, or an error; never a panic.
    #[test]
    fn what_is_built_can_be_followed(
        cpus in 0u32..600,
        base in any::<u64>(),
        ports in any::<(u16, u16, u8)>(),
        ioapic in prop_oneof![Just(0), Just(0xfec0_0000), any::<u64>()],
        buses in proptest::collection::vec(any::<(u16, u8, u8, bool)>(), 0..4),
        ends in any::<(u64, u64, u16, u16)>(),
        ecam in proptest::collection::vec((any::<u64>(), any::<u16>(), any::<u8>(), any::<u8>()), 0..3),
    ) {
        let windows = [
            Window::Memory { first: ends.0, last: ends.1, prefetchable: ends.0 % 2 == 0 },
            Window::Io { first: ends.2, last: ends.3 },
        ];
        let bridges: Vec<_> = buses
            .iter()
            .map(|(segment, first_bus, last_bus, express)| RootBridge {
                segment: *segment,
                first_bus: *first_bus,
                last_bus: *last_bus,
                express: *express,
                node: None,
                windows: &windows,
                intx: &[],
            })
            .collect();
        let ecam: Vec<_> = ecam
            .iter()
            .map(|(base, segment, first_bus, last_bus)| Ecam {
                base: *base,
                segment: *segment,
                first_bus: *first_bus,
                last_bus: *last_bus,
            })
            .collect();
        let cell = CellAcpi {
            base: base & !0xf,
            devices: Devices { uart_port: ports.0, power_port: ports.1, uart_gsi: ports.2, ioapic },
            ecam: &ecam,
            bridges: &bridges,
            ..CellAcpi::new(cpus)
        };
        if let Ok(tables) = build(&cell) {
            walk(&cell, &tables);
        }
    }
}
