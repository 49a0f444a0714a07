//! Checks beside each other: emulators leave a CPU idle now and then, so that two
//! at once take less time than one after the other.

use super::{Check, Verdict};
use crate::report;
use anyhow::Result;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much of the machine a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Compilers and tests of the host: one such check at a time, in the order of
    /// the list. They share Cargo's folder.
    Host,
    /// An emulator; the seconds are a guess, so that what takes longest begins
    /// first and is not waited for at the end.
    Boot { seconds: u32 },
    /// An emulator that leaves others nothing: it runs alone.
    Alone,
}

/// A check that was run.
#[derive(Debug)]
pub(super) struct Run {
    /// What came of it.
    pub(super) result: Result<Verdict>,
    /// When it began, from the begin of all.
    begin: Duration,
    /// How long it took.
    pub(super) time: Duration,
}

/// What waits and what is under way.
struct Queue {
    waiting: Vec<(usize, Load)>,
    hosts: u32,
    running: u32,
    alone: bool,
}

impl Queue {
    fn new(loads: impl Iterator<Item = Load>) -> Self {
        Self {
            waiting: loads.enumerate().collect(),
            hosts: 0,
            running: 0,
            alone: false,
        }
    }

    /// Takes what can run beside that which does: the next check of the host, or
    /// the longest boot. What must be alone comes last.
    fn take(&mut self) -> Option<(usize, Load)> {
        if self.alone {
            return None;
        }
        let fits = |(_, load): &&(usize, Load)| match load {
            Load::Host => self.hosts == 0,
            Load::Boot { .. } => true,
            Load::Alone => self.running == 0,
        };
        let rank = |(index, load): &&(usize, Load)| match load {
            Load::Host => (2, 0, usize::MAX - index),
            Load::Boot { seconds } => (1, *seconds, usize::MAX - index),
            Load::Alone => (0, 0, usize::MAX - index),
        };
        let chosen = *self.waiting.iter().filter(fits).max_by_key(rank)?;
        self.waiting.retain(|(index, _)| *index != chosen.0);
        self.running += 1;
        self.hosts += u32::from(chosen.1 == Load::Host);
        self.alone = chosen.1 == Load::Alone;
        Some(chosen)
    }

    fn give_back(&mut self, load: Load) {
        self.running -= 1;
        self.hosts -= u32::from(load == Load::Host);
        self.alone = false;
    }
}

/// Runs all checks by `perform`, `jobs` at a time; what came of each, in the
/// order of the list.
pub(super) fn run(
    checks: &[Check],
    jobs: u32,
    perform: impl Fn(&Check) -> Result<Verdict> + Sync,
) -> Vec<Run> {
    let start = Instant::now();
    let queue = Mutex::new(Queue::new(checks.iter().map(|check| check.load)));
    let changed = Condvar::new();
    let runs: Mutex<Vec<Option<Run>>> = Mutex::new(checks.iter().map(|_| None).collect());
    let work = || {
        while let Some((index, load)) = next(&queue, &changed) {
            let Some(check) = checks.get(index) else {
                return;
            };
            let begin = start.elapsed();
            let result = perform(check);
            let time = start.elapsed() - begin;
            if let Some(run) = lock(&runs).get_mut(index) {
                *run = Some(Run {
                    result,
                    begin,
                    time,
                });
            }
            lock(&queue).give_back(load);
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    let runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.into_iter().flatten().collect()
}

/// Waits for a check that can run now; `None` when none waits any more.
fn next(queue: &Mutex<Queue>, changed: &Condvar) -> Option<(usize, Load)> {
    let mut queue = lock(queue);
    loop {
        if let Some(taken) = queue.take() {
            return Some(taken);
        }
        if queue.waiting.is_empty() {
            return None;
        }
        queue = changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table of when each check ran, in that order, and of the whole.
pub(super) fn timings(checks: &[Check], runs: &[Run]) -> String {
    let mut order: Vec<(&Check, &Run)> = checks.iter().zip(runs).collect();
    order.sort_by_key(|(_, run)| run.begin);
    let cell = |time: Duration| format!("{:7.1}", time.as_secs_f64());
    let mut rows = vec![["begin", "seconds", "check"].map(str::to_owned).to_vec()];
    let row =
        |(check, run): &(&Check, &Run)| vec![cell(run.begin), cell(run.time), check.name.clone()];
    rows.extend(order.iter().map(row));
    let end = runs.iter().map(|run| run.begin + run.time).max();
    let sum: Duration = runs.iter().map(|run| run.time).sum();
    format!(
        "{}\nall: {:.0} s, the checks' own times added up: {:.0} s",
        report::table(&rows),
        end.unwrap_or_default().as_secs_f64(),
        sum.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(seconds: u32) -> Load {
        Load::Boot { seconds }
    }

    fn take(queue: &mut Queue) -> Option<usize> {
        queue.take().map(|(index, _)| index)
    }

    #[test]
    fn hosts_run_one_at_a_time_beside_the_longest_boot() {
        let loads = [Load::Host, Load::Host, boot(10), boot(500)];
        let mut queue = Queue::new(loads.into_iter());
        assert_eq!(take(&mut queue), Some(0));
        assert_eq!(take(&mut queue), Some(3));
        queue.give_back(Load::Host);
        assert_eq!(take(&mut queue), Some(1));
        queue.give_back(boot(500));
        assert_eq!(take(&mut queue), Some(2));
        assert_eq!(take(&mut queue), None);
    }

    #[test]
    fn what_must_be_alone_is() {
        let mut queue = Queue::new([Load::Alone, boot(10), Load::Alone].into_iter());
        assert_eq!(take(&mut queue), Some(1));
        assert_eq!(take(&mut queue), None);
        queue.give_back(boot(10));
        assert_eq!(take(&mut queue), Some(0));
        assert_eq!(take(&mut queue), None);
        queue.give_back(Load::Alone);
        assert_eq!(take(&mut queue), Some(2));
    }

    #[test]
    fn every_check_runs_once_and_results_keep_their_order() {
        let check = |number: u32| Check {
            name: number.to_string(),
            load: boot(number),
            patched: false,
            apart: false,
            large: false,
            action: Box::new(|_, _| Ok(Verdict::Skipped(String::new()))),
        };
        let checks: Vec<Check> = (0..40).map(check).collect();
        let runs = run(&checks, 3, |check| Ok(Verdict::Passed(check.name.clone())));
        let notes = runs.into_iter().map(|run| run.result.expect("passes"));
        let wanted = (0..40).map(|number| Verdict::Passed(number.to_string()));
        assert!(notes.eq(wanted));
    }
}
