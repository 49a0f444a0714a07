//! Tables, sizes and JSON for people and programs.

use crate::error::{Error, Result};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::Write;
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

/// Writes one line to standard output; a closed pipe is not an error.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = writeln!(anstream::stdout(), "{}", line.as_ref());
}

/// Writes one line to standard error.
pub(crate) fn warn(line: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr(), "{WARN}note{WARN:#}: {}", line.as_ref());
}

/// Whether anybody still reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody does.
    There,
    /// The pipe is closed: more would be in vain.
    Gone,
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Reader {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Reader::There,
        Err(_) => Reader::Gone,
    }
}

/// Writes `value` as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::internal("cannot write JSON", e))?;
    say(text);
    Ok(())
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
