//! Interrupt gates. A program has two vectors, that of the timer and one of its own;
//! each notes for its CPU when it came.

use crate::{MAX_CPUS, apic, power, say};
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use spin::Once;

/// The timer's vector.
pub const TIMER: u8 = 0x40;
/// The vector that programs send.
pub const MESSAGE: u8 = 0x41;

/// Code segment that the loader leaves.
const CODE: u64 = 0x10;
/// Gate: present, 64-bit interrupt gate.
const INTERRUPT_GATE: u64 = 0x8e << 40;

/// For each CPU: the TSC at the last interrupt; 0 for none since it was asked.
static CAME: [AtomicU64; MAX_CPUS as usize] = [const { AtomicU64::new(0) }; MAX_CPUS as usize];

#[repr(C, align(16))]
struct Gates([[u64; 2]; 256]);

static GATES: Once<Gates> = Once::new();

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn gate(handler: unsafe extern "C" fn()) -> [u64; 2] {
    let address = handler as usize as u64;
    let low = address & 0xffff | CODE << 16 | INTERRUPT_GATE | (address >> 16 & 0xffff) << 48;
    [low, address >> 32]
}

/// Gives this CPU its gates and turns its APIC on. Interrupts stay off.
pub(crate) fn load() {
    let gates = GATES.call_once(|| {
        let mut gates = [gate(on_fault); 256];
        gates[usize::from(TIMER)] = gate(on_interrupt);
        gates[usize::from(MESSAGE)] = gate(on_interrupt);
        Gates(gates)
    });
    let pointer = Pointer {
        limit: (size_of::<Gates>() - 1) as u16,
        base: core::ptr::from_ref(gates).addr() as u64,
    };
    // SAFETY: the gates are there for good, and lead to code that saves what it uses.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack)) };
    apic::enable();
}

/// Forgets the last interrupt of this CPU, so that [`wait`] waits for the next.
pub fn expect() {
    CAME[own()].store(0, SeqCst);
}

/// Waits for an interrupt that this CPU expects, at rest, and returns the TSC when it
/// came.
pub fn wait() -> u64 {
    loop {
        let came = CAME[own()].load(SeqCst);
        if came != 0 {
            return came;
        }
        // SAFETY: interrupts are on for the wait alone. One that comes before HLT
        // wakes it: STI lets them in behind the next instruction.
        unsafe {
            asm!("cli", options(nomem, nostack));
            if CAME[own()].load(SeqCst) == 0 {
                asm!("sti", "hlt", "cli", options(nostack));
            }
        }
    }
}

fn own() -> usize {
    apic::id() as usize % MAX_CPUS as usize
}

/// Notes the time, saving all registers that Rust code may change.
#[unsafe(naked)]
unsafe extern "C" fn on_interrupt() {
    naked_asm!(
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi",
        "push r8", "push r9", "push r10", "push r11",
        "rdtsc",
        "shl rdx, 32",
        "lea rdi, [rax + rdx]",
        // The CPU pushed five words on an aligned stack, and these are nine.
        "cld",
        "call {note}",
        "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "iretq",
        note = sym note,
    )
}

extern "C" fn note(tsc: u64) {
    CAME[own()].store(tsc, SeqCst);
    apic::end_of_interrupt();
}

/// Exceptions and interrupts that nobody expects end the cell.
#[unsafe(naked)]
unsafe extern "C" fn on_fault() {
    naked_asm!(
        "mov rdi, [rsp]", "mov rsi, [rsp + 8]", "and rsp, -16", "cld", "call {end}", "ud2",
        end = sym end,
    )
}

/// The words on the stack are the place and the segment, or an error code before them.
extern "C" fn end(first: u64, second: u64) -> ! {
    say!(
        "cell: exception with {first:#x} {second:#x} on the stack of CPU {}",
        apic::id()
    );
    power::off()
}
