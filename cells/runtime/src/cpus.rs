//! The cell's other CPUs.

use crate::{CpuMain, MAX_CPUS, Machine, apic, interrupts, timer};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Where the other CPUs begin, in 16-bit mode: a page below the boot parameters.
const PAGE: u64 = 0x1000;
/// Bytes of each CPU's stack.
const STACK: usize = 0x4000;
/// Cycles of the TSC until a CPU is given up.
const PATIENCE: u64 = 20_000_000_000;

global_asm!(
    ".pushsection .text",
    ".code16",
    "cell_page:",
    "    cli",
    "    movw %cs, %ax",
    "    movw %ax, %ds",
    "    lgdtl cell_page_gdt - cell_page",
    // CR4.PAE, CR3, EFER.LME, then CR0.PG, ET and PE at once.
    "    movl $0x20, %eax",
    "    movl %eax, %cr4",
    "    movl cell_page_cr3 - cell_page, %eax",
    "    movl %eax, %cr3",
    "    movl $0xc0000080, %ecx",
    "    rdmsr",
    "    orl $0x100, %eax",
    "    wrmsr",
    "    movl $0x80000011, %eax",
    "    movl %eax, %cr0",
    "    ljmpl $0x10, $({page} + cell_page_64 - cell_page)",
    ".code64",
    "cell_page_64:",
    "    movl $0x18, %eax",
    "    movl %eax, %ds",
    "    movl %eax, %es",
    "    movl %eax, %ss",
    "    xorl %ebp, %ebp",
    "    movq cell_page_stack(%rip), %rsp",
    "    movq cell_page_entry(%rip), %rax",
    "    callq *%rax",
    "    ud2",
    ".balign 8",
    "cell_page_gdt: .quad 0, 0",
    "cell_page_cr3: .quad 0",
    "cell_page_stack: .quad 0",
    "cell_page_entry: .quad 0",
    "cell_page_end:",
    ".popsection",
    page = const PAGE,
    options(att_syntax)
);

unsafe extern "C" {
    static cell_page: u8;
    static cell_page_gdt: u8;
    static cell_page_cr3: u8;
    static cell_page_stack: u8;
    static cell_page_entry: u8;
    static cell_page_end: u8;
}

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; STACK]; MAX_CPUS as usize]>);

// SAFETY: each CPU is given one stack, by its number.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK]; MAX_CPUS as usize]));
static MAIN: spin::Mutex<Option<CpuMain>> = spin::Mutex::new(None);
static UP: AtomicU32 = AtomicU32::new(1);
static DONE: AtomicU32 = AtomicU32::new(0);

/// Starts all other CPUs, one by one; each runs `main` and rests when it returns.
/// Returns how many CPUs are up, with the first.
pub fn start(machine: &Machine, main: CpuMain) -> u32 {
    *MAIN.lock() = Some(main);
    for cpu in 1..machine.cpus.min(MAX_CPUS) {
        prepare(cpu);
        let before = UP.load(SeqCst);
        apic::send_init(cpu);
        apic::send_start_up(cpu, (PAGE >> 12) as u8);
        if !within(|| UP.load(SeqCst) > before) {
            break;
        }
    }
    UP.load(SeqCst)
}

/// Waits until `main` has returned on all CPUs that were started; false if that
/// takes too long.
pub fn join() -> bool {
    within(|| DONE.load(SeqCst) + 1 >= UP.load(SeqCst))
}

/// Waits a while until `done`.
fn within(done: impl Fn() -> bool) -> bool {
    let end = timer::tsc().saturating_add(PATIENCE);
    while !done() {
        if timer::tsc() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Writes the page that a CPU begins on.
fn prepare(cpu: u32) {
    let base = (&raw const cell_page).addr();
    let at = |label: *const u8| (PAGE as usize + label.addr() - base) as *mut u64;
    let len = (&raw const cell_page_end).addr() - base;
    let top = STACKS.0.get().addr() + (cpu as usize + 1) * STACK;
    // SAFETY: the page is RAM below the boot parameters that nothing else uses, and
    // no CPU runs on it: the one before has said that it is up.
    unsafe {
        core::ptr::copy_nonoverlapping(&raw const cell_page, PAGE as *mut u8, len);
        let cr3: u64;
        asm!("sgdt [{}]", in(reg) at(&raw const cell_page_gdt), options(nostack));
        asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack));
        at(&raw const cell_page_cr3).write(cr3);
        at(&raw const cell_page_stack).write(top as u64);
        at(&raw const cell_page_entry).write(other as *const () as usize as u64);
    }
}

/// The first Rust code of another CPU.
extern "C" fn other() -> ! {
    interrupts::load();
    UP.fetch_add(1, SeqCst);
    let main = *MAIN.lock();
    if let Some(main) = main {
        main(apic::id());
    }
    DONE.fetch_add(1, SeqCst);
    loop {
        // SAFETY: interrupts are off, so the CPU rests until the cell ends.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
