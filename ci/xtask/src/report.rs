//! Results for machines (JUnit XML) and for people (summary tables).

use crate::lane::Lane;
use crate::lane::run::Outcome;
use crate::scenario::Scenario;
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Writes `junit.xml` of a scenario: one test case per step.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn scenario(outcome: &Outcome, lane: Lane, scenario: &Scenario) -> Result<()> {
    let mut suite = TestSuite::new(format!("{}.{}", lane.name(), scenario.name));
    let begun = outcome.records.len();
    for (index, step) in scenario.steps.iter().enumerate() {
        let last = index + 1 == begun;
        let status = match (&outcome.failure, outcome.records.get(index)) {
            (Some(failure), Some(_)) if last => failed(&failure.why, &failure.tail),
            (Some(failure), None) if begun == 0 && index == 0 => {
                failed(&failure.why, &failure.tail)
            }
            (_, Some(_)) => TestCaseStatus::success(),
            (_, None) => TestCaseStatus::skipped(),
        };
        let mut case = TestCase::new(&*step.name, status);
        if let Some(record) = outcome.records.get(index) {
            case.set_time(Duration::try_from_secs_f64(record.seconds).unwrap_or_default());
            case.set_system_out(record.lines.join("\n"));
        }
        suite.add_test_case(case);
    }
    write(suite, &outcome.dir.join("junit.xml"))
}

/// A failed test case.
pub(crate) fn failed(why: &str, details: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(why).set_description(details);
    status
}

/// Writes one suite as a report.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write(suite: TestSuite, path: &Path) -> Result<()> {
    let mut report = Report::new("cellvisor");
    report.add_test_suite(suite);
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    report
        .serialize(file)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Rows under a heading, in columns as wide as their longest text.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn table_aligns_columns() {
        let row = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["a", "b"]), row(["long", "c"])]),
            "a     b\nlong  c"
        );
    }
}
