//! `cargo xtask size`: bytes of the image, lines of the trusted base.

mod constants;
mod lines;

pub(crate) use lines::sources;

use crate::build::monitor::Image;
use crate::lane::Lane;
use crate::lane::run;
use crate::paths::Paths;
use crate::report::table;
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Jailhouse 0.12 for Intel, built from source: bytes of its image.
const PEER_IMAGE: u64 = 88_072;

/// What the monitor's image with all parts must stay below, in bytes. It holds the back
/// ends of both vendors; the peer's image holds one.
const FULL_LIMIT: u64 = 149 * 1024;

/// What the small one must stay below, with both vendors, VT-d, PCI and I/O APICs.
const SMALL_LIMIT: u64 = 128 * 1024;

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
    let (full, parts) = built(paths, Image::Full)?;
    let (small, few) = built(paths, Image::Small)?;
    let row = |what: &str, value: u64, small: u64, peer: &str| {
        let numbers = [value, small].map(|number| format!("{number:>9}"));
        let [value, small] = numbers;
        vec![what.to_owned(), value, small, peer.to_owned()]
    };
    let each = per_cpu(paths)?;
    let rows = [
        ["image", "    bytes", "    small", "Jailhouse for Intel"]
            .map(str::to_owned)
            .to_vec(),
        row("file", full, small, &PEER_IMAGE.to_string()),
        row("to stay below", FULL_LIMIT, SMALL_LIMIT, ""),
        row("text", parts.text, few.text, ""),
        row("read-only data", parts.rodata, few.rodata, ""),
        row("data", parts.data, few.data, ""),
        row("zeroed", parts.bss, few.bss, ""),
        row("for each CPU", each, each, &PEER_PER_CPU.to_string()),
    ];
    println!("{}", table(&rows));
    println!("for each cell: {}\n", per_cell(paths)?);
    lines::print(paths, PEER_LINES)
}

/// Builds an image: bytes of its file, and of what is in it.
fn built(paths: &Paths, image: Image) -> Result<(u64, Sections)> {
    let file = file_size(&image.build(paths)?)?;
    Ok((file, sections(paths, image)?))
}

/// Checks both images, which have been built, against what they must stay below; returns
/// their sizes in words.
///
/// # Errors
///
/// One has become too large, or the sources do not say what a CPU needs.
pub(crate) fn limits(paths: &Paths) -> Result<String> {
    let full = below(Image::Full.file(paths), FULL_LIMIT, "the image")?;
    let small = below(Image::Small.file(paths), SMALL_LIMIT, "the small image")?;
    let parts = sections(paths, Image::Full)?;
    Ok(format!(
        "{full} bytes, {} of them text and read-only data; small: {small}; {} for each CPU",
        parts.text + parts.rodata,
        per_cpu(paths)?
    ))
}

/// Bytes of a file that must be below `limit`.
fn below(path: PathBuf, limit: u64, what: &str) -> Result<u64> {
    let size = file_size(&path)?;
    if size >= limit {
        bail!("{what} has {size} bytes: it is to stay below {limit}");
    }
    Ok(size)
}

fn per_cpu(paths: &Paths) -> Result<u64> {
    constants::value(paths, "hypervisor/monitor/src/boot.rs", "AREA_SIZE")
}

fn file_size(path: &Path) -> Result<u64> {
    let data =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(data.len())
}

fn sections(paths: &Paths, image: Image) -> Result<Sections> {
    Ok(parse_sections(
        &Cmd::new("size").arg("-A").arg(image.elf(paths)).read()?,
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
    fn an_image_that_reaches_its_limit_is_refused() {
        let file = std::env::temp_dir().join(format!("image-{}", std::process::id()));
        std::fs::write(&file, [0; 64]).expect("a file");
        let ask = |limit| below(file.clone(), limit, "the small image");
        assert_eq!(ask(65).expect("below"), 64);
        let why = ask(64).expect_err("not below").to_string();
        assert!(why.contains("the small image has 64 bytes"), "{why}");
        std::fs::remove_file(&file).expect("the file");
    }

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
