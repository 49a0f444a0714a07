//! What every CPU needs while the monitor runs on it: descriptor tables,
//! exceptions, the local APIC.

pub(crate) mod apic;
pub(crate) mod dest;
pub(crate) mod exceptions;
pub(crate) mod gdt;
pub(crate) mod kick;
pub(crate) mod leaf;
pub(crate) mod msr;
#[cfg_attr(not(feature = "kvm"), path = "absent/outer.rs")]
pub(crate) mod outer;
pub(crate) mod percpu;
pub(crate) mod reset;
pub(crate) mod stack;
