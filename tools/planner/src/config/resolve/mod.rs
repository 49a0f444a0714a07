//! From what is written to what is meant: numbers, sizes, addresses and
//! choices, each with its own message.

mod devices;
mod resources;

use super::{Kernel, Slice, Source, raw};
use crate::report::{Finding, Place, Report};
use std::path::PathBuf;

/// Longest name of a slice, in bytes.
const MAX_NAME: usize = 31;

/// All slices of a file.
pub(super) fn file(raw: &raw::File, source: &Source) -> Result<Vec<Slice>, Report> {
    let mut report = Report::default();
    let mut slices = Vec::new();
    let mut read = |raw: &raw::Slice, source: Source| {
        let mut read = Read::new(source);
        slices.extend(read.slice(raw));
        report.extend(read.report);
    };
    for (i, slice) in raw.slice.iter().flatten().enumerate() {
        read(slice, source.slice(i));
    }
    if let Some(slice) = single(raw, source)? {
        read(&slice, source.clone());
    }
    if slices.is_empty() && report.is_empty() {
        report.push(
            Finding::error("the file describes no slice")
                .at(source.place("version"))
                .help("add the tables [cell], [cpus], [memory] and [kernel]"),
        );
    }
    report.unless_errors(slices)
}

/// The slice whose tables are at the top level, if any of them is there.
fn single(raw: &raw::File, source: &Source) -> Result<Option<raw::Slice>, Report> {
    let missing = |name: &str| {
        Finding::error(format!("the table `[{name}]` is missing"))
            .at(Place::file(source.path()))
            .help("a slice has at least [cell], [cpus], [memory] and [kernel]")
    };
    let there = [
        ("cell", raw.cell.is_some()),
        ("cpus", raw.cpus.is_some()),
        ("memory", raw.memory.is_some()),
        ("kernel", raw.kernel.is_some()),
    ];
    let optional = raw.console.is_some() || raw.pci.is_some() || raw.policy.is_some();
    let any = optional || there.iter().any(|(_, there)| *there);
    if any && raw.slice.is_some() {
        return Err(both_forms(source).into());
    }
    let parts = (&raw.cell, &raw.cpus, &raw.memory, &raw.kernel);
    let (Some(cell), Some(cpus), Some(memory), Some(kernel)) = parts else {
        let mut report = Report::default();
        for (name, _) in there.iter().filter(|(_, there)| any && !there) {
            report.push(missing(name));
        }
        return report.unless_errors(None);
    };
    Ok(Some(raw::Slice {
        cell: cell.clone(),
        cpus: cpus.clone(),
        memory: memory.clone(),
        kernel: kernel.clone(),
        console: raw.console.clone().unwrap_or_default(),
        pci: raw.pci.clone().unwrap_or_default(),
        policy: raw.policy.unwrap_or_default(),
    }))
}

/// Two ways to say it in one file.
fn both_forms(source: &Source) -> Finding {
    Finding::error("the file has both `[[slice]]` and tables of a slice at the top level")
        .at(source.place("slice"))
        .help("move the tables at the top level into a `[[slice]]` of their own")
}

/// Reads one slice and gathers what is wrong.
struct Read {
    source: Source,
    report: Report,
}

impl Read {
    fn new(source: Source) -> Self {
        Self {
            source,
            report: Report::default(),
        }
    }

    fn wrong(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let place = self.source.place(key);
        self.report
            .push(Finding::error(message).at(place).help(help));
    }

    /// `None` after at least one finding.
    fn slice(&mut self, raw: &raw::Slice) -> Option<Slice> {
        let name = self.name(&raw.cell.name);
        let cpus = self.cpus(&raw.cpus);
        let memory = self.memory(&raw.memory);
        let kernel = self.kernel(&raw.kernel);
        let console = self.console(&raw.console);
        let pci: Vec<_> = raw
            .pci
            .iter()
            .enumerate()
            .map(|(i, raw)| self.pci(raw, &format!("pci.{i}")))
            .collect();
        Some(Slice {
            name: name?,
            source: self.source.clone(),
            cpus: cpus?,
            memory: memory?,
            kernel: kernel?,
            console: console?,
            pci: pci.into_iter().collect::<Option<_>>()?,
            policy: raw.policy,
        })
    }

    fn name(&mut self, name: &str) -> Option<String> {
        let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) {
            return Some(name.to_owned());
        }
        self.wrong(
            "cell.name",
            format!("`{name}` cannot be the name of a cell"),
            format!("use 1 to {MAX_NAME} of a-z, 0-9, - and _"),
        );
        None
    }

    fn kernel(&mut self, raw: &raw::Kernel) -> Option<Kernel> {
        let image = self.path("kernel.image", &raw.image);
        let initrd = self.maybe(raw.initrd.as_ref(), |read, t| read.path("kernel.initrd", t));
        if raw.cmdline.contains(['\n', '\0']) {
            let help = "write it on one line";
            self.wrong(
                "kernel.cmdline",
                "the command line has a line end in it",
                help,
            );
            return None;
        }
        Some(Kernel {
            image: image?,
            initrd: initrd?,
            cmdline: raw.cmdline.clone(),
        })
    }

    fn path(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        if text.is_empty() {
            self.wrong(
                key,
                format!("`{key}` names no file"),
                "write the path of a file",
            );
            return None;
        }
        Some(self.source.resolve(text))
    }

    /// Reads what may be left out: the outer `None` stands for a mistake.
    fn maybe<T>(
        &mut self,
        text: Option<&String>,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        match text {
            Some(text) => read(self, text).map(Some),
            None => Some(None),
        }
    }
}
