//! A copy of the repository in which one crate has all of its mutants, and the
//! test programs that come of it.

use super::Krate;
use super::edit::{self, Edited, Mutant};
use crate::build::cargo;
use crate::paths::{Paths, make_dir, read_text, write_if_changed};
use crate::sh::Cmd;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How often places that do not compile may be left out before this gives up.
const ROUNDS: usize = 60;

/// The switch that the changes ask. In constants it is always off.
const SWITCH: &str = include_str!("switch.rs");

/// One change, and where it is.
#[derive(Debug)]
pub(super) struct Numbered {
    /// The file, in the repository.
    pub(super) file: String,
    pub(super) mutant: Mutant,
}

/// A crate with its changes, built.
pub(super) struct Built {
    /// All changes; the place in the list is the number that the switch knows.
    pub(super) mutants: Vec<Numbered>,
    /// Test programs, and the folder in which they expect to run.
    pub(super) programs: Vec<PathBuf>,
    pub(super) dir: PathBuf,
    /// Places that were left out because no compiler takes them.
    pub(super) left_out: usize,
}

type Without = BTreeMap<String, BTreeSet<(usize, usize)>>;

/// Copies, changes and builds.
///
/// # Errors
///
/// The source cannot be read or parsed, or does not compile for reasons that are
/// not a change's.
pub(super) fn build(paths: &Paths, krate: &Krate) -> Result<Built> {
    let tree = paths.target.join("mutants").join(krate.name);
    let files = copy(paths, &tree)?;
    let sources = sources(paths, krate, &files)?;
    let mut without = Without::new();
    for _ in 0..ROUNDS {
        let (edited, mutants) = apply(paths, &tree, krate, &sources, &without)?;
        let output = match command(paths, &tree, krate, "check").run(paths, "mutants-check") {
            Ok(_) => {
                let output = command(paths, &tree, krate, "test --no-run");
                let output = output.run(paths, "mutants-build")?;
                return Ok(Built {
                    mutants,
                    programs: programs(&output, &tree),
                    dir: tree.join(krate.folder),
                    left_out: without.values().map(BTreeSet::len).sum(),
                });
            }
            Err(_) => read_text(&paths.logs().join("mutants-check.log"))?,
        };
        if !leave_out(&output, &edited, &mut without) {
            bail!(
                "{} does not compile with its mutants:\n{}",
                krate.package,
                crate::sh::tail(&output, 20)
            );
        }
    }
    bail!("{}: still places that do not compile", krate.package)
}

/// Copies what git knows of, and returns the names.
fn copy(paths: &Paths, tree: &Path) -> Result<Vec<String>> {
    let list = Cmd::new("git")
        .dir(&paths.root)
        .words("ls-files --cached --others --exclude-standard --deduplicate")
        .read()?;
    let mut files = Vec::new();
    for name in list.lines().filter(|name| !name.starts_with("docs/")) {
        let from = paths.root.join(name);
        if from.is_file() {
            write_if_changed(&tree.join(name), &crate::paths::read(&from)?)?;
            files.push(name.to_owned());
        }
    }
    Ok(files)
}

/// The crate's files that are no tests, and what is in them.
fn sources(paths: &Paths, krate: &Krate, files: &[String]) -> Result<Vec<(String, String)>> {
    let src = format!("{}/src/", krate.folder);
    let names = files
        .iter()
        .filter(|name| name.starts_with(&src) && name.ends_with(".rs"));
    let mut sources = Vec::new();
    let mut tests = Vec::new();
    for name in names {
        let text = read_text(&paths.root.join(name))?;
        let modules = edit::test_modules(&text).with_context(|| format!("cannot parse {name}"))?;
        let stem = name.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => stem,
        };
        tests.extend(modules.iter().map(|module| format!("{folder}/{module}")));
        sources.push((name.clone(), text));
    }
    let is_test = |name: &str| {
        tests.iter().any(|test| {
            name.strip_prefix(test.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    sources.retain(|(name, _)| !is_test(name));
    Ok(sources)
}

/// Writes the changed files and the switch.
fn apply(
    paths: &Paths,
    tree: &Path,
    krate: &Krate,
    sources: &[(String, String)],
    without: &Without,
) -> Result<(BTreeMap<String, Edited>, Vec<Numbered>)> {
    let root = format!("{}/src/lib.rs", krate.folder);
    let mut all = BTreeMap::new();
    let mut mutants = Vec::new();
    let none = BTreeSet::new();
    for (name, source) in sources {
        let out = without.get(name).unwrap_or(&none);
        // Number 0 is "no change".
        let edited = edit::edit(source, mutants.len() + 1, out)
            .with_context(|| format!("cannot parse {name}"))?;
        mutants.extend(edited.mutants.iter().map(|mutant| Numbered {
            file: name.clone(),
            mutant: mutant.clone(),
        }));
        if *name != root {
            write_if_changed(&tree.join(name), edited.text.as_bytes())?;
        }
        all.insert(name.clone(), edited);
    }
    let mut text = all.get(&root).map(|e| e.text.clone()).unwrap_or_default();
    // At the end, so that lines stay where they are.
    write!(
        text,
        "\n#[doc(hidden)]\n#[allow(warnings, clippy::all)]\npub mod mutants;\n"
    )?;
    text.insert_str(
        0,
        "#![feature(core_intrinsics, const_eval_select)] #![allow(internal_features)] ",
    );
    write_if_changed(&tree.join(&root), text.as_bytes())?;
    let switch = SWITCH.replace("COUNT", &(mutants.len() + 1).to_string());
    let file = tree.join(krate.folder).join("src/mutants.rs");
    make_dir(&tree.join(krate.folder).join("src"))?;
    write_if_changed(&file, switch.as_bytes())?;
    let _ = paths;
    Ok((all, mutants))
}

/// Cargo in the copy, where one crate may use what stable Rust does not offer.
fn command(paths: &Paths, tree: &Path, krate: &Krate, words: &str) -> Cmd {
    cargo(paths)
        .dir(tree)
        .env("CARGO_TARGET_DIR", paths.target.join("mutants/build"))
        .env("RUSTC_BOOTSTRAP", krate.package.replace('-', "_"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "1")
        .env("RUSTFLAGS", "--cap-lints=allow")
        .words(words)
        .words("--message-format short --tests --package")
        .arg(krate.package)
}

/// Marks the places that the compiler objects to; false if there is none.
fn leave_out(output: &str, edited: &BTreeMap<String, Edited>, without: &mut Without) -> bool {
    let mut found = false;
    for line in output.lines().filter(|line| line.contains(": error")) {
        let mut words = line.splitn(4, ':');
        let (Some(file), Some(row), Some(column)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Ok(row), Ok(column)) = (row.parse(), column.parse()) else {
            continue;
        };
        // Cargo names files from the workspace's folder on.
        if let Some(place) = edited.get(file).and_then(|e| e.place_at(row, column)) {
            let out = without.entry(file.to_owned()).or_default();
            found |= out.insert((place.start, place.end));
        }
    }
    found
}

/// Test programs, from what Cargo says: `Executable unittests src/lib.rs (PATH)`.
fn programs(output: &str, tree: &Path) -> Vec<PathBuf> {
    let lines = output
        .lines()
        .filter(|line| line.trim_start().starts_with("Executable"));
    lines
        .filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'))
        .map(|path| tree.join(path))
        .collect()
}
