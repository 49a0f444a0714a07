//! Cells as the monitor keeps them, the root among them.

pub(crate) mod claim;
#[cfg_attr(not(feature = "classes"), path = "absent/classes.rs")]
pub(crate) mod classes;
pub(crate) mod code;
pub(crate) mod cpu;
pub(crate) mod cpus;
pub(crate) mod devices;
pub(crate) mod functions;
pub(crate) mod ipi;
pub(crate) mod memory;
#[cfg_attr(not(feature = "adapters"), path = "absent/net.rs")]
pub(crate) mod net;
pub(crate) mod root;
#[cfg_attr(not(feature = "sockets"), path = "absent/socket.rs")]
pub(crate) mod socket;
pub(crate) mod watch;

use crate::cell::devices::Devices;
use crate::cpu::kick;
use crate::cpu::outer;
use crate::cpu::percpu::{self, CpuShared, request};
use crate::dev::iommu::Domain;
use crate::dev::pci::Functions;
use crate::lock::Mutex;
use crate::log;
use crate::mem::page::PageVec;
use crate::mem::space::Space;
use crate::vcpu::{Attachment, Vendor};
use cellvisor_abi::call::{
    CellId, CellStatus, Denied, FailReason, Failure, Name, Owner, Registers, State, StopReason,
};
use cellvisor_abi::parts::Parts;
use cellvisor_abi::{PAGE_SIZE, plan};
use cellvisor_core::addr::Hpa;
use cellvisor_core::cell_state::{self, Event};
use cellvisor_core::cpuid::Table;
use cellvisor_core::ids::{ApicId, PlanIndex, Port, VirtualId};
use cellvisor_core::life;
use cellvisor_core::link::{self, Links};
use cellvisor_core::locks::Rank;
use cellvisor_core::msr::Policy;
use cellvisor_core::text::{Dec, Hex, Label, Word};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use log::log;

/// What this image has of the parts that it may be built without. Each is one module; in
/// its place there is one of the same shape, of which no cell has anything.
pub(crate) const PARTS: Parts = net::PART
    .and(socket::PART)
    .and(classes::PART)
    .and(outer::PART);

/// Most cells, the root included.
pub(crate) const MAX_CELLS: usize = 257;
/// Most CPUs of one cell.
pub(crate) const MAX_CELL_CPUS: usize = 512;

pub(crate) type Cpus = heapless::Vec<PlanIndex, MAX_CELL_CPUS>;

/// Accesses that were refused, counted by the CPUs that saw them.
#[derive(Default)]
pub(crate) struct DeniedCounters {
    pub(crate) msr: AtomicU64,
    pub(crate) port: AtomicU64,
    pub(crate) config: AtomicU64,
    pub(crate) ipi: AtomicU64,
    pub(crate) dma: AtomicU64,
    pub(crate) mmio: AtomicU64,
}

impl DeniedCounters {
    fn read(&self) -> Denied {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Denied {
            msr: get(&self.msr),
            port: get(&self.port),
            config: get(&self.config),
            ipi: get(&self.ipi),
            dma: get(&self.dma),
            mmio: get(&self.mmio),
        }
    }
}

/// Counts one refusal; true for the first few, which are worth a log line.
pub(crate) fn count(counter: &AtomicU64) -> bool {
    life::is_logged(counter.fetch_add(1, Ordering::Relaxed))
}

/// Pages that tell the back end what reaches the hardware directly. No CPU may be
/// attached to them any more when they are dropped.
pub(crate) struct Bitmaps {
    msr: PageVec<u8>,
    /// Changed while CPUs read it, in hardware, byte by byte.
    io: PageVec<AtomicU8>,
}

impl Bitmaps {
    /// MSRs by the policy; every port is direct.
    pub(crate) fn new(vendor: &Vendor, msrs: Policy) -> Option<Self> {
        let bytes = |pages: u64| (pages * PAGE_SIZE) as usize;
        let mut msr = PageVec::zeros(bytes(vendor.bitmaps.msr_pages))?;
        (vendor.fill_msr_bitmap)(msrs, &mut msr);
        let io = PageVec::zeros(bytes(vendor.bitmaps.io_pages))?;
        Some(Self { msr, io })
    }

    /// Intercepts every port, and what lies behind their bits.
    pub(crate) fn intercept_all_ports(&self) {
        self.io
            .iter()
            .for_each(|byte| byte.store(0xff, Ordering::Relaxed));
    }

