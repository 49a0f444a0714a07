//! From a machine and wishes to a plan.
//!
//! The way through this crate: TOML files become checked [`config::Slice`]s,
//! sysfs, procfs and ACPI tables (or a saved file) become a [`host::Host`],
//! and [`plan::plan`] turns both into concrete CPUs, memory and PCI functions,
//! with a reason for each choice. [`check::check`] finds every conflict at
//! once, [`draw`] shows the result. Nothing here changes the machine: that is
//! `cellctl`'s work, and the monitor checks ownership again on its own.
#![forbid(unsafe_code)]

pub mod check;
pub mod config;
pub mod draw;
pub mod host;
pub mod inventory;
pub mod list;
pub mod place;
pub mod plan;
pub mod report;
pub mod size;
mod text;
pub mod words;
