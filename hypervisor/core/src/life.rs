//! Starting, stopping, scrubbing and destroying cells: what may happen when.

use cellvisor_abi::call::State;
use cellvisor_abi::status::CallStatus;

/// What destroying a cell begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroy {
    /// It runs: nothing is done.
    Refused,
    /// What it has in its memory is the root's.
    AtOnce,
    /// Its memory is zeroed first.
    Scrub,
}

/// How a cell in this state is destroyed.
pub const fn destroy(state: State) -> Destroy {
    match state {
        State::Running => Destroy::Refused,
        State::Loadable => Destroy::AtOnce,
        State::Stopped(_) | State::Failed => Destroy::Scrub,
    }
}

/// True if a cell in this state may be started.
pub const fn may_start(state: State) -> bool {
    matches!(state, State::Loadable)
}

/// True if a cell in this state may be loaded anew.
pub const fn may_reload(state: State) -> bool {
    matches!(state, State::Stopped(_) | State::Failed)
}

/// Whether the root may see what a cell in this state left in its memory; its plan
/// says if that is `allowed` at all.
///
/// # Errors
///
/// The answer to the call that asks for it.
pub const fn may_show(state: State, allowed: bool) -> Result<(), CallStatus> {
    match state {
        State::Running | State::Loadable => Err(CallStatus::WrongState),
        _ if !allowed => Err(CallStatus::Denied),
        State::Stopped(_) | State::Failed => Ok(()),
    }
}

/// One step of zeroing a cell's memory, in bytes from the start of all it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// First byte to zero.
    pub start: u64,
    /// First byte not to zero.
    pub end: u64,
    /// All of it is zeroed then.
    pub last: bool,
}

/// The step that follows `done` of `total` bytes, at most `most` long.
pub const fn scrub(done: u64, total: u64, most: u64) -> Scrub {
    let start = if done < total { done } else { total };
    let left = total - start;
    let end = start + if left < most { left } else { most };
    Scrub {
        start,
        end,
        last: end == total,
    }
}

/// Refusals of one kind that are worth a log line each, before counting is all.
const LOGGED: u64 = 8;

/// True if a refusal is to be logged, of which there were `before` of its kind: a
/// guest must not be able to fill the log.
pub const fn is_logged(before: u64) -> bool {
    before < LOGGED
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::call::StopReason;
    use proptest::prelude::*;

    const STATES: [State; 6] = [
        State::Loadable,
        State::Running,
        State::Stopped(StopReason::Root),
        State::Stopped(StopReason::PowerOff),
        State::Stopped(StopReason::Reset),
        State::Failed,
    ];

    #[test]
    fn only_loadable_cells_start() {
        for state in STATES {
            assert_eq!(may_start(state), state == State::Loadable);
        }
    }

    #[test]
    fn only_cells_that_ran_are_reloaded() {
        for state in STATES {
            let ran = !matches!(state, State::Loadable | State::Running);
            assert_eq!(may_reload(state), ran);
        }
    }

    #[test]
    fn a_running_cell_is_not_destroyed() {
        assert_eq!(destroy(State::Running), Destroy::Refused);
    }

    #[test]
    fn a_cell_that_ran_is_scrubbed_before_it_is_destroyed() {
        for state in STATES {
            assert_eq!(destroy(state) == Destroy::Scrub, may_reload(state));
        }
        assert_eq!(destroy(State::Loadable), Destroy::AtOnce);
    }

    #[test]
    fn the_rules_agree_with_the_states() {
        use crate::cell_state::{Event, next};
        for state in STATES {
            assert_eq!(may_start(state), next(state, Event::Start).is_ok());
            assert_eq!(may_reload(state), next(state, Event::Reload).is_ok());
        }
    }

    #[test]
    fn memory_is_shown_of_who_has_ended_and_allows_it() {
        for state in STATES {
            let ended = matches!(state, State::Stopped(_) | State::Failed);
            assert_eq!(may_show(state, true).is_ok(), ended);
            let refusal = match ended {
                true => CallStatus::Denied,
                false => CallStatus::WrongState,
            };
            assert_eq!(may_show(state, false), Err(refusal));
        }
    }

    #[test]
    fn a_cell_without_memory_is_scrubbed_at_once() {
        let want = Scrub {
            start: 0,
            end: 0,
            last: true,
        };
        assert_eq!(scrub(0, 0, 4096), want);
    }

    #[test]
    fn the_last_step_is_as_long_as_what_is_left() {
        let want = Scrub {
            start: 8192,
            end: 10_240,
            last: true,
        };
        assert_eq!(scrub(8192, 10_240, 4096), want);
        assert!(!scrub(4096, 10_240, 4096).last);
    }

    #[test]
    fn the_first_few_refusals_are_logged() {
        assert!(is_logged(0) && is_logged(7));
        assert!(!is_logged(8) && !is_logged(u64::MAX));
    }

    proptest! {
        #[test]
        fn steps_cover_all_once_and_end(total in 0..1u64 << 20, most in 1..1u64 << 18) {
            let mut done = 0;
            loop {
                let step = scrub(done, total, most);
                prop_assert_eq!(step.start, done);
                prop_assert!(step.end - step.start <= most);
                if step.last {
                    prop_assert_eq!(step.end, total);
                    break;
                }
                prop_assert!(step.end > done);
                done = step.end;
            }
        }

        #[test]
        fn what_is_done_beyond_the_end_is_the_end(done in any::<u64>(), total in any::<u64>()) {
            let step = scrub(done, total, 2 << 20);
            prop_assert!(step.start <= step.end && step.end <= total);
        }
    }
}
