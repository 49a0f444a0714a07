//! Network adapters between cells: virtio-net, as stock kernels drive it. And consoles that
//! take lines at once, virtio-console, which are adapters without a network.
//!
//! A cell sends by a queue of descriptors in its RAM, and the frame is copied straight
//! into buffers that other cells have put up in theirs. What guests write there is read
//! once, believed in nothing, and ends at limits: [`Queue`] walks it, [`frame`] passes
//! frames on, [`typing`] has what is written and typed, [`Adapter`] is what the guest sees
//! of the device.
//!
//! Spec: Virtual I/O Device (VIRTIO) Version 1.2, "Split Virtqueues", "Virtio Over PCI
//! Bus", "Network Device", "Console Device".

mod adapter;
pub mod frame;
mod queue;
pub mod typing;

pub use adapter::{Adapter, Effect, Line, Place, Queues};
pub use frame::Mac;
pub use queue::{Broken, Queue, Ram, Side, Value};

/// Feature bits. The driver may leave checksums to whoever receives the frame.
const CSUM: u64 = 1 << 0;
/// The driver takes frames whose checksum is to be computed yet.
const GUEST_CSUM: u64 = 1 << 1;
/// The device has an address of its own.
const MAC: u64 = 1 << 5;
/// The driver takes segments of TCP over IPv4 that are larger than a frame …
const GUEST_TSO4: u64 = 1 << 7;
/// … over IPv6 …
const GUEST_TSO6: u64 = 1 << 8;
/// … with congestion notification.
const GUEST_ECN: u64 = 1 << 9;
/// The driver may send such segments.
const HOST_TSO4: u64 = 1 << 11;
/// See [`HOST_TSO4`].
const HOST_TSO6: u64 = 1 << 12;
/// See [`HOST_TSO4`].
const HOST_ECN: u64 = 1 << 13;
/// A frame may take several buffers.
const MERGE: u64 = 1 << 15;
/// The device says whether the link is up, and tells of changes.
const STATUS: u64 = 1 << 16;
/// Both sides say when they want to be told next.
const EVENT_IDX: u64 = 1 << 29;
/// The device is what version 1 of the specification says.
const VERSION_1: u64 = 1 << 32;

/// What the device offers. Descriptors that lead to tables of descriptors are not
/// among it: each would be one more thing to walk.
const OFFERED: u64 = CSUM
    | GUEST_CSUM
    | MAC
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | MERGE
    | STATUS
    | EVENT_IDX
    | VERSION_1;

#[cfg(test)]
mod tests;
