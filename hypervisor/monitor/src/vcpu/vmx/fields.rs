//! Fields of the VMCS, with width and kind in their types.
//!
//! Source: SDM 3D, "Field Encoding in VMCS".

use core::marker::PhantomData;
use x86::vmx::vmcs;

/// Width of a field.
pub(crate) trait Width {
    /// Bits 14:13 of the encoding.
    const CODE: u32;
}

/// 16 bits.
pub(crate) struct W16;
/// 64 bits.
pub(crate) struct W64;
/// 32 bits.
pub(crate) struct W32;
/// As wide as the CPU's registers.
pub(crate) struct Natural;

impl Width for W16 {
    const CODE: u32 = 0;
}
impl Width for W64 {
    const CODE: u32 = 1;
}
impl Width for W32 {
    const CODE: u32 = 2;
}
impl Width for Natural {
    const CODE: u32 = 3;
}

/// Kind of a field.
pub(crate) trait Kind {
    /// Bits 11:10 of the encoding.
    const CODE: u32;
}

/// Controls the CPU.
pub(crate) struct Control;
/// Tells about an exit; read-only.
pub(crate) struct Info;
/// Guest state.
pub(crate) struct Guest;
/// Host state.
pub(crate) struct Host;

impl Kind for Control {
    const CODE: u32 = 0;
}
impl Kind for Info {
    const CODE: u32 = 1;
}
impl Kind for Guest {
    const CODE: u32 = 2;
}
impl Kind for Host {
    const CODE: u32 = 3;
}

/// A field of the VMCS.
pub(crate) struct Field<W, K>(pub(crate) u32, PhantomData<(W, K)>);

impl<W, K> Clone for Field<W, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<W, K> Copy for Field<W, K> {}

impl<W: Width, K: Kind> Field<W, K> {
    /// A wrong width or kind does not build.
    const fn new(encoding: u32) -> Self {
        assert!((encoding >> 13) & 3 == W::CODE, "wrong width");
        assert!((encoding >> 10) & 3 == K::CODE, "wrong kind");
        Self(encoding, PhantomData)
    }
}

macro_rules! fields {
    ($($kind:ident { $($name:ident: $width:ident = $encoding:expr,)* })*) => {
        $($(pub(crate) const $name: Field<$width, $kind> = Field::new($encoding);)*)*
    };
}

