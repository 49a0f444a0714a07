//! Circles between folders: each imports the next, and the last the first.

use super::imports::{Crate, Import, Module};
use std::collections::{BTreeMap, BTreeSet};

/// Imports between the modules of one folder: by importer and imported, the
/// first import of each kind.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>>;

/// The circles of a crate, at most one for each folder, as a line each.
pub(super) fn check(found: &Crate) -> Vec<String> {
    let folders: BTreeSet<&[String]> = found
        .modules
        .iter()
        .filter_map(|module| module.split_last())
        .map(|(_, folder)| folder)
        .collect();
    folders
        .into_iter()
        .filter_map(|folder| {
            let graph = graph(found, folder);
            let circle = circle(&graph)?;
            Some(describe(found, folder, &graph, &circle))
        })
        .collect()
}

/// What the modules of `folder`, with all that is in them, import of each other.
/// Single files may know each other as long as no folder is in the circle.
fn graph<'a>(found: &'a Crate, folder: &[String]) -> Graph<'a> {
    let is_folder = |module: &Module| {
        let inside = |other: &&Module| other.len() > module.len() && other.starts_with(module);
        folder.is_empty() || found.modules.iter().any(|other| inside(&other))
    };
    let mut graph = Graph::new();
    for import in &found.imports {
        let below = |module: &'a Module| module.strip_prefix(folder)?.first();
        let (Some(from), Some(to)) = (below(&import.from), below(&import.to)) else {
            continue;
        };
        let child = |name: &String| [folder, std::slice::from_ref(name)].concat();
        if from != to && (is_folder(&child(from)) || is_folder(&child(to))) {
            graph
                .entry(from.as_str())
                .or_default()
                .entry(to.as_str())
                .or_insert(import);
        }
    }
    graph
}

/// The shortest circle through the first module that is on one.
fn circle<'a>(graph: &Graph<'a>) -> Option<Vec<&'a str>> {
    graph.keys().find_map(|start| {
        let mut ways: Vec<Vec<&str>> = vec![vec![*start]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let last = way.last()?;
                for next in graph.get(last).into_iter().flat_map(BTreeMap::keys) {
                    if next == start {
                        return Some(way);
                    }
                    if seen.insert(*next) {
                        longer.push([&way[..], &[*next]].concat());
                    }
                }
            }
            ways = longer;
        }
        None
    })
}

fn describe(found: &Crate, folder: &[String], graph: &Graph<'_>, circle: &[&str]) -> String {
    let steps = circle.iter().zip(circle.iter().cycle().skip(1));
    let steps: Vec<String> = steps
        .map(|(from, to)| format!("{from} -> {to} ({})", graph[from][to].place))
        .collect();
    let place = [std::slice::from_ref(&found.name), folder].concat();
    format!("{}: a circle: {}", place.join("::"), steps.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_fails_with_the_place_of_each_import() {
        let found = Crate::of(&[
            ("a", "use crate::b::X;"),
            ("b", "\nuse crate::c::X;"),
            ("c", "\n\nuse crate::a::X;"),
            ("d", "use crate::a::X;"),
        ]);
        let want = "a-crate: a circle: a -> b (a.rs:1), b -> c (b.rs:2), c -> a (c.rs:3)";
        assert_eq!(check(&found), [want]);
    }

    #[test]
    fn a_circle_inside_a_folder_counts_if_a_folder_is_in_it() {
        let files = [
            ("f", ""),
            ("f::a", "use super::b::X;"),
            ("f::b", "use super::a::X;"),
        ];
        assert!(check(&Crate::of(&files)).is_empty());
        let inside = ("f::b::deep", "use crate::f::a::X;");
        let folders = Crate::of(&[files[0], files[1], ("f::b", ""), inside]);
        let want = "a-crate::f: a circle: a -> b (f/a.rs:1), b -> a (f/b/deep.rs:1)";
        assert_eq!(check(&folders), [want]);
    }

    #[test]
    fn parents_and_children_are_no_circle() {
        let found = Crate::of(&[("f", "use self::a::X;"), ("f::a", "use super::Y;")]);
        assert!(check(&found).is_empty());
    }
}
