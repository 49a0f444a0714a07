//! The supervisor: one process for each cell whose policy wants restarts.
//!
//! It watches the cell's state and starts it again after a reset or a failure,
//! as the policy says, with growing pauses, and gives up when the cell fails
//! too often. It ends when the cell is stopped for good or gone. There is never
//! more than one: it holds a lock for as long as it lives.

use super::{Context, start};
use crate::create;
use crate::error::{Error, Kind, Result};
use crate::hypercalls::Monitor;
use crate::messages;
use crate::state::{CellRecord, Policy};
use cellvisor_abi::call::{State, StopReason};
use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often the state is looked at,
const PERIOD: Duration = Duration::from_millis(200);
/// but on a busy machine no longer than this part of the time is spent on looking,
const SHARE: u32 = 20;
/// as long as it is at least this often.
const LONGEST_PERIOD: Duration = Duration::from_secs(2);
/// First pause before a restart after a failure; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Restarts within [`WINDOW`] before it gives up.
const MOST_RESTARTS: usize = 10;
/// Restarts before this are forgotten.
const WINDOW: Duration = Duration::from_secs(300);

/// Starts a supervisor in the background if the policy wants one and none is
/// there.
pub(super) fn ensure(context: &Context<'_>, record: &CellRecord) -> Result<()> {
    if !record.policy.restarts() {
        return Ok(());
    }
    // Whoever holds the lock is the supervisor; the new process takes it.
    if context.state.supervise(&record.name)?.is_none() {
        return Ok(());
    }
    let what = format!("cannot watch cell \"{}\"", record.name);
    let help = "it runs, but is not started again by itself";
    let this = std::env::current_exe().map_err(|e| Error::new(&what, e.to_string(), help))?;
    Command::new(this)
        .arg("--state-dir")
        .arg(context.state.path())
        .arg("--device")
        .arg(&context.cli.device)
        .args(["supervise", &record.name])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(|e| Error::new(&what, e.to_string(), help))
}

/// True while a supervisor watches the cell.
pub(super) fn watched(context: &Context<'_>, name: &str) -> Result<bool> {
    Ok(context.state.supervise(name)?.is_none())
}

/// What the supervisor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Look again later.
    Wait,
    /// Start the cell again after this pause.
    Restart(Duration),
    /// Nothing is left to do.
    End,
}

/// Restarts so far, and when.
#[derive(Debug, Default)]
struct History {
    restarts: VecDeque<Instant>,
}

