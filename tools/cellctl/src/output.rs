//! Tables, sizes and JSON for people and programs.

use crate::error::{Error, Result};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use tabled::builder::Builder;
use tabled::settings::{Padding, Style as Border};

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Worth a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// `bytes` in the largest unit that leaves few digits: `256 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    let name = UNITS.get(unit).copied().unwrap_or("EiB");
    let whole = bytes >> (10 * unit);
    let tenth = ((bytes - (whole << (10 * unit))) >> (10 * unit.saturating_sub(1))) * 10 / 1024;
    if unit == 0 || tenth == 0 || whole >= 100 {
        format!("{whole} {name}")
    } else {
        format!("{whole}.{tenth} {name}")
    }
}

/// Nanoseconds as `1.2 ms`.
pub(crate) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{}.{} us", ns / 1_000, ns / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10),
    }
}

/// True if programs read what is printed. Set once, before anything is.
static JSON: OnceLock<bool> = OnceLock::new();

/// The first failure of a write to standard output: [`finish`] tells it.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Has errors and notes printed as JSON.
pub(crate) fn for_programs(json: bool) {
    let _ = JSON.set(json);
}

/// True if errors and notes are printed as JSON.
pub(crate) fn is_for_programs() -> bool {
    JSON.get().copied().unwrap_or_default()
}

/// Writes one line to standard output.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = write(|| writeln!(anstream::stdout(), "{}", line.as_ref()));
}

/// Writes one line to standard error.
pub(crate) fn warn(line: impl AsRef<str>) {
    let line = line.as_ref();
    let mut err = anstream::stderr();
    // Where standard error is closed nobody wants to know.
    let _ = match is_for_programs() {
        true => writeln!(err, "{}", serde_json::json!({ "note": line })),
        false => writeln!(err, "{WARN}note{WARN:#}: {line}"),
    };
}

/// Whether anybody still reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody does.
    There,
    /// The pipe is closed, or the disk is full: more would be in vain.
    Gone,
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Reader {
    write(|| io::stdout().lock().write_all(bytes))
}

/// Writes something to standard output, unless that has failed before.
fn write(what: impl FnOnce() -> io::Result<()>) -> Reader {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    if lost.is_some() {
        return Reader::Gone;
    }
    match what().and_then(|()| io::stdout().flush()) {
        Ok(()) => Reader::There,
        Err(e) => {
            *lost = Some(e);
            Reader::Gone
        }
    }
}

/// Whether all that was written has arrived; a reader that has gone away wants
/// no more.
pub(crate) fn finish() -> Result<()> {
    let lost = LOST.lock().unwrap_or_else(PoisonError::into_inner).take();
    match lost {
        Some(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(
            "cannot write to standard output",
            e.to_string(),
            "what was printed is not complete: make room, or write it elsewhere",
        )),
        _ => Ok(()),
    }
}

/// Writes `value` as JSON, with all its keys in kebab-case.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(&kebab_value(value)?);
    say(text.map_err(no_json)?);
    Ok(())
}

/// As [`json`] in one line, for whoever reads one value after the other.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Result<String> {
    Ok(kebab_value(value)?.to_string())
}

fn kebab_value<T: Serialize>(value: &T) -> Result<Value> {
    let mut value = serde_json::to_value(value).map_err(no_json)?;
    kebab_keys(&mut value);
    Ok(value)
}

fn no_json(why: serde_json::Error) -> Error {
    Error::internal("cannot write JSON", why)
}

fn kebab_keys(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            fields.extend(old.into_iter().map(|(key, mut value)| {
                kebab_keys(&mut value);
                (kebab(&key), value)
            }));
        }
        Value::Array(items) => items.iter_mut().for_each(kebab_keys),
        _ => {}
    }
}

/// Puts all texts in `value`, which are names of Rust's variants, into
/// kebab-case.
pub(crate) fn kebab_words(value: &mut Value) {
    match value {
        Value::String(word) => *word = kebab(word),
        Value::Object(fields) => fields.values_mut().for_each(kebab_words),
        Value::Array(items) => items.iter_mut().for_each(kebab_words),
        _ => {}
    }
}

/// `PowerOff` and `power_off` as `power-off`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        let inner = kebab.chars().next_back().is_some_and(|c| c != '-');
        if c.is_ascii_uppercase() && inner {
            kebab.push('-');
        }
        kebab.push(if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        });
    }
    kebab
}

/// Rows as an aligned table without a frame.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut builder = Builder::default();
    if !head.is_empty() {
        builder.push_record(head.iter().copied());
    }
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Border::empty()).with(Padding::new(0, 2, 0, 0));
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536 << 20, "1.5 GiB"),
            (256 << 20, "256 MiB"),
            ((256 << 20) + 1, "256 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn json_has_one_case() {
        let mut value = serde_json::json!({
            "pool_pages": 1,
            "failure": { "reason": { "TripleFault": [{ "a_b": "stays_so" }] } },
        });
        kebab_keys(&mut value);
        let expected = serde_json::json!({
            "pool-pages": 1,
            "failure": { "reason": { "triple-fault": [{ "a-b": "stays_so" }] } },
        });
        assert_eq!(value, expected);
        let mut word = Value::from("MachineCheck");
        kebab_words(&mut word);
        assert_eq!(word, "machine-check");
    }

    #[test]
    fn durations_change_their_unit() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_500_000), "1.5 ms");
        assert_eq!(duration(2_000_000_000), "2.0 s");
    }

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let text = table(&["ID", "NAME"], [vec!["10".into(), "a".into()]]);
        assert_eq!(text, "ID  NAME\n10  a");
    }
}
