//! The JSON Schema of slice files, from the Rust types.

use super::raw;
use serde_json::{Map, Value};

/// The JSON Schema of a slice file, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(raw::File).to_value();
    simplify(&mut schema);
    schema
}

/// Removes what slice files have no use for: formats, which are Rust's, and
/// null, which TOML does not know.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("format");
            if let Some(kind @ Value::Array(_)) = map.get_mut("type") {
                *kind = kind.get(0).cloned().unwrap_or_default();
            }
            if let Some(Value::Array(mut choice)) = map.remove("anyOf") {
                choice.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
                match &choice[..] {
                    [Value::Object(only)] => map.extend(only.clone()),
                    _ => drop(map.insert("anyOf".to_owned(), Value::Array(choice))),
                }
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

/// A part of a schema, with references followed.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    root: &'a Value,
    here: &'a Value,
}

/// What a part asks for.
pub(super) enum Shape<'a> {
    Table(Part<'a>),
    Array(Part<'a>),
    Words(Vec<(&'a str, &'a str)>),
    Text,
    /// A string, or an array of what is told.
    Texts(Part<'a>),
    Number {
        least: i128,
        most: i128,
    },
    Bool,
    Any,
}

impl<'a> Part<'a> {
    /// The whole schema.
    pub(super) fn root(root: &'a Value) -> Self {
        Self { root, here: root }
    }

    /// Follows `$ref`.
    fn follow(self, here: &'a Value) -> Self {
        let target = here.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|t| self.root.pointer(t.trim_start_matches('#')));
        Self {
            root: self.root,
            here: target.unwrap_or(here),
        }
    }

    /// The properties of a table, each with its own part.
    pub(super) fn properties(self) -> impl Iterator<Item = (&'a str, Self, &'a Value)> {
        let map: Option<&Map<_, _>> = self.here.get("properties").and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .map(move |(name, value)| (name.as_str(), self.follow(value), value))
    }

    /// Names that a table must have.
    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        let names = self.here.get("required").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }

    /// What is said about it.
    pub(super) fn description(self) -> &'a str {
        description(self.here)
    }

    /// What it asks for.
    pub(super) fn shape(self) -> Shape<'a> {
        if let Some(choice) = self.here.get("oneOf").and_then(Value::as_array) {
            let word = |v: &'a Value| Some((v.get("const")?.as_str()?, description(v)));
            return Shape::Words(choice.iter().filter_map(word).collect());
        }
        if let Some(choice) = self.here.get("anyOf").and_then(Value::as_array) {
            // The one choice that slice files have: a string, or an array of them.
            let items = choice.iter().find_map(|one| one.get("items"));
            return items.map_or(Shape::Any, |items| Shape::Texts(self.follow(items)));
        }
        let kind = self.here.get("type").and_then(Value::as_str);
        let limit = |name| self.here.get(name).and_then(Value::as_i64).map(i128::from);
        match kind {
            Some("object") => Shape::Table(self),
            Some("array") => match self.here.get("items") {
                Some(items) => Shape::Array(self.follow(items)),
                None => Shape::Any,
            },
            Some("string") => Shape::Text,
            Some("integer") => Shape::Number {
                least: limit("minimum").unwrap_or(i128::from(i64::MIN)),
                most: limit("maximum").unwrap_or(i128::from(i64::MAX)),
            },
            Some("boolean") => Shape::Bool,
            _ => Shape::Any,
        }
    }
}

/// The description of a part, on one line.
pub(super) fn description(value: &Value) -> &str {
    value
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
