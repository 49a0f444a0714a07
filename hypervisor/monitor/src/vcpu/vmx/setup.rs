//! VMCS fields: controls, host state, and what needs more than one write.
//!
//! Source: SDM 3C, "Checks on VMX Controls and Host-State Area", "Checking and
//! Loading Guest State".

use super::Vmx;
use super::caps::{self, ENTRY_IA32E};
use super::fields::{self, *};
use crate::cpu::gdt;
use crate::{boot, mem};
use cellvisor_core::addr::Hva;
use cellvisor_core::vcpu::{
    CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_LA57, CR4_MCE, CR4_OSXSAVE, CR4_PAE, CR4_VMXE, CpuState,
    EFER_LMA, EFER_LME, Segment,
};

/// #DB, #AC, #MC: a guest that makes one of the first two happen while the CPU
/// delivers it could keep the CPU in microcode for ever (CVE-2015-8104,
/// CVE-2015-5307); the last one is about the machine.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;
/// Access rights of a segment that cannot be used.
const UNUSABLE: u64 = 1 << 16;
const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;
/// CR0 bits about the FPU that the monitor takes from Linux: MP, EM, TS, ET.
const CR0_EXTENSION: u64 = 0x1e;

impl Vmx {
    pub(super) fn write_controls(&mut self) {
        let caps = &self.caps;
        let v = &mut self.vmcs;
        // SAFETY: the controls that `caps` has checked; addresses follow with
        // `attach`, before the first entry.
        unsafe {
            v.control(PIN_CONTROLS, u64::from(caps.pin));
            v.control(PRIMARY_CONTROLS, u64::from(caps.primary));
            v.control(SECONDARY_CONTROLS, u64::from(caps.secondary));
            v.control(EXIT_CONTROLS, u64::from(caps.exit));
            v.control(ENTRY_CONTROLS, u64::from(caps.entry));
            v.control(EXCEPTION_BITMAP, EXCEPTIONS);
            v.control(CR3_TARGET_COUNT, 0);
            v.control(TSC_OFFSET, 0);
            v.control(ENTRY_ERROR_CODE, 0);
            v.control(ENTRY_INSTRUCTION_LEN, 0);
            v.control(CR0_MASK, caps.registers.cr0_mask());
            v.control(CR4_MASK, caps.registers.cr4_mask());
            if caps.secondary & caps::XSAVES != 0 {
                v.control(XSS_EXITING, 0);
            }
            if caps.secondary & caps::NOTIFY != 0 {
                // The CPU adds what its own longest instructions take.
                v.control(NOTIFY_WINDOW, 0);
            }
        }
    }

    pub(super) fn write_host(&mut self, linux: &CpuState, pages: [Hva; 2]) {
        let (gdt_base, idt_base) = gdt::bases();
        let v = &mut self.vmcs;
        // The area's shared part lies before its hardware pages.
        let shared = pages[0].0 - cellvisor_abi::PAGE_SIZE;
        let cr4 = CR4_PAE | CR4_MCE | CR4_VMXE | CR4_OSXSAVE | linux.cr4 & CR4_LA57;
        let efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
        // SAFETY: the monitor's own tables, code and per-CPU data.
        unsafe {
            v.host(HOST_CS, u64::from(gdt::CODE));
            for field in [HOST_SS, HOST_DS, HOST_ES] {
                v.host(field, u64::from(gdt::DATA));
            }
            v.host(HOST_FS, 0);
            v.host(HOST_GS, 0);
            v.host(HOST_TR, u64::from(gdt::TSS));
            v.host(HOST_PAT, linux.pat);
            v.host(HOST_EFER, efer);
            v.host(
                HOST_CR0,
                linux.cr0 & CR0_EXTENSION | CR0_PE | CR0_PG | CR0_NE | CR0_WP,
            );
            v.host(HOST_CR3, mem::map::cr3());
            v.host(HOST_CR4, cr4);
            v.host(HOST_FS_BASE, 0);
            v.host(HOST_GS_BASE, shared);
            v.host(HOST_TR_BASE, gdt::tss_base());
            v.host(HOST_GDTR_BASE, gdt_base);
            v.host(HOST_IDTR_BASE, idt_base);
            v.host(HOST_SYSENTER_CS, 0);
            v.host(HOST_SYSENTER_ESP, 0);
            v.host(HOST_SYSENTER_EIP, 0);
            v.host(HOST_RIP, boot::vmx_exit_address());
        }
    }

    pub(super) fn write_control_fields(&mut self, register: u8, real: u64, shadow: u64) {
        let (field, shadow_field) = if register == 0 {
            (GUEST_CR0, CR0_SHADOW)
        } else {
            (GUEST_CR4, CR4_SHADOW)
        };
        self.vmcs.write(field, real);
        // SAFETY: a shadow is only what the guest reads.
        unsafe { self.vmcs.control(shadow_field, shadow) };
    }

    pub(super) fn set_cr4(&mut self, value: u64) {
        if let Some(cr4) = self.caps.registers.cr4(value) {
            self.write_control_fields(4, cr4.real, cr4.shadow);
        }
    }

    pub(super) fn write_cr0(&mut self, value: u64) -> bool {
        if cellvisor_core::vmx::cr0_is_invalid(value) {
            return false;
        }
        let efer = self.vmcs.read(GUEST_EFER);
        let paging = value & CR0_PG != 0;
        if efer & EFER_LME != 0 && paging != (efer & EFER_LMA != 0) {
            self.vmcs.write(GUEST_EFER, efer ^ EFER_LMA);
            self.set_long_mode(paging);
        }
        let cr0 = self.caps.registers.cr0(value);
        self.write_control_fields(0, cr0.real, cr0.shadow);
        true
    }

    pub(super) fn set_long_mode(&mut self, on: bool) {
        let mode = if on { ENTRY_IA32E } else { 0 };
        // SAFETY: the mode must agree with the guest's EFER; a wrong one fails
        // the entry.
        unsafe {
            self.vmcs
                .control(ENTRY_CONTROLS, u64::from(self.caps.entry | mode))
        };
    }

    pub(super) fn set_segment(&mut self, register: Register, segment: &Segment) {
        let fields = fields::segment(register);
        let access = match u64::from(segment.access) {
            0 => UNUSABLE,
            // A loaded code or data segment counts as accessed.
            access if access & 0x10 != 0 => access | 1,
            access => access,
        };
        self.vmcs
            .write(fields.selector, u64::from(segment.selector));
        self.vmcs.write(fields.limit, u64::from(segment.limit));
        self.vmcs.write(fields.access, access);
        self.vmcs.write(fields.base, segment.base);
    }

    pub(super) fn segment(&self, register: Register) -> Segment {
        let fields = fields::segment(register);
        let access = self.vmcs.read(fields.access);
        Segment {
            selector: self.vmcs.read(fields.selector) as u16,
            access: if access & UNUSABLE != 0 {
                0
            } else {
                access as u16
            },
            limit: self.vmcs.read(fields.limit) as u32,
            base: self.vmcs.read(fields.base),
        }
    }
}
