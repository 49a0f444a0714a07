//! What a shell is offered for names on the command line.

use crate::state::{DEFAULT_DIR, StateDir};
use clap_complete::engine::CompletionCandidate;
use std::env;
use std::ffi::OsString;

/// The cells that there are, also those whose records cannot be read. Whoever may
/// not look into the state folder is told of none.
pub(crate) fn cells() -> Vec<CompletionCandidate> {
    let cells = StateDir::new(state_dir()).cells().unwrap_or_default();
    let good = cells.good.into_iter().map(|record| record.name);
    let bad = cells.bad.into_iter().map(|(name, _)| name);
    good.chain(bad).map(CompletionCandidate::new).collect()
}

/// The cells, and the owner of all other CPUs.
pub(crate) fn owners() -> Vec<CompletionCandidate> {
    let root = CompletionCandidate::new("root");
    cells().into_iter().chain([root]).collect()
}

/// The state folder that the line to be completed names.
fn state_dir() -> OsString {
    let mut words = env::args_os().skip_while(|word| word != "--state-dir");
    words.nth(1).unwrap_or_else(|| DEFAULT_DIR.into())
}
