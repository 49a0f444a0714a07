//! What a bare-metal program in a cell begins with.
//!
//! A program is a function of its first CPU, named by [`entry!`]. It finds itself in
//! 64-bit mode on a stack, with the first 4 GiB mapped to themselves and interrupts
//! off; [`cpus`] starts the others, [`console`] prints, [`timer`] and [`interrupts`]
//! are the local APIC's, [`ram`] is the memory that is left, [`power`] ends the cell. Scenarios read lines that begin
//! with `cell: `, as those of Linux cells.
//!
//! Everything unsafe of a program is in here.

#![no_std]

mod acpi;
pub mod apic;
pub mod console;
pub mod cpus;
pub mod interrupts;
mod memops;
pub mod power;
pub mod ram;
mod start;
pub mod timer;

pub use start::{CpuMain, Machine};

/// CPUs that a program can have.
pub const MAX_CPUS: u32 = 64;

/// Names the function that the first CPU runs: `fn(&Machine)`. When it returns, the
/// cell powers off.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[allow(
            unsafe_code,
            reason = "its name is the runtime's, and its type is checked here"
        )]
        #[unsafe(no_mangle)]
        extern "Rust" fn cell_main(machine: &$crate::Machine) {
            let main: fn(&$crate::Machine) = $main;
            main(machine);
        }
    };
}

/// Prints a line on the cell's console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::console::line(core::format_args!($($arg)*)) };
}
