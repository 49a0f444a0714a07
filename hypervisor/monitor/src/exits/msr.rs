//! RDMSR and WRMSR that do not reach the hardware directly.
//!
//! Source: SDM 4, "Model-Specific Registers (MSRs)"; SDM 3A, "x2APIC Register
//! Address Space".

use crate::cell::cpu::Cpu;
use crate::cell::{classes, ipi, memory};
use crate::cpu::{apic, msr, outer};
use cellvisor_abi::call::ExitKind;
use cellvisor_core::addr::{Gpa, PAGE_SIZE};
use cellvisor_core::cpuid::ARCH_CAPABILITIES;
use cellvisor_core::icr;
use cellvisor_core::ids::{Msr, VirtualId};
use cellvisor_core::kvmclock::{self, Request};
use cellvisor_core::msr::{self as policy, Action, Which};
use cellvisor_core::text::{Hex, Word};
use cellvisor_core::vcpu::RCX;

/// IA32_APIC_BASE of a cell's CPU: the usual address, on, in x2APIC mode.
const CELL_APIC_BASE: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10;
const BOOT_CPU: u64 = 1 << 8;
const MICROCODE: Msr = Msr(0x8b);

/// Handles RDMSR.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn read(cpu: &mut Cpu<'_>) {
    let index = Msr(cpu.regs.0[RCX] as u32);
    let value = match cpu.msrs.read(index.0) {
        Action::Direct => msr::try_rdmsr(index),
        Action::Emulate(which) => emulated_read(cpu, which, index),
        Action::Deny => None,
    };
    match value {
        Some(value) => {
            cpu.regs.set_edx_eax(value);
            cpu.advance();
        }
        None => refuse(cpu, "read", index, 0),
    }
}

/// Handles WRMSR.
#[inline(never)] // Its own frame, and not that of all exits.
pub(crate) fn write(cpu: &mut Cpu<'_>) {
    let index = Msr(cpu.regs.0[RCX] as u32);
    let value = cpu.regs.edx_eax();
    let done = match cpu.msrs.write(index.0) {
        // It exits only because the hardware's map does not cover it.
        Action::Direct => write_direct(index, value),
        Action::Emulate(which) => emulated_write(cpu, which, index, value),
        Action::Deny => false,
    };
    if done {
        cpu.advance();
    } else {
        refuse(cpu, "write", index, value);
    }
}

/// Writes an MSR for the guest; false if the CPU refuses.
fn write_direct(index: Msr, value: u64) -> bool {
    // SAFETY: the policy lets the guest have this value in this MSR.
    unsafe { msr::try_wrmsr(index, value) }
}

fn refuse(cpu: &mut Cpu<'_>, what: &str, index: Msr, value: u64) {
    if cpu.denied(|denied| &denied.msr) {
        cpu.log(format_args!(
            "denied msr {} index={} value={} rip={}",
            Word(what),
            Hex(u64::from(index.0)),
            Hex(value),
            Hex(cpu.vcpu.rip())
        ));
    }
    cpu.refuse();
}

fn emulated_read(cpu: &mut Cpu<'_>, which: Which, index: Msr) -> Option<u64> {
    Some(match which {
        Which::ApicBase if cpu.is_root() => apic::base(),
        Which::Ignore | Which::ZeroOnly | Which::Icr => 0,
        Which::X2apicId => u64::from(cpu.virtual_id().0),
        Which::X2apicLdr => u64::from(icr::ldr(cpu.virtual_id().0)),
        Which::ArchCapabilities => msr::try_rdmsr(index)? & ARCH_CAPABILITIES,
        Which::MicrocodeRevision => msr::try_rdmsr(MICROCODE)?,
        Which::Efer => efer(cpu),
        Which::Lvt if !apic::has_entry(index) => return None,
        Which::OuterArea | Which::Xss | Which::MiscEnable | Which::Lvt | Which::Classes => {
            msr::try_rdmsr(index)?
        }
        Which::KvmWallClock | Which::KvmSystemTime => return None,
        Which::Constant(_) | Which::ApicBase => fixed(which, cpu.virtual_id())?,
    })
}

