//! Two and three CPUs in all interleavings, over two rounds, with patience ending
//! at any moment. The search is over states, so that it ends.

use super::{Agreement, Arrival, Verdict};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Where a CPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// In Linux, before this round.
    Outside(u8),
    /// Waiting for the verdict of this round.
    Waiting(u8),
    /// Doing what is done once.
    Working(u8),
    /// Done with it, and about to say so.
    Worked(u8),
    /// Undoing it.
    Undoing(u8),
    /// About to depart.
    Leaving(u8),
    /// All have gone on.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    word: Agreement,
    cpus: Vec<At>,
    /// What is done once is in effect.
    in_effect: bool,
    /// Some CPU was unfit, by round.
    unfit: [bool; ROUNDS as usize],
}

const ROUNDS: u8 = 2;

/// What may happen, and how the word answers.
#[derive(Clone, Copy)]
struct Rules {
    cpus: u32,
    /// CPUs may be unfit.
    unfit: bool,
    /// CPUs may stop waiting for the committing one.
    give_up: bool,
    committed: fn(Agreement) -> Agreement,
    depart: fn(Agreement) -> Agreement,
}

impl Rules {
    fn of(cpus: u32) -> Self {
        Self {
            cpus,
            unfit: false,
            give_up: false,
            committed: Agreement::committed,
            depart: Agreement::depart,
        }
    }
}

impl World {
    fn new(rules: &Rules) -> Self {
        Self {
            word: Agreement::NEW,
            cpus: vec![At::Outside(0); rules.cpus as usize],
            in_effect: false,
            unfit: [false; ROUNDS as usize],
        }
    }

    fn with(&self, cpu: usize, at: At, word: Agreement) -> Self {
        let mut next = self.clone();
        next.cpus[cpu] = at;
        next.word = word;
        next
    }

    /// All worlds that one step of `cpu` can lead to.
    fn steps(&self, cpu: usize, rules: &Rules) -> Vec<Self> {
        match self.cpus[cpu] {
            At::Outside(ROUNDS) | At::Gone => vec![],
            At::Outside(round) => {
                let fits: &[bool] = if rules.unfit { &[true, false] } else { &[true] };
                fits.iter()
                    .map(|fit| self.arrive(cpu, round, *fit, rules))
                    .collect()
            }
            At::Waiting(round) => match self.word.verdict() {
                Some(Verdict::Go) => vec![self.with(cpu, At::Gone, self.word)],
                Some(Verdict::Back) => vec![self.with(cpu, At::Leaving(round), self.word)],
                None => {
                    let mut all =
                        vec![self.with(cpu, At::Waiting(round), self.word.lose_patience())];
                    if rules.give_up {
                        all.push(self.with(cpu, At::Waiting(round), self.word.give_up()));
                    }
                    all
                }
            },
            At::Working(round) => {
                let mut next = self.with(cpu, At::Worked(round), self.word);
                next.in_effect = true;
                vec![next]
            }
            At::Worked(round) => {
                let word = (rules.committed)(self.word);
                let at = match word.verdict() {
                    Some(Verdict::Go) => At::Gone,
                    _ => At::Undoing(round),
                };
                vec![self.with(cpu, at, word)]
            }
            At::Undoing(round) => {
                let mut next = self.with(cpu, At::Leaving(round), self.word);
                next.in_effect = false;
                vec![next]
            }
            At::Leaving(round) => {
                vec![self.with(cpu, At::Outside(round + 1), (rules.depart)(self.word))]
            }
        }
    }

    fn arrive(&self, cpu: usize, round: u8, fit: bool, rules: &Rules) -> Self {
        let (word, arrival) = self.word.arrive(rules.cpus, fit);
        let at = match arrival {
            Arrival::Wait => At::Waiting(round),
            Arrival::Commit => At::Working(round),
            Arrival::TooLate => At::Outside(round + 1),
        };
        let mut next = self.with(cpu, at, word);
        next.unfit[usize::from(round)] |= !fit && arrival != Arrival::TooLate;
        next
    }

