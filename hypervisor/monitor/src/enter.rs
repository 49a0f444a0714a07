//! All CPUs enter together, or none does.
//!
//! The first CPU to arrive prepares what all share; then each prepares itself;
//! then they decide, once and together, whether to go on. A CPU that cannot, or
//! that does not come in time, makes all go back to Linux as they were.

use crate::cpu::{apic, gdt};
use crate::linux::{self, EntryFrame};
use crate::mem::map::Window;
use crate::mem::{map, pool};
use crate::percpu::{self, Area};
use crate::run::Cpu;
use crate::sync::wait_for;
use crate::vcpu::{Backend, EnterError, Vcpu, Vendor, svm::Svm, vmx::Vmx};
use crate::{cell, entry, facts, ioapic, iommu, log, pci, root, run, sync};
use cellvisor_abi::plan::Inject;
use cellvisor_abi::status::EnterStatus;
use cellvisor_core::vcpu::{CpuState, Regs};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How long CPUs wait for each other, in microseconds.
const PATIENCE_US: u64 = 5_000_000;

/// What the first CPU found: 0 while it works, 1 if all is well, otherwise
/// status and detail as the entry returns them, above bit 0.
static SHARED: AtomicU64 = AtomicU64::new(0);
static READY: AtomicU32 = AtomicU32::new(0);
static DECISION: AtomicU32 = AtomicU32::new(UNDECIDED);
const UNDECIDED: u32 = 0;
const GO: u32 = 1;
const BACK: u32 = 2;

/// Called by `monitor_entry` on this CPU's stack. Returns only on failure.
pub(crate) extern "C" fn enter(area: *mut u8, frame: *const EntryFrame, linux_cr3: u64) -> u64 {
    let area = Area::from_ptr(area);
    // SAFETY: the entry has just pushed the frame on Linux's stack, which stays
    // as it is until this call returns.
    let (state, regs) = linux::capture(unsafe { &*frame }, linux_cr3);
    let error = if Vmx::present() {
        enter_on::<Vmx>(area, &state, regs)
    } else if Svm::present() {
        enter_on::<Svm>(area, &state, regs)
    } else {
        EnterStatus::NoVirtualization.into()
    };
    u64::from(error.status.code()) | u64::from(error.detail) << 32
}

/// Enters with the back end that the CPU has; why it could not.
fn enter_on<B: Backend>(area: Area, state: &CpuState, regs: Regs) -> EnterError {
    if let Err(error) = share(area, B::VENDOR) {
        return error;
    }
    let mut own = check_own(area).and_then(|()| B::enable(area.hardware_pages(), state));
    let vcpu = match &mut own {
        Ok(vcpu) => Ok(vcpu as &mut dyn Vcpu),
        Err(error) => Err(*error),
    };
    let cpu = match prepare(area, state, vcpu) {
        Ok(cpu) => cpu,
        Err(error) => return error,
    };
    let index = u64::from(area.shared().area.load(Ordering::Relaxed));
    let distance = map::guarded_stack(index);
    // SAFETY: `map::init` has mapped this CPU's stack there; areas and guarded
    // stacks are whole pages apart.
    unsafe { entry::on_guarded_stack::<_, ()>(distance, || run::run(cpu, regs)) };
    // `run` leaves by leaving the monitor.
    EnterStatus::EntryFailed.into()
}

/// The part that is done once, by the first CPU, while the others wait.
fn share(area: Area, vendor: &'static Vendor) -> Result<(), EnterError> {
    let encode = |e: EnterError| u64::from(e.detail) << 32 | u64::from(e.status.code()) << 1;
    if area.shared().area.load(Ordering::Relaxed) == 0 {
        let result = everyone_here().and_then(|()| {
            // SAFETY: the other CPUs wait for this one.
            unsafe { entry::on_large_stack(|| prepare_shared(vendor)) }.unwrap_or(Ok(()))
        });
        SHARED.store(result.map_or_else(encode, |()| 1), Ordering::Release);
        return result;
    }
    let mut seen = 0;
    wait_for(2 * PATIENCE_US, || {
        seen = SHARED.load(Ordering::Acquire);
        seen != 0
    });
    if seen == 1 {
        Ok(())
    } else {
        Err(EnterStatus::OtherCpuFailed.into())
    }
}

fn everyone_here() -> Result<(), EnterError> {
    let expected = entry::boot_info().cpu_count;
    if wait_for(PATIENCE_US, || percpu::arrived() >= expected) {
        return Ok(());
    }
    Err(EnterError {
        status: EnterStatus::CpusMissing,
        detail: percpu::arrived(),
    })
}

fn prepare_shared(vendor: &'static Vendor) -> Result<(), EnterError> {
    let info = entry::boot_info();
    if info.abi_version != cellvisor_abi::ABI_VERSION {
        return Err(EnterError {
            status: EnterStatus::AbiMismatch,
            detail: info.abi_version,
        });
    }
    let plan = facts::plan().ok_or(EnterStatus::BadPlan)?;
    sync::set_tsc_khz(plan.tsc_khz);
    gdt::init(vendor.fault_stack);
    let no_memory = EnterError {
        status: EnterStatus::NoMemory,
        detail: 0,
    };
    pool::init().ok_or(no_memory)?;
    map::init().ok_or(no_memory)?;
    facts::init(&plan, vendor)?;
    root::init(&plan, vendor).ok_or(no_memory)?;
    pci::init(&plan);
    iommu::init(&plan).ok_or(no_memory)?;
    ioapic::init(&plan);
    log::set_port(plan.log_port);
    Ok(())
}

