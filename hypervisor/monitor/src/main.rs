//! cellvisor: the monitor.
//!
//! A freestanding image that a driver loads under a running Linux
//! ([`cellvisor_abi::image`]). It takes virtualization on every CPU, lets Linux
//! go on as the root cell, and carves cells out of what the root owns. What to
//! do is decided in `cellvisor_core`; here is how this machine does it, and all
//! unsafe code of the trusted base.
//!
//! The way in: `entry.S` → [`entry::enter`] → [`entry::run`]. An exit's way: a
//! back end under [`vcpu`] decodes it, [`entry::run`] hands it to [`exits`].
//! Hypercalls: [`call`].
#![no_std]
#![no_main]
// What parts have to themselves elsewhere; the image with all of them is held to have
// nothing dead.
#![cfg_attr(
    not(all(feature = "adapters", feature = "sockets")),
    allow(dead_code, reason = "parts that would use it are left out")
)]

mod boot;
mod call;
mod cell;
mod cpu;
mod dev;
mod entry;
mod exits;
mod lock;
mod log;
mod machine;
mod mem;
mod provoke;
mod refusal;
mod switch;
mod sync;
mod vcpu;

use cellvisor_core::text::{Dec, Word};

/// A check of the monitor's own code failed. No guest can bring this about.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // The place tells which check it was; its message would bring the formatting of
    // `core` into the image.
    if let Some(place) = info.location() {
        log::emergency(format_args!(
            "panicked at {}:{}",
            Word(place.file()),
            Dec(u64::from(place.line()))
        ));
    }
    lock::give_up_work()
}
