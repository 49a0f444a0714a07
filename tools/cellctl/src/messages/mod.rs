//! Codes of the monitor and the driver as sentences: cause and remedy.

mod call;
mod enter;

pub(crate) use call::call;
pub(crate) use enter::{enter, leave};

use crate::output::size;
use cellvisor_abi::call::{Denied, FailReason, Failure, State, StopReason};
use cellvisor_abi::parts::Parts;

/// A cell's state in a word or two.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Loadable => "loadable",
        State::Running => "running",
        State::Stopped(StopReason::Root) => "stopped",
        State::Stopped(StopReason::PowerOff) => "stopped (powered off)",
        State::Stopped(StopReason::Reset) => "stopped (reset)",
        State::Stopped(StopReason::Panic) => "panicked",
        State::Failed => "failed",
    }
}

/// Every state that a cell can be in.
pub(crate) const STATES: [State; 7] = [
    State::Loadable,
    State::Running,
    State::Stopped(StopReason::Root),
    State::Stopped(StopReason::PowerOff),
    State::Stopped(StopReason::Reset),
    State::Stopped(StopReason::Panic),
    State::Failed,
];

/// A cell's state in one word, for programs.
pub(crate) fn state_word(state: State) -> &'static str {
    match state {
        State::Loadable => "loadable",
        State::Running => "running",
        State::Stopped(StopReason::Root) => "stopped",
        State::Stopped(StopReason::PowerOff) => "powered-off",
        State::Stopped(StopReason::Reset) => "reset",
        State::Stopped(StopReason::Panic) => "panicked",
        State::Failed => "failed",
    }
}

/// What a failed cell did, where, and on which CPU.
pub(crate) fn failure(failure: &Failure) -> String {
    let did = reason(&failure.reason);
    format!("CPU {} {did}, at {:#x}", failure.cpu, failure.regs.rip)
}

/// What a failed cell did.
pub(crate) fn reason(reason: &FailReason) -> String {
    match *reason {
        FailReason::Memory {
            gpa,
            write,
            execute,
        } => {
            let verb = match (execute, write) {
                (true, _) => "executed code at",
                (false, true) => "wrote to",
                (false, false) => "read from",
            };
            format!("{verb} guest address {gpa:#x}, which is not its memory")
        }
        FailReason::TripleFault => "took a triple fault".into(),
        FailReason::Instruction { gpa } => {
            format!("used an instruction that cannot be decoded at device address {gpa:#x}")
        }
        FailReason::UnknownExit(code) => format!("caused an unknown exit ({code:#x})"),
        FailReason::EntryFailed(code) => format!("could not be entered ({code:#x})"),
        FailReason::MachineCheck => "had a machine check".into(),
        FailReason::Monitor => "met a fault in the monitor itself".into(),
    }
}

/// Refused accesses by kind, those that happened.
pub(crate) fn denied(denied: &Denied) -> String {
    let seen: Vec<_> = kinds(denied)
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    if seen.is_empty() {
        "none".into()
    } else {
        seen.join(", ")
    }
}

/// Refused accesses of all kinds.
pub(crate) fn refused(denied: &Denied) -> u64 {
    kinds(denied).iter().map(|(_, count)| count).sum()
}

fn kinds(denied: &Denied) -> [(&'static str, u64); 6] {
    [
        ("MSR", denied.msr),
        ("port", denied.port),
        ("configuration space", denied.config),
        ("interrupt", denied.ipi),
        ("DMA", denied.dma),
        ("device memory", denied.mmio),
    ]
}

/// How much of the monitor's pool is in use.
pub(crate) fn pool(pages: u32, free: u32) -> String {
    let bytes = |pages: u32| size(u64::from(pages) * cellvisor_abi::PAGE_SIZE);
    format!("{} of {} free", bytes(free), bytes(pages))
}

/// Parts of the monitor.
pub(crate) fn parts(parts: Parts) -> String {
    let names: Vec<_> = parts.names().collect();
    if names.is_empty() {
        return "-".into();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_one_word_for_programs_and_all_different() {
        let states = STATES;
        let words: std::collections::BTreeSet<_> = states.map(state_word).into();
        assert_eq!(words.len(), states.len());
        let kebab = |w: &str| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(words.iter().all(|w| kebab(w)), "{words:?}");
    }

    #[test]
    fn refused_accesses_are_listed_only_when_there_were_some() {
        assert_eq!(denied(&Denied::default()), "none");
        let some = Denied {
            msr: 2,
            mmio: 1,
            ..Denied::default()
        };
        assert_eq!(denied(&some), "MSR 2, device memory 1");
    }
}
