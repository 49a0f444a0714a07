//! The switch that every mutant asks: generated, no part of the project's code.

extern crate std;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];
static LOG: OnceLock<Option<Mutex<std::fs::File>>> = OnceLock::new();
/// The mutant that is on; `u32::MAX` until the environment was asked.
static ACTIVE: AtomicU32 = AtomicU32::new(u32::MAX);

/// True if the mutant with this number is on: never while the compiler computes.
pub const fn on(number: u32) -> bool {
    core::intrinsics::const_eval_select((number,), compiling, running)
}

const fn compiling(_: u32) -> bool {
    false
}

fn running(number: u32) -> bool {
    let active = match ACTIVE.load(Relaxed) {
        u32::MAX => {
            let active = std::env::var("MUTANT").ok();
            let active = active.and_then(|text| text.parse().ok()).unwrap_or(0);
            ACTIVE.store(active, Relaxed);
            active
        }
        active => active,
    };
    if active == 0 && !SEEN[number as usize].swap(true, Relaxed) {
        note(number);
    }
    active == number
}

#[cold]
fn note(number: u32) {
    let log = LOG.get_or_init(|| {
        let path = std::env::var_os("MUTANTS_SEEN")?;
        Some(Mutex::new(std::fs::File::create(path).ok()?))
    });
    if let Some(log) = log {
        let _ = writeln!(log.lock().unwrap(), "{number}");
    }
}
