//! Linux's state on a CPU: what the monitor takes over at its entry, and how it
//! hands it back.
//!
//! Source: SDM 3A, "Control Registers", "Memory-Management Registers"; SDM 4,
//! "Model-Specific Registers (MSRs)".

use crate::cpu::gdt::{self, Gdt};
use crate::cpu::msr::read;
use cellvisor_core::addr::Hpa;
use cellvisor_core::ids::Msr;
use cellvisor_core::vcpu::{self, CpuState, Regs, Segment, Table};
use x86::msr;

/// What `monitor_entry` pushed, lowest address first, and the driver's return
/// address behind it.
#[repr(C)]
pub(crate) struct EntryFrame {
    /// CR4 before CET was switched off for the monitor.
    pub(crate) cr4: u64,
    rflags: u64,
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbx: u64,
    rbp: u64,
    return_address: u64,
}

/// CR3: the tables, and a process-context identifier or cache bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Cr3(u64);

/// Flags: interrupts, direction and single step are off in the driver's call.
const RFLAGS_KEPT: u64 = !(1 << 8);

/// Takes Linux's state: the guest goes on behind the driver's call with RAX = 0.
pub(crate) fn capture(frame: &EntryFrame, linux_cr3: Cr3) -> (CpuState, Regs) {
    let (gdt_base, gdt_limit) = gdt::sgdt();
    let (idt_base, idt_limit) = gdt::sidt();
    let gdtr = Table {
        base: gdt_base,
        limit: gdt_limit,
    };
    let selector = |s: x86::segmentation::SegmentSelector| s.bits();
    // SAFETY: reading segment selectors and control registers has no effect.
    let (ldtr, tr, cr0) = unsafe {
        (
            selector(x86::dtables::ldtr()),
            selector(x86::task::tr()),
            x86::controlregs::cr0(),
        )
    };
    let mut fs = describe(&gdtr, selector(x86::segmentation::fs()));
    let mut gs = describe(&gdtr, selector(x86::segmentation::gs()));
    fs.base = read(Msr(msr::IA32_FS_BASE));
    gs.base = read(Msr(msr::IA32_GS_BASE));
    let state = CpuState {
        rip: frame.return_address,
        rsp: core::ptr::from_ref(frame) as u64 + size_of::<EntryFrame>() as u64,
        rflags: frame.rflags & RFLAGS_KEPT,
        cr0: cr0.bits() as u64,
        cr3: linux_cr3.0 & !(1 << 63),
        cr4: frame.cr4,
        efer: read(Msr(msr::IA32_EFER)),
        pat: read(Msr(msr::IA32_PAT)),
        dr7: dr7(),
        debugctl: read(Msr(msr::IA32_DEBUGCTL)),
        sysenter: [
            read(Msr(msr::IA32_SYSENTER_CS)),
            read(Msr(msr::IA32_SYSENTER_ESP)),
            read(Msr(msr::IA32_SYSENTER_EIP)),
        ],
        es: describe(&gdtr, selector(x86::segmentation::es())),
        cs: describe(&gdtr, selector(x86::segmentation::cs())),
        ss: describe(&gdtr, selector(x86::segmentation::ss())),
        ds: describe(&gdtr, selector(x86::segmentation::ds())),
        fs,
        gs,
        ldtr: describe(&gdtr, ldtr),
        tr: describe(&gdtr, tr),
        gdtr,
        idtr: Table {
            base: idt_base,
            limit: idt_limit,
        },
    };
    let mut regs = Regs::default();
    regs.0[vcpu::RBX] = frame.rbx;
    regs.0[vcpu::RBP] = frame.rbp;
    regs.0[12] = frame.r12;
    regs.0[13] = frame.r13;
    regs.0[14] = frame.r14;
    regs.0[15] = frame.r15;
    (state, regs)
}

fn dr7() -> u64 {
    let value: u64;
    // SAFETY: reading DR7 has no effect; DR7.GD is not set by Linux.
    unsafe { core::arch::asm!("mov {}, dr7", out(reg) value, options(nomem, nostack)) };
    value
}

