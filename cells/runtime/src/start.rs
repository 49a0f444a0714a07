//! From the loader's entry to the program's function.

use crate::{acpi, interrupts, power, say};
use core::arch::global_asm;
use core::panic::PanicInfo;

/// A function that a CPU runs; its argument is the CPU's number, from 0 on.
pub type CpuMain = fn(u32);

/// Bytes of the first CPU's stack.
const STACK: usize = 0x1_0000;

global_asm!(
    ".pushsection .start, \"ax\"",
    ".global _start",
    "_start:",
    "    lea rsp, [rip + {stack} + {size}]",
    "    xor ebp, ebp",
    // Linux boot parameters, which the loader passes to all it starts.
    "    mov rdi, rsi",
    "    call {first}",
    "    ud2",
    ".popsection",
    stack = sym FIRST_STACK,
    size = const STACK,
    first = sym first,
);

#[repr(C, align(16))]
struct Stack(core::cell::UnsafeCell<[u8; STACK]>);

// SAFETY: only the assembler above names it, for one CPU.
unsafe impl Sync for Stack {}

static FIRST_STACK: Stack = Stack(core::cell::UnsafeCell::new([0; STACK]));

/// The cell as its loader and its tables describe it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// CPUs that the tables list; at most [`crate::MAX_CPUS`] are started.
    pub cpus: u32,
    /// The command line of the slice file.
    pub command_line: &'static str,
    /// The loader's boot parameters.
    pub(crate) params: *const u8,
}

unsafe extern "Rust" {
    /// The program's function, named by [`crate::entry!`].
    safe fn cell_main(machine: &Machine);
}

/// The first Rust code of the first CPU.
extern "C" fn first(params: *const u8) -> ! {
    interrupts::load();
    // SAFETY: the loader leaves boot parameters of one page at this address, which
    // is mapped and which nothing writes to (Linux, "The Linux/x86 Boot Protocol").
    let machine = unsafe {
        Machine {
            cpus: acpi::count_cpus(params.add(0x70).cast::<u64>().read_unaligned()),
            params,
            command_line: text(params.add(0x228).cast::<u32>().read_unaligned()),
        }
    };
    cell_main(&machine);
    power::off()
}

/// The text with a zero behind it at an address; what is no UTF-8 is left out.
///
/// # Safety
///
/// There is such a text, which nothing writes to.
unsafe fn text(address: u32) -> &'static str {
    // SAFETY: told by the caller.
    let text = unsafe { core::ffi::CStr::from_ptr(address as usize as *const core::ffi::c_char) };
    text.to_str().unwrap_or_default()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("cell: {info}");
    power::off()
}
