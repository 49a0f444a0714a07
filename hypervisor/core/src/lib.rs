//! What cellvisor's monitor decides.
//!
//! Everything here is pure: values in, values out, no hardware, no heap. The
//! monitor carries it out; the host's unit and property tests run it.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod agreement;
pub mod cell_state;
pub mod classes;
pub mod cpuid;
pub mod events;
pub mod exit;
pub mod fault;
pub mod few;
pub mod free_map;
pub mod guest_walk;
pub mod icr;
pub mod ids;
pub mod insn;
pub mod ioapic;
pub mod iommu;
pub mod kvmclock;
pub mod life;
pub mod link;
pub mod locks;
pub mod mce;
pub mod msr;
pub mod mtrr;
pub mod net;
pub mod outer;
pub mod ownership;
pub mod paging;
pub mod pci;
pub mod recent;
pub mod requests;
pub mod ring;
pub mod socket;
pub mod svm;
pub mod target;
pub mod text;
pub mod touch;
pub mod uart;
pub mod vcpu;
pub mod vmx;
