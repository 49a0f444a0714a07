//! What is wrong, where, why, and what helps: findings for people and for
//! programs.
//!
//! A finding has its place in a file when a person wrote the cause of it
//! there. It carries the one line of that file that it is about, so that a
//! report can be shown when the file is gone.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use line_index::{LineIndex, TextSize};
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// How much of a line is shown behind the first byte that a finding is about.
const SHOWN: usize = 400;
/// A line is not shown for what is further in than this.
const REACH: usize = 4000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is done as long as it is there.
    Error,
    /// It works, but perhaps not as wished.
    Warning,
}

/// Where in a file a finding is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Line, from 1; 0 if the finding is about the file as a whole, which for
    /// programs is `null`.
    #[serde(serialize_with = "unless_zero")]
    pub line: usize,
    /// Column in characters, from 1; 0 as above.
    #[serde(serialize_with = "unless_zero")]
    pub column: usize,
    /// The text of that line.
    #[serde(skip)]
    pub text: String,
    /// How many bytes of it the finding is about, from `start` on.
    #[serde(skip)]
    pub length: usize,
    /// First of these bytes.
    #[serde(skip)]
    pub start: usize,
}

/// A number that is there if it is not 0.
fn unless_zero<S: Serializer>(number: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    Some(number).filter(|n| **n > 0).serialize(serializer)
}

impl Place {
    /// A file as a whole.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            text: String::new(),
            length: 0,
            start: 0,
        }
    }

    /// The place of bytes `span` of `text`, the content of `file`. What does
    /// not fit into one line is cut at its end.
    pub fn in_text(file: impl Into<PathBuf>, text: &str, span: Range<usize>) -> Self {
        Self::indexed(file, text, &LineIndex::new(text), span)
    }

    /// As [`Self::in_text`], for texts with many findings. Of a long line only
    /// the part around the span is kept.
    pub(crate) fn indexed(
        file: impl Into<PathBuf>,
        text: &str,
        lines: &LineIndex,
        span: Range<usize>,
    ) -> Self {
        let at = text.floor_char_boundary(span.start);
        let offset = TextSize::new(u32::try_from(at).unwrap_or(u32::MAX));
        let (number, start) = match lines.try_line_col(offset) {
            Some(place) => (place.line as usize, place.col as usize),
            None => (0, at),
        };
        let rest = text.get(at - start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        let before = line.get(..start).unwrap_or(line);
        let column = before.chars().count() + 1;
        let end = line.len().min(start.saturating_add(SHOWN));
        let line = line.get(..line.floor_char_boundary(end)).unwrap_or(line);
        let line = if start > REACH { "" } else { line };
        let end = line.floor_char_boundary(span.end.saturating_sub(at - start));
        Self {
            file: file.into(),
            line: number + 1,
            column,
            text: line.to_owned(),
            length: end.saturating_sub(start),
            start,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is, if a file is to blame.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Why that is wrong.
    pub cause: Option<String>,
    /// What helps.
    pub help: Option<String>,
}

impl Finding {
    /// Something that must not stay.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: None,
            message: message.into(),
            cause: None,
            help: None,
        }
    }

    /// Something worth knowing.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says why it is wrong.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Says what helps.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Finding {
    /// The finding as a paragraph, with colours or without.
    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let cause = self.cause.as_deref();
        let note = || cause.map(|c| Level::NOTE.message(c));
        let title = level.primary_title(self.message.as_str());
        let path = |place: &Place| place.file.to_string_lossy().into_owned();
        let mut group = match &self.place {
            // Too far to the right to be shown.
            Some(place) if place.start > place.text.len() => {
                let origin = Origin::path(path(place)).line(place.line);
                title
                    .element(origin.char_column(place.column))
                    .elements(note())
            }
            Some(place) if place.line > 0 => title.element(
                Snippet::source(place.text.as_str())
                    .line_start(place.line)
                    .path(path(place))
                    .annotation(
                        AnnotationKind::Primary
                            .span(place.start..place.start + place.length)
                            .label(cause),
                    ),
            ),
            Some(place) => title.element(Origin::path(path(place))).elements(note()),
            None => Group::with_title(title).elements(note()),
        };
        group = group.elements(self.help.as_deref().map(|h| Level::HELP.message(h)));
        let text = renderer.render(&[group]);
        // The renderer pads lines; nobody wants to see or test that.
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// Everything that was found, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// True if something must be changed before anything is done.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        let errors = |f: &&Finding| f.severity == Severity::Error;
        self.findings.iter().filter(errors).count()
    }

    /// True if nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds all findings of another report.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
    }

    /// Puts the findings in the order of `files`, and of the lines in them;
    /// those that no file is to blame for come last.
    pub fn in_order_of(&mut self, files: &[PathBuf]) {
        self.findings.sort_by_key(|finding| {
            let place = finding.place.as_ref();
            let file = place.and_then(|p| files.iter().position(|f| *f == p.file));
            let spot = place.map(|p| (p.line, p.column));
            (place.is_none(), file, spot)
        });
    }

    /// Every finding as a paragraph of its own, in the colours of terminals.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.paragraphs(&Renderer::styled())
    }

    fn paragraphs(&self, renderer: &Renderer) -> String {
        let all: Vec<String> = self.findings.iter().map(|f| f.render(renderer)).collect();
        all.join("\n\n")
    }

    /// `value`, unless errors were found.
    ///
    /// # Errors
    ///
    /// The report itself; warnings alone are dropped.
    pub fn unless_errors<T>(self, value: T) -> Result<T, Self> {
        if self.has_errors() {
            return Err(self);
        }
        Ok(value)
    }
}

