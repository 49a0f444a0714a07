//! What this CPU's VMX can do, checked before anything is touched.
//!
//! Source: SDM 3D, "VMX Capability Reporting Facility"; SDM 3C, "Restrictions on
//! VMX Operation".

use crate::cpu::leaf;
use crate::cpu::msr::read;
use crate::refusal::EnterError;
use cellvisor_abi::status::{EnterStatus, MissingFeature, Unsupported};
use cellvisor_core::ids::Msr;
use cellvisor_core::vcpu::{CR4_VMXE, CpuState};
use cellvisor_core::vmx::{Allowed, ControlRegisters};
use x86::msr;

/// NMI exiting, virtual NMIs.
const PIN_REQUIRED: u32 = 1 << 3 | 1 << 5;
/// I/O bitmaps, MSR bitmaps, secondary controls.
const PRIMARY_REQUIRED: u32 = 1 << 25 | 1 << 28 | 1 << 31;
/// NMI-window exiting, switched on when it is needed.
pub(crate) const NMI_WINDOW: u32 = 1 << 22;
/// EPT, VPID, unrestricted guest.
const SECONDARY_REQUIRED: u32 = 1 << 1 | 1 << 5 | 1 << 7;
/// RDTSCP, among the secondary controls.
pub(crate) const RDTSCP: u32 = 1 << 3;
/// INVPCID.
pub(crate) const INVPCID: u32 = 1 << 12;
/// XSAVES and XRSTORS.
pub(crate) const XSAVES: u32 = 1 << 20;
/// User wait and pause.
pub(crate) const USER_WAIT: u32 = 1 << 26;
/// WBINVD and WBNOINVD exit.
const WBINVD_EXITING: u32 = 1 << 6;
/// Bus locks exit.
const BUS_LOCK_DETECTION: u32 = 1 << 30;
/// Instruction timeout: a guest that takes no event for too long exits.
pub(crate) const NOTIFY: u32 = 1 << 31;
/// Instructions that would fault for want of the control, one that would empty the
/// caches of others, and what would hold them up.
const SECONDARY_OPTIONAL: u32 =
    RDTSCP | INVPCID | XSAVES | USER_WAIT | WBINVD_EXITING | BUS_LOCK_DETECTION | NOTIFY;
/// Save debug controls, 64-bit host, save and load PAT and EFER.
const EXIT_REQUIRED: u32 = 1 << 2 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21;
/// Load debug controls, PAT and EFER.
const ENTRY_REQUIRED: u32 = 1 << 2 | 1 << 14 | 1 << 15;
/// The guest is in IA-32e mode.
pub(crate) const ENTRY_IA32E: u32 = 1 << 9;

/// IA32_VMX_EPT_VPID_CAP: four-level walk, write-back tables, 2 MiB pages.
const EPT_WALK_4: u64 = 1 << 6;
const EPT_WRITE_BACK: u64 = 1 << 14;
const EPT_2M: u64 = 1 << 16;
const EPT_1G: u64 = 1 << 17;
const INVEPT_ALL: u64 = 1 << 20 | 1 << 25 | 1 << 26;
const INVVPID_ALL: u64 = 1 << 32 | 1 << 42;

/// IA32_FEATURE_CONTROL: locked, VMX outside of SMX.
const FEATURE_LOCKED: u64 = 1;
const FEATURE_VMX: u64 = 1 << 2;

/// What the VMCS gets.
pub(crate) struct Caps {
    /// VMCS revision.
    pub(crate) revision: u32,
    pub(crate) pin: u32,
    pub(crate) primary: u32,
    pub(crate) secondary: u32,
    pub(crate) exit: u32,
    pub(crate) entry: u32,
    pub(crate) registers: ControlRegisters,
}

/// True if the CPU has VMX.
pub(crate) fn present() -> bool {
    leaf::features()[2] & leaf::ECX_VMX != 0
}

/// True if EPT can map 1 GiB pages.
pub(crate) fn has_1g_pages() -> bool {
    read(Msr(msr::IA32_VMX_EPT_VPID_CAP)) & EPT_1G != 0
}