/// The part that each CPU does, and the decision.
fn prepare<'a>(
    area: Area,
    state: &CpuState,
    vcpu: Result<&'a mut dyn Vcpu, EnterError>,
) -> Result<Cpu<'a>, EnterError> {
    let mut own = vcpu.and_then(|vcpu| prepare_own(area, state, vcpu));
    if own.is_err() {
        decide(BACK);
    }
    let ready = READY.fetch_add(1, Ordering::AcqRel) + 1;
    let expected = entry::boot_info().cpu_count;
    if ready == expected
        && DECISION.load(Ordering::Acquire) == UNDECIDED
        && let Ok(cpu) = &mut own
    {
        go(&mut cpu.window);
    }
    if !wait_for(PATIENCE_US, || {
        DECISION.load(Ordering::Acquire) != UNDECIDED
    }) {
        decide(BACK);
    }
    let go = DECISION.load(Ordering::Acquire) == GO;
    match own {
        Ok(cpu) if go => Ok(cpu),
        Ok(cpu) => {
            cpu.vcpu.disable();
            Err(EnterStatus::OtherCpuFailed.into())
        }
        Err(error) => Err(error),
    }
}

/// The last CPU is ready: nothing is left that could fail but the others'
/// patience.
fn go(window: &mut Window) {
    // SAFETY: the other CPUs wait for the decision.
    unsafe { entry::on_large_stack(|| iommu::take(window)) };
    decide(GO);
    if DECISION.load(Ordering::Acquire) != GO {
        iommu::give_back();
    }
}

/// Decides, unless it is decided already.
fn decide(what: u32) {
    // A decision that stands is what everybody follows.
    let _ = DECISION.compare_exchange(UNDECIDED, what, Ordering::AcqRel, Ordering::Acquire);
}

/// Notes which CPU this is, and checks that the plan knows it.
fn check_own(area: Area) -> Result<(), EnterError> {
    let shared = area.shared();
    let apic_id = apic::own_id();
    let plan = facts::plan().ok_or(EnterStatus::BadPlan)?;
    let found = plan
        .cpus
        .iter()
        .flatten()
        .enumerate()
        .find(|(_, cpu)| cpu.apic_id == apic_id);
    let (index, cpu) = found.ok_or(EnterError {
        status: EnterStatus::UnknownCpu,
        detail: apic_id,
    })?;
    if apic::mode() != Some(facts::get().root_apic) {
        return Err(EnterStatus::ApicMode.into());
    }
    shared.apic_id.store(apic_id, Ordering::Relaxed);
    shared.linux.store(cpu.linux, Ordering::Relaxed);
    shared.virtual_id.store(apic_id, Ordering::Relaxed);
    shared.ldr.store(apic::read(apic::LDR), Ordering::Relaxed);
    if !percpu::register(index as u32, shared) {
        return Err(EnterError {
            status: EnterStatus::UnknownCpu,
            detail: apic_id,
        });
    }
    Ok(())
}

fn prepare_own<'a>(
    area: Area,
    state: &CpuState,
    vcpu: &'a mut dyn Vcpu,
) -> Result<Cpu<'a>, EnterError> {
    let shared = area.shared();
    let no_memory = EnterError {
        status: EnterStatus::NoMemory,
        detail: 0,
    };
    let window = Window::new(shared.area.load(Ordering::Relaxed)).ok_or(no_memory);
    let root = cell::get(cellvisor_abi::call::CellId::ROOT).ok_or(no_memory);
    let injected = facts::plan().is_some_and(|plan| {
        let cpu = |index| percpu::cpu(index).is_some_and(|cpu| core::ptr::eq(cpu, shared));
        matches!(plan.inject, Some(Inject::FailCpu(index)) if cpu(index))
    });
    let (Ok(window), Ok(root), false) = (window, root, injected) else {
        vcpu.disable();
        return Err(if injected {
            EnterStatus::Injected.into()
        } else {
            no_memory
        });
    };
    vcpu.attach(&root.attachment());
    vcpu.set_state(state);
    Ok(Cpu::new(vcpu, shared, root, window))
}

/// CPUs that have come to leave together, and the same decision as on the way
/// in. A failed attempt is closed by the last CPU that gives it up.
static LEAVING: AtomicU32 = AtomicU32::new(0);
static LEAVE_DECISION: AtomicU32 = AtomicU32::new(UNDECIDED);
static LEFT_WAITING: AtomicU32 = AtomicU32::new(0);

/// Waits until all CPUs have come to leave; true if all have.
pub(crate) fn all_leave(window: &mut Window) -> bool {
    let expected = entry::boot_info().cpu_count;
    LEFT_WAITING.fetch_add(1, Ordering::AcqRel);
    let decide = |what| {
        let _ =
            LEAVE_DECISION.compare_exchange(UNDECIDED, what, Ordering::AcqRel, Ordering::Acquire);
    };
    if LEAVING.fetch_add(1, Ordering::AcqRel) + 1 == expected {
        iommu::give_back();
        decide(GO);
        if LEAVE_DECISION.load(Ordering::Acquire) != GO {
            iommu::take(window);
        }
    }
    if !wait_for(PATIENCE_US, || {
        LEAVE_DECISION.load(Ordering::Acquire) != UNDECIDED
    }) {
        decide(BACK);
    }
    let go = LEAVE_DECISION.load(Ordering::Acquire) == GO;
    if !go && LEFT_WAITING.fetch_sub(1, Ordering::AcqRel) == 1 {
        LEAVING.store(0, Ordering::Release);
        LEAVE_DECISION.store(UNDECIDED, Ordering::Release);
    }
    go
}
