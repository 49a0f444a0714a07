//! What the tools plan and the monitor checks: the machine and its cells.

use crate::Bdf;
use crate::wire::{List, wire};

wire! {
    /// The machine as the monitor must know it when it starts, framed by
    /// [`crate::wire::seal`].
    #[derive(Clone, Copy, Debug)]
    pub struct SystemPlan<'a> {
        /// CPUs that will enter, in any order; a CPU's place here is its index in
        /// statistics and messages.
        pub cpus: List<'a, Cpu>,
        /// RAM as the firmware reported it. Mapped for the root at once; all else
        /// that the root touches is mapped when it is first touched.
        pub ram: List<'a, Range>,
        /// Memory-mapped configuration space (MCFG).
        pub ecam: List<'a, Ecam>,
        /// DMA remapping units (DMAR, IVRS).
        pub iommus: List<'a, Iommu>,
        /// I/O APICs (MADT).
        pub io_apics: List<'a, IoApic>,
        /// TSC frequency in kHz, one of [`TSC_KHZ`].
        pub tsc_khz: u32,
        /// I/O port of a 16550 on which the monitor repeats its log; 0 for none.
        pub log_port: u16,
        /// A failure to provoke, for tests.
        pub inject: Option<Inject>,
    }
}

/// Frequencies in kHz that a TSC can have. Linux says another one, mostly 0, where
/// it found no clock to measure the TSC by.
pub const TSC_KHZ: core::ops::RangeInclusive<u32> = 100_000..=20_000_000;

wire! {
    /// One logical processor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Cpu {
        /// Linux's number.
        pub linux: u32,
        /// Physical (x2)APIC id.
        pub apic_id: u32,
    }
}

wire! {
    /// A range of host-physical memory, in bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Range {
        /// First byte.
        pub start: u64,
        /// Length.
        pub size: u64,
    }
}

wire! {
    /// One entry of MCFG.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ecam {
        /// Host-physical address of bus 0 of the segment, as MCFG says.
        pub base: u64,
        /// PCI segment group.
        pub segment: u16,
        /// First bus that it covers.
        pub first_bus: u8,
        /// Last bus that it covers.
        pub last_bus: u8,
    }
}

wire! {
    /// One DMA remapping unit.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Iommu {
        /// Which programming interface it has.
        pub kind: IommuKind,
        /// Host-physical address of its registers.
        pub base: u64,
        /// PCI segment group that it serves.
        pub segment: u16,
    }
}

wire! {
    /// Programming interfaces of DMA remapping units.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IommuKind {
        /// Intel VT-d.
        Vtd = 0,
        /// AMD-Vi.
        AmdVi = 1,
    }
}

wire! {
    /// One I/O APIC of the machine.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IoApic {
        /// Host-physical address of its registers.
        pub base: u64,
        /// Requester id of its interrupts, which the remapping of interrupts asks
        /// for (DMAR); `None` if it is not known.
        pub source: Option<u16>,
    }
}

wire! {
    /// A failure that the monitor provokes when it is asked to.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Inject {
        /// The CPU with this index fails when all others are ready to enter.
        FailCpu(index: u32) = 0,
        /// The CPU with this index is not ready before the others have given up.
        LateCpu(index: u32) = 1,
        /// The monitor itself faults, a lock being held, on each CPU that touches this port,
        /// which must be nobody's.
        FaultAtPort(port: u16) = 2,
        /// This step of entering fails, of those that want memory or an answer: in images
        /// for tests alone.
        Step(number: u32) = 3,
    }
}

