//! Kernel images, initrds and command lines.

use crate::config::{Console, Slice};
use crate::report::{Finding, Report};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// "HdrS" at 0x202 makes a file a bzImage, XLF_KERNEL_64 in bit 0 of 0x236 one
/// with a 64-bit entry, from version 2.12 of the boot protocol on (Linux, "The
/// Linux/x86 Boot Protocol").
const HEADER: usize = 0x238;

/// Whether kernel and initrd are there, and are what they should.
pub(super) fn files(slice: &Slice) -> Report {
    let mut report = Report::default();
    let mut wrong = |key: &str, message: String, help: &str| {
        let finding = Finding::error(message).at(slice.place(key));
        report.push(finding.help(help));
    };
    match first_bytes(&slice.kernel.image) {
        Ok(head) => {
            if let Some(why) = no_bzimage(&head) {
                let message = format!("{} {why}", slice.kernel.image.display());
                let help = "name a bzImage, as /boot/vmlinuz-* of a distribution is";
                wrong("kernel.image", message, help);
            }
        }
        Err(e) => {
            let message = missing("kernel", &slice.kernel.image, &e);
            let help = "relative paths start at this file's folder; kernels are in /boot";
            wrong("kernel.image", message, help);
        }
    }
    if let Some(initrd) = &slice.kernel.initrd {
        match first_bytes(initrd) {
            Ok(head) if head.is_empty() => {
                let message = format!("the initrd {} is empty", initrd.display());
                wrong(
                    "kernel.initrd",
                    message,
                    "build it again, or leave `initrd` out",
                );
            }
            Ok(_) => {}
            Err(e) => {
                let message = missing("initrd", initrd, &e);
                let help = "relative paths start at this file's folder; or leave `initrd` out";
                wrong("kernel.initrd", message, help);
            }
        }
    }
    report
}

/// The sentence for a file that cannot be read.
fn missing(what: &str, path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("the {what} {} does not exist", path.display()),
        _ => format!("the {what} {} cannot be read: {error}", path.display()),
    }
}

/// As much of a file as its header takes.
fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(HEADER as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// Why `head` does not start a kernel that cells can boot.
fn no_bzimage(head: &[u8]) -> Option<&'static str> {
    let word = |at| Some(u16::from_le_bytes([*head.get(at)?, *head.get(at + 1)?]));
    if head.get(0x202..0x206) != Some(b"HdrS") {
        return match head.get(..4) {
            Some(b"\x7fELF") => Some("is an ELF file, no bzImage"),
            _ => Some("is no bzImage"),
        };
    }
    let modern = word(0x206).is_some_and(|version| version >= 0x020c);
    let long_mode = word(0x236).is_some_and(|flags| flags & 1 == 1);
    (!(modern && long_mode)).then_some("is a bzImage without a 64-bit entry")
}

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
    let cmdline = &slice.kernel.cmdline;
    for word in cmdline.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let known = CONTRADICTIONS.iter().find(|(n, ..)| *n == name);
        let Some((_, cause, help)) = known else {
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
    if slice.console == Console::Virtual {
        report.extend(console(slice));
    }
    report
}

/// A console that the slice does not have.
fn console(slice: &Slice) -> Report {
    let other = |word: &&str| {
        let device = word.strip_prefix("console=ttyS");
        device.is_some_and(|d| d.split(',').next() != Some("0"))
    };
    match slice.kernel.cmdline.split_whitespace().find(other) {
        Some(word) => Finding::warning(format!("`{word}` is not the slice's console"))
            .at(slice.place("kernel.cmdline"))
            .because("the virtual console is ttyS0")
            .help("write `console=ttyS0`, or leave it out: it is added by itself")
            .into(),
        None => Report::default(),
    }
}
