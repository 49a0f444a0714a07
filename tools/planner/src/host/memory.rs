//! NUMA nodes and their memory.

use serde::{Deserialize, Serialize};

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Linux's number.
    pub id: u32,
    /// Bytes of RAM that Linux has there.
    pub memory: u64,
    /// Bytes of it that nobody uses now, free huge pages not counted.
    pub free: u64,
    /// Huge pages that are set aside already.
    #[serde(default)]
    pub pages: Vec<Pages>,
    /// Distances to all nodes, in the order of [`super::Host::nodes`].
    #[serde(default)]
    pub distances: Vec<u32>,
    /// Where the firmware says its RAM is (SRAT); empty if it does not say.
    #[serde(default)]
    pub ranges: Vec<Range>,
}

/// Huge pages of one size in one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pages {
    /// Bytes of one page.
    pub size: u64,
    /// How many are set aside.
    pub total: u64,
    /// How many of them nobody uses.
    pub free: u64,
}

/// A range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Range {
    /// The byte after the last; the end of the address space if it is beyond.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }

    /// True if both have a byte in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// True if all of `other` is inside.
    #[must_use]
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }
}
