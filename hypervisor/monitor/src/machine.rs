//! What is true of this machine as long as the monitor runs.
//!
//! Source: SDM 3A, "Memory Type Range Registers (MTRRs)"; SDM 2A, "CPUID".

use crate::boot;
use crate::cpu::{apic, exceptions, leaf, msr};
use crate::refusal::EnterError;
use crate::sync::Once;
use crate::vcpu::Vendor;
use cellvisor_abi::image::BASE;
use cellvisor_abi::plan::SystemPlan;
use cellvisor_abi::status::EnterStatus;
use cellvisor_abi::wire;
use cellvisor_core::addr::Hpa;
use cellvisor_core::few::first;
use cellvisor_core::ids::Msr;
use cellvisor_core::mtrr::{self, Mtrrs};
use cellvisor_core::paging::PageSize;

/// Facts that are found once, when the monitor starts.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
pub(crate) struct Facts {
    /// Mode of the root's APICs.
    pub(crate) root_apic: apic::Mode,
    /// Page of the memory-mapped APIC registers.
    pub(crate) apic_page: Hpa,
    /// Largest page of second-level tables.
    pub(crate) largest_page: PageSize,
    /// TSC frequency in kHz.
    pub(crate) tsc_khz: u32,
    /// First physical address that does not exist.
    pub(crate) physical_end: Hpa,
    /// Memory types of the machine.
    pub(crate) mtrrs: Mtrrs,
}

/// Leaf of CPUID whose EAX has the width of physical addresses in its low byte.
const ADDRESS_SIZES: u32 = 0x8000_0008;

static FACTS: Once<Facts> = Once::new();

/// The facts. Nobody asks before [`init`]: the CPU that calls it is alone, and
/// the others wait for it.
pub(crate) fn get() -> &'static Facts {
    FACTS.get().unwrap_or_else(|| exceptions::stop())
}

static PLAN: Once<SystemPlan<'static>> = Once::new();

/// The system plan, once it is read.
pub(crate) fn plan() -> Option<&'static SystemPlan<'static>> {
    PLAN.get()
}

/// Reads the system plan where it lies; `None` if it is none. The CPU that calls it is
/// alone.
pub(crate) fn read_plan() -> Option<&'static SystemPlan<'static>> {
    let info = boot::boot_info();
    let end = info.plan_offset.checked_add(info.plan_len)?;
    if end > crate::mem::memory_size() {
        return None;
    }
    // SAFETY: the range lies in the monitor's memory before the per-CPU areas;
    // nobody writes it after the driver's call.
    let frame = unsafe {
        core::slice::from_raw_parts(
            (BASE + info.plan_offset) as *const u8,
            info.plan_len as usize,
        )
    };
    PLAN.set(wire::decode(wire::open(frame).ok()?).ok()?);
    plan()
}

/// Finds the facts.
pub(crate) fn init(plan: &SystemPlan<'_>, vendor: &Vendor) -> Result<(), EnterError> {
    let root_apic = apic::mode().ok_or(EnterStatus::ApicMode)?;
    let [_, _, features, _] = leaf::features();
    if features & leaf::ECX_X2APIC == 0 {
        return Err(cellvisor_abi::status::MissingFeature::X2apic.into());
    }
    let bits = match leaf::leaf(ADDRESS_SIZES)[0] as u8 {
        0 => 36,
        bits => bits,
    };
    let largest_page = if (vendor.has_1g_pages)() {
        PageSize::Size1G
    } else {
        PageSize::Size2M
    };
    FACTS.set(Facts {
        root_apic,
        apic_page: apic::page(),
        mtrrs: read_mtrrs(bits),
        largest_page,
        tsc_khz: plan.tsc_khz,
        physical_end: Hpa(1 << bits.min(48)),
    });
    if root_apic == apic::Mode::Xapic {
        apic::map_registers().ok_or(EnterError {
            status: EnterStatus::NoMemory,
            detail: 0,
        })?;
    }
    Ok(())
}

fn read_mtrrs(physical_bits: u8) -> Mtrrs {
    let [.., features] = leaf::features();
    if features & leaf::EDX_MTRR == 0 {
        // Without MTRRs all memory has the type that the page tables say.
        const WRITE_BACK: u64 = 6;
        const ENABLED: u64 = 1 << 11;
        return Mtrrs::new(ENABLED | WRITE_BACK, [0; mtrr::FIXED], &[], physical_bits);
    }
    let read = |index: u32| msr::read(Msr(index));
    let cap = read(mtrr::CAP_MSR);
    let fixed = if cap & 1 << 8 != 0 {
        mtrr::FIXED_MSRS.map(read)
    } else {
        [0; mtrr::FIXED]
    };
    let pairs = (0..(cap & 0xff) as u32)
        .map(|n| mtrr::FIRST_VARIABLE_MSR + 2 * n)
        .map(|base| (read(base), read(base + 1)));
    let pairs: heapless::Vec<_, { mtrr::MAX_VARIABLE }> = first(pairs);
    Mtrrs::new(read(mtrr::DEF_TYPE_MSR), fixed, &pairs, physical_bits)
}
