//! The local APIC of this CPU, in whichever mode its owner runs it.
//!
//! Source: SDM 3A, "Advanced Programmable Interrupt Controller (APIC)".

use crate::cpu::leaf;
use crate::cpu::msr::read as read_msr;
use crate::mem::map;
use crate::sync::Micros;
use crate::sync::{Once, wait_for};
use cellvisor_core::addr::{Hpa, Hva};
use cellvisor_core::ids::{ApicId, Msr};
use x86::msr;

const BASE_ENABLED: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// First MSR of the x2APIC registers; register at MMIO offset n is MSR + n/16.
const X2APIC: u32 = 0x800;
/// A register, by its offset in the memory-mapped page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

impl Register {
    /// The one that is `count` registers further up.
    const fn plus(self, count: u32) -> Self {
        Self(self.0 + 16 * count)
    }

    /// Its MSR in x2APIC mode.
    const fn msr(self) -> u32 {
        X2APIC + self.0 / 16
    }
}

/// Id: by it CPUs are found, other CPUs' requests included.
pub(crate) const ID: Register = Register(0x20);
const TPR: Register = Register(0x80);
const EOI: Register = Register(0xb0);
/// Logical destination.
pub(crate) const LDR: Register = Register(0xd0);
const SPURIOUS: Register = Register(0xf0);
const IN_SERVICE: Register = Register(0x100);
const REQUESTED: Register = Register(0x200);
const ERROR_STATUS: Register = Register(0x280);
/// Software enable, in the spurious-interrupt register.
const ENABLED: u32 = 1 << 8;
/// Interrupt command, low half.
pub(crate) const ICR_LOW: Register = Register(0x300);
/// Interrupt command, high half (xAPIC only).
pub(crate) const ICR_HIGH: Register = Register(0x310);
/// Version: how many entries the local vector table has, and whether there are
/// AMD's further ones.
const VERSION: Register = Register(0x30);
const VERSION_EXTENDED: u32 = 1 << 31;
const LVT: Register = Register(0x320);
const LVT_ENTRIES: u32 = 6;
/// Entry of corrected machine checks, the seventh.
const LVT_CMCI: Register = Register(0x2f0);
const CMCI: u32 = 6;
/// AMD's features beyond, with the number of entries, and the first of these.
const EXTENDED: Register = Register(0x400);
const EXTENDED_LVT: Register = Register(0x500);
const MOST_EXTENDED: u32 = 4;
const TIMER_COUNT: Register = Register(0x380);
const MASKED: u32 = 1 << 16;
const PENDING: u32 = 1 << 12;
/// Interrupt command: NMI, asserted.
const NMI_COMMAND: u32 = 0x4400;

/// Leaf of CPUID with the x2APIC id in EDX; bits of its ECX that say what its level is,
/// zeros where the leaf tells nothing.
const TOPOLOGY: u32 = 0xb;
const LEVEL_TYPE: u32 = 0xff00;

/// Where the registers are mapped if the root runs in xAPIC mode.
static REGISTERS: Once<Hva> = Once::new();

/// How a local APIC is addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Memory-mapped registers.
    Xapic,
    /// MSRs.
    X2apic,
}

/// Mode of this CPU's APIC; `None` if it is off.
pub(crate) fn mode() -> Option<Mode> {
    match base() & (BASE_ENABLED | BASE_X2APIC) {
        BASE_ENABLED => Some(Mode::Xapic),
        both if both == BASE_ENABLED | BASE_X2APIC => Some(Mode::X2apic),
        _ => None,
    }
}

/// IA32_APIC_BASE.
pub(crate) fn base() -> u64 {
    read_msr(Msr(msr::IA32_APIC_BASE))
}

/// Host-physical page of the memory-mapped registers.
pub(crate) fn page() -> Hpa {
    Hpa(base() & BASE_ADDRESS)
}

/// Maps the registers for CPUs in xAPIC mode.
pub(crate) fn map_registers() -> Option<()> {
    REGISTERS.set(map::device(page())?);
    Some(())
}

/// Physical APIC id of this CPU.
pub(crate) fn own_id() -> ApicId {
    let [_, _, kind, id] = leaf::leaf(TOPOLOGY);
    if kind & LEVEL_TYPE != 0 {
        return ApicId(id);
    }
    let [_, initial, ..] = leaf::features();
    ApicId(initial >> 24)
}

/// Reads a register by its MMIO offset.
pub(crate) fn read(register: Register) -> u32 {
    match (mode(), REGISTERS.get()) {
        (Some(Mode::X2apic), _) => read_msr(Msr(register.msr())) as u32,
        (Some(Mode::Xapic), Some(base)) => {
            // SAFETY: the page is mapped, the offset is inside it.
            unsafe {
                (*base + u64::from(register.0 & 0xff0))
                    .ptr::<u32>()
                    .read_volatile()
            }
        }
        _ => 0,
    }
}

/// Writes a register by its MMIO offset.
///
/// # Safety
///
/// Interrupt commands must have been checked against ownership.
pub(crate) unsafe fn write(register: Register, value: u32) {
    match (mode(), REGISTERS.get()) {
        // SAFETY: the caller names a register that exists in x2APIC mode.
        (Some(Mode::X2apic), _) => unsafe {
            msr::wrmsr(register.msr(), u64::from(value));
        },
        (Some(Mode::Xapic), Some(base)) => {
            // SAFETY: the page is mapped, the offset is inside it.
            unsafe {
                (*base + u64::from(register.0 & 0xff0))
                    .ptr::<u32>()
                    .write_volatile(value)
            };
        }
        _ => {}
    }
}