wire! {
    /// One cell, framed by [`crate::wire::seal`] and sent with
    /// [`crate::call::Code::CellCreate`].
    #[derive(Clone, Copy, Debug)]
    pub struct CellPlan<'a> {
        /// Name: 1 to [`MAX_NAME`] bytes of `a-z 0-9 - _`.
        pub name: &'a [u8],
        /// Physical APIC ids; the place in the list is the virtual APIC id.
        pub cpus: List<'a, u32>,
        /// Guest-physical memory.
        pub memory: List<'a, Memory>,
        /// I/O ports that reach the hardware.
        pub ports: List<'a, Ports>,
        /// PCI functions.
        pub functions: List<'a, Function>,
        /// Network adapters, at most [`MAX_ADAPTERS`]: its way to cells that have one of
        /// the same name.
        pub adapters: List<'a, Adapter>,
        /// Besides the virtual 16550 there is a console that takes lines (virtio-console), as
        /// one more adapter behind those.
        pub console: bool,
        /// Its Extended Socket: its way to cells that have one of the same link.
        pub socket: Option<Socket>,
        /// Virtual devices.
        pub devices: Devices,
        /// The root may look at its memory when it has ended
        /// ([`crate::call::Code::CellShow`]).
        pub dump: bool,
        /// Its CPUs are on more than one NUMA node: no cache is shared by all of them.
        pub many_nodes: bool,
        /// Its share of the L3 cache and of memory bandwidth.
        pub class: Class,
        /// This is a link: memory that cells share, without CPUs, functions and ports. It
        /// takes a cell's name and number, and is made, started, stopped and destroyed as
        /// one; only while it runs may cells be made that share it, and it runs as long as
        /// one of them is there.
        pub link: Option<Link>,
    }
}

impl<'a> CellPlan<'a> {
    /// The memory that is the cell's own.
    pub fn own_memory(&self) -> impl Iterator<Item = Memory> + use<'a> {
        self.memory
            .iter()
            .filter(|memory| memory.share == Share::Own)
    }
}

wire! {
    /// A class of service that is a cell's own: no other cell, and nothing of the root,
    /// is in it where the cell's CPUs are. In one word: its ways of the L3 cache, above
    /// them its delay, then its number.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Class(pub u64);
}

impl Class {
    /// That of the root, and of cells without one of their own.
    pub const ROOT: Self = Self(0);

    /// Class `number` with `l3_ways`, a bit for each, or with the root's for 0, and
    /// `delay` of requests to memory (MBA), 0 for none.
    #[must_use]
    pub const fn new(number: u8, l3_ways: u32, delay: u8) -> Self {
        Self(l3_ways as u64 | (delay as u64) << 32 | (number as u64) << 40)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        (self.0 >> 40) as u8
    }

    /// Ways of the L3 cache that are its own.
    #[must_use]
    pub const fn l3_ways(self) -> u32 {
        self.0 as u32
    }

    /// Delay of its requests to memory.
    #[must_use]
    pub const fn delay(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

wire! {
    /// What is said of a link.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Link {
        /// The root goes on seeing the memory while the link runs. It may have one adapter
        /// then, whose queues are in that memory: the root is in the network that it names
        /// ([`crate::call::Code::LinkWrite`]).
        pub root: bool,
    }
}

wire! {
    /// A network adapter, played by the monitor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Adapter {
        /// Name of the link that it leads to, padded with zeros: all adapters that name it
        /// are joined.
        pub link: [u8; MAX_NAME],
        /// Its Ethernet address, which nobody else there has.
        pub mac: [u8; 6],
    }
}

/// Most network adapters of a cell, its console among them.
pub const MAX_ADAPTERS: usize = MAX_LINKS + 1;

/// PCI segment group of the network adapters: each is a device of its only bus, 0, in
/// the order of the plan.
pub const ADAPTER_SEGMENT: u16 = 0xc1;

/// Guest-physical address of its configuration space, 1 MiB: behind what CPUs take for
/// interrupts, where machines have their firmware's memory, which cells do not have.
pub const ADAPTER_CONFIG: u64 = 0xff00_0000;

/// Guest-physical address of the adapters' registers, a page for each.
pub const ADAPTER_REGISTERS: u64 = 0xff10_0000;

