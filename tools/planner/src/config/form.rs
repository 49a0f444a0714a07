//! Finds every mistake in form at once: keys that do not exist or are missing,
//! and values of the wrong kind. Serde would stop at the first.

use super::schema::{Part, Shape, schema};
use super::source::{Source, join};
use crate::report::{Finding, Report};
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

/// How alike two words must be for "did you mean".
const ALIKE: f64 = 0.8;

/// What a look at the form of a file brought.
pub(super) struct Checked {
    /// What is wrong.
    pub(super) report: Report,
    /// Paths of the keys that it is about. Their values are not those that the
    /// writer wished.
    pub(super) doubtful: BTreeSet<String>,
    /// It is of another version: the rest of its keys mean nothing.
    pub(super) foreign: bool,
}

/// Compares `table` with the schema, and makes it one that can be read: what
/// does not belong there is removed, what is missing is filled in with
/// something that no reader takes for a wish ([`Checked::doubtful`]).
pub(super) fn check(table: &mut DeTable<'_>, source: &Source) -> Checked {
    let mut form = Form {
        source,
        report: Report::default(),
        doubtful: BTreeSet::new(),
    };
    let schema = schema();
    form.version(table);
    let foreign = form.report.has_errors();
    if !foreign {
        form.table(table, Part::root(&schema), "");
    }
    Checked {
        report: form.report,
        doubtful: form.doubtful,
        foreign,
    }
}

struct Form<'a> {
    source: &'a Source,
    report: Report,
    doubtful: BTreeSet<String>,
}

