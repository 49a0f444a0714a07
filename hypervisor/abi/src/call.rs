//! Hypercalls of the root cell.
//!
//! All have one shape: VMCALL (VMMCALL on AMD) in ring 0 with RAX = [`Code`],
//! RDI = physical address of a buffer of [`crate::ioctl::CALL_BUFFER`] bytes,
//! RSI = length of the request in it, RDX = its capacity. On return RAX has
//! [`crate::status::CallStatus`] in bits 31:0 and the length of the response in
//! bits 63:32. Requests and responses are what [`crate::wire`] makes of the types beside
//! each code. A wrong request changes nothing.

mod stats;

use crate::parts::Parts;
use crate::wire::wire;
use crate::{Bdf, plan};
pub use stats::{ExitKind, Stats, StatsRequest};

/// Numbers of calls begin behind this: a hypervisor around the machine has its
/// own from 1 on, which a root goes on making.
const FIRST: u32 = 0x4356_0000;

/// Hypercall numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// `()` → [`Info`].
    Info = FIRST + 1,
    /// Driver only, on every CPU with interrupts off: leave the monitor. RDI =
    /// bridge CR3; returns [`crate::status::EnterStatus`] as the entry does,
    /// under the bridge tables if it left.
    Leave = FIRST + 2,
    /// Framed [`plan::CellPlan`] → [`CellId`]. The cell is loadable.
    CellCreate = FIRST + 3,
    /// [`Start`] → `()`. Needs a loadable cell; the root loses its view of it.
    CellStart = FIRST + 4,
    /// [`CellId`] → `()`. A running cell stops; its CPUs wait in the monitor.
    CellStop = FIRST + 5,
    /// [`CellId`] → [`Progress`]. A stopped or failed cell is scrubbed and
    /// becomes loadable; `Again` until it is.
    CellReload = FIRST + 6,
    /// [`CellId`] → [`Progress`]. A cell that does not run is scrubbed and
    /// returns everything to the root; `Again` until it is gone.
    CellDestroy = FIRST + 7,
    /// [`CellId`] → [`CellStatus`].
    CellStatus = FIRST + 8,
    /// `()` → a byte string: the [`CellId`] of each as little-endian u32 (the
    /// monitor has no heap).
    CellList = FIRST + 9,
    /// [`StatsRequest`] → [`Stats`].
    Stats = FIRST + 10,
    /// [`ReadRequest`] → [`ReadResponse`]: the cell's console output.
    ConsoleRead = FIRST + 11,
    /// [`ConsoleWrite`] → u32, bytes taken: the cell's console input.
    ConsoleWrite = FIRST + 12,
    /// [`ReadRequest`] (cell ignored) → [`ReadResponse`]: the monitor's log.
    LogRead = FIRST + 13,
    /// [`CellId`] → a byte string: physical APIC ids as little-endian u32, in
    /// the order of virtual ids.
    CellCpus = FIRST + 14,
    /// [`FunctionRequest`] → [`FunctionStatus`].
    CellFunction = FIRST + 15,
    /// `()` → [`Progress`]: ends the cells one after the other, a step at a time,
    /// for a root that goes down: each is stopped, scrubbed and destroyed. `Again`
    /// until none is left. It asks for nothing that the driver would have to know.
    CellsEnd = FIRST + 16,
    /// [`CellId`] → `bool`. Presses the power button of a running cell: its kernel
    /// is asked to power off. False if it takes no interrupt of the button at the
    /// moment, so that nobody will.
    CellPress = FIRST + 17,
    /// u8 → `()`: the vector that the root's Linux gets on one of its CPUs whenever a
    /// cell came to another state, was created or destroyed; 0 for none. The driver
    /// asks for it.
    Watch = FIRST + 18,
    /// [`CellId`] → `()`. The root sees the memory of a cell that has stopped or
    /// failed as the cell left it, if its plan allows that
    /// ([`plan::CellPlan::dump`]); else `Denied`. `Again` while its functions are
    /// being reset. The state stays, and the memory is scrubbed as ever before the
    /// next start.
    CellShow = FIRST + 19,
    /// [`CellId`] → `()`. The first CPU of a running cell gets an NMI, as from the button
    /// of a machine that asks a kernel for a diagnosis. One that waits already is enough.
    CellNmi = FIRST + 20,
    /// [`LinkWrite`] → `()`. Writes a register of the adapter by which the root is in a
    /// network, as a cell's driver does with its own. `Again` if more frames wait than are
    /// sent at once: the same write sends on.
    LinkWrite = FIRST + 21,
}

impl Code {
    /// Calls that change nothing and show nothing of a cell's inside. The driver
    /// passes them on for whoever may open the device for reading.
    pub const LOOKS: &[Self] = &[
        Self::Info,
        Self::CellStatus,
        Self::CellList,
        Self::Stats,
        Self::CellCpus,
        Self::CellFunction,
    ];

