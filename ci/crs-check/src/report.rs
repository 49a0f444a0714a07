//! Rows for people and for programs; warnings of the interpreter.

use crate::compare::Row;
use log::{LevelFilter, Log, Metadata, Record};

/// The interpreter's log.
struct Warnings;

impl Log for Warnings {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("note: {}", record.args());
    }

    fn flush(&self) {}
}

/// Shows what the interpreter warns of.
pub(crate) fn show_warnings() {
    static WARNINGS: Warnings = Warnings;
    // Nobody else has set one.
    let _ = log::set_logger(&WARNINGS);
    log::set_max_level(LevelFilter::Warn);
}

/// Rows as JSON.
///
/// # Errors
///
/// They have no form in JSON.
pub(crate) fn json(rows: &[Row]) -> Result<String, String> {
    serde_json::to_string_pretty(rows).map_err(|why| format!("cannot write JSON: {why}"))
}

/// Rows as an aligned table, and a line that sums them up.
pub(crate) fn text(rows: &[Row]) -> String {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let head = ["BRIDGE", "RESOURCE", "_CRS", "OURS", "VERDICT"].map(str::to_owned);
    let lines = rows.iter().map(|row| {
        [
            row.bridge.clone(),
            row.resource.to_owned(),
            dash(&row.crs),
            dash(&row.ours),
            row.verdict.text().to_owned(),
        ]
    });
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
    }
    let bad = rows.iter().filter(|r| r.verdict.is_difference()).count();
    text += &format!("{} compared, {bad} differ\n", rows.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Verdict;

    #[test]
    fn columns_are_aligned_and_differences_counted() {
        let row = |bridge: &str, verdict| Row {
            bridge: bridge.into(),
            resource: "memory",
            crs: Some("0x10-0x1f".into()),
            ours: None,
            verdict,
        };
        let rows = [
            row("\\_SB.PCI0", Verdict::OnlyFirmware),
            row("-", Verdict::OwnRegisters),
        ];
        let expected = "\
BRIDGE     RESOURCE  _CRS       OURS  VERDICT
\\_SB.PCI0  memory    0x10-0x1f  -     DIFFERS: only the firmware has it
-          memory    0x10-0x1f  -     registers of the bridge, no window
2 compared, 1 differ
";
        assert_eq!(text(&rows), expected);
    }
}
