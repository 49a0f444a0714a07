//! Saved hosts: JSON, or TOML for those that people write.

use super::{Host, Node, Pages, VERSION};
use crate::report::{Finding, Place, Report};
use crate::text;
use std::fs;
use std::path::Path;

impl Host {
    /// Reads a saved host; `-` is standard input. The form follows from the name's
    /// end (`.toml`, anything else is JSON), that of standard input from its first
    /// character.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no host, or is one of another version.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let written = text::read(path, text::HOST)?;
        if text::is_stdin(path) && !written.trim_start().starts_with('{') {
            return Self::from_toml(&written, &text::shown(path));
        }
        Self::parse(&written, &text::shown(path))
    }

    /// Reads a host from the text of a file; `path` says the form and is named
    /// in errors.
    ///
    /// # Errors
    ///
    /// As [`Host::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Report> {
        if is_toml(path) {
            return Self::from_toml(text, path);
        }
        let host: Self = serde_json::from_str(text).map_err(|e| {
            let start = line_start(text, e.line());
            let at = start + e.column().saturating_sub(1);
            malformed(Place::in_text(path, text, at..at + 1), &e.to_string())
        })?;
        host.checked(path)
    }

    fn from_toml(text: &str, path: &Path) -> Result<Self, Report> {
        let host: Self = toml::from_str(text).map_err(|e| {
            let span = e.span().unwrap_or_default();
            malformed(Place::in_text(path, text, span), e.message())
        })?;
        host.checked(path)
    }

    /// Itself, if its version is ours and nothing contradicts the rest.
    fn checked(self, path: &Path) -> Result<Self, Report> {
        let host = self;
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

    /// Numbers that must be unique, references that must lead somewhere, and
    /// amounts that a machine can have: whoever adds them up need not fear an
    /// overflow.
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
        if self.nodes.len() > MOST_NODES {
            wrong(format!("more than {MOST_NODES} nodes"));
        }
        for node in self.nodes.iter().filter(|n| !is_possible(n)) {
            wrong(format!("no machine has the amounts of node {}", node.id));
        }
        for node in &self.nodes {
            self.access(node, &mut wrong);
        }
        report
    }

    /// What cannot be in the `access` of a node.
    fn access(&self, node: &Node, wrong: &mut impl FnMut(String)) {
        let Some(access) = &node.access else { return };
        let id = node.id;
        let from = &access.initiators;
        if from.is_empty() {
            wrong(format!(
                "no node is an initiator for the memory of node {id}"
            ));
        }
        twice(from.iter().copied(), |n| {
            wrong(format!(
                "node {n} is an initiator for the memory of node {id} twice"
            ));
        });
        for n in from.iter().filter(|n| self.node(**n).is_none()) {
            wrong(format!(
                "node {n} is an initiator for the memory of node {id}, and not there"
            ));
        }
        if access.values().iter().any(|value| *value > MOST_ACCESS) {
            wrong(format!(
                "no machine has the latencies or bandwidths of node {id}: \
                 more than a second, or than a petabyte in one"
            ));
        }
    }
}

/// Nodes that Linux can have at most.
const MOST_NODES: usize = 1024;
/// Bytes that x86 can address.
const MOST_MEMORY: u64 = 1 << 52;
/// Distances are bytes in the firmware's tables (SLIT).
const MOST_DISTANCE: u32 = 255;
/// Nanoseconds in a second, and MB/s in a PB/s.
const MOST_ACCESS: u32 = 1_000_000_000;

/// True if a machine can have such a node.
fn is_possible(node: &Node) -> bool {
    let pages = |p: &Pages| {
        let bytes = p.size.checked_mul(p.total.max(p.free));
        bytes.is_some_and(|b| b <= MOST_MEMORY)
    };
    node.memory.max(node.free) <= MOST_MEMORY
        && node.pages.len() <= 8
        && node.pages.iter().all(pages)
        && node.distances.iter().all(|d| *d <= MOST_DISTANCE)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about a host file with this text.
    fn told(text: &str) -> String {
        match Host::parse(text, Path::new("host.toml")) {
            Ok(_) => String::new(),
            Err(report) => report.to_string(),
        }
    }

    #[test]
    fn contradictions_are_all_told_at_once() {
        let node = "[[nodes]]\nid = 0\nmemory = 1\nfree = 1\n";
        let cpus = "cpus = [{ linux = 0, apic-id = 3, core = 0 }, { linux = 0, apic-id = 3, core = 0, node = 4 }]";
        let text = told(&format!("version = 1\nname = \"x\"\n{cpus}\n{node}{node}"));
        for part in [
            "error: CPU 0 is there twice",
            "error: two CPUs have APIC id 3",
            "error: node 0 is there twice",
            "error: CPU 0 is on node 4, which is not there",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn amounts_that_cannot_be_are_refused() {
        let node = "[[nodes]]\nid = 0\nmemory = 1\nfree = 0x7fffffffffffffff\n";
        let text = told(&format!("version = 1\nname = \"x\"\n{node}"));
        assert!(
            text.contains("error: no machine has the amounts of node 0"),
            "{text}"
        );
    }

    #[test]
    fn access_that_cannot_be_is_refused() {
        let nodes = "[[nodes]]\nid = 0\nmemory = 1\nfree = 1\naccess = ";
        let of = |access: &str| told(&format!("version = 1\nname = \"x\"\n{nodes}{access}\n"));
        assert_eq!(of("{ initiators = [0] }"), "", "no values are fine");
        assert_eq!(
            of("{ initiators = [0], write-latency-ns = 1000000000 }"),
            ""
        );
        for (access, part) in [
            (
                "{ initiators = [] }",
                "error: no node is an initiator for the memory of node 0",
            ),
            (
                "{ initiators = [0, 0] }",
                "error: node 0 is an initiator for the memory of node 0 twice",
            ),
            (
                "{ initiators = [0, 7] }",
                "error: node 7 is an initiator for the memory of node 0, and not there",
            ),
            (
                "{ initiators = [0], read-bandwidth-mbs = 1000000001 }",
                "error: no machine has the latencies or bandwidths of node 0",
            ),
            (
                "{ initiators = [0], read-latency-ns = -1 }",
                "error: this is no host file",
            ),
            ("{ read-latency-ns = 1 }", "missing field `initiators`"),
        ] {
            let text = of(access);
            assert!(text.contains(part), "{part} is not in:\n{text}");
            assert!(text.contains("= help: "), "{text}");
        }
    }

    #[test]
    fn wrong_forms_are_told_with_their_line() {
        let text = told("version = 1\nname = \"x\"\ncpu = 3\n");
        assert!(text.contains("--> host.toml:3:1"), "{text}");
        assert!(told("version = 2\nname = \"x\"\n").contains("has version 2"));
        let json = Host::parse("{\n  \"version\": x }", Path::new("host.json"));
        let json = json.expect_err("no JSON").to_string();
        assert!(json.contains("--> host.json:2:"), "{json}");
    }
}