wire! {
    /// An Extended Socket, which is what Linux's driver `fjes` makes a network of: a page of
    /// registers, played by the monitor, and memory of a link, which takes the place of
    /// pages of the cell that the driver names.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Socket {
        /// Host-physical address of a page of the link that has the buffers, one after the
        /// other from its guest-physical address 0 on. Cells that name the same link are
        /// joined.
        pub memory: u64,
        /// The cell's number among the members, which nobody else there has.
        pub number: u8,
        /// How many numbers there are, 2 to [`MAX_SOCKET_MEMBERS`].
        pub members: u8,
        /// Its interrupt, an edge on the virtual I/O APIC: below [`SOCKET_PINS`], and nobody
        /// else's. No function of the cell has a pin.
        pub gsi: u8,
    }
}

impl Socket {
    /// Bytes of the buffers that so many members have: one for each ordered pair.
    #[must_use]
    pub const fn size(members: u8) -> u64 {
        let pairs = members as u64 * (members as u64).saturating_sub(1);
        pairs * SOCKET_PAGES as u64 * crate::PAGE_SIZE
    }
}

/// Most members of an Extended Socket: the driver takes 16 MiB for each of the others.
pub const MAX_SOCKET_MEMBERS: u8 = 4;

/// Pages of one buffer: a header and what the driver sends by.
pub const SOCKET_PAGES: usize = 2049;

/// Tables that a cell can have for the pages of one other member: more, and they are
/// too scattered to be shared.
pub const SOCKET_TABLES: usize = 64;

/// Pins that the virtual I/O APIC of a cell with an Extended Socket tells of: the driver
/// takes its interrupt for a number of Linux's, which has numbers below 16 to give where there
/// are fewer pins.
pub const SOCKET_PINS: u8 = 10;

/// The interrupt of an Extended Socket, on the virtual I/O APIC.
pub const SOCKET_GSI: u8 = 5;

/// Guest-physical address of the page of registers, behind those of the adapters.
pub const SOCKET_REGISTERS: u64 = 0xff20_0000;

/// Most links of a cell.
pub const MAX_LINKS: usize = 8;

/// Longest name of a cell, in bytes.
pub const MAX_NAME: usize = 31;

/// Most PCI functions of a cell.
pub const MAX_FUNCTIONS: usize = 64;

wire! {
    /// A stretch of a cell's memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Memory {
        /// Guest-physical address, 4 KiB aligned.
        pub gpa: u64,
        /// Host-physical address, 4 KiB aligned.
        pub hpa: u64,
        /// Size in bytes, a multiple of 4 KiB.
        pub size: u64,
        /// Whose it is.
        pub share: Share,
    }
}

wire! {
    /// Whose memory a stretch is, and what its cell may do there.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Share {
        /// The cell's own RAM.
        #[default]
        Own = 0,
        /// A link's: read only. A write there fails the cell as one to foreign memory
        /// does.
        Read = 1,
        /// A link's: read and written.
        Write = 2,
    }
}

wire! {
    /// A stretch of I/O ports.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ports {
        /// First port.
        pub first: u16,
        /// How many.
        pub count: u16,
    }
}

wire! {
    /// A PCI function that a cell owns.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Function {
        /// Where it is.
        pub bdf: Bdf,
        /// Where the cell sees it: on the root bus that its DSDT describes, so that no
        /// bridge has to be shown.
        pub guest: Bdf,
        /// For a virtual function: its physical function.
        pub pf: Option<Bdf>,
        /// Binary logarithms of the sizes of its six BARs in bytes; 0 for a BAR that
        /// is not there, and for the upper half of one of 64 bits.
        pub bar_sizes: [u8; 6],
        /// The cell is content without DMA isolation (`isolation = "none"`).
        pub unprotected: bool,
        /// Where its interrupt pin leads, if the cell gets its interrupt.
        pub wire: Option<Wire>,
    }
}