/// Sends an interrupt command to the CPU with this physical id.
///
/// # Safety
///
/// The target must be one that the sender may interrupt this way.
pub(crate) unsafe fn send(target: ApicId, command: u32) {
    if mode() == Some(Mode::X2apic) {
        // SAFETY: the caller has checked the target.
        unsafe { send_x2apic(target, command) };
        return;
    }
    // A command that is still on its way is waited for; the APIC takes
    // microseconds.
    wait_for(Micros(1_000), || read(ICR_LOW) & PENDING == 0);
    // SAFETY: as above; the guest's own writes to these two registers are
    // intercepted, so nobody is between them.
    unsafe {
        write(ICR_HIGH, target.0 << 24);
        write(ICR_LOW, command);
    }
}

/// The same where this CPU's APIC is known to be in x2APIC mode.
///
/// # Safety
///
/// As of [`send`]; and it is in that mode.
#[inline(always)] // A few instructions.
pub(crate) unsafe fn send_x2apic(target: ApicId, command: u32) {
    let command = u64::from(target.0) << 32 | u64::from(command);
    // SAFETY: the caller has checked the target, and the register is there.
    unsafe { msr::wrmsr(ICR_LOW.msr(), command) };
}

/// Sends an NMI to the CPU with this physical id: the monitor's only way to get
/// another CPU's attention.
pub(crate) fn send_nmi(target: ApicId) {
    // SAFETY: every CPU of the plan runs the monitor, which takes NMIs at any
    // time.
    unsafe { send(target, NMI_COMMAND) };
}

/// Brings this CPU's APIC into the state that INIT leaves, in the mode that the
/// new owner uses: nothing of the last owner's interrupts stays. Cells run in
/// x2APIC mode, so on one side of the change it is always that.
pub(crate) fn hand_over(to: Mode, interruptible: impl FnOnce(fn())) {
    let Some(now) = mode() else { return };
    if now != to && to == Mode::X2apic {
        set_mode(to);
    }
    // SAFETY: the owner has lost this CPU; no command is sent. The APIC stays
    // enabled while interrupts are drained, for it holds them back otherwise.
    unsafe {
        for entry in 0..LVT_ENTRIES {
            write(LVT.plus(entry), MASKED);
        }
        for entry in further_entries() {
            write(entry, MASKED);
        }
        write(TIMER_COUNT, 0);
        write(TPR, 0);
        write(SPURIOUS, ENABLED | 0xff);
    }
    interruptible(drain);
    // SAFETY: as above. The first write shows the errors since the last one, the
    // second one none.
    unsafe {
        write(SPURIOUS, 0xff);
        write(ERROR_STATUS, 0);
        write(ERROR_STATUS, 0);
    }
    if now != to && to == Mode::Xapic {
        set_mode(to);
    }
}

unsafe extern "C" {
    fn drain_window();
}

/// Takes interrupts that are pending on this CPU, and forgets them. They stay in
/// service.
fn take_interrupts() {
    // SAFETY: the monitor's interrupt table has handlers for all vectors that an
    // interrupt can have; they change nothing.
    unsafe { drain_window() };
}

/// Whether this CPU has the entry of the local vector table with this MSR. An
/// access to one that it does not have may show in its error status.
pub(crate) fn has_entry(msr: Msr) -> bool {
    msr.0 != LVT_CMCI.msr() || has_cmci(read(VERSION))
}

fn has_cmci(version: u32) -> bool {
    version >> 16 & 0xff >= CMCI
}

/// Entries of the local vector table that only some CPUs have.
fn further_entries() -> impl Iterator<Item = Register> {
    let version = read(VERSION);
    let cmci = has_cmci(version).then_some(LVT_CMCI);
    let extended = if version & VERSION_EXTENDED != 0 {
        (read(EXTENDED) >> 16 & 0xff).min(MOST_EXTENDED)
    } else {
        0
    };
    let extended = (0..extended).map(|entry| EXTENDED_LVT.plus(entry));
    cmci.into_iter().chain(extended)
}

/// Acknowledges what is in service and takes what is requested: at most 240
/// vectors, each of which can be both.
fn drain() {
    const MOST: usize = 2 * 240;
    for _ in 0..MOST {
        while_in_service();
        if !any(REQUESTED) {
            break;
        }
        take_interrupts();
    }
    while_in_service();
}

fn while_in_service() {
    const MOST: usize = 240;
    for _ in 0..MOST {
        if !any(IN_SERVICE) {
            break;
        }
        // SAFETY: an interrupt of the last owner, who will not acknowledge it.
        unsafe { write(EOI, 0) };
    }
}

fn any(registers: Register) -> bool {
    (0..8).any(|word| read(registers.plus(word)) != 0)
}

/// Changes the mode. From x2APIC to xAPIC leads through "off" only (SDM 3A,
/// "x2APIC State Transitions").
fn set_mode(to: Mode) {
    let base = base() & !BASE_X2APIC;
    // SAFETY: the transitions are the manual's; the APIC is quiet, and nobody
    // runs on this CPU.
    unsafe {
        match to {
            Mode::X2apic => {
                msr::wrmsr(msr::IA32_APIC_BASE, base | BASE_ENABLED | BASE_X2APIC);
            }
            Mode::Xapic => {
                msr::wrmsr(msr::IA32_APIC_BASE, base & !BASE_ENABLED);
                msr::wrmsr(msr::IA32_APIC_BASE, base | BASE_ENABLED);
            }
        }
    }
}
