//! What is fed, and what must hold.

pub(crate) mod files;
pub(crate) mod insn;
pub(crate) mod machine;
pub(crate) mod net;
pub(crate) mod pci;
pub(crate) mod socket;
pub(crate) mod vtd;
pub(crate) mod wire;