impl Function {
    /// The interrupt pin that the cell sees, 1 to 4 (INTA to INTD). It goes by
    /// the function's number there, so that functions of one device that have
    /// different interrupts have different pins.
    #[must_use]
    pub const fn pin(&self) -> Option<u8> {
        match self.wire {
            Some(_) => Some(self.guest.function() % 4 + 1),
            None => None,
        }
    }
}

wire! {
    /// A pin of an I/O APIC that is a cell's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Wire {
        /// Host-physical address of the I/O APIC.
        pub io_apic: u64,
        /// Which of its pins.
        pub pin: u8,
        /// Global system interrupt that the cell sees, one of [`WIRE_GSIS`].
        pub gsi: u8,
    }
}

/// Pins of a cell's virtual I/O APIC that functions can have.
pub const WIRE_GSIS: core::ops::Range<u8> = 16..24;

wire! {
    /// Virtual devices of a cell. A port of 0 leaves the device out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Devices {
        /// First of the eight ports of the virtual 16550.
        pub uart_port: u16,
        /// Its interrupt, as a global system interrupt on the virtual I/O APIC.
        pub uart_gsi: u8,
        /// ACPI sleep control register (one byte; the status register follows, then
        /// the reset register, [`EVENT_PORT`] and [`PANIC_PORT`]).
        pub power_port: u16,
        /// Guest-physical address of the virtual I/O APIC; 0 for none.
        pub ioapic: u64,
    }
}

impl Devices {
    /// Where every Linux cell has them.
    pub const STANDARD: Self = Self {
        uart_port: 0x3f8,
        uart_gsi: 4,
        power_port: 0x600,
        ioapic: 0xfec0_0000,
    };
}

/// Value of the sleep control register that means "soft off": SLP_EN with the
/// SLP_TYP of `\_S5` (ACPI, "Sleep Control and Status Registers").
pub const POWER_OFF: u8 = 1 << 5 | SLP_TYP_S5 << 2;

/// SLP_TYP that a cell's `\_S5` names.
pub const SLP_TYP_S5: u8 = 5;

/// Value that resets the cell when it is written to the reset register.
pub const RESET_VALUE: u8 = 1;

/// Ports from [`Devices::power_port`] on.
pub const POWER_PORTS: u16 = 5;

/// The event register, counted from [`Devices::power_port`]: a read tells in bits
/// what has happened since the last one. It is what the cell's Generic Event
/// Device reads when [`EVENT_GSI`] comes (ACPI, "Generic Event Device").
pub const EVENT_PORT: u16 = 3;

/// Interrupt of the event register, on the virtual I/O APIC: one edge for each
/// event.
pub const EVENT_GSI: u8 = 9;

/// Bit of the event register: the power button was pressed.
pub const POWER_BUTTON: u8 = 1;

/// The panic register, counted from [`Devices::power_port`]: a read gives the bits
/// that it knows, a write tells what the kernel has come to (QEMU, "PVPANIC DEVICE").
pub const PANIC_PORT: u16 = 4;

/// Bit of the panic register: the kernel has panicked, and nothing follows.
pub const PANICKED: u8 = 1;

/// Bit of the panic register: it has panicked, and a crash kernel takes over.
pub const CRASH_LOADED: u8 = 2;

wire! {
    /// State of the first CPU when a cell starts: 64-bit mode, flat segments,
    /// interrupts off, paging on. The loader has put page tables and GDT into the
    /// cell's memory (Linux x86 boot protocol, "64-bit boot protocol").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Boot {
        /// Guest-physical (and virtual) address of the first instruction.
        pub rip: u64,
        /// RSI: guest-physical address of the boot parameters.
        pub rsi: u64,
        /// Guest-physical address of the page tables' root.
        pub cr3: u64,
        /// Guest-physical address of the GDT; selectors 0x10 and 0x18 are code and
        /// data.
        pub gdt: u64,
        /// Its limit (size - 1).
        pub gdt_limit: u16,
    }
}
