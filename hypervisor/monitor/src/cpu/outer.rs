//! The hypervisor around the machine: KVM, where the machine is virtual itself.
//!
//! The root goes on as KVM's guest under the monitor. Its areas stay its own as
//! long as their pages are; its calls are looked at and passed on
//! (docs/decisions/0011-root-under-kvm.md). Cells see nothing of it.
//!
//! Source: Linux, Documentation/virt/kvm/x86/msr.rst and hypercalls.rst.

use crate::cpu::leaf;
use crate::cpu::msr;
use crate::cpu::percpu::{self, CpuShared};
use crate::mem::owners;
use crate::refusal::EnterError;
use crate::sync::Once;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{Backend, Owner};
use cellvisor_abi::parts::Parts;
use cellvisor_abi::status::Unsupported;
use cellvisor_core::ids::Msr;
use cellvisor_core::outer::{self, AREAS, ASYNC_PF, ASYNC_PF_AS_EXIT, Area, Outer};
use core::ops::Range;
use core::sync::atomic::Ordering;

/// The part of the monitor that this is.
pub(crate) const PART: Parts = Parts::KVM;

static OUTER: Once<Outer> = Once::new();

/// Finds out who is around the machine.
///
/// # Errors
///
/// Somebody whose calls the monitor could not pass on. Linux makes them.
pub(crate) fn init() -> Result<(), EnterError> {
    let outer = outer::detect(|number| leaf::raw(number, 0));
    if let Outer::Other(_) = outer {
        return Err(Unsupported::OuterHypervisor.into());
    }
    OUTER.set(outer);
    Ok(())
}

/// KVM, which serves the root's calls.
#[derive(Clone, Copy)]
pub(crate) struct Kvm {
    features: u32,
}

/// `None` if it is not there.
pub(crate) fn kvm() -> Option<Kvm> {
    match OUTER.get() {
        Some(Outer::Kvm { features }) => Some(Kvm {
            features: *features,
        }),
        _ => None,
    }
}

/// The areas that last and that this KVM has, with their places in
/// [`CpuShared::outer_areas`].
fn lasting() -> Lasting {
    Lasting {
        features: kvm().map_or(0, |kvm| kvm.features),
        places: 0..outer::LASTING,
    }
}

/// See [`lasting`].
struct Lasting {
    features: u32,
    places: Range<usize>,
}

impl Iterator for Lasting {
    type Item = (usize, &'static Area);

    #[inline(never)] // As of `percpu::Cpus`.
    fn next(&mut self) -> Option<Self::Item> {
        let features = self.features;
        self.places.find_map(|place| {
            let area = AREAS.get(place)?;
            (area.features & features != 0).then_some((place, area))
        })
    }
}

/// Notes which areas the root has on this CPU, which enters now.
pub(crate) fn enter(shared: &CpuShared) {
    for (place, area) in lasting() {
        let value = msr::read(Msr(area.msr));
        note(shared, place, value);
        if area.msr == ASYNC_PF && value & ASYNC_PF_AS_EXIT != 0 {
            // SAFETY: KVM announces the feature, so it has the MSR; the value is the
            // root's own but for that bit.
            unsafe { x86::msr::wrmsr(area.msr, value & !ASYNC_PF_AS_EXIT) };
        }
    }
}

/// Gives the root back what it had asked for, on this CPU, which leaves now.
pub(crate) fn leave(shared: &CpuShared) {
    for (place, area) in lasting() {
        let value = shared
            .outer_areas
            .get(place)
            .map_or(0, |value| value.load(Ordering::Relaxed));
        if area.msr == ASYNC_PF && value & ASYNC_PF_AS_EXIT != 0 {
            // SAFETY: KVM has taken the value from the root.
            unsafe { msr::try_wrmsr(Msr(area.msr), value) };
        }
    }
}

/// Ends all areas of this CPU, which gets another owner.
pub(crate) fn clear(shared: &CpuShared) {
    for (place, area) in lasting() {
        // SAFETY: KVM forgets an area and writes there no more.
        unsafe { msr::try_wrmsr(Msr(area.msr), 0) };
        note(shared, place, 0);
    }
}

fn note(shared: &CpuShared, place: usize, value: u64) {
    if let Some(area) = shared.outer_areas.get(place) {
        area.store(value, Ordering::Relaxed);
    }
}

/// The root names an area on this CPU; false if it cannot have it. KVM writes to
/// physical memory, so the area must be the root's, and stay it: no page changes
/// its owner meanwhile, nor as long as KVM writes there ([`first_area_in`]).
pub(crate) fn set_area(shared: &CpuShared, msr: Msr, value: u64) -> bool {
    let Some((place, area)) = AREAS.into_iter().enumerate().find(|(_, a)| a.msr == msr.0) else {
        return false;
    };
    let mut carried = value;
    if msr.0 == ASYNC_PF {
        carried &= !ASYNC_PF_AS_EXIT;
    }
    let set = |owners: &mut owners::Owners| {
        let roots = area.bytes(value).is_none_or(|(first, last)| {
            let (first, end) = (first / PAGE_SIZE, last / PAGE_SIZE + 1);
            owners.pages.check(first, end, Owner::Root).is_ok()
        });
        // SAFETY: the area is the root's own memory.
        let done = roots && unsafe { msr::try_wrmsr(msr, carried) };
        if done {
            note(shared, place, value);
        }
        done
    };
    owners::with(set) == Some(true)
}

/// Address of an area in pages with these numbers that KVM may write to, on any CPU.
pub(crate) fn first_area_in(pages: Range<u64>) -> Option<u64> {
    let within = |(first, last): (u64, u64)| {
        (first / PAGE_SIZE < pages.end && last / PAGE_SIZE >= pages.start).then_some(first)
    };
    percpu::cpus().find_map(|cpu| {
        lasting().find_map(|(place, area)| {
            let value = cpu.outer_areas.get(place)?.load(Ordering::Relaxed);
            within(area.bytes(value)?)
        })
    })
}

impl Kvm {
    /// Makes a call of KVM's in the root's place; what it answers.
    ///
    /// # Safety
    ///
    /// What the call does must be the root's right.
    pub(crate) unsafe fn call(self, backend: Backend, number: u64, [a, b, c, d]: [u64; 4]) -> u64 {
        let mut answer = number;
        // SAFETY: there is a KVM, which changes RAX alone; RBX, which the compiler keeps
        // for itself, is put back.
        unsafe {
            match backend {
                Backend::Vmx => core::arch::asm!("xchg rbx, {a}", "vmcall", "xchg rbx, {a}",
                    a = inout(reg) a => _, inout("rax") answer, in("rcx") b, in("rdx") c, in("rsi") d),
                Backend::Svm => core::arch::asm!("xchg rbx, {a}", "vmmcall", "xchg rbx, {a}",
                    a = inout(reg) a => _, inout("rax") answer, in("rcx") b, in("rdx") c, in("rsi") d),
            }
        }
        answer
    }
}