impl Form<'_> {
    fn wrong(&mut self, span: Range<usize>, message: String, cause: String, help: String) {
        let mut finding = Finding::error(message).at(self.source.bytes(span));
        finding.cause = Some(cause).filter(|c| !c.is_empty());
        self.report.push(finding.help(help));
    }

    /// Another version may have other keys: it comes first.
    fn version(&mut self, file: &DeTable<'_>) {
        let Some(version) = file.get("version") else {
            return;
        };
        let known = super::VERSION.to_string();
        if let DeValue::Integer(number) = version.get_ref()
            && number.as_str() != known
        {
            self.wrong(
                version.span(),
                format!("version {} of slice files is not known", number.as_str()),
                format!("this tool reads version {known}"),
                format!("write `version = {known}`, or use the tool that the file was made for"),
            );
        }
    }

    fn table(&mut self, table: &mut DeTable<'_>, part: Part<'_>, at: &str) {
        let known: Vec<(&str, Part<'_>)> = part.properties().map(|(n, p, _)| (n, p)).collect();
        let (mut bad, mut meant) = (Vec::new(), Vec::new());
        for (key, value) in table.iter_mut() {
            let name: &str = key.get_ref();
            let good = match known.iter().find(|(n, _)| *n == name) {
                Some((_, part)) => self.value(value, *part, &join(at, name)),
                None => {
                    meant.extend(self.unknown(key.span(), name, at, &known));
                    false
                }
            };
            if !good {
                bad.push(name.to_owned());
            }
        }
        // What a key was probably meant to be is not missing.
        meant.retain(|name| !table.contains_key(*name));
        self.doubtful
            .extend(meant.iter().map(|name| join(at, name)));
        for name in bad {
            table.remove(name.as_str());
            self.doubtful.insert(join(at, &name));
        }
        for name in part.required() {
            if table.contains_key(name) {
                continue;
            }
            let path = join(at, name);
            let shape = known
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, p)| p.shape());
            if self.doubtful.insert(path.clone()) {
                self.missing(at, name, shape.as_ref());
            }
            let value = Spanned::new(0..0, blank(shape.as_ref()));
            table.insert(Spanned::new(0..0, name.to_owned().into()), value);
        }
    }

    fn missing(&mut self, at: &str, name: &str, shape: Option<&Shape<'_>>) {
        let path = join(at, name);
        let help = match (shape, at.strip_prefix("slice.")) {
            (Some(Shape::Table(_)), Some(_)) => {
                format!("add `[slice.{name}]` with its keys below this `[[slice]]`")
            }
            (Some(Shape::Table(_)), None) => format!("add the table `[{path}]`"),
            _ if at.is_empty() && name == "version" => {
                format!("start the file with `version = {}`", super::VERSION)
            }
            _ => format!("add `{name} = …`"),
        };
        let finding = Finding::error(format!("`{path}` is missing"));
        self.report
            .push(finding.at(self.source.place(at)).help(help));
    }

    /// Returns the key that was probably meant.
    fn unknown<'k>(
        &mut self,
        span: Range<usize>,
        name: &str,
        at: &str,
        known: &[(&'k str, Part<'_>)],
    ) -> Option<&'k str> {
        let names = known.iter().map(|(n, _)| *n);
        let nearest = names
            .clone()
            .map(|n| (strsim::jaro_winkler(n, name), n))
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let all: Vec<String> = names.map(|n| format!("`{n}`")).collect();
        let help = match nearest {
            Some((_, nearest)) => format!("did you mean `{nearest}`?"),
            None => format!("known here: {}", all.join(", ")),
        };
        let cause = match at {
            "" => "no such key in a slice file".to_owned(),
            at => format!("no such key in `{at}`"),
        };
        self.wrong(span, format!("unknown key `{name}`"), cause, help);
        nearest.map(|(_, nearest)| nearest)
    }

    /// True if the value is what it should be, or was made so.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, part: Part<'_>, at: &str) -> bool {
        let span = value.span();
        let shape = part.shape();
        match (&shape, value.get_mut()) {
            (Shape::Any, _)
            | (Shape::Text | Shape::Texts(_), DeValue::String(_))
            | (Shape::Bool, DeValue::Boolean(_)) => return true,
            (Shape::Table(part), DeValue::Table(table)) => {
                self.table(table, *part, at);
                return true;
            }
            (Shape::Array(part) | Shape::Texts(part), DeValue::Array(items)) => {
                self.items(items.iter_mut(), *part, at);
                return true;
            }
            (Shape::Words(words), DeValue::String(word)) => {
                return self.word(span, word, words, at);
            }
            (Shape::Number { least, most }, DeValue::Integer(number)) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                let number = number.as_str().to_owned();
                return self.number(span, parsed.ok(), &number, (*least, *most), at);
            }
            _ => {}
        }
        let (wanted, help) = asked(&shape, value.get_ref(), at);
        let is = value.get_ref().type_str();
        self.wrong(
            span,
            format!("`{at}` must be {wanted}"),
            format!("this is {} {is}", article(is)),
            help,
        );
        false
    }

    /// The items of an array; what is none becomes an empty one.
    fn items<'v, 'i: 'v>(
        &mut self,
        items: impl Iterator<Item = &'v mut Spanned<DeValue<'i>>>,
        part: Part<'_>,
        at: &str,
    ) {
        for (i, item) in items.enumerate() {
            let path = join(at, &i.to_string());
            if !self.value(item, part, &path) {
                *item.get_mut() = blank(Some(&part.shape()));
                self.doubtful.insert(path);
            }
        }
    }

    fn number(
        &mut self,
        span: Range<usize>,
        number: Option<i128>,
        text: &str,
        (least, most): (i128, i128),
        at: &str,
    ) -> bool {
        if number.is_some_and(|n| (least..=most).contains(&n)) {
            return true;
        }
        let range = match most == i128::from(i64::MAX) {
            true => format!("a number, {least} or more"),
            false => format!("a number from {least} to {most}"),
        };
        let message = format!("`{at}` must be {range}");
        self.wrong(
            span,
            message,
            format!("this is {text}"),
            format!("write {range}"),
        );
        false
    }

    fn word(&mut self, span: Range<usize>, word: &str, words: &[(&str, &str)], at: &str) -> bool {
        if words.iter().any(|(w, _)| *w == word) {
            return true;
        }
        let all: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
        self.wrong(
            span,
            format!("`{at}` cannot be \"{word}\""),
            String::new(),
            format!("write {}", all.join(" or ")),
        );
        false
    }
}

