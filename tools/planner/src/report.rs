//! What is wrong, where, why, and what helps: findings for people and for
//! programs.
//!
//! A finding has its place in a file when a person wrote the cause of it
//! there. It carries the one line of that file that it is about, so that a
//! report can be shown when the file is gone.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

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
    /// Line, from 1; 0 if the finding is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 as above.
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
    pub fn in_text(file: impl Into<PathBuf>, text: &str, span: std::ops::Range<usize>) -> Self {
        let at = floor_char(text, span.start);
        let begin = text
            .get(..at)
            .and_then(|t| t.rfind('\n'))
            .map_or(0, |i| i + 1);
        let rest = text.get(begin..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        let start = at - begin;
        let end = floor_char(line, span.end.saturating_sub(begin).min(line.len()));
        Self {
            file: file.into(),
            line: text.get(..begin).unwrap_or_default().matches('\n').count() + 1,
            column: line.get(..start).unwrap_or(line).chars().count() + 1,
            text: line.to_owned(),
            length: end.saturating_sub(start),
            start,
        }
    }
}

/// The last character boundary of `text` that is not after `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
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

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let cause = self.cause.as_deref();
        let title = level.primary_title(self.message.as_str());
        let mut group = match &self.place {
            Some(place) if place.line > 0 => title.element(
                Snippet::source(place.text.as_str())
                    .line_start(place.line)
                    .path(place.file.to_string_lossy().into_owned())
                    .annotation(
                        AnnotationKind::Primary
                            .span(place.start..place.start + place.length)
                            .label(cause),
                    ),
            ),
            Some(place) => {
                let origin = Origin::path(place.file.to_string_lossy().into_owned());
                title
                    .element(origin)
                    .elements(cause.map(|c| Level::NOTE.message(c)))
            }
            None => Group::with_title(title).elements(cause.map(|c| Level::NOTE.message(c))),
        };
        group = group.elements(self.help.as_deref().map(|h| Level::HELP.message(h)));
        let text = Renderer::plain().render(&[group]);
        // The renderer pads lines; nobody wants to see or test that.
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        f.write_str(&lines.join("\n"))
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
        for (i, finding) in self.findings.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
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
}
