//! Lines of the monitor's source by the addresses of its instructions.

use crate::paths::read;
use crate::sh::Cmd;
use addr2line::Context as Lines;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use anyhow::{Context, Result};
use object::{Object, ObjectSection};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Below this folder of the repository is what counts.
const SOURCES: &str = "hypervisor/";

/// The linked image, with its instructions.
pub(super) struct Image {
    bytes: Vec<u8>,
    instructions: Vec<u64>,
    root: PathBuf,
}

/// A line of a file: in which function it is, and whether it ran. A line of several
/// functions, or of several copies of one, ran if any of them did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    function: String,
    ran: bool,
}

/// Lines by their numbers, by the files' names.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<String, BTreeMap<u32, Line>>);

impl Image {
    /// Reads the image and lists its instructions; `root` is the repository's folder.
    ///
    /// # Errors
    ///
    /// It is not there, or `objdump` is not.
    pub(super) fn load(elf: &Path, root: &Path) -> Result<Self> {
        let listing = Cmd::new("objdump")
            .words("-d --no-show-raw-insn")
            .arg(elf)
            .read()?;
        Ok(Self {
            bytes: read(elf)?,
            instructions: listing.lines().filter_map(address).collect(),
            root: root.to_owned(),
        })
    }

    /// Counts the lines of all instructions, with all functions they were put into;
    /// `ran` says which were executed.
    ///
    /// # Errors
    ///
    /// The image has no line table, or a broken one.
    pub(super) fn count(&self, files: &mut Files, ran: impl Fn(u64) -> bool) -> Result<()> {
        let file = object::File::parse(&*self.bytes).context("the image is no ELF file")?;
        let section = |id: SectionId| -> Result<_> {
            let section = file.section_by_name(id.name());
            let data = section.map_or(Ok(&[][..]), |section| section.data());
            let data = data.context("a section of the image cannot be read")?;
            Ok(EndianSlice::new(data, LittleEndian))
        };
        let lines = Lines::from_dwarf(Dwarf::load(section)?).context("no line table")?;
        for address in &self.instructions {
            let ran = ran(*address);
            let frames = lines.find_frames(*address).skip_all_loads();
            let mut frames = frames.context("broken line table")?;
            while let Some(frame) = frames.next().context("broken line table")? {
                let place = frame.location.and_then(|at| at.file.zip(at.line));
                let function = frame.function.as_ref().map(|function| function.demangle());
                if let (Some((file, line)), Some(Ok(function))) = (place, function) {
                    self.note(files, file, line, &function, ran);
                }
            }
        }
        Ok(())
    }

    fn note(&self, files: &mut Files, file: &str, line: u32, function: &str, ran: bool) {
        let file = Path::new(file);
        let file = file.strip_prefix(&self.root).unwrap_or(file);
        let Some(file) = file.to_str().filter(|file| file.starts_with(SOURCES)) else {
            return;
        };
        if line != 0 {
            files.note(file, line, function, ran);
        }
    }
}

/// The address of a line of a disassembly like `200000000040:  mov %rsp,%rdi`.
fn address(line: &str) -> Option<u64> {
    let (address, code) = line.split_once(':')?;
    let known = !code.trim().is_empty() && !code.contains("(bad)");
    u64::from_str_radix(address.trim(), 16)
        .ok()
        .filter(|_| known)
}

/// A function's name without its modules, the parameters of its types and the
/// compiler's sum.
fn short(function: &str) -> String {
    let name = match function.rsplit_once("::h") {
        Some((name, sum)) if sum.len() == 16 => name,
        _ => function,
    };
    let mut depth = 0_u32;
    let mut plain = String::new();
    // The `>` of an arrow in such a parameter closes nothing.
    for character in name.replace("->", "").chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(character),
            _ => {}
        }
    }
    let named = |part: &&str| !part.is_empty() && !part.starts_with('{');
    plain.rsplit("::").find(named).unwrap_or(name).to_owned()
}

impl Files {
    fn note(&mut self, file: &str, number: u32, function: &str, ran: bool) {
        let lines = self.0.entry(file.to_owned()).or_default();
        let line = lines.entry(number).or_insert_with(|| Line {
            function: short(function),
            ran,
        });
        line.ran |= ran;
    }