    /// What must be true at every moment.
    fn check(&self, rules: &Rules) -> Result<(), String> {
        let outside = self.cpus.iter().any(|at| matches!(at, At::Outside(_)));
        let gone = self.cpus.contains(&At::Gone);
        if gone && (outside || self.cpus.iter().any(|at| matches!(at, At::Leaving(_)))) {
            return Err(format!("some go on and some go back: {self:?}"));
        }
        if gone && !self.in_effect {
            return Err(format!("gone on without what is done once: {self:?}"));
        }
        // Who gives up on a CPU that hangs accepts that it may work yet.
        if self.in_effect && outside && !rules.give_up {
            return Err(format!("work in effect while a CPU runs Linux: {self:?}"));
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        let ended = |at: &At| matches!(at, At::Outside(ROUNDS) | At::Gone);
        self.cpus.iter().all(ended)
    }
}

/// How many worlds there are, and those in which all has ended.
fn explore(rules: Rules) -> Result<(usize, Vec<World>), String> {
    let first = World::new(&rules);
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    let mut ends = Vec::new();
    while let Some(world) = open.pop() {
        world.check(&rules)?;
        if world.ended() {
            ends.push(world);
            continue;
        }
        let next: Vec<World> = (0..world.cpus.len())
            .flat_map(|cpu| world.steps(cpu, &rules))
            .collect();
        if next.is_empty() {
            return Err(format!("nobody can go on: {world:?}"));
        }
        open.extend(next.into_iter().filter(|world| seen.insert(world.clone())));
    }
    Ok((seen.len(), ends))
}

fn all_end_alike(rules: Rules) -> Vec<World> {
    let (worlds, ends) = explore(rules).expect("holds in every world");
    assert!(worlds > 10, "{worlds}");
    for end in &ends {
        let gone = end.cpus.iter().filter(|at| **at == At::Gone).count();
        assert!(gone == 0 || gone == end.cpus.len(), "{end:?}");
        assert_eq!(end.in_effect, gone != 0, "{end:?}");
        if gone == 0 {
            assert_eq!(end.word, Agreement::NEW, "the next round may begin");
        }
    }
    ends
}

#[test]
fn two_cpus_agree_in_every_interleaving() {
    let ends = all_end_alike(Rules::of(2));
    let outcomes: BTreeSet<bool> = ends.iter().map(|end| end.in_effect).collect();
    assert_eq!(outcomes.len(), 2, "both outcomes happen");
}

#[test]
fn three_cpus_agree_in_every_interleaving() {
    let ends = all_end_alike(Rules::of(3));
    let outcomes: BTreeSet<bool> = ends.iter().map(|end| end.in_effect).collect();
    assert_eq!(outcomes.len(), 2, "both outcomes happen");
}

#[test]
fn an_unfit_cpu_makes_all_of_its_round_go_back() {
    for cpus in [2, 3] {
        let rules = Rules {
            unfit: true,
            ..Rules::of(cpus)
        };
        let ends = all_end_alike(rules);
        assert!(
            ends.iter().any(|end| end.unfit[0] && end.in_effect),
            "a second round may succeed"
        );
        assert!(
            !ends
                .iter()
                .any(|end| end.unfit == [true, true] && end.in_effect)
        );
    }
}

#[test]
fn giving_up_on_a_cpu_that_hangs_still_ends_alike() {
    for cpus in [2, 3] {
        let rules = Rules {
            give_up: true,
            ..Rules::of(cpus)
        };
        all_end_alike(rules);
    }
}

#[test]
fn a_round_that_failed_is_forgotten_before_the_next_begins() {
    // One CPU's patience ends, the other comes late, and both try again.
    let (word, _) = Agreement::NEW.arrive(2, true);
    let word = word.lose_patience();
    assert_eq!(word.verdict(), Some(Verdict::Back));
    assert_eq!(word.arrive(2, true), (word, Arrival::TooLate));
    let word = word.depart();
    assert_eq!(word, Agreement::NEW);
    let (word, first) = word.arrive(2, true);
    let (word, second) = word.arrive(2, true);
    assert_eq!((first, second), (Arrival::Wait, Arrival::Commit));
    assert_eq!(word.lose_patience().verdict(), None, "all are here");
    assert_eq!(word.committed().verdict(), Some(Verdict::Go));
}

#[test]
fn one_cpu_agrees_with_itself() {
    let (word, arrival) = Agreement::NEW.arrive(1, true);
    assert_eq!(arrival, Arrival::Commit);
    assert_eq!(word.committed().verdict(), Some(Verdict::Go));
    let (word, arrival) = Agreement::NEW.arrive(1, false);
    assert_eq!(
        (arrival, word.verdict()),
        (Arrival::Wait, Some(Verdict::Back))
    );
    assert_eq!(word.depart(), Agreement::NEW);
}

#[test]
fn the_word_keeps_its_bits() {
    let (word, _) = Agreement::NEW.arrive(60_000, true);
    assert_eq!(Agreement::from_bits(word.bits()), word);
    assert_eq!(Agreement::NEW.bits(), 0, "zeroed memory is a new agreement");
}

#[test]
fn a_verdict_does_not_change() {
    let (back, _) = Agreement::NEW.arrive(2, false);
    let go = Agreement::NEW.arrive(1, true).0.committed();
    for (word, verdict) in [(back, Verdict::Back), (go, Verdict::Go)] {
        for after in [word.committed(), word.lose_patience(), word.give_up()] {
            assert_eq!(after.verdict(), Some(verdict));
        }
    }
}

/// The search sees mistakes: a last CPU that overrules one that gave up.
#[test]
fn a_committing_cpu_that_overrules_others_is_found() {
    let rules = Rules {
        give_up: true,
        committed: |word| Agreement::from_bits(word.bits() & 0xffff | 2 << 16),
        ..Rules::of(2)
    };
    let why = explore(rules).expect_err("some go on, some go back");
    assert!(why.starts_with("some go on and some go back"), "{why}");
}

/// And CPUs that stay counted though the verdict is forgotten, which two separate
/// words for count and verdict allowed.
#[test]
fn a_cpu_that_is_counted_twice_is_found() {
    let rules = Rules {
        depart: |word| Agreement::from_bits(word.bits() & 0xffff),
        ..Rules::of(3)
    };
    let why = explore(rules).expect_err("a CPU is counted in two rounds");
    assert!(
        why.starts_with("work in effect while a CPU runs Linux"),
        "{why}"
    );
}

#[test]
fn the_search_is_as_large_as_it_should_be() {
    let sizes: HashMap<u32, usize> = [2, 3]
        .map(|cpus| (cpus, explore(Rules::of(cpus)).expect("holds").0))
        .into();
    assert!(sizes[&2] >= 40 && sizes[&3] >= 200, "{sizes:?}");
}