    /// The call with this number.
    #[must_use]
    pub const fn from_code(code: u64) -> Option<Self> {
        let Some(number) = code.checked_sub(FIRST as u64) else {
            return None;
        };
        Some(match number {
            1 => Self::Info,
            2 => Self::Leave,
            3 => Self::CellCreate,
            4 => Self::CellStart,
            5 => Self::CellStop,
            6 => Self::CellReload,
            7 => Self::CellDestroy,
            8 => Self::CellStatus,
            9 => Self::CellList,
            10 => Self::Stats,
            11 => Self::ConsoleRead,
            12 => Self::ConsoleWrite,
            13 => Self::LogRead,
            14 => Self::CellCpus,
            15 => Self::CellFunction,
            16 => Self::CellsEnd,
            17 => Self::CellPress,
            18 => Self::Watch,
            19 => Self::CellShow,
            20 => Self::CellNmi,
            21 => Self::LinkWrite,
            _ => return None,
        })
    }
}

wire! {
    /// Number of a cell: 0 is the root, others are given out by the monitor and
    /// used again after a destroy.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct CellId(pub u32);
}

impl CellId {
    /// The root cell.
    pub const ROOT: Self = Self(0);
}

wire! {
    /// The monitor as a whole.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Info {
        /// [`crate::ABI_VERSION`].
        pub abi_version: u32,
        /// Which back end runs.
        pub backend: Backend,
        /// CPUs under the monitor.
        pub cpus: u32,
        /// Cells other than the root.
        pub cells: u32,
        /// Pages of the pool, in all.
        pub pool_pages: u32,
        /// Pages of the pool that are free.
        pub pool_free: u32,
        /// Bytes of the image in memory, zeroed part included.
        pub image_bytes: u64,
        /// Bytes for each CPU.
        pub per_cpu_bytes: u32,
        /// True if the root's APICs are in x2APIC mode.
        pub root_x2apic: bool,
        /// DMA remapping units that the monitor drives.
        pub iommus: u32,
        /// What the image was built with.
        pub parts: Parts,
    }
}

wire! {
    /// Vendor back ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Backend {
        /// Intel VT-x.
        Vmx = 0,
        /// AMD-V.
        Svm = 1,
    }
}

wire! {
    /// [`Code::CellStart`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Start {
        /// Which cell.
        pub cell: CellId,
        /// State of its first CPU.
        pub boot: plan::Boot,
        /// Wall clock: nanoseconds since 1970-01-01 UTC …
        pub wall_ns: u64,
        /// … when the TSC had this value.
        pub wall_tsc: u64,
    }
}

impl Start {
    /// For what has no CPU that would begin anywhere, and no clock.
    #[must_use]
    pub const fn at_zero(cell: CellId) -> Self {
        Self {
            cell,
            boot: plan::Boot {
                rip: 0,
                rsi: 0,
                cr3: 0,
                gdt: 0,
                gdt_limit: 0,
            },
            wall_ns: 0,
            wall_tsc: 0,
        }
    }
}

wire! {
    /// [`Code::LinkWrite`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LinkWrite {
        /// A link that runs and has an adapter ([`plan::Link::root`]). Addresses that its
        /// registers get count from the first byte of the link's memory.
        pub link: CellId,
        /// Where in the page of registers.
        pub offset: u16,
        /// Bytes that are written.
        pub size: u8,
        /// What is written.
        pub value: u64,
    }
}

wire! {
    /// How far scrubbing is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Progress {
        /// Bytes done.
        pub done: u64,
        /// Bytes in all.
        pub total: u64,
    }
}

wire! {
    /// States of a cell.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum State {
        /// Scrubbed and visible to the root, which may load it.
        Loadable = 0,
        /// Its CPUs run.
        Running = 1,
        /// Stopped by the root or powered off by itself.
        Stopped(why: StopReason) = 2,
        /// It did what it must not; see [`CellStatus::failure`].
        Failed = 3,
    }
}

wire! {
    /// Why a cell stopped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StopReason {
        /// The root asked for it.
        Root = 0,
        /// The cell powered itself off.
        PowerOff = 1,
        /// The cell asked for a reset.
        Reset = 2,
        /// Its kernel panicked, and said so.
        Panic = 3,
    }
}

wire! {
    /// [`Code::CellStatus`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CellStatus {
        /// Which cell.
        pub cell: CellId,
        /// Name, padded with zeros.
        pub name: Name,
        /// Its state.
        pub state: State,
        /// CPUs.
        pub cpus: u32,
        /// Bytes of RAM.
        pub memory: u64,
        /// PCI functions.
        pub functions: u32,
        /// At least one of them has no DMA isolation.
        pub unprotected: bool,
        /// Pages of the pool that it takes.
        pub pool_pages: u32,
        /// Bytes written to the console so far.
        pub console_written: u64,
        /// How often it was started.
        pub starts: u32,
        /// Accesses that were refused without failing the cell.
        pub denied: Denied,
        /// Why it failed.
        pub failure: Option<Failure>,
    }
}

wire! {
    /// A name of at most [`plan::MAX_NAME`] bytes.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Name(pub [u8; plan::MAX_NAME]);
}

