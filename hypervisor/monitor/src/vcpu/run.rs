//! Into guests and back (`vmx/run.S`, `svm/run.S`), and waiting (`idle.S`).
//!
//! Source: SDM 3C, "VMLAUNCH/VMRESUME"; APM 2, "VMRUN Instruction".

use crate::cpu::percpu::CpuShared;

unsafe extern "C" {
    /// See `vmx/run.S`.
    pub(crate) fn vmx_run(
        regs: *mut cellvisor_core::vcpu::Regs,
        launched: u64,
        requests: *const core::sync::atomic::AtomicU32,
    ) -> u64;
    /// See `svm/run.S`.
    pub(crate) fn svm_run(regs: *mut cellvisor_core::vcpu::Regs, vmcb: cellvisor_core::addr::Hpa);
    /// See `idle.S`: it looks at the first two words.
    pub(crate) safe fn idle_wait(shared: &CpuShared);
}
