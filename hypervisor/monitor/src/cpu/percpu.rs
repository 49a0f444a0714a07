//! Per-CPU memory: areas, and the part of them that other CPUs see.
//!
//! Areas lie behind the system plan in the order in which CPUs arrived. Each is
//! a stack, the shared part, and two pages that the hardware owns.

use crate::boot;
use crate::lock::{self, Notes};
use crate::mem::{AREA_SIZE, AreaIndex, STACK_SIZE, areas_start, memory_size};
use crate::sync::Later;
use cellvisor_abi::call::{CellId, ExitKind};
use cellvisor_abi::image::BASE;
use cellvisor_core::addr::Hva;
use cellvisor_core::ids::{ApicId, PlanIndex, VirtualId};
use cellvisor_core::requests::Request;
pub(crate) use cellvisor_core::requests::{self as request, Activity};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

const PAGE: usize = cellvisor_abi::PAGE_SIZE as usize;

/// Most CPUs that the monitor can take.
pub(crate) const MAX_CPUS: usize = 1024;

/// What other CPUs and the NMI handler see of a CPU. At the address in GS.
#[repr(C)]
pub(crate) struct CpuShared {
    /// Bits of [`request`], which the CPU clears when they are served. The first
    /// word: `vmx/run.S` and `idle.S` look at it.
    pub(crate) requests: AtomicU32,
    /// Non-zero after an NMI arrived while the monitor ran. The second word.
    pub(crate) nmi_seen: AtomicU32,
    /// An NMI was sent for the requests and has not arrived yet.
    pub(crate) kick_sent: AtomicBool,
    activity: AtomicU8,
    /// Vector of the start-up IPI.
    pub(crate) sipi_vector: AtomicU8,
    /// Physical APIC id.
    pub(crate) apic_id: AtomicU32,
    /// Linux's number of the CPU.
    pub(crate) linux: AtomicU32,
    /// Area index, in the order of arrival.
    pub(crate) area: AtomicU32,
    /// The cell that owns the CPU.
    pub(crate) owner: AtomicU32,
    /// Its virtual APIC id there.
    pub(crate) virtual_id: AtomicU32,
    /// Owner and virtual id for [`request::ASSIGN`].
    pub(crate) next_owner: AtomicU32,
    /// See `next_owner`.
    pub(crate) next_virtual_id: AtomicU32,
    /// Logical destination register of an xAPIC, as last written.
    pub(crate) ldr: AtomicU32,
    /// What it leaves behind when it dies.
    pub(crate) notes: Notes,
    /// Exits by kind since the CPU got its owner; only this CPU writes them.
    pub(crate) exits: [AtomicU64; ExitKind::COUNT],
    /// Areas of the root's memory that a hypervisor around the machine writes to
    /// for this CPU, as the root has them in MSRs.
    pub(crate) outer_areas: [AtomicU64; cellvisor_core::outer::LASTING],
}

const _: () = assert!(size_of::<CpuShared>() <= PAGE);
const _: () = assert!(offset_of!(CpuShared, notes) == lock::NOTES_OFFSET);

impl CpuShared {
    /// Its physical APIC id.
    pub(crate) fn apic_id(&self) -> ApicId {
        ApicId(self.apic_id.load(Ordering::Relaxed))
    }

    /// Its APIC id as its owner sees it.
    pub(crate) fn virtual_id(&self) -> VirtualId {
        VirtualId(self.virtual_id.load(Ordering::Relaxed))
    }

    /// Which area is the CPU's.
    pub(crate) fn area(&self) -> AreaIndex {
        AreaIndex(self.area.load(Ordering::Relaxed))
    }

    /// What the CPU is doing.
    pub(crate) fn activity(&self) -> Activity {
        Activity::from_code(self.activity.load(Ordering::Acquire))
    }

    /// Tells others what this CPU does now.
    pub(crate) fn set_activity(&self, activity: Activity) {
        self.activity.store(activity.code(), Ordering::Release);
    }

    /// Counts an exit. Only this CPU writes, so a plain addition is enough.
    pub(crate) fn count(&self, kind: ExitKind) {
        self.add(kind, 1);
    }

