//! Where values were written.

use crate::report::{Finding, Place, Report};
use std::collections::BTreeMap;
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
    /// Values (or headers of tables) by the path of their keys.
    spans: BTreeMap<String, Range<usize>>,
}

impl Source {
    /// Finds the places of all keys of `text`.
    pub(super) fn new(text: &str, path: &Path) -> Result<Self, Report> {
        let table = DeTable::parse(text).map_err(|e| {
            Finding::error(format!("this is no TOML: {}", one_line(e.message())))
                .at(Place::in_text(path, text, e.span().unwrap_or_default()))
                .help("strings stand in quotes, tables start with [name]")
        })?;
        let mut spans = BTreeMap::new();
        walk_table(table.get_ref(), "", &mut spans);
        Ok(Self {
            file: Arc::new(Contents {
                path: path.to_owned(),
                text: text.to_owned(),
                spans,
            }),
            prefix: String::new(),
        })
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
        Place::in_text(&self.file.path, &self.file.text, span)
    }
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
