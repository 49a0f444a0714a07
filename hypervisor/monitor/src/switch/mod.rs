//! Between Linux and the monitor: all CPUs together, with Linux's state.

pub(crate) mod frame;
pub(crate) mod together;
