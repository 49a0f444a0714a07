//! Where things are on this machine.

use std::path::PathBuf;

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) cellctl: PathBuf,
    pub(crate) slices: PathBuf,
    /// Behind it are changes: see [`crate::power`].
    pub(crate) power: PathBuf,
    /// What is kept from start to start.
    pub(crate) state: PathBuf,
    /// Of what is inserted, the files that root boots cells with.
    pub(crate) boot: PathBuf,
}
