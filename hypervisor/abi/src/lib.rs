//! The one contract between cellvisor's tools, its driver and its monitor.
//!
//! Three borders meet here:
//!
//! * [`image`]: how the monitor's image looks and what the driver tells it
//!   when it starts. `repr(C)`, also written out as a C header for the driver.
//! * [`ioctl`]: what the tools ask of the driver. `repr(C)`, same header.
//! * [`call`], [`plan`]: hypercalls and what they carry, in [`wire`]'s
//!   form; the driver passes these bytes on and never looks inside.
//!
//! Everything is checked again by the monitor: neither the driver nor the
//! tools are trusted with ownership.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

mod bdf;
pub mod call;
pub mod image;
pub mod ioctl;
pub mod parts;
pub mod plan;
pub mod status;
pub mod wire;

pub use bdf::{BadBdf, Bdf};

/// Version of everything in this crate. Tools, driver and monitor must agree
/// on it to the letter; a change of any type here raises it.
pub const ABI_VERSION: u32 = 15;

/// Size of the smallest page, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// The unit in which the monitor's own memory is pinned and mapped, in bytes.
pub const CHUNK_SIZE: u64 = 2 << 20;
