//! PCI root bridges in AML.
//!
//! Spec: PCI Firmware 3.2, "_OSC"; ACPI 6.3, "_CRS", "_PRT", "Address Space
//! Resource Descriptors".

use crate::parts::{Raw, bytes, name};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Equal,
    If, Local, Method, NotEqual, ONE, Or, PackageBuilder, Path, ResourceTemplate, Return, Store,
    Uuid, ZERO,
};
use acpi_tables::{Aml, AmlSink};
use alloc::{format, vec, vec::Vec};

/// Most root bridges of a cell: their names have three hexadecimal digits.
pub(crate) const MAX_BRIDGES: usize = 0x1000;

/// `_OSC` of PCI root bridges.
const OSC_UUID: &str = "33DB4D5B-1FF7-401C-9657-7441C03DD766";

/// What `_OSC` grants: native hot-plug, standard hot-plug, power management
/// events, advanced error reporting, the PCIe capability, latency tolerance and
/// downstream port containment. No firmware competes for them in a cell; what
/// its writes may reach is the monitor's decision.
const OSC_GRANTED: u32 = 0xbf;

/// `_OSC` status bits in the first word.
const OSC_UNKNOWN_UUID: u32 = 1 << 2;
const OSC_UNKNOWN_REVISION: u32 = 1 << 3;
const OSC_MASKED: u32 = 1 << 4;

/// A root bridge, with the buses and windows that the cell may see of it.
#[derive(Clone, Copy, Debug)]
pub struct RootBridge<'a> {
    /// PCI segment group.
    pub segment: u16,
    /// Bus right below it, its base bus number.
    pub first_bus: u8,
    /// Last bus below it.
    pub last_bus: u8,
    /// PCI Express; else conventional PCI.
    pub express: bool,
    /// Node in the guest's numbering.
    pub node: Option<u32>,
    /// Addresses that it passes on.
    pub windows: &'a [Window],
    /// Interrupt pins that reach the I/O APIC.
    pub intx: &'a [Intx],
}

/// A stretch of addresses behind a root bridge; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// I/O ports.
    Io {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// Memory.
    Memory {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// An interrupt pin of a device on the bridge's first bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intx {
    /// Device number, 0 to 31.
    pub device: u8,
    /// Which of its pins.
    pub pin: Pin,
    /// Global system interrupt that it raises (level, active low).
    pub gsi: u8,
}

/// Interrupt pins of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// INTA#.
    A = 0,
    /// INTB#.
    B = 1,
    /// INTC#.
    C = 2,
    /// INTD#.
    D = 3,
}

/// The device of `bridge`, which is number `index` among the cell's.
pub(crate) fn device(index: u32, bridge: &RootBridge<'_>) -> Vec<u8> {
    let mut items = Vec::new();
    if bridge.express {
        name("_HID", &EISAName::new("PNP0A08"), &mut items);
        name("_CID", &EISAName::new("PNP0A03"), &mut items);
    } else {
        name("_HID", &EISAName::new("PNP0A03"), &mut items);
    }
    name("_UID", &index, &mut items);
    name("_SEG", &bridge.segment, &mut items);
    name("_BBN", &bridge.first_bus, &mut items);
    if let Some(node) = bridge.node {
        name("_PXM", &node, &mut items);
    }
    let resources = Raw(resources(bridge));
    name("_CRS", &ResourceTemplate::new(vec![&resources]), &mut items);
    if !bridge.intx.is_empty() {
        name("_PRT", &routing(bridge.intx), &mut items);
    }
    if bridge.express {
        items.vec(&osc());
    }
    let path = Path::new(&format!("P{index:03X}"));
    bytes(&Device::new(path, vec![&Raw(items)]))
}

/// Descriptors of the buses and windows.
fn resources(bridge: &RootBridge<'_>) -> Vec<u8> {
    let (first, last) = (u16::from(bridge.first_bus), u16::from(bridge.last_bus));
    let mut out = bytes(&AddressSpace::new_bus_number(first, last));
    for window in bridge.windows {
        match *window {
            Window::Io { first, last } => io(first, last, &mut out),
            Window::Memory {
                first,
                last,
                prefetchable,
            } => {
                memory(first, last, prefetchable, &mut out);
            }
        }
    }
    out
}

/// WordIO, but for all 65536 ports, whose number has no room in 16 bits.
fn io(first: u16, last: u16, out: &mut dyn AmlSink) {
    if (first, last) == (0, u16::MAX) {
        AddressSpace::new_io(u32::from(first), u32::from(last), None).to_aml_bytes(out);
    } else {
        AddressSpace::new_io(first, last, None).to_aml_bytes(out);
    }
}

/// DWordMemory where both ends and the length fit, QWordMemory elsewhere.
fn memory(first: u64, last: u64, prefetchable: bool, out: &mut dyn AmlSink) {
    let kind = match prefetchable {
        true => AddressSpaceCacheable::PreFetchable,
        false => AddressSpaceCacheable::NotCacheable,
    };
    match (u32::try_from(first), u32::try_from(last)) {
        (Ok(first), Ok(last)) if (first, last) != (0, u32::MAX) => {
            AddressSpace::new_memory(kind, true, first, last, None).to_aml_bytes(out);
        }
        _ => AddressSpace::new_memory(kind, true, first, last, None).to_aml_bytes(out),
    }
}

/// `_PRT` of pins that are wired to the I/O APIC.
fn routing(intx: &[Intx]) -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for wire in intx {
        let mut entry = PackageBuilder::new();
        // Device in the high half, any function in the low one.
        entry.add_element(&(u32::from(wire.device) << 16 | 0xffff));
        entry.add_element(&(wire.pin as u8));
        entry.add_element(&ZERO); // no link device: the next is the interrupt
        entry.add_element(&wire.gsi);
        table.add_element(&entry);
    }
    table
}

/// `_OSC`, which grants [`OSC_GRANTED`].
fn osc() -> Vec<u8> {
    let (status, control) = (Path::new("CDW1"), Path::new("CDW3"));
    let set = |bit: &'static u32| Raw(bytes(&Or::new(&Path::new("CDW1"), &Path::new("CDW1"), bit)));
    let granted = Raw(bytes(&If::new(
        &Equal::new(&Arg(0), &Uuid::new(OSC_UUID)),
        vec![
            &CreateDWordField::new(&control, &Arg(3), &8u8),
            &And::new(&Local(0), &control, &OSC_GRANTED),
            &If::new(
                &NotEqual::new(&Arg(1), &ONE),
                vec![&set(&OSC_UNKNOWN_REVISION)],
            ),
            &If::new(&NotEqual::new(&Local(0), &control), vec![&set(&OSC_MASKED)]),
            &Store::new(&control, &Local(0)),
        ],
    )));
    bytes(&Method::new(
        Path::new("_OSC"),
        4,
        true, // it makes names, which two callers at once could not
        vec![
            &CreateDWordField::new(&status, &Arg(3), &ZERO),
            &granted,
            &Else::new(vec![&set(&OSC_UNKNOWN_UUID)]),
            &Return::new(&Arg(3)),
        ],
    ))
}
