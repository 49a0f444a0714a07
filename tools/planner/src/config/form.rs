//! Finds every mistake in form at once: keys that do not exist or are missing,
//! and values of the wrong kind. Serde would stop at the first.

use super::schema::{Part, Shape, schema};
use super::source::{Source, join};
use crate::report::{Finding, Place, Report};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How alike two words must be for "did you mean".
const ALIKE: f64 = 0.8;

/// Compares `text`, which is TOML, with the schema.
pub(super) fn check(text: &str, source: &Source) -> Report {
    let mut form = Form {
        source,
        report: Report::default(),
    };
    let schema = schema();
    // `Source` has parsed the text before.
    if let Ok(table) = DeTable::parse(text) {
        form.version(table.get_ref());
        form.table(table.get_ref(), Part::root(&schema), "");
    }
    form.report
}

struct Form<'a> {
    source: &'a Source,
    report: Report,
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

    fn table(&mut self, table: &DeTable<'_>, part: Part<'_>, at: &str) {
        let known: Vec<(&str, Part<'_>)> = part.properties().map(|(n, p, _)| (n, p)).collect();
        for (key, value) in table {
            let name: &str = key.get_ref();
            match known.iter().find(|(n, _)| *n == name) {
                Some((_, part)) => self.value(value, *part, &join(at, name)),
                None => self.unknown(key.span(), name, at, &known),
            }
        }
        for name in part.required().filter(|n| !table.contains_key(*n)) {
            let place = self.source.place(at);
            let about = known.iter().find(|(n, _)| *n == name);
            let help = match about.map(|(_, p)| p.shape()) {
                Some(Shape::Table(_)) => format!("add the table `[{}]`", join(at, name)),
                _ if at.is_empty() && name == "version" => {
                    format!("start the file with `version = {}`", super::VERSION)
                }
                _ => format!("add `{name} = …`"),
            };
            self.missing(place, &join(at, name), help);
        }
    }

    fn missing(&mut self, place: Place, key: &str, help: String) {
        self.report.push(
            Finding::error(format!("`{key}` is missing"))
                .at(place)
                .help(help),
        );
    }

    fn unknown(&mut self, span: Range<usize>, name: &str, at: &str, known: &[(&str, Part<'_>)]) {
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
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, part: Part<'_>, at: &str) {
        let (wanted, help) = match (part.shape(), value.get_ref()) {
            (Shape::Any, _)
            | (Shape::Text, DeValue::String(_))
            | (Shape::Bool, DeValue::Boolean(_)) => return,
            (Shape::Table(part), DeValue::Table(table)) => return self.table(table, part, at),
            (Shape::Array(part), DeValue::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    self.value(item, part, &join(at, &i.to_string()));
                }
                return;
            }
            (Shape::Words(words), DeValue::String(word)) => {
                return self.word(value.span(), word, &words, at);
            }
            (Shape::Number { least, most }, DeValue::Integer(number)) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                if parsed.is_ok_and(|n| (least..=most).contains(&n)) {
                    return;
                }
                let range = match most == i128::from(i64::MAX) {
                    true => format!("a number, {least} or more"),
                    false => format!("a number from {least} to {most}"),
                };
                let is = format!("this is {}", number.as_str());
                let help = format!("write {range}");
                return self.wrong(value.span(), format!("`{at}` must be {range}"), is, help);
            }
            (shape, _) => asked(&shape, at),
        };
        let is = value.get_ref().type_str();
        self.wrong(
            value.span(),
            format!("`{at}` must be {wanted}"),
            format!("this is {} {is}", article(is)),
            help,
        );
    }

    fn word(&mut self, span: Range<usize>, word: &str, words: &[(&str, &str)], at: &str) {
        if words.iter().any(|(w, _)| *w == word) {
            return;
        }
        let all: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
        self.wrong(
            span,
            format!("`{at}` cannot be \"{word}\""),
            String::new(),
            format!("write {}", all.join(" or ")),
        );
    }
}

/// What a shape asks for, and how to write it.
fn asked(shape: &Shape<'_>, at: &str) -> (String, String) {
    let name = at.rsplit('.').next().unwrap_or(at);
    let (wanted, help) = match shape {
        Shape::Table(_) => ("a table", format!("write `[{at}]` with its keys below it")),
        Shape::Array(_) => ("an array of tables", format!("write `[[{at}]]` for each")),
        Shape::Words(_) | Shape::Text => ("a string", format!("write `{name} = \"…\"`")),
        Shape::Number { .. } => ("a number", format!("write `{name} = 1` without quotes")),
        Shape::Bool => ("true or false", format!("write `{name} = true`")),
        Shape::Any => ("something else", String::new()),
    };
    (wanted.to_owned(), help)
}

/// The article of a TOML type's name.
fn article(word: &str) -> &'static str {
    match word.starts_with(['a', 'i']) {
        true => "an",
        false => "a",
    }
}
