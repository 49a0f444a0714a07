//! States of a cell and what leads from one to another.

use cellvisor_abi::call::{State, StopReason};

/// Something that happens to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The root starts it.
    Start,
    /// The root stops it, or it powers off or resets itself.
    Stop(StopReason),
    /// It did what it must not.
    Fail,
    /// It has been scrubbed and the root sees its memory again.
    Reload,
}

/// The event is not possible in this state; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTransition(pub State, pub Event);

/// The state after `event`.
///
/// # Errors
///
/// [`BadTransition`] where the event is not possible.
pub const fn next(state: State, event: Event) -> Result<State, BadTransition> {
    match (state, event) {
        (State::Loadable, Event::Start) => Ok(State::Running),
        (State::Running, Event::Stop(reason)) => Ok(State::Stopped(reason)),
        (State::Running, Event::Fail) => Ok(State::Failed),
        (State::Stopped(_) | State::Failed, Event::Reload) => Ok(State::Loadable),
        _ => Err(BadTransition(state, event)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn only_these_transitions_exist() {
        let states = [
            State::Loadable,
            State::Running,
            State::Stopped(StopReason::Root),
            State::Stopped(StopReason::Reset),
            State::Failed,
        ];
        let events = [
            Event::Start,
            Event::Stop(StopReason::PowerOff),
            Event::Fail,
            Event::Reload,
        ];
        let possible: Vec<_> = states
            .iter()
            .flat_map(|state| events.iter().map(move |event| (*state, *event)))
            .filter_map(|(state, event)| next(state, event).ok().map(|to| (state, event, to)))
            .collect();
        let stopped = State::Stopped(StopReason::PowerOff);
        assert_eq!(
            possible,
            [
                (State::Loadable, Event::Start, State::Running),
                (State::Running, Event::Stop(StopReason::PowerOff), stopped),
                (State::Running, Event::Fail, State::Failed),
                (
                    State::Stopped(StopReason::Root),
                    Event::Reload,
                    State::Loadable
                ),
                (
                    State::Stopped(StopReason::Reset),
                    Event::Reload,
                    State::Loadable
                ),
                (State::Failed, Event::Reload, State::Loadable),
            ]
        );
    }
}