/// What a read gives that always gives the same on a cell's CPU with this virtual id:
/// of those of them that are read often.
#[inline(always)] // On the way of frequent exits, and of others in one place.
pub(super) fn fixed(which: Which, own: VirtualId) -> Option<u64> {
    match which {
        Which::Constant(value) => Some(value.get()),
        Which::ApicBase if own == VirtualId(0) => Some(CELL_APIC_BASE | BOOT_CPU),
        Which::ApicBase => Some(CELL_APIC_BASE),
        _ => None,
    }
}

#[inline(never)] // The whole state would make the frame of each read large.
fn efer(cpu: &Cpu<'_>) -> u64 {
    cpu.vcpu.state().efer
}

fn emulated_write(cpu: &mut Cpu<'_>, which: Which, index: Msr, value: u64) -> bool {
    match which {
        Which::Ignore => true,
        Which::ZeroOnly => value == 0,
        Which::ApicBase => apic_base(cpu, value),
        Which::Icr => command(cpu, value),
        Which::KvmWallClock => wall_clock(cpu, Gpa(value)),
        Which::KvmSystemTime => system_time(cpu, value),
        Which::Efer => cpu.vcpu.write_efer(value),
        Which::OuterArea => outer_area(cpu, index, value),
        Which::Classes => classes::write(index, value),
        Which::Xss => value & !policy::ROOT_XSS == 0 && write_direct(index, value),
        Which::MiscEnable => msr::try_rdmsr(index)
            .is_some_and(|now| write_direct(index, policy::misc_enable(now, value))),
        Which::Lvt => {
            apic::has_entry(index)
                && policy::lvt(value).is_some_and(|value| write_direct(index, value))
        }
        Which::Constant(_)
        | Which::ArchCapabilities
        | Which::X2apicId
        | Which::X2apicLdr
        | Which::MicrocodeRevision => false,
    }
}

#[inline(never)] // Its frame is large, and other writes are frequent.
fn outer_area(cpu: &Cpu<'_>, index: Msr, value: u64) -> bool {
    outer::set_area(cpu.shared, index, value)
}

/// Nobody may move the APIC, switch it off, or change its mode: the monitor
/// reaches CPUs through it.
fn apic_base(cpu: &Cpu<'_>, value: u64) -> bool {
    if cpu.is_root() {
        return value == apic::base();
    }
    value & !BOOT_CPU == CELL_APIC_BASE
}

fn command(cpu: &mut Cpu<'_>, value: u64) -> bool {
    match icr::decode_rare(value) {
        Ok(ipi) => {
            cpu.shared.recount(ExitKind::MsrWrite, ExitKind::Icr);
            ipi::command(cpu, ipi);
            true
        }
        Err(_) => false,
    }
}

/// The guest names a place for the date of its start.
fn wall_clock(cpu: &mut Cpu<'_>, gpa: Gpa) -> bool {
    let Some(guest) = &cpu.cell.guest else {
        return false;
    };
    let clock = guest.devices.lock().clock;
    let Some((clock, wall_ns, wall_tsc)) = clock else {
        return false;
    };
    write_guest(cpu, gpa, &clock.wall_clock(wall_ns, wall_tsc))
}

/// The guest names a place for its clock. One page serves for ever: its
/// contents do not change.
fn system_time(cpu: &mut Cpu<'_>, value: u64) -> bool {
    let Some(guest) = &cpu.cell.guest else {
        return false;
    };
    let clock = guest.devices.lock().clock;
    match (kvmclock::request(value), clock) {
        (Some(Request::At(gpa)), Some((clock, ..))) => {
            write_guest(cpu, Gpa(gpa), &clock.time_info())
        }
        (Some(Request::Off), _) => true,
        _ => false,
    }
}

/// Writes to the guest's memory; both parts of a range that crosses a page.
fn write_guest(cpu: &mut Cpu<'_>, gpa: Gpa, bytes: &[u8]) -> bool {
    let left = (PAGE_SIZE - gpa.page_offset()) as usize;
    let (first, second) = bytes.split_at(left.min(bytes.len()));
    memory::write(cpu, gpa, first)
        && (second.is_empty() || memory::write(cpu, Gpa(gpa.0 + first.len() as u64), second))
}
