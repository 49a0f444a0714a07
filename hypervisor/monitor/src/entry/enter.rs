//! All CPUs enter together, or none does.
//!
//! The first CPU to arrive prepares what all share; then each prepares itself;
//! then they decide, once and together, whether to go on. A CPU that cannot, or
//! that does not come in time, makes all go back to Linux as they were.
//!
//! Source: SDM 3C, "Preparation and Launch of a Virtual Machine"; APM 2, "Enabling
//! SVM".

use crate::cell::cpu::Cpu;
use crate::cell::{self, root};
use crate::cpu::percpu::{self, Area, CpuShared};
use crate::cpu::{apic, gdt, outer, stack};
use crate::dev::{ioapic, iommu, pci};
use crate::entry::run;
use crate::exits::port;
use crate::mem::AreaIndex;
use crate::mem::map::{self, Window};
use crate::mem::pool;
use crate::provoke;
use crate::refusal::EnterError;
use crate::switch::frame::{self, Cr3, EntryFrame};
use crate::switch::together::{self, Outcome, PATIENCE, all_enter};
use crate::sync::Micros;
use crate::sync::{self, wait_for};
use crate::vcpu::svm::Svm;
use crate::vcpu::vmx::Vmx;
use crate::vcpu::{Backend, Vcpu, Vendor};
use crate::{boot, log, machine};
use cellvisor_abi::plan::{Inject, TSC_KHZ};
use cellvisor_abi::status::EnterStatus;
use cellvisor_core::ids::{PlanIndex, Port};
use cellvisor_core::vcpu::{CpuState, Regs};
use core::sync::atomic::{AtomicU64, Ordering};

/// What the first CPU found: 0 while it works, 1 if all is well, otherwise
/// status and detail as the entry returns them, above bit 0.
static SHARED: AtomicU64 = AtomicU64::new(0);

/// Called by `monitor_entry` on this CPU's stack. Returns only on failure.
pub(crate) extern "C" fn enter(area: *mut u8, frame: *const EntryFrame, linux_cr3: Cr3) -> u64 {
    let area = Area::from_ptr(area);
    // SAFETY: the entry has just pushed the frame on Linux's stack, which stays
    // as it is until this call returns.
    let (state, regs) = frame::capture(unsafe { &*frame }, linux_cr3);
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
    match prepare(area, state, vcpu) {
        Ok(cpu) => run::run(cpu, regs),
        Err(error) => error,
    }
}

/// The part that is done once, by the first CPU, while the others wait.
fn share(area: Area, vendor: &'static Vendor) -> Result<(), EnterError> {
    let encode = |e: EnterError| u64::from(e.detail) << 32 | u64::from(e.status.code()) << 1;
    if area.shared().area() == AreaIndex(0) {
        let result = everyone_here().and_then(|()| {
            // SAFETY: the other CPUs wait for this one.
            unsafe { stack::on_large_stack(|| prepare_shared(vendor)) }.unwrap_or(Ok(()))
        });
        SHARED.store(result.map_or_else(encode, |()| 1), Ordering::Release);
        return result;
    }
    let mut seen = 0;
    wait_for(Micros(2 * PATIENCE.0), || {
        seen = SHARED.load(Ordering::Acquire);
        seen != 0
    });
    match seen {
        0 => Err(late()),
        1 => Ok(()),
        _ => Err(EnterStatus::OtherCpuFailed.into()),
    }
}

fn everyone_here() -> Result<(), EnterError> {
    let expected = boot::boot_info().cpu_count;
    if wait_for(PATIENCE, || percpu::arrived() >= expected) {
        return Ok(());
    }
    Err(EnterError {
        status: EnterStatus::CpusMissing,
        detail: percpu::arrived(),
    })
}