impl From<Finding> for Report {
    fn from(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
        }
    }
}

impl fmt::Display for Report {
    /// Every finding as a paragraph of its own, with an empty line between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paragraphs(&Renderer::plain()))
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_with_a_line_shows_line_cause_and_help() {
        let text = "[cpus]\ncount = 0\n";
        let finding = Finding::error("a slice needs a CPU")
            .at(Place::in_text("a.toml", text, 15..16))
            .because("none asked for")
            .help("write `count = 1` or more");
        let expected = "\
error: a slice needs a CPU
 --> a.toml:2:9
  |
2 | count = 0
  |         ^ none asked for
  |
  = help: write `count = 1` or more";
        assert_eq!(finding.to_string(), expected);
    }

    #[test]
    fn finding_without_a_line_is_a_sentence_or_three() {
        let finding = Finding::warning("no IOMMU")
            .because("the firmware has no DMAR table")
            .help("turn VT-d on in the firmware's setup");
        let expected = "\
warning: no IOMMU
 |
 = note: the firmware has no DMAR table
 = help: turn VT-d on in the firmware's setup";
        assert_eq!(finding.to_string(), expected);
    }

    #[test]
    fn place_survives_any_span() {
        let text = "ä = 1\nö";
        for start in 0..12 {
            for end in start..12 {
                let place = Place::in_text("x", text, start..end);
                assert!(place.line >= 1 && place.start + place.length <= place.text.len());
                let _ = Finding::error("x").at(place).to_string();
            }
        }
    }

    #[test]
    fn long_lines_are_cut_behind_what_they_are_shown_for() {
        let text = format!("a = 1\nb = \"{}\"\n", "x".repeat(100_000));
        let place = Place::in_text("a.toml", &text, 10..100_012);
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!((place.text.len(), place.length), (4 + SHOWN, SHOWN));
        let far = Place::in_text("a.toml", &text, 50_006..50_007);
        assert_eq!((far.line, far.column, far.text.as_str()), (2, 50_001, ""));
        let shown = Finding::error("no").at(far).because("x").help("y");
        let expected = "\
error: no
--> a.toml:2:50001
 = note: x
 = help: y";
        assert_eq!(shown.to_string(), expected);
    }

    #[test]
    fn reports_are_coloured_where_that_is_wished() {
        let mut report = Report::from(Finding::error("no").help("yes"));
        report.push(Finding::warning("perhaps"));
        let coloured = report.coloured();
        assert!(coloured.contains("\x1b["), "{coloured:?}");
        assert!(!report.to_string().contains('\x1b'));
    }

    #[test]
    fn findings_stand_in_the_order_of_files_and_lines() {
        let text = "a\nb\n";
        let at = |file: &str, byte: usize| Place::in_text(file, text, byte..byte + 1);
        let mut report = Report::from(Finding::error("5"));
        report.push(Finding::error("4").at(at("2", 2)));
        report.push(Finding::error("2").at(at("1", 2)));
        report.push(Finding::error("3").at(Place::file("2")));
        report.push(Finding::error("1").at(at("1", 0)));
        report.in_order_of(&["1".into(), "2".into()]);
        let order: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(order, ["1", "2", "3", "4", "5"]);
    }
}
