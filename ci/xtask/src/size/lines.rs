//! Lines of Rust and assembly of the trusted base, as people count them:
//! without comments, blank lines and tests.

use crate::paths::{Paths, read_text};
use crate::report::table;
use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Crates of the trusted base.
const CRATES: &[&str] = &["abi", "core", "monitor"];

/// Folders of a back end, wherever they are.
const BACK_ENDS: &[&str] = &["vmx", "svm"];

/// Prints lines per crate, and what belongs to a vendor.
pub(super) fn print(paths: &Paths, peer: usize) -> Result<()> {
    let mut rows = vec![
        ["lines of code", "neutral", "vmx", "svm", "all"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut sum = [0; 4];
    for name in CRATES {
        let mut counts = [0; 3];
        let root = paths.repo(&format!("hypervisor/{name}/src"));
        for file in sources(&root)? {
            let place = back_end(&file).map_or(0, |index| index + 1);
            let lines = count(&file)?;
            if let Some(count) = counts.get_mut(place) {
                *count += lines;
            }
        }
        let all = counts.iter().sum();
        let [neutral, vmx, svm] = counts;
        for (sum, count) in sum.iter_mut().zip([neutral, vmx, svm, all]) {
            *sum += count;
        }
        rows.push(row(name, [neutral, vmx, svm, all]));
    }
    rows.push(row("sum", sum));
    println!(
        "{}\n\nJailhouse for x86: {peer} lines of C and assembly",
        table(&rows)
    );
    Ok(())
}

fn row(name: &str, counts: [usize; 4]) -> Vec<String> {
    let counts = counts.iter().map(|count| format!("{count:>7}"));
    std::iter::once(name.to_owned()).chain(counts).collect()
}

/// Which back end a file belongs to, by a folder or the file's name.
fn back_end(file: &Path) -> Option<usize> {
    let of = |name: &str| BACK_ENDS.iter().position(|back_end| *back_end == name);
    file.with_extension("")
        .components()
        .find_map(|part| of(part.as_os_str().to_str()?))
}

/// Files of Rust and assembly below a folder, without those of tests.
pub(crate) fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        // Modules behind `#[cfg(test)]` have this name wherever they have a
        // file of their own.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "S")
        {
            files.push(path);
        }
    }
    Ok(files)
}

fn count(file: &Path) -> Result<usize> {
    let text = read_text(file)?;
    if file.extension().is_some_and(|kind| kind == "S") {
        return Ok(assembly(&text));
    }
    rust(&text).with_context(|| format!("cannot count the lines of {}", file.display()))
}

/// Lines that are neither blank nor a comment from end to end.
fn assembly(text: &str) -> usize {
    let mut inside = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        if inside || line.starts_with("/*") {
            inside = !line.contains("*/");
            return false;
        }
        !(line.is_empty() || line.starts_with("//") || line.starts_with('#'))
    };
    text.lines().filter(is_code).count()
}

/// Lines with a token of code on them.
fn rust(text: &str) -> Result<usize> {
    let stream: TokenStream = text
        .parse()
        .map_err(|why| anyhow::anyhow!("it is no Rust: {why}"))?;
    let mut lines = BTreeSet::new();
    collect(stream, &mut lines);
    Ok(lines.len())
}

/// Gathers the lines of all tokens but documentation and tests.
fn collect(stream: TokenStream, lines: &mut BTreeSet<usize>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(length) = attribute(&tokens, at) {
            let group = tokens.get(at + length - 1);
            if is(group, |text| text.starts_with("doc")) {
                at += length;
                continue;
            }
            if is(group, |text| text == "cfg (test)" || text == "test") {
                at = after_item(&tokens, at + length);
                continue;
            }
        }
        mark(token, lines);
        at += 1;
    }
}

fn mark(token: &TokenTree, lines: &mut BTreeSet<usize>) {
    match token {
        TokenTree::Group(group) => {
            lines.insert(group.span_open().start().line);
            collect(group.stream(), lines);
            lines.insert(group.span_close().end().line);
        }
        other => {
            let span = other.span();
            lines.extend(span.start().line..=span.end().line);
        }
    }
}

/// Tokens of an attribute at this place: `#[…]` has 2, `#![…]` 3.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let punct = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    let bracket = |at: usize| matches!(tokens.get(at), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Bracket);
    match () {
        () if punct(at, '#') && bracket(at + 1) => Some(2),
        () if punct(at, '#') && punct(at + 1, '!') && bracket(at + 2) => Some(3),
        () => None,
    }
}

fn is(token: Option<&TokenTree>, test: impl Fn(&str) -> bool) -> bool {
    let text = |group: &Group| group.stream().to_string();
    matches!(token, Some(TokenTree::Group(group)) if test(&text(group)))
}

/// Where the item at this place ends: at its body or its semicolon.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_lines_leave_out_comments_blanks_and_tests() {
        let text = "//! Doc.\n\n/// Doc.\nfn f() {\n    // Comment.\n    g(\n        1,\n    );\n}\n\n\
            #[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {}\n}\n#[inline]\nfn h() {}\n";
        assert_eq!(rust(text).expect("parses"), 7);
    }

    #[test]
    fn assembly_lines_leave_out_comments() {
        assert_eq!(
            assembly("/* a\n * b\n */\n\nentry:\n\tret // back\n# note\n"),
            2
        );
    }

    #[test]
    fn back_end_is_told_by_folder_or_file() {
        assert_eq!(back_end(Path::new("src/vcpu/vmx/exit.rs")), Some(0));
        assert_eq!(back_end(Path::new("src/vcpu/svm.rs")), Some(1));
        assert_eq!(back_end(Path::new("src/vcpu/mod.rs")), None);
    }
}
