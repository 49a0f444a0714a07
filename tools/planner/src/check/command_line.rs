//! Command lines.

use crate::config::{Console, Slice};
use crate::report::{Finding, Report};
use std::collections::BTreeSet;

/// Words of a command line that contradict the slice: the word, whether it
/// has a value, why, and what helps.
const CONTRADICTIONS: [(&str, &str, &str); 12] = [
    (
        "maxcpus",
        "the slice gives the kernel its CPUs; this would leave some unused",
        "set `cpus.count` instead",
    ),
    (
        "nr_cpus",
        "the slice gives the kernel its CPUs; this would leave some unused",
        "set `cpus.count` instead",
    ),
    (
        "nosmp",
        "the slice gives the kernel its CPUs; this would leave all but one unused",
        "write `count = 1` instead",
    ),
    (
        "mem",
        "the slice gives the kernel its memory; this would leave some unused",
        "set `memory.size` instead",
    ),
    (
        "memmap",
        "the kernel's memory map comes from the slice",
        "set `memory.size` instead",
    ),
    (
        "noapic",
        "a cell has no other interrupt controller",
        "remove it",
    ),
    (
        "nolapic",
        "a cell has no other interrupt controller",
        "remove it",
    ),
    (
        "disableapic",
        "a cell has no other interrupt controller",
        "remove it",
    ),
    (
        "nox2apic",
        "CPUs of cells have their APIC in x2APIC mode",
        "remove it",
    ),
    (
        "acpi",
        "a cell finds its CPUs and devices through ACPI",
        "remove it",
    ),
    ("pci", "", ""),
    ("tsc", "", ""),
];

/// Whether the command line contradicts the slice.
pub(super) fn command_line(slice: &Slice) -> Report {
    let mut report = Report::default();
    let mut seen = BTreeSet::new();
    for word in slice.kernel.cmdline.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let known = CONTRADICTIONS.iter().find(|(n, ..)| *n == name);
        let Some((_, cause, help)) = known.filter(|_| seen.insert(word)) else {
            continue;
        };
        let (cause, help) = match (name, value) {
            ("acpi", "off" | "ht") => (*cause, *help),
            ("pci", "off") => ("the slice's functions are on PCI", "remove it"),
            ("tsc", "unstable") => ("the TSC is the only clock of a cell", "remove it"),
            ("acpi" | "pci" | "tsc", _) => continue,
            _ => (*cause, *help),
        };
        report.push(
            Finding::error(format!("`{word}` contradicts the slice"))
                .at(slice.place("kernel.cmdline"))
                .because(cause)
                .help(help),
        );
    }
    if let Some(device) = slice.console.device()
        && !slice.doubts("console")
    {
        report.extend(console(slice, device));
    }
    report.extend(clock(slice));
    report
}

/// A clock that stands still where the driver of an Extended Socket waits for it.
fn clock(slice: &Slice) -> Report {
    let Some(wish) = slice.links.iter().find(|wish| wish.link.is_socket()) else {
        return Report::default();
    };
    let words = || slice.kernel.cmdline.split_whitespace();
    if words().any(|word| matches!(word, "nohz=off" | "nohz=0")) {
        return Report::default();
    }
    let message = format!(
        "a kernel that is idle may hang for seconds when a frame comes by link `{}`",
        wish.link.name
    );
    Finding::warning(message)
        .at(slice.place("kernel.cmdline"))
        .because(
            "its driver, fjes, waits for the kernel's clock, which stands still while an idle \
             kernel handles an interrupt",
        )
        .help("add `nohz=off`: the clock of a cell goes on without exits")
        .into()
}

/// A console that the slice does not have.
fn console(slice: &Slice, device: &str) -> Report {
    let numbered = |word: &str, kind: &str| {
        let number = word.strip_prefix(kind)?.split(',').next()?;
        Some(number != "0")
    };
    // The 16550 is there in any case.
    let other = |word: &&str| {
        let wrong = numbered(word, "console=ttyS").or_else(|| numbered(word, "console=hvc"));
        let missing = word.starts_with("console=hvc") && slice.console != Console::Virtio;
        missing || wrong == Some(true)
    };
    match slice.kernel.cmdline.split_whitespace().find(other) {
        Some(word) => Finding::warning(format!("`{word}` is not the slice's console"))
            .at(slice.place("kernel.cmdline"))
            .because(format!("the virtual console is {device}"))
            .help(format!(
                "write `console={device}`, or leave it out: it is added by itself"
            ))
            .into(),
        None => Report::default(),
    }
}
