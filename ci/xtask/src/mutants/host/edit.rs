//! Where a source file can be changed, and the text that changes it on demand.
//!
//! All mutants of a crate are compiled into one program: each place asks a switch
//! (`crate::mutants::on`) whether its change is wanted now. The text between the
//! places stays as it is, so that compilers' messages point at the right lines.

mod find;
mod operators;

use find::Finder;
use std::collections::BTreeSet;
use std::ops::Range;
use syn::visit::Visit;

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    /// Line in the source.
    pub(super) line: usize,
    /// The function that it is in.
    pub(super) function: String,
    /// What is changed: `<< → >>`.
    pub(super) what: String,
}

/// A place and the pieces of text that make its changes possible.
struct Place {
    range: Range<usize>,
    /// Text that goes before, instead of and after parts of the source.
    pieces: Vec<Piece>,
    mutants: Vec<Mutant>,
}

struct Piece {
    at: Range<usize>,
    side: Side,
    /// With `{0}`, `{1}` … for the switches of the place's mutants.
    text: String,
}

/// Order of pieces at one position: what closes inner places comes before what
/// closes outer ones and before what opens new ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Close,
    Open,
}

/// A file with its changes.
pub(super) struct Edited {
    /// The new text.
    pub(super) text: String,
    /// The changes, numbered from the first number on.
    pub(super) mutants: Vec<Mutant>,
    /// Pairs of offsets, in the new text and in the source.
    offsets: Vec<(usize, usize)>,
    ranges: Vec<Range<usize>>,
}

impl Edited {
    /// The source of the innermost place around a line and a column of the new
    /// text, both from 1 on.
    pub(super) fn place_at(&self, line: usize, column: usize) -> Option<Range<usize>> {
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum();
        let rest = self.text.get(start..)?;
        let at = start
            + rest
                .chars()
                .take(column - 1)
                .map(char::len_utf8)
                .sum::<usize>();
        let index = self
            .offsets
            .partition_point(|(new, _)| *new <= at)
            .checked_sub(1)?;
        let (new, old) = self.offsets[index];
        let next = self
            .offsets
            .get(index + 1)
            .map_or(usize::MAX, |(_, old)| *old);
        let old = (old + (at - new)).min(next);
        let around = self
            .ranges
            .iter()
            .filter(|r| r.start <= old && old <= r.end);
        around.min_by_key(|range| range.len()).cloned()
    }
}

/// Makes the changes of a file, numbered from `first` on, but for the places that
/// `without` names by their range in the source.
///
/// # Errors
///
/// The file cannot be parsed.
pub(super) fn edit(
    source: &str,
    first: usize,
    without: &BTreeSet<(usize, usize)>,
) -> syn::Result<Edited> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder::default();
    finder.visit_file(&file);
    let mut mutants = Vec::new();
    let mut ranges = Vec::new();
    let mut pieces = Vec::new();
    for (order, place) in finder.places.into_iter().enumerate() {
        if without.contains(&(place.range.start, place.range.end)) {
            continue;
        }
        let base = first + mutants.len();
        for mut piece in place.pieces {
            for n in (0..place.mutants.len()).rev() {
                let switch = format!("crate::mutants::on({})", base + n);
                piece.text = piece.text.replace(&format!("{{{n}}}"), &switch);
            }
            pieces.push((order, place.range.len(), piece));
        }
        mutants.extend(place.mutants);
        ranges.push(place.range);
    }
    // Outer places open first and close last.
    pieces.sort_by(|(a_order, a_len, a), (b_order, b_len, b)| {
        let by_place = match a.side {
            Side::Open => (b_len, a_order).cmp(&(a_len, b_order)),
            Side::Close => (a_len, b_order).cmp(&(b_len, a_order)),
        };
        (a.at.start, a.side)
            .cmp(&(b.at.start, b.side))
            .then(by_place)
    });
    let mut text = String::new();
    let mut offsets = Vec::new();
    let mut done = 0;
    for (_, _, piece) in pieces {
        offsets.push((text.len(), done));
        text.push_str(&source[done..piece.at.start]);
        offsets.push((text.len(), piece.at.start));
        text.push_str(&piece.text);
        done = piece.at.end;
    }
    offsets.push((text.len(), done));
    text.push_str(&source[done..]);
    Ok(Edited {
        text,
        mutants,
        offsets,
        ranges,
    })
}

/// Modules that only tests have: `#[cfg(test)] mod NAME;`.
///
/// # Errors
///
/// The file cannot be parsed.
pub(super) fn test_modules(source: &str) -> syn::Result<Vec<String>> {
    let file = syn::parse_file(source)?;
    let modules = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(item) if item.content.is_none() && is_test(&item.attrs) => {
            Some(item.ident.to_string())
        }
        _ => None,
    });
    Ok(modules.collect())
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let path = attr.path();
        path.is_ident("test")
            || path.is_ident("cfg")
                && attr
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|argument| argument == "test")
    })
}

#[cfg(test)]
mod tests;
