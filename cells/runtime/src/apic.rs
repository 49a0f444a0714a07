//! The local APIC, in x2APIC mode as every cell's is.

use x86::msr::{rdmsr, wrmsr};

/// Registers, as MSRs (SDM 3A, "Local APIC Registers in x2APIC Mode").
const ID: u32 = 0x802;
const EOI: u32 = 0x80b;
const SPURIOUS: u32 = 0x80f;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const INITIAL_COUNT: u32 = 0x838;
const CURRENT_COUNT: u32 = 0x839;
const DIVIDE: u32 = 0x83e;

/// Spurious vector with the APIC's software switch on.
const SOFTWARE_ENABLE: u64 = 1 << 8 | 0xff;
/// Divide configuration: by 1.
const BY_ONE: u64 = 0b1011;
/// LVT: no interrupt.
const MASKED: u64 = 1 << 16;
/// ICR: INIT, and start-up with a page number, with level assert.
const INIT: u64 = 0x4500;
const START_UP: u64 = 0x4600;

fn write(register: u32, value: u64) {
    // SAFETY: the registers are the CPU's own APIC's; interrupts that they cause
    // meet gates that are there.
    unsafe { wrmsr(register, value) }
}

fn read(register: u32) -> u64 {
    // SAFETY: reading these registers changes nothing.
    unsafe { rdmsr(register) }
}

/// Turns this CPU's APIC on.
pub(crate) fn enable() {
    write(SPURIOUS, SOFTWARE_ENABLE);
    write(DIVIDE, BY_ONE);
    write(LVT_TIMER, MASKED);
}

/// The number of this CPU; cells' numbers begin at 0 and have no gaps.
#[must_use]
pub fn id() -> u32 {
    read(ID) as u32
}

/// Tells the APIC that an interrupt was served.
pub(crate) fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends an interrupt to a CPU; one that is not the cell's gets none.
pub fn send(cpu: u32, vector: u8) {
    write(ICR, u64::from(cpu) << 32 | u64::from(vector));
}

pub(crate) fn send_init(cpu: u32) {
    write(ICR, u64::from(cpu) << 32 | INIT);
}

pub(crate) fn send_start_up(cpu: u32, page: u8) {
    write(ICR, u64::from(cpu) << 32 | START_UP | u64::from(page));
}

/// Lets the timer count down from `count` once, and interrupt at 0 if there is a
/// vector.
pub(crate) fn count_down(count: u32, vector: Option<u8>) {
    write(LVT_TIMER, vector.map_or(MASKED, u64::from));
    write(INITIAL_COUNT, u64::from(count));
}

/// Where the timer's count is.
pub(crate) fn count() -> u32 {
    read(CURRENT_COUNT) as u32
}
