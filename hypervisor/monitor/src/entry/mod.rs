//! The way in: `entry.S` → [`enter`] → [`run`].
//!
//! The assembly of all floors, and what it shares with Rust.

pub(crate) mod enter;
pub(crate) mod run;

use crate::cpu::{self, percpu};
use crate::switch::frame;
use crate::{boot, mem};
use cellvisor_abi::status::EnterStatus;
use core::mem::offset_of;

core::arch::global_asm!(
    include_str!("registers.S"),
    include_str!("entry.S"),
    include_str!("../switch/leave.S"),
    include_str!("../vcpu/vmx/run.S"),
    include_str!("../vcpu/svm/run.S"),
    include_str!("../vcpu/idle.S"),
    include_str!("../cpu/stack.S"),
    include_str!("../cpu/msr.S"),
    include_str!("../cpu/exceptions.S"),
    include_str!("../mem/copy.S"),
    abi_version = const cellvisor_abi::ABI_VERSION,
    image_base = const cellvisor_abi::image::BASE,
    boot_info = sym boot::BOOT_INFO,
    bridge_tables = sym boot::BRIDGE_TABLES,
    claim_area = sym percpu::claim_area,
    enter = sym enter::enter,
    fatal = sym cpu::exceptions::fatal,
    refuge = sym cpu::exceptions::refuge,
    stack_size = const mem::STACK_SIZE,
    mcg_status = const cellvisor_core::mce::MCG_STATUS.0,
    no_memory = const EnterStatus::NoMemory.code(),
    code_selector = const cpu::gdt::CODE,
    data_selector = const cpu::gdt::DATA,
    tss_selector = const cpu::gdt::TSS,
    leave_regs = const offset_of!(frame::LeaveFrame, regs),
    leave_rip = const offset_of!(frame::LeaveFrame, rip),
    leave_rsp = const offset_of!(frame::LeaveFrame, rsp),
    leave_rflags = const offset_of!(frame::LeaveFrame, rflags),
    leave_cr0 = const offset_of!(frame::LeaveFrame, cr0),
    leave_cr4 = const offset_of!(frame::LeaveFrame, cr4),
    leave_fs_base = const offset_of!(frame::LeaveFrame, fs_base),
    leave_gs_base = const offset_of!(frame::LeaveFrame, gs_base),
    leave_bridge_gdt = const offset_of!(frame::LeaveFrame, bridge_gdt),
    leave_gdt = const offset_of!(frame::LeaveFrame, gdt),
    leave_idt = const offset_of!(frame::LeaveFrame, idt),
    leave_cs = const offset_of!(frame::LeaveFrame, cs),
    leave_ss = const offset_of!(frame::LeaveFrame, ss),
    leave_ds = const offset_of!(frame::LeaveFrame, ds),
    leave_es = const offset_of!(frame::LeaveFrame, es),
    leave_fs = const offset_of!(frame::LeaveFrame, fs),
    leave_gs = const offset_of!(frame::LeaveFrame, gs),
    leave_ldtr = const offset_of!(frame::LeaveFrame, ldtr),
);
