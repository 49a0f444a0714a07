//! Addresses of PCI functions.

pub use cellvisor_abi::Bdf as Address;
