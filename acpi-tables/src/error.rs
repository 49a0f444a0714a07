//! Why no tables can be made.

use core::fmt;

/// A contradiction in a [`crate::CellAcpi`]. Bridges, ECAM ranges and memory
/// ranges are named by their place in the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The base address is no multiple of 16, or base and room exceed the
    /// address space.
    Base(u64),
    /// The tables need more bytes than there are.
    TooLong {
        /// Bytes that they take.
        needed: usize,
        /// Bytes that there are.
        room: usize,
    },
    /// A cell needs 1 CPU or more, and not 2^32 - 1, which is no APIC id.
    Cpus(u32),
    /// A virtual device's ports reach beyond 0xffff.
    Port(u16),
    /// The I/O APIC's address is no multiple of 4 KiB below 4 GiB.
    Ioapic(u64),
    /// An interrupt has no pin on the I/O APIC, or there is no I/O APIC.
    Gsi(u8),
    /// A configuration space ends before it begins or exceeds the address space.
    Ecam(usize),
    /// More root bridges than names for them.
    Bridges(usize),
    /// A root bridge's last bus is below its first.
    Buses(usize),
    /// Two root bridges share a bus of one segment.
    SharedBus(usize, usize),
    /// A window of this root bridge ends before it begins, or is the whole of
    /// the address space.
    Window(usize),
    /// A wire of this root bridge has a device number above 31, or is described
    /// twice.
    Intx(usize),
    /// No nodes, or more than a distance table can hold.
    Nodes(u32),
    /// A node that does not exist is named for something.
    NoSuchNode(u32),
    /// The list of CPU nodes does not have one entry for each CPU.
    CpuNodes {
        /// CPUs of the cell.
        cpus: u32,
        /// Entries.
        nodes: usize,
    },
    /// A memory range is empty or exceeds the address space.
    Memory(usize),
    /// Shared memory has no name of `a-z 0-9 - _`, is empty, exceeds the address
    /// space, or there are more than 256 of it.
    Shared(usize),
    /// The distance between these nodes is missing or impossible.
    Distance(u32, u32),
    /// The access from the first of these nodes to the second is there twice, or
    /// the first has no CPU, or the second no memory.
    Access(u32, u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Base(base) => write!(
                f,
                "ACPI tables cannot start at {base:#x}: choose a multiple of 16 with room above it"
            ),
            Self::TooLong { needed, room } => write!(
                f,
                "ACPI tables take {needed} bytes, {room} are there: give them a larger area or \
                 the cell fewer CPUs or root bridges"
            ),
            Self::Cpus(cpus) => write!(f, "a cell cannot have {cpus} CPUs: give it at least 1"),
            Self::Port(port) => {
                write!(
                    f,
                    "a virtual device at port {port:#x} reaches beyond 0xffff: move it down"
                )
            }
            Self::Ioapic(at) => write!(
                f,
                "virtual I/O APIC at {at:#x}: choose a multiple of 0x1000 below 4 GiB, or 0 for none"
            ),
            Self::Gsi(gsi) => write!(
                f,
                "interrupt {gsi} has no pin: the virtual I/O APIC, if the cell has one, takes 0 to 23, \
                 and 0 to 9 beside an Extended Socket"
            ),
            Self::Ecam(i) => write!(
                f,
                "configuration space {i} ends before it begins or beyond the address space: \
                 check its base and buses"
            ),
            Self::Bridges(n) => {
                write!(
                    f,
                    "{n} PCI root bridges: a cell can have {}",
                    crate::pci::MAX_BRIDGES
                )
            }
            Self::Buses(i) => {
                write!(
                    f,
                    "PCI root bridge {i}: its last bus is below its first: swap them"
                )
            }
            Self::SharedBus(a, b) => write!(
                f,
                "PCI root bridges {a} and {b} share a bus: give each bus of a segment to one"
            ),
            Self::Window(i) => write!(
                f,
                "PCI root bridge {i}: a window ends before it begins or is all of memory: \
                 check its two ends"
            ),
            Self::Intx(i) => write!(
                f,
                "PCI root bridge {i}: an interrupt pin has a device above 31 or is listed twice: \
                 name each pin once"
            ),
            Self::Nodes(n) => write!(f, "{n} NUMA nodes: a cell can have 1 to 256"),
            Self::NoSuchNode(n) => {
                write!(
                    f,
                    "NUMA node {n} does not exist in the cell: number its nodes from 0"
                )
            }
            Self::CpuNodes { cpus, nodes } => {
                write!(
                    f,
                    "{nodes} CPUs have a NUMA node and {cpus} exist: list each once"
                )
            }
            Self::Memory(i) => write!(
                f,
                "NUMA memory range {i} is empty or ends beyond the address space: check its size"
            ),
            Self::Shared(i) => write!(
                f,
                "shared memory {i} has no good name, or is empty, or ends beyond the address \
                 space: check its name and its size"
            ),
            Self::Distance(a, b) => write!(
                f,
                "NUMA distance from node {a} to node {b}: give 10 for a node itself, else the \
                 same 11 to 254 both ways"
            ),
            Self::Access(a, b) => write!(
                f,
                "NUMA access from node {a} to node {b}: give it once, from a node with CPUs \
                 to one with memory"
            ),
        }
    }
}

impl core::error::Error for Error {}