    /// Whether accesses to a port exit.
    pub(crate) fn set_port(&self, port: Port, intercepted: bool) {
        let Some(byte) = self.io.get(usize::from(port.0) / 8) else {
            return;
        };
        let bit = 1 << (port.0 % 8);
        if intercepted {
            byte.fetch_or(bit, Ordering::Relaxed);
        } else {
            byte.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// What changes as a cell is started and stopped.
#[repr(C)] // As of `Cell`.
pub(crate) struct Life {
    pub(crate) state: State,
    /// The root's view of the cell's RAM is there.
    pub(crate) visible: bool,
    /// Its functions have been stopped since it ran.
    pub(crate) quiet: bool,
    pub(crate) starts: u32,
    /// Bytes of RAM that have been scrubbed since the cell stopped.
    pub(crate) scrubbed: u64,
    pub(crate) failure: Option<Failure>,
}

/// What only a cell other than the root has.
#[repr(C)] // As of `Cell`.
pub(crate) struct Guest {
    /// The root may see its memory when it has ended.
    pub(crate) dump: bool,
    /// It has PCI functions, from its making to its end.
    pub(crate) has_functions: bool,
    /// What is said of a link; `None` for a cell.
    pub(crate) link: Option<plan::Link>,
    /// What was written to the configuration address port.
    pub(crate) config_address: AtomicU32,
    /// Its class of service.
    pub(crate) class: plan::Class,
    /// Pages of the pool that belong to it besides tables.
    pub(crate) pages: u32,
    /// Bytes of RAM.
    pub(crate) memory: u64,
    /// They use the domain, and are dropped before it.
    pub(crate) functions: Mutex<Functions, { Rank::Functions as u8 }>,
    /// Where its virtual devices are.
    pub(crate) layout: plan::Devices,
    /// Plan indexes of its CPUs, by virtual APIC id.
    pub(crate) cpus: heapless::Vec<PlanIndex, MAX_CELL_CPUS>,
    /// The devices.
    pub(crate) devices: Mutex<Devices, { Rank::Devices as u8 }>,
    /// Memory that they reach, as long as they are the cell's.
    pub(crate) _domain: Option<Domain>,
    /// State of its first CPU at the next start.
    pub(crate) boot: Mutex<Option<plan::Boot>, { Rank::Boot as u8 }>,
    /// Links that it shares.
    pub(crate) links: Links,
    /// Its network adapters.
    pub(crate) adapters: net::Adapters,
    /// Its Extended Socket.
    pub(crate) socket: Option<socket::Socket>,
    /// Of a link: those that share it by such.
    pub(crate) members: socket::Locked,
    /// What its CPUs answer to CPUID.
    pub(crate) cpuid: Table,
}

/// A cell. What many places use comes first: an instruction reaches it by one byte
/// instead of four.
#[repr(C)]
pub(crate) struct Cell {
    pub(crate) id: CellId,
    pub(crate) space: Mutex<Option<Space>, { Rank::Space as u8 }>,
    /// `None` for the root.
    pub(crate) guest: Option<Guest>,
    pub(crate) life: Mutex<Life, { Rank::Life as u8 }>,
    pub(crate) denied: DeniedCounters,
    pub(crate) bitmaps: Bitmaps,
    pub(crate) name: Name,
}

/// Pages of the pool that a [`Cell`] takes.
pub(crate) const CELL_PAGES: u64 = (size_of::<Cell>() as u64).div_ceil(PAGE_SIZE);

static CELLS: [AtomicPtr<Cell>; MAX_CELLS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CELLS];

/// The cell with this id.
///
/// A CPU may ask for its own owner at any time, for a link that this one shares, which stays
/// as long as it does, and for others while it holds
/// the lock of the hypercalls: a cell goes away under that lock only, after all
/// its CPUs have another owner.
pub(crate) fn get(id: CellId) -> Option<&'static Cell> {
    let cell = CELLS.get(id.0 as usize)?.load(Ordering::Acquire);
    // SAFETY: `put` stores initialised cells only, and `remove` is called as
    // described above.
    unsafe { cell.as_ref() }
}

/// All cells other than the root.
pub(crate) fn all() -> All {
    All(1..MAX_CELLS as u32)
}

/// See [`all`].
pub(crate) struct All(Range<u32>);

impl Iterator for All {
    type Item = &'static Cell;

    #[inline(never)] // As of `percpu::Cpus`.
    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|id| get(CellId(id)))
    }
}

/// See [`Cell::cpus`].
#[derive(Clone)]
pub(crate) struct CpusOf<'a> {
    cell: &'a Cell,
    places: Range<usize>,
}