    /// A row for each file, and one for all of them.
    pub(super) fn table(&self) -> Vec<Vec<String>> {
        let mut rows = vec![["file", "lines", "ran", "%"].map(str::to_owned).to_vec()];
        let mut sum = (0, 0);
        for (file, lines) in &self.0 {
            let (all, ran) = count(lines);
            sum = (sum.0 + all, sum.1 + ran);
            rows.push(row(file, all, ran));
        }
        rows.push(row("all", sum.0, sum.1));
        rows
    }

    /// What never ran: file, function, lines.
    pub(super) fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (file, lines) in &self.0 {
            let mut functions: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
            for (number, line) in lines.iter().filter(|(_, line)| !line.ran) {
                functions.entry(&line.function).or_default().push(*number);
            }
            for (function, numbers) in functions {
                gaps.push(format!("{file} {function}: {}", ranges(&numbers)));
            }
        }
        gaps
    }

    /// The same for machines.
    pub(super) fn json(&self, played: &[String]) -> Value {
        let file = |(name, lines): (&String, &BTreeMap<u32, Line>)| {
            let (all, ran) = count(lines);
            let gaps: Vec<&u32> = lines
                .iter()
                .filter_map(|(number, line)| (!line.ran).then_some(number))
                .collect();
            json!({ "file": name, "lines": all, "ran": ran, "never": gaps })
        };
        let files: Vec<Value> = self.0.iter().map(file).collect();
        json!({ "played": played, "files": files })
    }
}

/// How many lines there are, and how many of them ran.
fn count(lines: &BTreeMap<u32, Line>) -> (usize, usize) {
    let ran = lines.values().filter(|line| line.ran).count();
    (lines.len(), ran)
}

fn row(name: &str, all: usize, ran: usize) -> Vec<String> {
    let percent = 100.0 * ran as f64 / all.max(1) as f64;
    vec![
        name.to_owned(),
        all.to_string(),
        ran.to_string(),
        format!("{percent:.1}"),
    ]
}

/// Ascending numbers as ranges: `3-5 9`.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_instructions() {
        let line = "    200000000040:\tmov    %rsp,%rdi";
        assert_eq!(address(line), Some(0x2000_0000_0040));
        assert_eq!(address("0000200000000040 <vmx_exit>:"), None);
        assert_eq!(address("    200000000041:\t(bad)"), None);
        assert_eq!(address("cellvisor:     file format elf64-x86-64"), None);
    }

    #[test]
    fn functions_have_short_names() {
        assert_eq!(
            short("cellvisor::cell::destroy::h0123456789abcdef"),
            "destroy"
        );
        assert_eq!(short("a::b::serve::{closure#0}"), "serve");
        assert_eq!(short("<a::B as c::D>::e"), "e");
        assert_eq!(short("vmx_exit"), "vmx_exit");
        assert_eq!(short("a::with<fn() -> b::C>"), "with");
        assert_eq!(short("<a::B>::c::<d::E>::{closure#1}"), "c");
    }

    #[test]
    fn a_line_ran_if_one_of_its_copies_did() {
        let mut files = Files::default();
        for (line, ran) in [(3, false), (4, false), (4, true), (5, false), (6, false)] {
            files.note("hypervisor/core/src/x.rs", line, "a::f", ran);
        }
        assert_eq!(files.gaps(), ["hypervisor/core/src/x.rs f: 3 5-6"]);
        let rows = files.table();
        assert_eq!(rows.last(), Some(&row("all", 4, 1)));
        let json = files.json(&["main".to_owned()]);
        assert_eq!(json["files"][0]["never"], json!([3, 5, 6]));
    }

    #[test]
    fn only_our_own_sources_count() {
        let image = Image {
            bytes: Vec::new(),
            instructions: Vec::new(),
            root: PathBuf::from("/repo"),
        };
        let mut files = Files::default();
        image.note(&mut files, "/repo/hypervisor/abi/src/call.rs", 7, "f", true);
        image.note(&mut files, "/rustc/library/core/src/cell.rs", 8, "f", true);
        image.note(&mut files, "/repo/hypervisor/abi/src/call.rs", 0, "f", true);
        let names: Vec<&String> = files.0.keys().collect();
        assert_eq!(names, ["hypervisor/abi/src/call.rs"]);
        assert_eq!(files.0["hypervisor/abi/src/call.rs"].len(), 1);
    }
}
