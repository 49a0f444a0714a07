//! The reference page of slice files, from the same doc comments as the schema.

use super::schema::{Part, Shape, description, schema};
use std::fmt::Write;

/// The reference of slice files as Markdown.
#[must_use]
pub fn reference() -> String {
    let schema = schema();
    let root = Part::root(&schema);
    let mut page = format!("# Slice files\n\n{}\n", prose(root.description()));
    let required: Vec<&str> = root.required().collect();
    for (name, part, value) in root.properties() {
        if name == "slice" {
            continue;
        }
        match part.shape() {
            Shape::Table(table) => section(&mut page, &format!("[{name}]"), table),
            Shape::Array(item) => section(&mut page, &format!("[[{name}]]"), item),
            _ => {
                let _ = writeln!(page, "\n## `{name}`\n");
                line(
                    &mut page,
                    name,
                    part,
                    description(value),
                    required.contains(&name),
                );
            }
        }
    }
    page
}

/// One table.
fn section(page: &mut String, title: &str, table: Part<'_>) {
    let _ = writeln!(page, "\n## `{title}`\n\n{}\n", prose(table.description()));
    let required: Vec<&str> = table.required().collect();
    for (name, part, value) in table.properties() {
        line(
            page,
            name,
            part,
            description(value),
            required.contains(&name),
        );
    }
}

/// One key, with the keys of an inline table below it.
fn line(page: &mut String, name: &str, part: Part<'_>, about: &str, required: bool) {
    let kind = match part.shape() {
        Shape::Table(_) => "table",
        Shape::Array(_) => "array",
        Shape::Words(_) | Shape::Text => "string",
        Shape::Texts(_) => "string or array of strings",
        Shape::Number { .. } => "number",
        Shape::Bool => "true or false",
        Shape::Any => "any",
    };
    let need = if required { ", required" } else { "" };
    let _ = writeln!(page, "- `{name}` ({kind}{need}): {}", prose(about));
    match part.shape() {
        Shape::Words(words) => {
            for (word, about) in words {
                let _ = writeln!(page, "  - `\"{word}\"`: {}", prose(about));
            }
        }
        Shape::Table(table) => {
            let required: Vec<&str> = table.required().collect();
            for (name, _, value) in table.properties() {
                let need = if required.contains(&name) {
                    " (required)"
                } else {
                    ""
                };
                let _ = writeln!(page, "  - `{name}`{need}: {}", prose(description(value)));
            }
        }
        _ => {}
    }
}

/// A doc comment without its line ends.
fn prose(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
