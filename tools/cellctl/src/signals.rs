//! Signals that ask to end, while the machine is changed.
//!
//! Whoever is in the middle of a change must go back first. So from
//! [`catch`] on, Ctrl-C and its like only leave a note, and the journal looks at
//! it before each step. Ctrl-Z stops as ever: nothing is lost by a pause.

use crate::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Signals that ask to end, and what people call them.
const ENDING: [(i32, &str); 3] = [
    (SIGINT, "Ctrl-C (SIGINT)"),
    (SIGTERM, "SIGTERM"),
    (SIGHUP, "SIGHUP (the terminal was closed)"),
];

/// The last of them that came; 0 for none.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From now on signals that ask to end are noted, and do not end this process.
pub(crate) fn catch() -> Result<()> {
    let came = CAME.get_or_init(Arc::default);
    for (number, _) in ENDING {
        let value = usize::try_from(number).unwrap_or_default();
        flag::register_usize(number, Arc::clone(came), value)
            .map_err(|e| Error::internal("cannot catch signals", e))?;
    }
    Ok(())
}

/// The signal that came, as people call it.
pub(crate) fn came() -> Option<&'static str> {
    let number = CAME.get()?.load(Ordering::Relaxed);
    let is = |(signal, _): &&(i32, &str)| usize::try_from(*signal) == Ok(number);
    ENDING.iter().find(is).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_that_asks_to_end_is_noted_and_does_not_end() {
        catch().expect("catches");
        assert_eq!(came(), None);
        signal_hook::low_level::raise(SIGTERM).expect("raises");
        assert_eq!(came(), Some("SIGTERM"));
    }
}
