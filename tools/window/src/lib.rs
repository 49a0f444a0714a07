//! Memory that cells share (`[[link]]` of kind `window`), for programs.
//!
//! [`Window`] finds a link by its name and maps it; [`ring`] has rings of frames in
//! it. All of it is there to be written by others at any time, which may be broken or
//! hostile: it is seen as atomic words, and nothing that a peer writes leads beyond
//! them, to a panic, or to a wait that does not end.

pub mod ring;
mod window;

pub use window::{Find, Window};
