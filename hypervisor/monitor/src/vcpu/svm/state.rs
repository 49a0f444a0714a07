//! A guest's state in the VMCB.
//!
//! Source: APM 2, "VMCB Layout, State Save Area", "Canonicalization and Consistency
//! Checks".

use super::fields::*;
use super::vmcb::Vmcb;
use cellvisor_core::svm::{self, EFER_SVME};
use cellvisor_core::vcpu::{CpuState, Segment, Table};

/// The segment registers, in the order in which they are written.
const SEGMENTS: [Segments; 8] = [ES, CS, SS, DS, FS, GS, LDTR, TR];
const DR6_RESET: u64 = 0xffff_0ff0;

/// Writes all of `state` but DEBUGCTL, which is in the CPU. CR2 becomes what the
/// CPU has: the guest's own or, for a new owner, zero.
pub(super) fn write(v: &mut Vmcb, state: &CpuState) {
    v.forget();
    v.fill(RIP, state.rip);
    v.fill(RSP, state.rsp);
    v.fill(RFLAGS, state.rflags | 2);
    v.fill(CR0, state.cr0);
    v.fill(CR2, crate::cpu::reset::cr2());
    v.fill(CR3, state.cr3);
    v.fill(CR4, state.cr4);
    v.fill(EFER, state.efer | EFER_SVME);
    v.fill(PAT, state.pat);
    v.fill(DR7, state.dr7);
    v.fill(DR6, DR6_RESET);
    for (field, value) in SYSENTER.into_iter().zip(state.sysenter) {
        v.fill(field, value);
    }
    for (fields, table) in [(GDTR, &state.gdtr), (IDTR, &state.idtr)] {
        v.fill(fields.base(), table.base);
        v.fill(fields.limit(), u64::from(table.limit));
    }
    let segments: [&Segment; 8] = [
        &state.es,
        &state.cs,
        &state.ss,
        &state.ds,
        &state.fs,
        &state.gs,
        &state.ldtr,
        &state.tr,
    ];
    for (fields, segment) in SEGMENTS.iter().zip(segments) {
        set_segment(v, *fields, segment);
    }
    v.fill(CPL, u64::from(state.ss.access >> 5 & 3));
    v.fill(INTERRUPT_SHADOW, 0);
}

/// Reads it, with SVME hidden and DEBUGCTL zero.
pub(super) fn read(v: &Vmcb) -> CpuState {
    let table = |fields: Segments| Table {
        base: v.read(fields.base()),
        limit: v.read(fields.limit()) as u16,
    };
    CpuState {
        rip: v.read(RIP),
        rsp: v.read(RSP),
        rflags: v.read(RFLAGS),
        cr0: v.read(CR0),
        cr3: v.read(CR3),
        cr4: v.read(CR4),
        efer: v.read(EFER) & !EFER_SVME,
        pat: v.read(PAT),
        dr7: v.read(DR7),
        debugctl: 0,
        sysenter: SYSENTER.map(|field| v.read(field)),
        es: segment(v, ES),
        cs: segment(v, CS),
        ss: segment(v, SS),
        ds: segment(v, DS),
        fs: segment(v, FS),
        gs: segment(v, GS),
        ldtr: segment(v, LDTR),
        tr: segment(v, TR),
        gdtr: table(GDTR),
        idtr: table(IDTR),
    }
}

fn set_segment(vmcb: &mut Vmcb, fields: Segments, segment: &Segment) {
    vmcb.fill(fields.selector(), u64::from(segment.selector));
    let access = svm::access_to_vmcb(segment.access);
    vmcb.fill(fields.access(), u64::from(access));
    vmcb.fill(fields.limit(), u64::from(segment.limit));
    vmcb.fill(fields.base(), segment.base);
}

fn segment(vmcb: &Vmcb, fields: Segments) -> Segment {
    Segment {
        selector: vmcb.read(fields.selector()) as u16,
        access: svm::access_from_vmcb(vmcb.read(fields.access()) as u16),
        limit: vmcb.read(fields.limit()) as u32,
        base: vmcb.read(fields.base()),
    }
}