    /// Counts the last exit, which was taken for a `general` one, as what it
    /// turned out to be.
    pub(crate) fn recount(&self, general: ExitKind, kind: ExitKind) {
        self.add(general, u64::MAX);
        self.add(kind, 1);
    }

    /// Exits of a kind since the CPU got its owner.
    pub(crate) fn counted(&self, kind: ExitKind) -> u64 {
        let counter = self.exits.get(kind as usize);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn add(&self, kind: ExitKind, by: u64) {
        if let Some(counter) = self.exits.get(kind as usize) {
            let value = counter.load(Ordering::Relaxed).wrapping_add(by);
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// The owner's id.
    pub(crate) fn owner(&self) -> CellId {
        CellId(self.owner.load(Ordering::Acquire))
    }

    /// True if the bits of `mask` are all clear: what was asked is done.
    pub(crate) fn is_done(&self, request: Request) -> bool {
        self.requests.load(Ordering::Acquire) & request.0 == 0
    }
}

/// The pages of an area, by virtual address.
#[derive(Clone, Copy)]
pub(crate) struct Area(Hva);

impl Area {
    /// From the pointer that [`claim_area`] gave.
    pub(crate) fn from_ptr(area: *mut u8) -> Self {
        Self(Hva::of(area))
    }

    /// The shared part.
    pub(crate) fn shared(self) -> &'static CpuShared {
        // SAFETY: the page behind the stack is zeroed memory of the monitor,
        // which lives as long as the monitor runs; zeros are a valid
        // `CpuShared`, and all its fields are atomic.
        unsafe { &*(self.0 + STACK_SIZE as u64).ptr() }
    }

    /// The two pages that the hardware owns.
    pub(crate) fn hardware_pages(self) -> [Hva; 2] {
        let first = self.0 + (STACK_SIZE + PAGE) as u64;
        [first, first + PAGE as u64]
    }
}

static ARRIVED: AtomicU32 = AtomicU32::new(0);

/// CPUs that have arrived at the entry.
pub(crate) fn arrived() -> u32 {
    ARRIVED.load(Ordering::Acquire)
}

/// Called by the entry, still on Linux's stack: an area for this CPU, null if
/// there is no room or the CPU was not announced.
pub(crate) extern "C" fn claim_area() -> *mut u8 {
    let info = boot::boot_info();
    let index = ARRIVED.fetch_add(1, Ordering::AcqRel);
    let area = areas_start() + u64::from(index) * AREA_SIZE as u64;
    let fits = index < info.cpu_count && (area + AREA_SIZE as u64).0 <= BASE + memory_size();
    if !fits {
        return core::ptr::null_mut();
    }
    let shared = Area(area).shared();
    shared.area.store(index, Ordering::Relaxed);
    area.ptr()
}

/// CPUs by their index in the system plan.
static CPUS: [Later<CpuShared>; MAX_CPUS] = [const { Later::new() }; MAX_CPUS];

/// Makes a CPU known under its index in the plan; false if the index is taken
/// or too large.
pub(crate) fn register(index: PlanIndex, shared: &'static CpuShared) -> bool {
    let slot = CPUS.get(usize::from(index.0));
    slot.is_some_and(|slot| slot.set_first(shared))
}

/// The CPU with this index in the plan.
pub(crate) fn cpu(index: PlanIndex) -> Option<&'static CpuShared> {
    CPUS.get(usize::from(index.0))?.get()
}

/// How many CPUs the driver has told of.
pub(crate) fn count() -> u16 {
    boot::boot_info().cpu_count.min(MAX_CPUS as u32) as u16
}

/// All CPUs, by index in the plan.
pub(crate) fn cpus() -> Cpus {
    Cpus(0..count())
}

/// See [`cpus`].
#[derive(Clone)]
pub(crate) struct Cpus(Range<u16>);

impl Iterator for Cpus {
    type Item = &'static CpuShared;

    #[inline(never)] // Many walk through them, and the image is small.
    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|index| cpu(PlanIndex(index)))
    }
}

/// The CPU with this physical APIC id.
pub(crate) fn cpu_by_apic_id(apic_id: ApicId) -> Option<&'static CpuShared> {
    cpus().find(|cpu| cpu.apic_id() == apic_id)
}
