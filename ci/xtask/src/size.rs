//! `cargo xtask size`: bytes of the image, lines of the trusted base.

mod constants;
mod lines;

pub(crate) use lines::sources;

use crate::build::monitor;
use crate::lane::Lane;
use crate::lane::run;
use crate::paths::Paths;
use crate::report::table;
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Jailhouse 0.12 for Intel, built from source: bytes of its image.
const PEER_IMAGE: u64 = 88_072;

/// What the monitor's image must stay below, in bytes. It holds the back ends
/// of both vendors; the peer's image holds one.
const IMAGE_LIMIT: u64 = 149 * 1024;

/// Bytes that it keeps for each CPU.
const PEER_PER_CPU: u64 = 24 * 1024;

/// Its lines for x86, in C and assembly.
const PEER_LINES: usize = 8_800;

/// Bytes of the image by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sections {
    text: u64,
    rodata: u64,
    data: u64,
    bss: u64,
}

/// Prints all figures.
///
/// # Errors
///
/// The monitor does not build.
pub(crate) fn main(paths: &Paths) -> Result<()> {
    let image = monitor::build(paths)?;
    let file = file_size(&image)?;
    let parts = sections(paths)?;
    let row = |what: &str, value: u64, peer: &str| {
        vec![what.to_owned(), format!("{value:>9}"), peer.to_owned()]
    };
    let mut rows = vec![
        vec![
            "image".to_owned(),
            "    bytes".to_owned(),
            "Jailhouse for Intel".to_owned(),
        ],
        row("file", file, &PEER_IMAGE.to_string()),
        row("text", parts.text, ""),
        row("read-only data", parts.rodata, ""),
        row("data", parts.data, ""),
        row("zeroed", parts.bss, ""),
    ];
    rows.push(row(
        "for each CPU",
        per_cpu(paths)?,
        &PEER_PER_CPU.to_string(),
    ));
    rows.push(vec!["for each cell".to_owned(), per_cell(paths)?]);
    println!("{}\n", table(&rows));
    lines::print(paths, PEER_LINES)
}

/// Checks the image against what it must stay below; returns its sizes in
/// words.
///
/// # Errors
///
/// It has become too large, or the sources do not say what a CPU needs.
pub(crate) fn limits(paths: &Paths) -> Result<String> {
    let file = file_size(&paths.target.join("monitor/cellvisor.bin"))?;
    if file >= IMAGE_LIMIT {
        bail!("the image has {file} bytes: it is to stay below {IMAGE_LIMIT}");
    }
    let parts = sections(paths)?;
    Ok(format!(
        "{file} bytes, {} of them text and read-only data; {} for each CPU",
        parts.text + parts.rodata,
        per_cpu(paths)?
    ))
}

fn per_cpu(paths: &Paths) -> Result<u64> {
    constants::value(paths, "hypervisor/monitor/src/boot.rs", "AREA_SIZE")
}

fn file_size(path: &Path) -> Result<u64> {
    let data =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(data.len())
}

fn sections(paths: &Paths) -> Result<Sections> {
    Ok(parse_sections(
        &Cmd::new("size").arg("-A").arg(monitor::elf(paths)).read()?,
    ))
}

/// Reads what `size -A` prints: name, size, address.
fn parse_sections(text: &str) -> Sections {
    let mut all = Sections::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(size)), Some(address)) = (
            words.next(),
            words.next().map(str::parse::<u64>),
            words.next(),
        ) else {
            continue;
        };
        // What is loaded nowhere is not in the image.
        if address == "0" {
            continue;
        }
        match name {
            _ if name.starts_with(".text") => all.text += size,
            _ if name.starts_with(".bss") => all.bss += size,
            _ if name.starts_with(".data") || name.starts_with(".got") => all.data += size,
            _ => all.rodata += size,
        }
    }
    all
}

/// What `cellctl status` said of a cell in the last run of the main scenario:
/// page tables, tables of rules and console of a small Linux cell.
fn per_cell(paths: &Paths) -> Result<String> {
    for lane in Lane::all() {
        let log = run::dir(paths, lane, "main").join("root.log");
        let Ok(text) = std::fs::read_to_string(&log) else {
            continue;
        };
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("monitor memory"));
        if let Some(memory) = line {
            return Ok(format!("{} (measured on {})", memory.trim(), lane.name()));
        }
    }
    Ok("not measured yet: run `cargo xtask demo`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_summed_by_kind_and_debug_is_left_out() {
        let text = "cellvisor  :\nsection  size  addr\n.header 56 35184372088832\n\
            .text 100 35184372092928\n.data 8 35184372097024\n.got 16 35184372097040\n\
            .bss 4096 35184372101120\n.debug_line 900 0\nTotal 5176\n";
        let want = Sections {
            text: 100,
            rodata: 56,
            data: 24,
            bss: 4096,
        };
        assert_eq!(parse_sections(text), want);
    }
}
