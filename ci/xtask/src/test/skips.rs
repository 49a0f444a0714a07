//! Which skips continuous integration may have: those of `ci/skips.toml`.

use crate::paths::{Paths, read_text};
use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;

/// The list, from the root of the repository.
const LIST: &str = "ci/skips.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    skip: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    why: String,
    /// For whoever reads the list; no entry goes without.
    reason: String,
}

/// Skips that are accepted.
#[derive(Debug)]
pub(super) struct Skips(Vec<(Regex, Regex)>);

impl Skips {
    /// Reads the list.
    ///
    /// # Errors
    ///
    /// It is missing, or an entry has a mistake.
    pub(super) fn load(paths: &Paths) -> Result<Self> {
        let file = paths.repo(LIST);
        Self::parse(&read_text(&file)?).with_context(|| format!("mistake in {}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let entry = |entry: &Entry| {
            anyhow::ensure!(!entry.reason.is_empty(), "{}: no reason", entry.name);
            let start = |text: &str| Regex::new(&format!("^(?:{text})"));
            Ok((start(&entry.name)?, start(&entry.why)?))
        };
        file.skip.iter().map(entry).collect::<Result<_>>().map(Self)
    }

    /// True if the check `name` may be skipped for the reason `why`.
    pub(super) fn allow(&self, name: &str, why: &str) -> bool {
        let fits = |(names, whys): &(Regex, Regex)| names.is_match(name) && whys.is_match(why);
        self.0.iter().any(fits)
    }
}

/// True on a machine of continuous integration, which sets `CI`.
pub(super) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::Skips;

    const LIST: &str = r#"
        [[skip]]
        name = "boot-kvm-"
        why = "this machine's KVM does not nest: "
        reason = "no hardware"
    "#;

    #[test]
    fn only_listed_checks_with_the_listed_reason_may_be_skipped() {
        let skips = Skips::parse(LIST).expect("parses");
        let why = "this machine's KVM does not nest: its CPU shows neither vmx nor svm";
        assert!(skips.allow("boot-kvm-main", why));
        assert!(!skips.allow("boot-qemu-main", why));
        assert!(!skips.allow("not-boot-kvm-main", why));
        assert!(!skips.allow("boot-kvm-main", "the patched QEMU is not built"));
    }

    #[test]
    fn an_entry_without_a_reason_is_a_mistake() {
        let empty = LIST.replace("no hardware", "");
        assert!(Skips::parse(&empty).is_err());
        assert!(Skips::parse(&LIST.replace("reason", "because")).is_err());
    }
}
