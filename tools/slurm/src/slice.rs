//! A node's slice: a template with the node's name in it.

use crate::error::{Error, Result};
use crate::request::Job;
use std::path::Path;
use toml::{Table, Value};

/// The text of a template.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        let what = format!("cannot read the template {}", path.display());
        Error::new(what, e.to_string(), "put it there, on this machine")
    })
}

/// The slice of `node` for `job`, from a template's text.
///
/// The cell is named as the node. In each text of the template, `{node}`, `{job}` and
/// `{partition}` are replaced; what is not known becomes `none`.
///
/// # Errors
///
/// The template is no TOML, or has several slices.
pub(crate) fn render(text: &str, node: &str, job: &Job) -> Result<String> {
    let wrong = |why: String| {
        let help = "a template is a slice file with its tables at the top level (slice(5))";
        Error::new("mistake in the template", why, help)
    };
    let mut slice: Table =
        toml::from_str(text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
    if slice.contains_key("slice") {
        return Err(wrong("it has several slices".to_owned()));
    }
    let none = || "none".to_owned();
    let id = job.id.map_or_else(none, |id| id.to_string());
    let partition = job.partition.clone().unwrap_or_else(none);
    let words = [
        ("{node}", node),
        ("{job}", &*id),
        ("{partition}", &*partition),
    ];
    slice.iter_mut().for_each(|(_, value)| fill(value, &words));
    let cell = slice
        .entry("cell")
        .or_insert_with(|| Value::Table(Table::new()));
    let cell = cell.as_table_mut();
    let cell = cell.ok_or_else(|| wrong("`cell` is no table".to_owned()))?;
    cell.insert("name".to_owned(), Value::String(node.to_owned()));
    toml::to_string(&slice).map_err(|e| wrong(e.to_string()))
}

/// Replaces words in all texts of a value.
fn fill(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (word, with) in words {
                *text = text.replace(word, with);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, words)),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| fill(value, words)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
        version = 1
        [cpus]
        count = 1
        [kernel]
        image = "vmlinuz"
        cmdline = "slurm.node={node} slurm.job={job} slurm.partition={partition}"
        [[link]]
        name = "net"
        members = ["n1", "n2", "root"]
    "#;

    #[test]
    fn names_go_where_the_template_wants_them() {
        let job = Job {
            id: Some(12),
            partition: None,
        };
        let text = render(TEMPLATE, "n2", &job).expect("a slice");
        let slice: Table = toml::from_str(&text).expect("TOML");
        assert_eq!(slice["cell"]["name"].as_str(), Some("n2"));
        let line = slice["kernel"]["cmdline"].as_str();
        assert_eq!(
            line,
            Some("slurm.node=n2 slurm.job=12 slurm.partition=none")
        );
        assert_eq!(slice["cpus"]["count"].as_integer(), Some(1));
        assert_eq!(slice["link"][0]["members"][0].as_str(), Some("n1"));
    }

    #[test]
    fn templates_that_are_none_are_told() {
        let told = |text: &str| render(text, "n1", &Job::default()).expect_err("none").why;
        assert_eq!(told("[[slice]]\nversion = 1"), "it has several slices");
        assert_eq!(told("cell = 1"), "`cell` is no table");
        assert!(told("[cell").contains("TOML parse error"));
    }
}
