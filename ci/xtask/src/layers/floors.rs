//! Floors of one crate: who may import whom.

use super::FILE;
use super::imports::{Crate, Import};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the file for a crate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Floors {
    /// The modules below the crate's root, by floor, the highest floor first.
    /// Those of one floor do not know each other. None: only circles count.
    #[serde(default)]
    floors: Vec<Vec<String>>,
    /// Imports that are there all the same, as `from -> to`, and why.
    #[serde(default)]
    except: BTreeMap<String, String>,
}

impl Floors {
    /// Takes the exceptions out of a crate's imports; those that are none.
    pub(super) fn set_aside(&self, found: &mut Crate) -> Vec<String> {
        let name = |import: &Import| match (import.from.first(), import.to.first()) {
            (Some(from), Some(to)) => format!("{from} -> {to}"),
            _ => String::new(),
        };
        let needed: BTreeSet<String> = found.imports.iter().map(name).collect();
        found
            .imports
            .retain(|import| !self.except.contains_key(&name(import)));
        let idle = |except: &&String| !needed.contains(*except);
        let crate_ = &found.name;
        self.except
            .keys()
            .filter(idle)
            .map(|except| format!("{FILE}: {crate_}: nothing imports {except}: take it out"))
            .collect()
    }

    fn of(&self, module: &str) -> Option<usize> {
        self.floors
            .iter()
            .position(|floor| floor.iter().any(|name| name == module))
    }

    /// What is wrong in a crate, one mistake for each line.
    pub(super) fn check(&self, found: &Crate) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.floors.is_empty() {
            return mistakes;
        }
        let name = &found.name;
        let tops = || found.modules.iter().filter(|module| module.len() == 1);
        for top in tops().flatten().filter(|top| self.of(top).is_none()) {
            mistakes.push(format!(
                "{FILE}: {name}: the module {top} has no floor: add it to one"
            ));
        }
        let known = |wanted: &&String| !tops().flatten().any(|top| top == *wanted);
        for gone in self.floors.iter().flatten().filter(known) {
            mistakes.push(format!(
                "{FILE}: {name}: there is no module {gone}: take it out"
            ));
        }
        for import in &found.imports {
            let (Some(from), Some(to)) = (import.from.first(), import.to.first()) else {
                continue;
            };
            let (Some(own), Some(other)) = (self.of(from), self.of(to)) else {
                continue;
            };
            if from != to && other <= own {
                let how = if other < own { "above" } else { "beside" };
                mistakes.push(format!(
                    "{}: {} imports {}, which is {how} it ({FILE}): move what both need to a floor \
                     below, or hand it over as an argument",
                    import.place,
                    import.from.join("::"),
                    import.to.join("::")
                ));
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(text: &str) -> Floors {
        toml::from_str(text).expect("floors")
    }

    #[test]
    fn an_import_that_goes_up_fails_with_its_place() {
        let floors = floors("floors = [[\"roof\"], [\"hall\", \"porch\"], [\"cellar\"]]");
        let good = Crate::of(&[
            ("", "use crate::roof::A;"),
            ("roof", "use crate::cellar::A;\nuse crate::hall::A;"),
            ("hall", "use crate::cellar::A;"),
            ("porch", ""),
            ("cellar", ""),
        ]);
        assert!(floors.check(&good).is_empty());
        let bad = Crate::of(&[
            ("roof", ""),
            ("hall", "\nuse crate::porch::A;"),
            ("porch", ""),
            ("cellar", "\n\nuse crate::roof::A;"),
        ]);
        let mistakes = floors.check(&bad);
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].starts_with("hall.rs:2: hall imports porch, which is beside it"));
        assert!(mistakes[1].starts_with("cellar.rs:3: cellar imports roof, which is above it"));
    }

    #[test]
    fn an_exception_covers_its_imports_and_must_be_needed() {
        let floors = floors(
            "floors = [[\"roof\"], [\"cellar\"]]\n\
             except = { \"cellar -> roof\" = \"a pipe\", \"roof -> cellar\" = \"none\" }",
        );
        let mut found = Crate::of(&[("roof", ""), ("cellar", "use crate::roof::A;")]);
        assert_eq!(floors.check(&found).len(), 1);
        let idle = floors.set_aside(&mut found);
        assert_eq!(
            idle,
            ["ci/layers.toml: a-crate: nothing imports roof -> cellar: take it out"]
        );
        assert!(floors.check(&found).is_empty());
    }

    #[test]
    fn every_module_has_a_floor_and_every_floor_its_modules() {
        let floors = floors("floors = [[\"roof\"], [\"gone\"]]");
        let mistakes = floors.check(&Crate::of(&[("roof", ""), ("new", "")]));
        let want = [
            "ci/layers.toml: a-crate: the module new has no floor: add it to one",
            "ci/layers.toml: a-crate: there is no module gone: take it out",
        ];
        assert_eq!(mistakes, want);
    }
}
