//! From what is written to what is meant: numbers, sizes, addresses and
//! choices, each with its own message.

mod devices;
mod links;
mod resources;

use super::{Console, CpuWish, Kernel, MemoryWish, Slice, Source, doubts, name, raw};
use crate::report::{Finding, Place, Report};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// All slices of a file, and what is wrong in it. `doubtful` are the keys that
/// are known to be wrong.
pub(super) fn file(
    raw: &raw::File,
    source: &Source,
    doubtful: &BTreeSet<String>,
) -> (Vec<Slice>, Report) {
    let mut report = Report::default();
    let mut slices = Vec::new();
    let mut read = |raw: &raw::Slice, source: Source, prefix: &str| {
        let mine = doubtful.range(prefix.to_owned()..);
        let mine = mine.map_while(|key| key.strip_prefix(prefix));
        let mut read = Read {
            source,
            report: Report::default(),
            doubtful: mine.map(str::to_owned).collect(),
        };
        slices.push(read.slice(raw));
        report.extend(read.report);
    };
    for (i, slice) in raw.slice.iter().flatten().enumerate() {
        read(slice, source.slice(i), &format!("slice.{i}."));
    }
    match single(raw, source, doubtful) {
        Ok(Some(slice)) => read(&slice, source.clone(), ""),
        Ok(None) => {}
        Err(wrong) => report.extend(wrong),
    }
    report.extend(links::share(raw, source, doubtful, &mut slices));
    if slices.is_empty() && report.is_empty() && doubtful.is_empty() {
        report.push(
            Finding::error("the file describes no slice")
                .at(source.place("version"))
                .help("add the tables [cell], [cpus], [memory] and [kernel]"),
        );
    }
    (slices, report)
}

/// The slice whose tables are at the top level, if any of them is there.
fn single(
    raw: &raw::File,
    source: &Source,
    doubtful: &BTreeSet<String>,
) -> Result<Option<raw::Slice>, Report> {
    let there = [
        ("cell", raw.cell.is_some()),
        ("cpus", raw.cpus.is_some()),
        ("memory", raw.memory.is_some()),
        ("kernel", raw.kernel.is_some()),
    ];
    let optional = [
        raw.console.is_some(),
        raw.pci.is_some(),
        raw.policy.is_some(),
        raw.cache.is_some(),
        raw.bandwidth.is_some(),
    ];
    let optional = optional.contains(&true);
    let any = optional || there.iter().any(|(_, there)| *there);
    if any && raw.slice.is_some() {
        return Err(both_forms(source).into());
    }
    let parts = (&raw.cell, &raw.cpus, &raw.memory, &raw.kernel);
    let (Some(cell), Some(cpus), Some(memory), Some(kernel)) = parts else {
        let lacks = |(name, there): &&(&str, bool)| any && !there && !doubts(doubtful, name);
        let mut report = Report::default();
        for (name, _) in there.iter().filter(lacks) {
            let finding = Finding::error(format!("the table `[{name}]` is missing"));
            report.push(
                finding
                    .at(Place::file(source.path()))
                    .help("a slice has at least [cell], [cpus], [memory] and [kernel]"),
            );
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
        cache: raw.cache,
        bandwidth: raw.bandwidth,
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
    doubtful: BTreeSet<String>,
}

impl Read {
    /// Notes something wrong with a key, unless it follows from what is known
    /// to be wrong.
    fn wrong(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if doubts(&self.doubtful, key) {
            return;
        }
        self.doubtful.insert(key.to_owned());
        let place = self.source.place(key);
        self.report
            .push(Finding::error(message).at(place).help(help));
    }

    /// The slice; what is wrong in it is replaced by something harmless and
    /// noted as doubtful.
    fn slice(&mut self, raw: &raw::Slice) -> Slice {
        self.name(&raw.cell.name);
        let cpus = self.cpus(&raw.cpus).unwrap_or(CpuWish {
            count: 1,
            list: None,
            numa_node: raw.cpus.numa_node,
            split_siblings: raw.cpus.split_siblings,
        });
        let memory = self.memory(&raw.memory).unwrap_or(MemoryWish {
            size: resources::LEAST_MEMORY,
            numa_node: raw.memory.numa_node,
            page_size: None,
            base: None,
        });
        let kernel = self.kernel(&raw.kernel);
        let console = self.console(&raw.console).unwrap_or(Console::Virtual);
        let pci = raw.pci.iter().enumerate();
        let pci = pci.filter_map(|(i, raw)| self.pci(raw, i)).collect();
        Slice {
            name: raw.cell.name.clone(),
            source: self.source.clone(),
            cpus,
            memory,
            kernel,
            console,
            pci,
            policy: raw.policy,
            l3_ways: raw.cache.and_then(|cache| self.l3_ways(cache.l3_ways)),
            bandwidth: raw.bandwidth.and_then(|limit| self.percent(limit.percent)),
            links: Vec::new(),
            doubtful: std::mem::take(&mut self.doubtful),
        }
    }

    fn name(&mut self, text: &str) {
        if let Err(bad) = name::check(text) {
            let message = format!("`{text}` cannot be the name of a cell");
            self.wrong("cell.name", message, bad.help());
        }
    }

    fn kernel(&mut self, raw: &raw::Kernel) -> Kernel {
        let image = self.path("kernel.image", &raw.image);
        if raw.cmdline.contains(['\n', '\0']) {
            let message = "the command line has a line end in it";
            self.wrong("kernel.cmdline", message, "write it on one line");
        }
        Kernel {
            image: image.unwrap_or_default(),
            initrd: self.initrd(raw.initrd.as_ref()),
            cmdline: raw.cmdline.clone(),
        }
    }

    /// The files of an initrd; what is wrong among them keeps its place.
    fn initrd(&mut self, raw: Option<&raw::Initrd>) -> Vec<PathBuf> {
        const KEY: &str = "kernel.initrd";
        match raw {
            None => Vec::new(),
            Some(raw::Initrd::One(text)) => self.path(KEY, text).into_iter().collect(),
            Some(raw::Initrd::Several(texts)) => {
                if texts.is_empty() {
                    let help = "write the path of a file, or leave `initrd` out";
                    self.wrong(KEY, format!("`{KEY}` names no file"), help);
                }
                let texts = texts.iter().enumerate();
                let paths = texts.map(|(i, text)| self.path(&format!("{KEY}.{i}"), text));
                paths.map(Option::unwrap_or_default).collect()
            }
        }
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
