//! Files that touch the hardware say where it is written down: a line of their
//! own, `Source:`, with manual and section.

use crate::paths::{Paths, read_text};
use crate::size::sources;
use anyhow::Result;
use regex::Regex;
use std::path::Path;

/// The one crate that touches it.
const CRATE: &str = "hypervisor/monitor/src";

/// Instructions, registers and memory of devices in Rust.
const RUST: &str =
    r"\basm!\(|\b(read|write)_volatile\b|\bx86::|\braw_cpuid::|\bmsr::(read|write|try_\w+)\(";

/// Instructions that only an operating system uses, in assembly.
const ASSEMBLY: &str = r"(?m)^\s+((rd|wr)msr|vm[a-z]+|l[gi]dt|ltr|iretq|[cs]ti|hlt|[xf]setbv|[cs]tgi|mov (cr|dr)\d|mov \w+, (cr|dr)\d)\b";

/// The line that says where, with a title in quotes or a file of Linux.
const SOURCE: &str = r#"(?m)^\s*(//!|///|//|#|/\*|\*) Sources?: [^"\n]*("|Documentation/|$)"#;

/// A line for each file of the monitor that touches the hardware and names no
/// source.
pub(super) fn check(paths: &Paths) -> Result<Vec<String>> {
    let mut mistakes = Vec::new();
    for file in sources(&paths.repo(CRATE))? {
        let name = file.strip_prefix(&paths.root).unwrap_or(&file);
        mistakes.extend(look(name, &read_text(&file)?)?);
    }
    Ok(mistakes)
}

fn look(file: &Path, text: &str) -> Result<Option<String>> {
    let assembly = file.extension().is_some_and(|kind| kind == "S");
    let touches = Regex::new(if assembly { ASSEMBLY } else { RUST })?;
    let Some(found) = touches.find(text) else {
        return Ok(None);
    };
    if Regex::new(SOURCE)?.is_match(text) {
        return Ok(None);
    }
    let line = text.get(..found.end()).map_or(0, |t| t.lines().count());
    Ok(Some(format!(
        "{}:{}: `{}` touches the hardware, and no line `Source: MANUAL, \"SECTION\"` says \
         where it is defined",
        file.display(),
        line,
        found.as_str().trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(name: &str, text: &str) -> Option<String> {
        look(Path::new(name), text).expect("the patterns are right")
    }

    #[test]
    fn a_file_that_touches_the_hardware_names_its_manual() {
        let code = "//! Time.\nfn tsc() {\n    unsafe { x86::time::rdtsc() }\n}\n";
        let wrong = looked("sync.rs", code).expect("no source");
        assert!(wrong.starts_with("sync.rs:3: `x86::`"), "{wrong}");
        let source = "//! Time.\n//!\n//! Source: SDM 2, \"RDTSC\".\n";
        assert_eq!(looked("sync.rs", &format!("{source}{code}")), None);
        let code = "# Rest.\n    hlt\n";
        let wrong = looked("idle.S", code).expect("no source");
        assert!(wrong.starts_with("idle.S:2: `hlt`"), "{wrong}");
        assert_eq!(
            looked("idle.S", &format!("# Source: SDM 2, \"HLT\".\n{code}")),
            None
        );
    }

    #[test]
    fn other_files_need_none() {
        assert_eq!(looked("copy.S", "memcpy:\n    rep movsb\n    ret\n"), None);
        assert_eq!(looked("pool.rs", "fn free(page: Page) {}\n"), None);
    }
}