impl History {
    /// Decides by state and policy.
    fn next(&mut self, policy: Policy, state: State, now: Instant) -> Next {
        match state {
            State::Running | State::Loadable => Next::Wait,
            State::Stopped(StopReason::Reset) if policy.restart_on_reboot => {
                self.restart(Duration::ZERO, now)
            }
            State::Failed | State::Stopped(StopReason::Panic) if policy.restart_on_failure => {
                self.forget_old(now);
                let doubled = FIRST_PAUSE * (1 << self.restarts.len().min(8));
                self.restart(doubled.min(LONGEST_PAUSE), now)
            }
            State::Stopped(_) | State::Failed => Next::End,
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let old = |at: &Instant| now.duration_since(*at) > WINDOW;
        while self.restarts.front().is_some_and(old) {
            self.restarts.pop_front();
        }
    }

    fn restart(&mut self, pause: Duration, now: Instant) -> Next {
        self.forget_old(now);
        if self.restarts.len() >= MOST_RESTARTS {
            return Next::End;
        }
        self.restarts.push_back(now);
        Next::Restart(pause)
    }
}

/// `supervise`: runs until the cell needs no watching any more.
pub(super) fn run(context: &Context<'_>, name: &str) -> Result<()> {
    // Signals to the terminal's group are not for us. It fails for a process
    // that leads a session already, which is just as good.
    let _ = rustix::process::setsid();
    watch(context, name).inspect_err(|e| note(name, &format!("not watched any more: {e}")))
}

fn watch(context: &Context<'_>, name: &str) -> Result<()> {
    let Some(alone) = context.state.supervise(name)? else {
        return Ok(());
    };
    let mut history = History::default();
    let mut period = PERIOD;
    loop {
        thread::sleep(period);
        let began = Instant::now();
        // Whoever holds this lock may be about to stop, start or destroy the
        // cell; what its state means is known afterwards. The device is open
        // only while the lock is held, so that the driver can be unloaded right
        // after whatever command.
        let Some(lock) = context.state.try_lock_cell(name)? else {
            continue;
        };
        let Some(record) = context.state.find_cell(name)? else {
            return Ok(());
        };
        let driver = context.driver()?;
        let state = create::status(Monitor(&driver), &record)?.state;
        drop(driver);
        period = next_period(began.elapsed());
        match history.next(wishes(&record), state, Instant::now()) {
            Next::Wait => {}
            Next::End => {
                // Before the other lock: whoever starts the cell next must not
                // find a supervisor that is about to end.
                drop(alone);
                return Ok(());
            }
            Next::Restart(pause) => {
                drop(lock);
                note(
                    name,
                    &format!("{}, starting it again", messages::state(state)),
                );
                thread::sleep(pause);
                again(context, name, state)?;
            }
        }
    }
}

/// How long not to look after a look that took this time.
fn next_period(took: Duration) -> Duration {
    (took * SHARE).clamp(PERIOD, LONGEST_PERIOD)
}

/// The policy, which is to leave the cell alone once somebody stops it: a kernel
/// may answer its power button with a reset or a crash.
fn wishes(record: &CellRecord) -> Policy {
    Policy {
        restart_on_failure: record.policy.restart_on_failure && !record.stopping,
        restart_on_reboot: record.policy.restart_on_reboot && !record.stopping,
        ..record.policy
    }
}

/// Starts the cell again if nobody did anything with it meanwhile.
fn again(context: &Context<'_>, name: &str, state: State) -> Result<()> {
    let held = match context.hold(name) {
        Ok(held) => held,
        Err(gone) if gone.code() == Kind::Absent as u8 => return Ok(()),
        Err(why) => return Err(why),
    };
    if held.status.state == state && !held.record.stopping {
        let boots = held.record.boots().clone();
        start::boot_cell(context, &held.driver, &held.record, &boots)?;
    }
    Ok(())
}

/// Leaves a line in the kernel's log, which is where people look for it.
fn note(name: &str, what: &str) {
    let line = format!("cellctl: cell={name} {}\n", what.replace('\n', " "));
    let _ = std::fs::write("/dev/kmsg", line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_are_rare() {
        assert_eq!(next_period(Duration::ZERO), PERIOD);
        assert_eq!(next_period(Duration::from_millis(10)), PERIOD);
        assert_eq!(
            next_period(Duration::from_millis(50)),
            Duration::from_secs(1)
        );
        assert_eq!(next_period(Duration::from_secs(9)), LONGEST_PERIOD);
    }

    const BOTH: Policy = Policy {
        restart_on_failure: true,
        restart_on_reboot: true,
        stop_timeout: 90,
        dump: false,
    };

    #[test]
    fn reset_restarts_at_once_and_power_off_ends() {
        let now = Instant::now();
        let mut history = History::default();
        let reset = State::Stopped(StopReason::Reset);
        assert_eq!(
            history.next(BOTH, reset, now),
            Next::Restart(Duration::ZERO)
        );
        assert_eq!(history.next(BOTH, State::Running, now), Next::Wait);
        for reason in [StopReason::Root, StopReason::PowerOff] {
            assert_eq!(history.next(BOTH, State::Stopped(reason), now), Next::End);
        }
    }

    #[test]
    fn who_is_being_stopped_is_not_started_again() {
        let record = CellRecord {
            policy: BOTH,
            stopping: true,
            ..crate::testing::record("a")
        };
        for state in [State::Stopped(StopReason::Reset), State::Failed] {
            let next = History::default().next(wishes(&record), state, Instant::now());
            assert_eq!(next, Next::End);
        }
    }

    #[test]
    fn policy_decides_about_failures() {
        let now = Instant::now();
        let calm = Policy {
            restart_on_failure: false,
            ..BOTH
        };
        assert_eq!(History::default().next(calm, State::Failed, now), Next::End);
        let panicked = State::Stopped(StopReason::Panic);
        assert_eq!(History::default().next(calm, panicked, now), Next::End);
        for ended in [State::Failed, panicked] {
            let next = History::default().next(BOTH, ended, now);
            assert_eq!(next, Next::Restart(FIRST_PAUSE));
        }
    }

    #[test]
    fn pauses_grow_until_it_gives_up_and_old_failures_are_forgotten() {
        let now = Instant::now();
        let mut history = History::default();
        let mut last = Duration::ZERO;
        for _ in 0..MOST_RESTARTS {
            let Next::Restart(pause) = history.next(BOTH, State::Failed, now) else {
                unreachable!("it gives up too early");
            };
            assert!(pause > last || pause == LONGEST_PAUSE);
            last = pause;
        }
        assert_eq!(history.next(BOTH, State::Failed, now), Next::End);
        let later = now + WINDOW * 2;
        assert!(matches!(
            history.next(BOTH, State::Failed, later),
            Next::Restart(_)
        ));
    }
}
