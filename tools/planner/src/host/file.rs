//! Saved hosts: JSON, or TOML for those that people write.

use super::{Host, VERSION};
use crate::report::{Finding, Place, Report};
use std::fs;
use std::path::Path;

impl Host {
    /// Reads a saved host; the form follows from the name's end (`.toml`,
    /// anything else is JSON).
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no host, or is one of another version.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let text = fs::read_to_string(path).map_err(|e| {
            Finding::error(format!("the host file cannot be read: {e}"))
                .at(Place::file(path))
                .help("`cellctl host --save FILE` writes one on the machine itself")
        })?;
        Self::parse(&text, path)
    }

    /// Reads a host from the text of a file; `path` says the form and is named
    /// in errors.
    ///
    /// # Errors
    ///
    /// As [`Host::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Report> {
        let host: Self = match is_toml(path) {
            true => toml::from_str(text).map_err(|e| {
                let span = e.span().unwrap_or_default();
                malformed(Place::in_text(path, text, span), e.message())
            })?,
            false => serde_json::from_str(text).map_err(|e| {
                let start = line_start(text, e.line());
                let at = start + e.column().saturating_sub(1);
                malformed(Place::in_text(path, text, at..at + 1), &e.to_string())
            })?,
        };
        if host.version != VERSION {
            return Err(Finding::error(format!(
                "this host file has version {}, and this tool reads version {VERSION}",
                host.version
            ))
            .at(Place::file(path))
            .help("save it again with the `cellctl host --save FILE` of this version")
            .into());
        }
        host.consistent(path).unless_errors(host)
    }

    /// Writes the host; the form as in [`Host::load`].
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Report> {
        let text = match is_toml(path) {
            true => toml::to_string(self).map_err(|e| e.to_string()),
            false => serde_json::to_string_pretty(self).map_err(|e| e.to_string()),
        };
        text.and_then(|text| fs::write(path, text + "\n").map_err(|e| e.to_string()))
            .map_err(|e| {
                Finding::error(format!("the host file cannot be written: {e}"))
                    .at(Place::file(path))
                    .help("name a file in a folder that you may write to")
                    .into()
            })
    }

    /// Numbers that must be unique and references that must lead somewhere.
    fn consistent(&self, path: &Path) -> Report {
        let mut report = Report::default();
        let mut wrong = |message: String| {
            report.push(
                Finding::error(message)
                    .at(Place::file(path))
                    .help("correct the host file, or save the machine again"),
            );
        };
        twice(self.cpus.iter().map(|c| c.linux), |n| {
            wrong(format!("CPU {n} is there twice"))
        });
        twice(self.cpus.iter().map(|c| c.apic_id), |n| {
            wrong(format!("two CPUs have APIC id {n}"));
        });
        twice(self.nodes.iter().map(|n| n.id), |n| {
            wrong(format!("node {n} is there twice"))
        });
        twice(self.functions.iter().map(|f| f.address), |a| {
            wrong(format!("function {a} is there twice"));
        });
        for cpu in self.cpus.iter().filter(|c| self.node(c.node).is_none()) {
            wrong(format!(
                "CPU {} is on node {}, which is not there",
                cpu.linux, cpu.node
            ));
        }
        report
    }
}

/// True for a name that ends in `.toml`.
fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "toml")
}

/// The finding for what serde refuses.
fn malformed(place: Place, why: &str) -> Report {
    Finding::error("this is no host file")
        .at(place)
        .because(why)
        .help("`cellctl host --save FILE` writes one on the machine itself")
        .into()
}

/// Byte at which line `line` (from 1) starts.
fn line_start(text: &str, line: usize) -> usize {
    text.split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum()
}

/// Calls `found` with each value that comes more than once.
fn twice<T: Ord + Copy>(values: impl Iterator<Item = T>, mut found: impl FnMut(T)) {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let mut last = None;
    for pair in values.windows(2) {
        if let [a, b] = pair
            && a == b
            && last != Some(*a)
        {
            last = Some(*a);
            found(*a);
        }
    }
}
