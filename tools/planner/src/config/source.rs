//! Where values were written.

use crate::report::{Finding, Place, Report};
use line_index::LineIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A slice file, or one slice in it, with the places of its keys.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<Contents>,
    /// Path of the slice in the file: empty, or `slice.0.`.
    prefix: String,
}

/// What all slices of a file share.
#[derive(Debug)]
struct Contents {
    path: PathBuf,
    text: String,
    lines: LineIndex,
    /// Values (or headers of tables) by the path of their keys.
    spans: BTreeMap<String, Range<usize>>,
}

/// What the parser says of a key that is there twice.
const DUPLICATE: &str = "duplicate key";

impl Source {
    /// Finds the places of all keys of `text`; also gives its tables, and what
    /// is wrong with them as TOML. Where a key is there twice the first counts.
    ///
    /// # Errors
    ///
    /// A text that is no TOML: what its tables are cannot be told then.
    pub(super) fn new<'t>(
        text: &'t str,
        path: &Path,
    ) -> Result<(Self, Spanned<DeTable<'t>>, Report), Report> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut spans = BTreeMap::new();
        walk_table(table.get_ref(), "", &mut spans);
        let source = Self {
            file: Arc::new(Contents {
                path: path.to_owned(),
                text: text.to_owned(),
                lines: LineIndex::new(text),
                spans,
            }),
            prefix: String::new(),
        };
        let mut report = Report::default();
        // One mistake often leads to more on its line, and a table that is
        // there twice to more of its keys: the first tells most.
        let (mut lines, mut repeated) = (BTreeSet::new(), 0);
        for error in &errors {
            let at = error.span().unwrap_or_default().start;
            let finding = source.syntax(error);
            if at >= repeated && lines.insert(finding.place.as_ref().map(|p| p.line)) {
                report.push(finding);
            }
            if error.message() == DUPLICATE && opens_table(text, at) {
                let rest = text.get(at..).unwrap_or_default();
                repeated = rest.find("\n[").map_or(text.len(), |i| at + i);
            }
        }
        if errors.iter().any(|e| e.message() != DUPLICATE) {
            return Err(report);
        }
        Ok((source, table, report))
    }

    /// What is wrong with the text as TOML.
    fn syntax(&self, error: &toml::de::Error) -> Finding {
        let span = error.span().unwrap_or_default();
        let place = self.bytes(span.clone());
        if error.message() != DUPLICATE {
            let message = format!("this is no TOML: {}", one_line(error.message()));
            let help = "strings stand in quotes, tables start with [name]";
            return Finding::error(message).at(place).help(help);
        }
        let key = self.file.text.get(span.clone()).unwrap_or_default();
        let finding = match opens_table(&self.file.text, span.start) {
            true => Finding::error(format!("the table `[{key}]` is there twice"))
                .because("a table may be there once")
                .help(format!(
                    "for several slices in one file, start each with `[[slice]]` and write its \
                     tables as `[slice.{key}]`"
                )),
            false => Finding::error(format!("`{key}` is there twice"))
                .because("a table may have a key once")
                .help("remove one of the two"),
        };
        finding.at(place)
    }

    /// The `index`-th of several slices in the file.
    pub(super) fn slice(&self, index: usize) -> Self {
        Self {
            file: Arc::clone(&self.file),
            prefix: format!("slice.{index}."),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// `path` as the file means it: a relative one starts at its folder.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.file.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The place of `key`, or of the nearest table around it that is written.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        let full = format!("{}{key}", self.prefix);
        let mut key = full.as_str();
        loop {
            if let Some(span) = self.file.spans.get(key) {
                return self.bytes(span.clone());
            }
            match key.rsplit_once('.') {
                Some((around, _)) => key = around,
                None => return Place::file(&self.file.path),
            }
        }
    }

    /// The place of these bytes.
    pub(super) fn bytes(&self, span: Range<usize>) -> Place {
        Place::indexed(&self.file.path, &self.file.text, &self.file.lines, span)
    }
}

/// True if the key at byte `at` stands in the header of a table.
fn opens_table(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.trim_end_matches([' ', '\t']).ends_with('[')
}

/// The first line of a parser's message.
fn one_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}

/// Notes the places of all values of a table.
fn walk_table(table: &DeTable<'_>, at: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        walk(value, &join(at, key.get_ref()), spans);
    }
}

/// Notes the places of a value and of all in it.
fn walk(value: &Spanned<DeValue<'_>>, at: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    spans.insert(at.to_owned(), value.span());
    match value.get_ref() {
        DeValue::Table(table) => walk_table(table, at, spans),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                walk(item, &join(at, &i.to_string()), spans);
            }
        }
        _ => {}
    }
}

/// `at` and `key` with a dot between.
pub(super) fn join(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    }
}