impl Iterator for CpusOf<'_> {
    type Item = &'static CpuShared;

    #[inline(never)] // As of `percpu::Cpus`.
    fn next(&mut self) -> Option<Self::Item> {
        let cell = self.cell;
        self.places.find_map(|place| match &cell.guest {
            Some(guest) => percpu::cpu(*guest.cpus.get(place)?),
            None => percpu::cpu(PlanIndex(place as u16)).filter(|cpu| cpu.owner() == CellId::ROOT),
        })
    }
}

/// True if there are cells other than the root. Unlike [`all`], anybody may ask.
pub(crate) fn any() -> bool {
    let slots = CELLS.iter().skip(1);
    slots
        .map(|slot| slot.load(Ordering::Acquire))
        .any(|place| !place.is_null())
}

/// True if this is a link that cells may share.
pub(crate) fn is_open(id: CellId) -> bool {
    let guest = get(id).and_then(|cell| Some((cell, cell.guest.as_ref()?)));
    guest.is_some_and(|(cell, guest)| guest.link.is_some() && link::may_share(cell.state()))
}

/// True if a cell shares this one, a link.
pub(crate) fn is_shared(id: CellId) -> bool {
    let guests = all().filter_map(|cell| cell.guest.as_ref());
    link::is_shared(id, guests.map(|guest| &guest.links))
}

/// The lowest id that is free.
pub(crate) fn free_id() -> Option<CellId> {
    (1..MAX_CELLS as u32)
        .map(CellId)
        .find(|id| get(*id).is_none())
}

/// Moves `cell` into pages of the pool and makes it known. If the pool is empty
/// the cell's pages go back as well.
pub(crate) fn put(cell: Cell) -> Option<&'static Cell> {
    let slot = CELLS.get(cell.id.0 as usize)?;
    let cell = PageVec::of(cell)?.leak().first_mut()?;
    classes::hold(cell);
    slot.store(cell, Ordering::Release);
    Some(cell)
}

/// Forgets a cell and frees its pages.
///
/// # Safety
///
/// The caller holds the hypercall lock, no CPU has the cell as its owner, and no
/// reference to it is used afterwards.
pub(crate) unsafe fn remove(id: CellId) {
    let Some(slot) = CELLS.get(id.0 as usize) else {
        return;
    };
    let place = slot.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if let Some(cell) = NonNull::new(place) {
        // SAFETY: `put` leaked a cell here, and by the caller's promise nobody uses
        // it any more.
        unsafe {
            classes::release(cell.as_ref());
            drop(PageVec::reclaim(cell));
        }
    }
}

impl Guest {
    /// The CPU with this virtual id.
    pub(crate) fn cpu(&self, id: VirtualId) -> Option<&'static CpuShared> {
        percpu::cpu(*self.cpus.get(id.0 as usize)?)
    }
}

impl Cell {
    /// Who the cell is in the ownership map.
    pub(crate) fn owner(&self) -> Owner {
        if self.id == CellId::ROOT {
            Owner::Root
        } else {
            Owner::Cell(self.id)
        }
    }

    /// What CPUs of this cell are attached to.
    pub(crate) fn attachment(&self) -> Attachment {
        let tables = self.space.lock().as_ref().map_or(Hpa(0), Space::root);
        Attachment {
            tables,
            msr_bitmap: self.bitmaps.msr.hpa(),
            io_bitmap: self.bitmaps.io.hpa(),
            tag: self.id.0 as u16 + 1,
        }
    }