/// Something of a shape that says nothing.
fn blank(shape: Option<&Shape<'_>>) -> DeValue<'static> {
    match shape {
        Some(Shape::Table(part)) => {
            let mut table = DeTable::new();
            for name in part.required() {
                let part = part.properties().find(|(n, ..)| *n == name);
                let value = blank(part.map(|(_, p, _)| p.shape()).as_ref());
                let key = Spanned::new(0..0, name.to_owned().into());
                table.insert(key, Spanned::new(0..0, value));
            }
            DeValue::Table(table)
        }
        Some(Shape::Array(_)) => DeValue::Array(DeArray::new()),
        Some(Shape::Bool) => DeValue::Boolean(false),
        Some(Shape::Number { .. }) => DeValue::Integer(DeInteger::default()),
        Some(Shape::Words(words)) => {
            let first = words.first().map_or("", |(word, _)| word);
            DeValue::String(first.to_owned().into())
        }
        Some(Shape::Text | Shape::Texts(_) | Shape::Any) | None => {
            DeValue::String(String::new().into())
        }
    }
}

/// What a shape asks for, and how to write it, given what was written.
fn asked(shape: &Shape<'_>, is: &DeValue<'_>, at: &str) -> (&'static str, String) {
    let name = at.rsplit('.').next().unwrap_or(at);
    let text = is.as_str().map(str::trim);
    match shape {
        Shape::Table(part) => ("a table", table_help(*part, text, at, name)),
        Shape::Array(_) if at.starts_with("slice.") => {
            ("an array of tables", format!("write `{name} = [{{ … }}]`"))
        }
        Shape::Array(_) => ("an array of tables", format!("write `[[{at}]]` for each")),
        Shape::Words(_) | Shape::Text => {
            let value = match is {
                DeValue::Integer(n) if n.radix() == 10 => n.as_str(),
                DeValue::Float(n) => n.as_str(),
                _ => "…",
            };
            match name.parse::<usize>() {
                Ok(_) => ("a string", format!("write `\"{value}\"`")),
                Err(_) => ("a string", format!("write `{name} = \"{value}\"`")),
            }
        }
        Shape::Texts(_) => (
            "a string or an array of strings",
            format!("write `{name} = \"…\"`, or `{name} = [\"…\", \"…\"]` for several"),
        ),
        Shape::Number { .. } => {
            let number = text.filter(|t| t.parse::<i64>().is_ok()).unwrap_or("1");
            (
                "a number",
                format!("write `{name} = {number}` without quotes"),
            )
        }
        Shape::Bool => match text.filter(|t| matches!(*t, "true" | "false")) {
            Some(word) => (
                "true or false",
                format!("write `{name} = {word}` without quotes"),
            ),
            None => (
                "true or false",
                format!("write `{name} = true` or leave it out"),
            ),
        },
        Shape::Any => ("something else", String::new()),
    }
}

/// How to write a table: at the top level with a header, elsewhere in braces,
/// with what was written as the first of its required keys.
fn table_help(part: Part<'_>, text: Option<&str>, at: &str, name: &str) -> String {
    if !at.contains('.') {
        return format!("write `[{at}]` with its keys below it");
    }
    let mut texts = text.into_iter();
    let keys: Vec<String> = part
        .required()
        .map(|key| format!("{key} = \"{}\"", texts.next().unwrap_or("…")))
        .collect();
    match keys.is_empty() {
        true => format!("write `{name} = {{ … }}`"),
        false => format!("write `{name} = {{ {} }}`", keys.join(", ")),
    }
}

/// The article of a TOML type's name.
fn article(word: &str) -> &'static str {
    match word.starts_with(['a', 'i']) {
        true => "an",
        false => "a",
    }
}
