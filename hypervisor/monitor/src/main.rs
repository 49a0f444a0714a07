//! cellvisor: the monitor.
//!
//! A freestanding image that a driver loads under a running Linux
//! ([`cellvisor_abi::image`]). It takes virtualization on every CPU, lets Linux
//! go on as the root cell, and carves cells out of what the root owns. What to
//! do is decided in `cellvisor_core`; here is how this machine does it, and all
//! unsafe code of the trusted base.
//!
//! The way in: `entry.S` → [`enter`] → [`run`]. An exit's way: a back end under
//! [`vcpu`] decodes it, [`run`] hands it to [`exits`]. Hypercalls: [`call`].
#![no_std]
#![no_main]

mod call;
mod cell;
mod cpu;
mod devices;
mod enter;
mod entry;
mod exits;
mod facts;
mod handover;
mod ioapic;
mod iommu;
mod ipi;
mod kick;
mod linux;
mod log;
mod mem;
mod owners;
mod pci;
mod percpu;
mod root;
mod run;
mod space;
mod sync;
mod vcpu;

/// A check of the monitor's own code failed. No guest can bring this about.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    log::emergency(format_args!("{info}"));
    cpu::exceptions::stop()
}
