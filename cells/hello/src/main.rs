//! The smallest program of a cell: says who it is, on all its CPUs, and powers off.

#![no_std]
#![no_main]

use cellvisor_cell::{Machine, cpus, entry, say};

entry!(main);

fn main(machine: &Machine) {
    say!(
        "cell: hello with the command line '{}'",
        machine.command_line
    );
    let up = cpus::start(machine, |cpu| say!("cell: CPU {cpu} says hello"));
    let whole = cpus::join();
    say!("cell: nproc={up}");
    say!(
        "cell: done status={}",
        u8::from(!whole || up != machine.cpus)
    );
}