fn prepare_shared(vendor: &'static Vendor) -> Result<(), EnterError> {
    let info = boot::boot_info();
    if info.abi_version != cellvisor_abi::ABI_VERSION {
        return Err(EnterError {
            status: EnterStatus::AbiMismatch,
            detail: info.abi_version,
        });
    }
    let plan = machine::read_plan().ok_or(EnterStatus::BadPlan)?;
    if !TSC_KHZ.contains(&plan.tsc_khz) {
        return Err(EnterError {
            status: EnterStatus::TscRate,
            detail: plan.tsc_khz,
        });
    }
    sync::set_tsc_khz(plan.tsc_khz);
    if let Some(Inject::Step(steps)) = plan.inject {
        provoke::after(steps);
    }
    outer::init()?;
    gdt::init(vendor.fault_stack);
    let no_memory = EnterError {
        status: EnterStatus::NoMemory,
        detail: 0,
    };
    pool::init().ok_or(no_memory)?;
    map::init().ok_or(no_memory)?;
    machine::init(plan, vendor)?;
    pci::init(plan);
    port::init(plan.inject);
    root::init(plan, vendor).ok_or(no_memory)?;
    iommu::init(plan).ok_or(no_memory)?;
    ioapic::init(plan);
    log::set_port(Port(plan.log_port));
    Ok(())
}

/// Time is over for this CPU, of which it is to tell: nobody else may know.
fn late() -> EnterError {
    EnterError {
        status: EnterStatus::Late,
        detail: together::ready(),
    }
}

/// The part that each CPU does, and the agreement of all.
fn prepare<'a>(
    area: Area,
    state: &CpuState,
    vcpu: Result<&'a mut dyn Vcpu, EnterError>,
) -> Result<Cpu<'a>, EnterError> {
    let mut own = vcpu.and_then(|vcpu| prepare_own(area, state, vcpu));
    if let Some(Inject::LateCpu(_)) = injected(area.shared()) {
        wait_for(Micros(2 * PATIENCE.0), together::is_settled);
    }
    let outcome = all_enter(own.as_mut().ok().map(|cpu| &mut cpu.window));
    match own {
        Ok(cpu) if outcome == Outcome::All => {
            provoke::end();
            Ok(cpu)
        }
        Ok(cpu) => {
            cpu.vcpu.disable();
            Err(match outcome {
                Outcome::Late => late(),
                _ => EnterStatus::OtherCpuFailed.into(),
            })
        }
        Err(error) => Err(error),
    }
}

/// Notes which CPU this is, and checks that the plan knows it.
fn check_own(area: Area) -> Result<(), EnterError> {
    let shared = area.shared();
    let apic_id = apic::own_id();
    let plan = machine::plan().ok_or(EnterStatus::BadPlan)?;
    let found = plan
        .cpus
        .iter()
        .enumerate()
        .find(|(_, cpu)| cpu.apic_id == apic_id.0);
    let (index, cpu) = found.ok_or(EnterError {
        status: EnterStatus::UnknownCpu,
        detail: apic_id.0,
    })?;
    if apic::mode() != Some(machine::get().root_apic) {
        return Err(EnterStatus::ApicMode.into());
    }
    shared.apic_id.store(apic_id.0, Ordering::Relaxed);
    shared.linux.store(cpu.linux, Ordering::Relaxed);
    shared.virtual_id.store(apic_id.0, Ordering::Relaxed);
    shared.ldr.store(apic::read(apic::LDR), Ordering::Relaxed);
    if !percpu::register(PlanIndex(index as u16), shared) {
        return Err(EnterError {
            status: EnterStatus::UnknownCpu,
            detail: apic_id.0,
        });
    }
    Ok(())
}

/// The failure that is provoked on this CPU.
fn injected(own: &CpuShared) -> Option<Inject> {
    let inject = machine::plan()?.inject?;
    let (Inject::FailCpu(index) | Inject::LateCpu(index)) = inject else {
        return None;
    };
    percpu::cpu(PlanIndex(index as u16)).filter(|cpu| core::ptr::eq(*cpu, own))?;
    Some(inject)
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
    let window = Window::new(shared.area()).ok_or(no_memory);
    let root = cell::get(cellvisor_abi::call::CellId::ROOT).ok_or(no_memory);
    let injected = matches!(injected(shared), Some(Inject::FailCpu(_)));
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