    /// Its CPUs, in the order of virtual ids. Of the root: all that it owns.
    #[inline(never)] // Many ask for them, and none often.
    pub(crate) fn cpus(&self) -> CpusOf<'_> {
        let count = match &self.guest {
            Some(guest) => guest.cpus.len(),
            None => usize::from(percpu::count()),
        };
        CpusOf {
            cell: self,
            places: 0..count,
        }
    }

    /// Plan indexes of its CPUs, by virtual id; none of the root.
    pub(crate) fn cpu_indexes(&self) -> &[PlanIndex] {
        self.guest.as_ref().map_or(&[], |guest| &guest.cpus)
    }

    /// The CPU with this virtual id.
    pub(crate) fn cpu(&self, id: VirtualId) -> Option<&'static CpuShared> {
        match &self.guest {
            Some(guest) => guest.cpu(id),
            None => percpu::cpu_by_apic_id(ApicId(id.0)).filter(|cpu| cpu.owner() == CellId::ROOT),
        }
    }

    /// The state now.
    pub(crate) fn state(&self) -> State {
        self.life.lock().state
    }

    /// Writes a line about the cell, in the form of all of them.
    #[inline(never)]
    pub(crate) fn log(&self, what: core::fmt::Arguments<'_>) {
        log!("cell={} {what}", Label(self.name));
    }

    /// As [`Cell::log`], about what one of its CPUs does.
    pub(crate) fn log_of(&self, cpu: Option<VirtualId>, what: core::fmt::Arguments<'_>) {
        match cpu {
            Some(cpu) => self.log(format_args!("cpu={} {what}", Dec(u64::from(cpu.0)))),
            None => self.log(what),
        }
    }

    /// Applies an event; false if it is not possible now.
    pub(crate) fn apply(&self, event: Event) -> bool {
        let mut life = self.life.lock();
        let Ok(next) = cell_state::next(life.state, event) else {
            return false;
        };
        life.state = next;
        watch::notify();
        true
    }

    /// The cell ends itself or is ended: its CPUs leave the guest. Does not wait
    /// for them.
    pub(crate) fn halt(&self, reason: StopReason) -> bool {
        let stopped = self.apply(Event::Stop(reason));
        if stopped {
            let why = match reason {
                StopReason::Root => "by the root",
                StopReason::PowerOff => "power-off",
                StopReason::Reset => "reset",
                StopReason::Panic => "panic",
            };
            self.log(format_args!("stopped: {}", Word(why)));
            self.stop_cpus();
        }
        stopped
    }

    /// The cell did what it must not. The first reason counts.
    pub(crate) fn fail(&self, reason: FailReason, cpu: VirtualId, regs: Registers) {
        let failure = Failure {
            reason,
            cpu: cpu.0,
            regs,
        };
        {
            let mut life = self.life.lock();
            let Ok(next) = cell_state::next(life.state, Event::Fail) else {
                return;
            };
            life.state = next;
            life.failure = Some(failure);
            watch::notify();
        }
        self.log_of(Some(cpu), format_args!("failed: {}", Reason(&reason)));
        self.log_of(
            Some(cpu),
            format_args!(
                "rip={} cs={} rflags={} cr0={} cr3={} cr4={}",
                Hex(regs.rip),
                Hex(u64::from(regs.cs)),
                Hex(regs.rflags),
                Hex(regs.cr0),
                Hex(regs.cr3),
                Hex(regs.cr4)
            ),
        );
        self.stop_cpus();
    }

    /// The cell does not run any more, for those that it has links with and for its CPUs.
    fn stop_cpus(&self) {
        if let Some(guest) = &self.guest {
            guest.adapters.reset(None);
        }
        socket::stop(self);
        self.cpus().for_each(|cpu| kick::send(cpu, request::STOP));
    }

    /// The answer to a status call.
    pub(crate) fn status(&self) -> CellStatus {
        let guest = self.guest.as_ref();
        let written = guest.map_or(0, |g| g.devices.lock().console_written());
        let (functions, unprotected) = guest.map_or((0, false), |g| {
            let functions = g.functions.lock();
            (functions.len() as u32, functions.unprotected())
        });
        let life = self.life.lock();
        CellStatus {
            cell: self.id,
            name: self.name,
            state: life.state,
            cpus: self.cpus().count() as u32,
            memory: self.guest.as_ref().map_or(0, |g| g.memory),
            functions,
            unprotected,
            pool_pages: self.guest.as_ref().map_or(0, |g| g.pages),
            console_written: written,
            starts: life.starts,
            denied: self.denied.read(),
            failure: life.failure,
        }
    }
}

/// A failure in words.
pub(crate) struct Reason<'a>(pub(crate) &'a FailReason);

impl core::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            FailReason::Memory {
                gpa,
                write,
                execute,
            } => {
                let what = if *execute {
                    "fetch"
                } else if *write {
                    "write"
                } else {
                    "read"
                };
                write!(f, "memory {} gpa={}", Word(what), Hex(*gpa))
            }
            FailReason::TripleFault => f.write_str("triple fault"),
            FailReason::Instruction { gpa } => {
                write!(f, "unknown instruction at device gpa={}", Hex(*gpa))
            }
            FailReason::UnknownExit(code) => write!(f, "unknown exit code={}", Hex(*code)),
            FailReason::EntryFailed(code) => write!(f, "entry failed code={}", Hex(*code)),
            FailReason::MachineCheck => f.write_str("machine check"),
            FailReason::Monitor => f.write_str("fault in the monitor"),
        }
    }
}