fields! {
    Control {
        VPID: W16 = vmcs::control::VPID,
        IO_BITMAP_A: W64 = vmcs::control::IO_BITMAP_A_ADDR_FULL,
        IO_BITMAP_B: W64 = vmcs::control::IO_BITMAP_B_ADDR_FULL,
        MSR_BITMAP: W64 = vmcs::control::MSR_BITMAPS_ADDR_FULL,
        TSC_OFFSET: W64 = vmcs::control::TSC_OFFSET_FULL,
        EPT_POINTER: W64 = vmcs::control::EPTP_FULL,
        XSS_EXITING: W64 = vmcs::control::XSS_EXITING_BITMAP_FULL,
        PIN_CONTROLS: W32 = vmcs::control::PINBASED_EXEC_CONTROLS,
        PRIMARY_CONTROLS: W32 = vmcs::control::PRIMARY_PROCBASED_EXEC_CONTROLS,
        SECONDARY_CONTROLS: W32 = vmcs::control::SECONDARY_PROCBASED_EXEC_CONTROLS,
        EXCEPTION_BITMAP: W32 = vmcs::control::EXCEPTION_BITMAP,
        CR3_TARGET_COUNT: W32 = vmcs::control::CR3_TARGET_COUNT,
        EXIT_CONTROLS: W32 = vmcs::control::VMEXIT_CONTROLS,
        ENTRY_CONTROLS: W32 = vmcs::control::VMENTRY_CONTROLS,
        ENTRY_EVENT: W32 = vmcs::control::VMENTRY_INTERRUPTION_INFO_FIELD,
        ENTRY_ERROR_CODE: W32 = vmcs::control::VMENTRY_EXCEPTION_ERR_CODE,
        ENTRY_INSTRUCTION_LEN: W32 = vmcs::control::VMENTRY_INSTRUCTION_LEN,
        NOTIFY_WINDOW: W32 = 0x4024,
        CR0_MASK: Natural = vmcs::control::CR0_GUEST_HOST_MASK,
        CR4_MASK: Natural = vmcs::control::CR4_GUEST_HOST_MASK,
        CR0_SHADOW: Natural = vmcs::control::CR0_READ_SHADOW,
        CR4_SHADOW: Natural = vmcs::control::CR4_READ_SHADOW,
    }
    Guest {
        GUEST_LINK_POINTER: W64 = vmcs::guest::LINK_PTR_FULL,
        GUEST_DEBUGCTL: W64 = vmcs::guest::IA32_DEBUGCTL_FULL,
        GUEST_PAT: W64 = vmcs::guest::IA32_PAT_FULL,
        GUEST_EFER: W64 = vmcs::guest::IA32_EFER_FULL,
        GUEST_GDTR_LIMIT: W32 = vmcs::guest::GDTR_LIMIT,
        GUEST_IDTR_LIMIT: W32 = vmcs::guest::IDTR_LIMIT,
        GUEST_INTERRUPTIBILITY: W32 = vmcs::guest::INTERRUPTIBILITY_STATE,
        GUEST_ACTIVITY: W32 = vmcs::guest::ACTIVITY_STATE,
        GUEST_SYSENTER_CS: W32 = vmcs::guest::IA32_SYSENTER_CS,
        GUEST_CS_ACCESS: W32 = vmcs::guest::CS_ACCESS_RIGHTS,
        GUEST_SS_ACCESS: W32 = vmcs::guest::SS_ACCESS_RIGHTS,
        GUEST_CR0: Natural = vmcs::guest::CR0,
        GUEST_CR3: Natural = vmcs::guest::CR3,
        GUEST_CR4: Natural = vmcs::guest::CR4,
        GUEST_GDTR_BASE: Natural = vmcs::guest::GDTR_BASE,
        GUEST_IDTR_BASE: Natural = vmcs::guest::IDTR_BASE,
        GUEST_DR7: Natural = vmcs::guest::DR7,
        GUEST_CS_BASE: Natural = vmcs::guest::CS_BASE,
        GUEST_RSP: Natural = vmcs::guest::RSP,
        GUEST_RIP: Natural = vmcs::guest::RIP,
        GUEST_RFLAGS: Natural = vmcs::guest::RFLAGS,
        GUEST_PENDING_DEBUG: Natural = vmcs::guest::PENDING_DBG_EXCEPTIONS,
        GUEST_SYSENTER_ESP: Natural = vmcs::guest::IA32_SYSENTER_ESP,
        GUEST_SYSENTER_EIP: Natural = vmcs::guest::IA32_SYSENTER_EIP,
    }
    Host {
        HOST_CS: W16 = vmcs::host::CS_SELECTOR,
        HOST_SS: W16 = vmcs::host::SS_SELECTOR,
        HOST_DS: W16 = vmcs::host::DS_SELECTOR,
        HOST_ES: W16 = vmcs::host::ES_SELECTOR,
        HOST_FS: W16 = vmcs::host::FS_SELECTOR,
        HOST_GS: W16 = vmcs::host::GS_SELECTOR,
        HOST_TR: W16 = vmcs::host::TR_SELECTOR,
        HOST_PAT: W64 = vmcs::host::IA32_PAT_FULL,
        HOST_EFER: W64 = vmcs::host::IA32_EFER_FULL,
        HOST_SYSENTER_CS: W32 = vmcs::host::IA32_SYSENTER_CS,
        HOST_CR0: Natural = vmcs::host::CR0,
        HOST_CR3: Natural = vmcs::host::CR3,
        HOST_CR4: Natural = vmcs::host::CR4,
        HOST_FS_BASE: Natural = vmcs::host::FS_BASE,
        HOST_GS_BASE: Natural = vmcs::host::GS_BASE,
        HOST_TR_BASE: Natural = vmcs::host::TR_BASE,
        HOST_GDTR_BASE: Natural = vmcs::host::GDTR_BASE,
        HOST_IDTR_BASE: Natural = vmcs::host::IDTR_BASE,
        HOST_SYSENTER_ESP: Natural = vmcs::host::IA32_SYSENTER_ESP,
        HOST_SYSENTER_EIP: Natural = vmcs::host::IA32_SYSENTER_EIP,
        HOST_RIP: Natural = vmcs::host::RIP,
    }
    Info {
        GUEST_PHYSICAL_ADDRESS: W64 = vmcs::ro::GUEST_PHYSICAL_ADDR_FULL,
        INSTRUCTION_ERROR: W32 = vmcs::ro::VM_INSTRUCTION_ERROR,
        EXIT_REASON: W32 = vmcs::ro::EXIT_REASON,
        EXIT_EVENT: W32 = vmcs::ro::VMEXIT_INTERRUPTION_INFO,
        VECTORING_EVENT: W32 = vmcs::ro::IDT_VECTORING_INFO,
        VECTORING_ERROR_CODE: W32 = vmcs::ro::IDT_VECTORING_ERR_CODE,
        INSTRUCTION_LEN: W32 = vmcs::ro::VMEXIT_INSTRUCTION_LEN,
        QUALIFICATION: Natural = vmcs::ro::EXIT_QUALIFICATION,
    }
}

/// The four fields of a segment register.
#[derive(Clone, Copy)]
pub(crate) struct SegmentFields {
    pub(crate) selector: Field<W16, Guest>,
    pub(crate) limit: Field<W32, Guest>,
    pub(crate) access: Field<W32, Guest>,
    pub(crate) base: Field<Natural, Guest>,
}

/// Segment registers, with their encodings.
#[derive(Clone, Copy)]
pub(crate) enum Register {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

/// The fields of a segment register.
pub(crate) const fn segment(register: Register) -> SegmentFields {
    let index = register as u32;
    SegmentFields {
        selector: Field::new(vmcs::guest::ES_SELECTOR + 2 * index),
        limit: Field::new(vmcs::guest::ES_LIMIT + 2 * index),
        access: Field::new(vmcs::guest::ES_ACCESS_RIGHTS + 2 * index),
        base: Field::new(vmcs::guest::ES_BASE + 2 * index),
    }
}