impl Name {
    /// `None` unless `name` has 1 to [`plan::MAX_NAME`] bytes of
    /// `a-z 0-9 - _`.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; plan::MAX_NAME];
        let good = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if name.is_empty() || name.len() > bytes.len() || !name.iter().all(good) {
            return None;
        }
        for (place, byte) in bytes.iter_mut().zip(name) {
            *place = *byte;
        }
        Some(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.into_iter().take_while(|byte| *byte != 0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        self.0
            .get(..len)
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("?")
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

wire! {
    /// Accesses that were refused, by kind.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Denied {
        /// MSR accesses answered with #GP.
        pub msr: u64,
        /// Port accesses: reads gave ones, writes were dropped.
        pub port: u64,
        /// Configuration space accesses: the same.
        pub config: u64,
        /// Interrupts to CPUs of others.
        pub ipi: u64,
        /// DMA and interrupt remapping faults.
        pub dma: u64,
        /// MMIO accesses to guarded device memory (MSI-X tables …).
        pub mmio: u64,
    }
}

wire! {
    /// What a failed cell did, and where.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Failure {
        /// What it did.
        pub reason: FailReason,
        /// Virtual APIC id of the CPU that did it.
        pub cpu: u32,
        /// Registers at that moment.
        pub regs: Registers,
    }
}

wire! {
    /// Why a cell fails.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum FailReason {
        /// Triple fault.
        TripleFault = 0,
        /// It touched guest-physical memory that is not its own.
        Memory {
            /// The address.
            gpa: u64,
            /// It wrote.
            write: bool,
            /// It fetched instructions.
            execute: bool,
        } = 1,
        /// An instruction at a device address that the monitor cannot decode.
        Instruction {
            /// The address.
            gpa: u64,
        } = 2,
        /// An exit that the monitor does not know: the vendor's code.
        UnknownExit(code: u64) = 3,
        /// A VM entry failed: the vendor's code.
        EntryFailed(code: u64) = 4,
        /// A machine check on one of its CPUs.
        MachineCheck = 5,
        /// The monitor found a fault of its own while it served this cell.
        Monitor = 6,
    }
}

wire! {
    /// Registers of a CPU in a cell.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Registers {
        /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
        pub general: [u64; 16],
        /// Instruction pointer.
        pub rip: u64,
        /// Flags.
        pub rflags: u64,
        /// Control registers as the guest sees them.
        pub cr0: u64,
        /// Page-fault address.
        pub cr2: u64,
        /// Page tables.
        pub cr3: u64,
        /// Control register 4 as the guest sees it.
        pub cr4: u64,
        /// Code segment selector.
        pub cs: u16,
    }
}

wire! {
    /// The resource that stands in the way
    /// ([`crate::status::CallStatus::NotOwned`], `BadResource`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Conflict {
        /// What it is.
        pub resource: Resource,
        /// Who has it; `None` if the value itself is wrong.
        pub owner: Option<Owner>,
    }
}

wire! {
    /// One thing that can be owned.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Resource {
        /// The page at this host-physical address.
        Page(hpa: u64) = 0,
        /// The page at this guest-physical address.
        GuestPage(gpa: u64) = 1,
        /// The CPU with this physical APIC id.
        Cpu(apic_id: u32) = 2,
        /// An I/O port.
        Port(port: u16) = 3,
        /// A PCI function.
        Function(bdf: Bdf) = 4,
    }
}

wire! {
    /// Who owns a resource.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Owner {
        /// The root cell.
        Root = 0,
        /// The monitor itself.
        Monitor = 1,
        /// A cell.
        Cell(cell: CellId) = 2,
        /// A cell, as registers of its PCI functions.
        Device(cell: CellId) = 3,
    }
}

wire! {
    /// [`Code::CellFunction`]: which of a cell's functions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FunctionRequest {
        /// The cell.
        pub cell: CellId,
        /// The function's place in the cell's plan.
        pub index: u32,
    }
}

wire! {
    /// A function of a cell.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FunctionStatus {
        /// Where it is.
        pub bdf: Bdf,
        /// Where the cell sees it.
        pub guest: Bdf,
        /// Its DMA is not confined.
        pub unprotected: bool,
        /// It may read and write memory now.
        pub bus_master: bool,
        /// Vectors that it has, and how many of them the cell has set up.
        pub vectors: (u16, u16),
        /// DMA and interrupts of it that the remapping unit blocked.
        pub faults: u64,
    }
}

wire! {
    /// [`Code::ConsoleRead`], [`Code::LogRead`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ReadRequest {
        /// Which cell.
        pub cell: CellId,
        /// Read from this byte on, counted from the first ever written; what is no
        /// longer kept is skipped.
        pub from: u64,
    }
}

wire! {
    /// Answer to a [`ReadRequest`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ReadResponse<'a> {
        /// Number of the first byte in `bytes`.
        pub start: u64,
        /// What was written.
        pub bytes: &'a [u8],
    }
}

wire! {
    /// [`Code::ConsoleWrite`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ConsoleWrite<'a> {
        /// Which cell.
        pub cell: CellId,
        /// What is typed.
        pub bytes: &'a [u8],
    }
}
