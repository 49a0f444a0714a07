//! What every CPU needs while the monitor runs on it: descriptor tables,
//! exceptions, the local APIC.

pub(crate) mod apic;
pub(crate) mod exceptions;
pub(crate) mod gdt;
