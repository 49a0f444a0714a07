//! The hypervisor around the machine, in an image that serves no guest of KVM: there is
//! none.

use crate::cpu::leaf;
use crate::cpu::percpu::CpuShared;
use crate::refusal::EnterError;
use cellvisor_abi::call::Backend;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::status::Unsupported;
use cellvisor_core::ids::Msr;
use cellvisor_core::outer::{self, Outer};
use core::ops::Range;

/// Not there.
pub(crate) const PART: Parts = Parts::NONE;

/// Sees that nobody is around the machine of whom the root asks anything.
///
/// # Errors
///
/// Somebody is. Linux makes calls to it.
pub(crate) fn init() -> Result<(), EnterError> {
    match outer::detect(|number| leaf::raw(number, 0)) {
        Outer::None | Outer::Tcg => Ok(()),
        Outer::Kvm { .. } => Err(Unsupported::KvmLeftOut.into()),
        Outer::Other(_) => Err(Unsupported::OuterHypervisor.into()),
    }
}

/// None.
#[derive(Clone, Copy)]
pub(crate) enum Kvm {}

/// There is none.
pub(crate) fn kvm() -> Option<Kvm> {
    None
}

impl Kvm {
    /// Nobody makes it.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(crate) unsafe fn call(self, _: Backend, _: u64, _: [u64; 4]) -> u64 {
        match self {}
    }
}

/// The root has no areas.
pub(crate) fn enter(_: &CpuShared) {}

/// As [`enter`].
pub(crate) fn leave(_: &CpuShared) {}

/// As [`enter`].
pub(crate) fn clear(_: &CpuShared) {}

/// There is no such register.
pub(crate) fn set_area(_: &CpuShared, _: Msr, _: u64) -> bool {
    false
}

/// Nobody writes to any page.
pub(crate) fn first_area_in(_: Range<u64>) -> Option<u64> {
    None
}