/// Finds out whether the monitor can run on this CPU.
///
/// # Errors
///
/// The first thing that is missing; nothing has been changed.
pub(crate) fn probe(linux: &CpuState) -> Result<Caps, EnterError> {
    if !present() {
        return Err(EnterStatus::NoVirtualization.into());
    }
    let feature_control = read(Msr(msr::IA32_FEATURE_CONTROL));
    if feature_control & FEATURE_LOCKED != 0 && feature_control & FEATURE_VMX == 0 {
        return Err(EnterStatus::LockedByFirmware.into());
    }
    if linux.cr4 & CR4_VMXE != 0 {
        return Err(EnterStatus::InUse.into());
    }
    let basic = read(Msr(msr::IA32_VMX_BASIC));
    if basic & 1 << 55 == 0 {
        return Err(MissingFeature::TrueControls.into());
    }
    if basic >> 50 & 0xf != 6 {
        return Err(MissingFeature::WriteBack.into());
    }
    let caps = controls(basic as u32 & 0x7fff_ffff)?;
    check_ept()?;
    if caps.registers.cr4(linux.cr4).is_none() {
        return Err(Unsupported::Cr4.into());
    }
    Ok(caps)
}

fn controls(revision: u32) -> Result<Caps, EnterError> {
    let adjust = |index: u32, required: u32, optional: u32| {
        Allowed(read(Msr(index))).adjust(required, optional)
    };
    let pin = adjust(msr::IA32_VMX_TRUE_PINBASED_CTLS, PIN_REQUIRED, 0)
        .map_err(|_| MissingFeature::VirtualNmis)?;
    let primary = adjust(
        msr::IA32_VMX_TRUE_PROCBASED_CTLS,
        PRIMARY_REQUIRED | NMI_WINDOW,
        0,
    )
    .map_err(missing_primary)?
        & !NMI_WINDOW;
    let secondary = adjust(
        msr::IA32_VMX_PROCBASED_CTLS2,
        SECONDARY_REQUIRED,
        SECONDARY_OPTIONAL,
    )
    .map_err(missing_secondary)?;
    let exit = adjust(msr::IA32_VMX_TRUE_EXIT_CTLS, EXIT_REQUIRED, 0)
        .map_err(|_| MissingFeature::EferPat)?;
    let entry = adjust(
        msr::IA32_VMX_TRUE_ENTRY_CTLS,
        ENTRY_REQUIRED | ENTRY_IA32E,
        0,
    )
    .map_err(|_| MissingFeature::EferPat)?
        & !ENTRY_IA32E;
    let registers = ControlRegisters::new(
        read(Msr(msr::IA32_VMX_CR0_FIXED0)),
        read(Msr(msr::IA32_VMX_CR0_FIXED1)),
        read(Msr(msr::IA32_VMX_CR4_FIXED0)),
        read(Msr(msr::IA32_VMX_CR4_FIXED1)),
    );
    Ok(Caps {
        revision,
        pin,
        primary,
        secondary,
        exit,
        entry,
        registers,
    })
}

fn missing_primary(bits: u32) -> MissingFeature {
    if bits & 1 << 31 != 0 {
        MissingFeature::SecondaryControls
    } else if bits & 1 << 28 != 0 {
        MissingFeature::MsrBitmaps
    } else if bits & NMI_WINDOW != 0 {
        MissingFeature::VirtualNmis
    } else {
        MissingFeature::IoBitmaps
    }
}

fn missing_secondary(bits: u32) -> MissingFeature {
    if bits & 1 << 1 != 0 {
        MissingFeature::NestedPaging
    } else if bits & 1 << 7 != 0 {
        MissingFeature::UnrestrictedGuest
    } else {
        MissingFeature::Vpid
    }
}

fn check_ept() -> Result<(), EnterError> {
    let ept = read(Msr(msr::IA32_VMX_EPT_VPID_CAP));
    let need = |bits: u64, missing: MissingFeature| {
        if ept & bits == bits {
            Ok(())
        } else {
            Err(EnterError::from(missing))
        }
    };
    need(EPT_WALK_4, MissingFeature::NestedPaging)?;
    need(EPT_WRITE_BACK, MissingFeature::WriteBack)?;
    need(EPT_2M, MissingFeature::LargePages)?;
    need(INVEPT_ALL, MissingFeature::Invept)?;
    need(INVVPID_ALL, MissingFeature::Vpid)
}

/// Sets the lock bit if the firmware left the register open: the CPU wants it
/// for VMXON.
pub(crate) fn lock_feature_control() {
    let value = read(Msr(msr::IA32_FEATURE_CONTROL));
    if value & FEATURE_LOCKED == 0 {
        // SAFETY: `probe` saw that the register exists; it is unlocked, so the
        // write cannot fault, and it grants what the monitor is about to use.
        unsafe {
            msr::wrmsr(
                msr::IA32_FEATURE_CONTROL,
                value | FEATURE_LOCKED | FEATURE_VMX,
            )
        };
    }
}
