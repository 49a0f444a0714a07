//! DMA and interrupt remapping: what entries, commands and registers look like,
//! and in which order they change.

pub mod vtd;
