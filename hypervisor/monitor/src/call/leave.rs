//! Leaving the monitor: all CPUs together, back to Linux as it is now.

use crate::cell;
use crate::cell::cpu::Cpu;
use crate::cpu::{outer, percpu};
use crate::mem::map;
use crate::switch::frame::{self, LeaveFrame};
use crate::switch::together;
use cellvisor_abi::call::CellId;
use cellvisor_abi::status::EnterStatus;
use cellvisor_core::addr::Hpa;
use cellvisor_core::vcpu::RAX;

/// Leaves, if all CPUs do; returns a status only if they do not.
pub(super) fn leave(cpu: &mut Cpu<'_>, bridge_tables: Hpa) -> u64 {
    let refuse =
        |status: EnterStatus, detail: u32| u64::from(status.code()) | u64::from(detail) << 32;
    let cells = cell::all().count() as u32;
    if cells != 0 {
        return refuse(EnterStatus::CellsExist, cells);
    }
    let elsewhere = percpu::cpus()
        .filter(|cpu| cpu.owner() != CellId::ROOT)
        .count() as u32;
    if elsewhere != 0 {
        return refuse(EnterStatus::CpusOffline, elsewhere);
    }
    if !together::all_leave(&mut cpu.window) {
        return refuse(EnterStatus::Late, 0);
    }
    outer::leave(cpu.shared);
    cpu.regs.0[RAX] = u64::from(EnterStatus::Ok.code());
    cpu.advance();
    let state = cpu.vcpu.state();
    cpu.vcpu.disable();
    frame::restore_msrs(&state);
    let mut frame = LeaveFrame::new(&state, &cpu.regs);
    let distance = map::guarded_stack(cpu.shared.area());
    frame.link(distance);
    // SAFETY: virtualization is off; the frame holds Linux's own state; the
    // driver has put our memory and all of Linux's into the bridge tables, and
    // its call expects to go on under them.
    unsafe { frame::leave_to_linux(&frame, bridge_tables, distance) }
}
