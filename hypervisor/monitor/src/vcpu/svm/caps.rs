//! What this CPU's SVM can do, checked before anything is touched.
//!
//! Source: APM 3, "Obtaining Processor Information Via the CPUID Instruction"; APM
//! 2, "Enabling SVM".

use crate::cpu::leaf::leaf;
use crate::refusal::EnterError;
use cellvisor_abi::status::{EnterStatus, MissingFeature, Unsupported};
use cellvisor_core::ids::Msr;
use cellvisor_core::svm::EFER_SVME;
use cellvisor_core::vcpu::{CpuState, EFER_LMA, EFER_LME};

/// VM_CR: SVM cannot be switched on.
pub(super) const VM_CR: u32 = 0xc001_0114;
const VM_CR_SVMDIS: u64 = 1 << 4;
/// VM_CR: an INIT becomes an exception of the monitor.
pub(super) const VM_CR_R_INIT: u64 = 1 << 1;

/// EFER: SYSCALL.
pub(super) const EFER_SCE: u64 = 1 << 0;
/// EFER: no-execute pages.
pub(super) const EFER_NXE: u64 = 1 << 11;
const EFER_FFXSR: u64 = 1 << 14;
const EFER_TCE: u64 = 1 << 15;
const EFER_MCOMMIT: u64 = 1 << 17;
const EFER_INTWB: u64 = 1 << 18;
const EFER_UAIE: u64 = 1 << 20;
const EFER_AUTO_IBRS: u64 = 1 << 21;

/// CPUID leaves.
const FEATURES: u32 = 0x8000_0001;
const SIZES: u32 = 0x8000_0008;
const SVM: u32 = 0x8000_000a;
const ENCRYPTION: u32 = 0x8000_001f;
const FEATURES_2: u32 = 0x8000_0021;

/// CPUID 8000_0001H ECX.
const HAS_SVM: u32 = 1 << 2;
const HAS_TCE: u32 = 1 << 17;
/// CPUID 8000_0001H EDX.
const HAS_NX: u32 = 1 << 20;
const HAS_FFXSR: u32 = 1 << 25;
const HAS_1G_PAGES: u32 = 1 << 26;
/// CPUID 8000_0008H EBX.
const HAS_MCOMMIT: u32 = 1 << 8;
const HAS_INTWB: u32 = 1 << 13;
/// CPUID 8000_0021H EAX.
const HAS_UAIE: u32 = 1 << 7;
const HAS_AUTO_IBRS: u32 = 1 << 8;
/// CPUID 8000_000AH EDX.
const HAS_NESTED_PAGING: u32 = 1 << 0;
const HAS_NEXT_RIP: u32 = 1 << 3;
const HAS_CLEAN_BITS: u32 = 1 << 5;
const HAS_FLUSH_BY_ASID: u32 = 1 << 6;
const HAS_DECODE_ASSISTS: u32 = 1 << 7;
const HAS_SPEC_CTRL: u32 = 1 << 20;
const HAS_INVLPGB: u32 = 1 << 24;
const HAS_BUS_LOCK_THRESHOLD: u32 = 1 << 29;

/// What the VMCB makes use of.
pub(super) struct Caps {
    /// Number of ASIDs, 0 among them, which is the monitor's.
    pub(super) asids: u32,
    /// Exits tell where the next instruction is.
    pub(super) next_rip: bool,
    /// Clean bits are looked at.
    pub(super) clean_bits: bool,
    /// One ASID can be flushed.
    pub(super) flush_by_asid: bool,
    /// Exits by memory accesses keep the instruction's bytes.
    pub(super) decode_assists: bool,
    /// The guest's SPEC_CTRL is kept apart from the monitor's.
    pub(super) spec_ctrl: bool,
    /// Guests may use INVLPGB and TLBSYNC, within their ASID.
    pub(super) invlpgb: bool,
    /// Bus locks can exit.
    pub(super) bus_locks: bool,
    /// Bits of EFER that guests may set.
    pub(super) efer: u64,
}

/// True if the CPU has SVM.
pub(super) fn present() -> bool {
    leaf(FEATURES)[2] & HAS_SVM != 0
}

/// True if nested tables, which are ordinary ones, can map 1 GiB pages.
pub(super) fn has_1g_pages() -> bool {
    leaf(FEATURES)[3] & HAS_1G_PAGES != 0
}

/// Finds out whether the monitor can run on this CPU.
///
/// # Errors
///
/// The first thing that is missing; nothing has been changed.
pub(super) fn probe(linux: &CpuState) -> Result<Caps, EnterError> {
    if !present() {
        return Err(EnterStatus::NoVirtualization.into());
    }
    if crate::cpu::msr::read(Msr(VM_CR)) & VM_CR_SVMDIS != 0 {
        return Err(EnterStatus::LockedByFirmware.into());
    }
    if linux.efer & EFER_SVME != 0 {
        return Err(EnterStatus::InUse.into());
    }
    let [_, asids, _, features] = leaf(SVM);
    if features & HAS_NESTED_PAGING == 0 {
        return Err(MissingFeature::NestedPaging.into());
    }
    if asids < 2 {
        return Err(MissingFeature::Vpid.into());
    }
    if encrypts_memory(linux) {
        return Err(Unsupported::MemoryEncryption.into());
    }
    let has = |feature: u32| features & feature != 0;
    Ok(Caps {
        asids,
        next_rip: has(HAS_NEXT_RIP),
        clean_bits: has(HAS_CLEAN_BITS),
        flush_by_asid: has(HAS_FLUSH_BY_ASID),
        decode_assists: has(HAS_DECODE_ASSISTS),
        spec_ctrl: has(HAS_SPEC_CTRL),
        invlpgb: has(HAS_INVLPGB),
        bus_locks: has(HAS_BUS_LOCK_THRESHOLD),
        efer: efer_bits(),
    })
}

/// True if Linux marks pages as encrypted, its top page table among them: the
/// mark is an address bit, which second-level tables would have to know.
fn encrypts_memory(linux: &CpuState) -> bool {
    let [features, position, ..] = leaf(ENCRYPTION);
    features & 1 != 0 && linux.cr3 >> (position & 0x3f) & 1 != 0
}

/// Bits of EFER that this CPU has: VMRUN fails on others, where WRMSR would
/// answer with #GP.
fn efer_bits() -> u64 {
    let [_, _, features_c, features_d] = leaf(FEATURES);
    let sizes_b = leaf(SIZES)[1];
    let features_2 = leaf(FEATURES_2)[0];
    let optional = [
        (features_d & HAS_NX, EFER_NXE),
        (features_d & HAS_FFXSR, EFER_FFXSR),
        (features_c & HAS_TCE, EFER_TCE),
        (sizes_b & HAS_MCOMMIT, EFER_MCOMMIT),
        (sizes_b & HAS_INTWB, EFER_INTWB),
        (features_2 & HAS_UAIE, EFER_UAIE),
        (features_2 & HAS_AUTO_IBRS, EFER_AUTO_IBRS),
    ];
    optional
        .into_iter()
        .filter(|(has, _)| *has != 0)
        .fold(EFER_SCE | EFER_LME | EFER_LMA, |all, (_, bit)| all | bit)
}