/// A segment register's hidden part, from its descriptor.
fn describe(gdtr: &Table, selector: u16) -> Segment {
    let index = u64::from(selector & !7);
    if index == 0 || index + 7 > u64::from(gdtr.limit) || selector & 4 != 0 {
        return Segment {
            selector,
            ..Segment::default()
        };
    }
    let word = |index: u64| {
        // SAFETY: the entry lies inside Linux's descriptor table, which the bridge
        // tables still map.
        unsafe { ((gdtr.base + index) as *const u64).read_unaligned() }
    };
    let low = word(index);
    let access = (low >> 40 & 0xff) as u16 | (low >> 40 & 0xf000) as u16;
    let mut limit = (low & 0xffff | low >> 32 & 0xf_0000) as u32;
    if access & 0x8000 != 0 {
        limit = limit << 12 | 0xfff;
    }
    let mut base = low >> 16 & 0xff_ffff | low >> 32 & 0xff00_0000;
    let system = access & 0x10 == 0;
    if system && index + 15 <= u64::from(gdtr.limit) {
        // System descriptors have 16 bytes.
        base |= word(index + 8) << 32;
    }
    Segment {
        selector,
        access,
        limit,
        base,
    }
}

/// What `leave_to_linux` loads.
#[repr(C)]
pub(crate) struct LeaveFrame {
    pub(crate) regs: Regs,
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rflags: u64,
    pub(crate) cr0: u64,
    pub(crate) cr4: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base: u64,
    pub(crate) bridge_gdt: [u16; 5],
    pub(crate) gdt: [u16; 5],
    pub(crate) idt: [u16; 5],
    pub(crate) cs: u16,
    pub(crate) ss: u16,
    pub(crate) ds: u16,
    pub(crate) es: u16,
    pub(crate) fs: u16,
    pub(crate) gs: u16,
    pub(crate) ldtr: u16,
    /// A table with Linux's task state segment marked available: LTR refuses a
    /// busy one, which is what Linux's own table has.
    table: Gdt,
}

impl LeaveFrame {
    /// From the guest's state. Complete after [`Self::link`].
    pub(crate) fn new(state: &CpuState, regs: &Regs) -> Self {
        Self {
            regs: *regs,
            rip: state.rip,
            rsp: state.rsp,
            rflags: state.rflags,
            cr0: state.cr0,
            cr4: state.cr4,
            fs_base: state.fs.base,
            gs_base: state.gs.base,
            bridge_gdt: [0; 5],
            gdt: pointer(state.gdtr.base, state.gdtr.limit),
            idt: pointer(state.idtr.base, state.idtr.limit),
            cs: state.cs.selector,
            ss: state.ss.selector,
            ds: state.ds.selector,
            es: state.es.selector,
            fs: state.fs.selector,
            gs: state.gs.selector,
            ldtr: state.ldtr.selector,
            table: Gdt::new(state.tr.base, state.tr.limit),
        }
    }

    /// Lets the frame point at its own table, where that is `distance` bytes below
    /// its place on this stack. It must not move afterwards.
    pub(crate) fn link(&mut self, distance: u64) {
        self.bridge_gdt = pointer(&raw const self.table as u64 - distance, Gdt::LIMIT);
    }
}

/// Limit and base as LGDT reads them: ten bytes.
fn pointer(base: u64, limit: u16) -> [u16; 5] {
    let word = |n: u32| (base >> (16 * n)) as u16;
    [limit, word(0), word(1), word(2), word(3)]
}

/// Writes back the MSRs that VM exits replaced.
pub(crate) fn restore_msrs(state: &CpuState) {
    // SAFETY: the values are Linux's own, read by `capture` or saved by the
    // last VM exit; the monitor's code runs under any of them.
    unsafe {
        msr::wrmsr(msr::IA32_SYSENTER_CS, state.sysenter[0]);
        msr::wrmsr(msr::IA32_SYSENTER_ESP, state.sysenter[1]);
        msr::wrmsr(msr::IA32_SYSENTER_EIP, state.sysenter[2]);
        msr::wrmsr(msr::IA32_PAT, state.pat);
        msr::wrmsr(msr::IA32_EFER, state.efer);
        crate::cpu::msr::set_debugctl(state.debugctl);
        core::arch::asm!("mov dr7, {}", in(reg) state.dr7, options(nomem, nostack));
    }
}

unsafe extern "C" {
    /// See `leave.S`.
    pub(crate) fn leave_to_linux(frame: *const LeaveFrame, bridge_tables: Hpa, distance: u64) -> !;
}
