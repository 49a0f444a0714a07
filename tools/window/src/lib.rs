//! Memory that cells share (`[[link]]` of kind `window`), for programs.
//!
//! [`Link`] finds a link by its name, [`Window`] is its memory, mapped; [`ring`] has
//! rings of frames in it, [`message`] requests and streams over them. All of it is there
//! to be written by others at any time, which may be broken or hostile: it is seen as
//! atomic words, and nothing that a peer writes leads beyond them, to a panic, or to a
//! wait that does not end.
//!
//! Who waits looks first ([`wait`]), and sleeps until it is rung if the link has a
//! [`doorbell`].
//!
//! On the root, [`port`] is its way into a network that the monitor carries.
//!
//! Without the feature `std` there are [`ring`]s, [`port`]s and [`wait`]ing alone, for
//! memory that others map.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod doorbell;
#[cfg(feature = "std")]
mod link;
#[cfg(feature = "std")]
pub mod message;
pub mod port;
pub mod ring;
pub mod wait;
#[cfg(feature = "std")]
mod window;

#[cfg(feature = "std")]
pub use link::{Adapter, Find, Link, Member};
#[cfg(feature = "std")]
pub use window::Window;
