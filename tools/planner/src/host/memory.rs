//! NUMA nodes and their memory.

use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// How fast its memory is, if the firmware says so (HMAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// How a node's memory is reached from the nodes that reach it best, which do so
/// equally well; this much Linux tells of an HMAT. Values that the firmware does
/// not tell are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Access {
    /// The nodes that reach it best.
    pub initiators: Vec<u32>,
    /// Time that a read takes, in nanoseconds.
    #[serde(default)]
    pub read_latency_ns: u32,
    /// Time that a write takes, in nanoseconds.
    #[serde(default)]
    pub write_latency_ns: u32,
    /// What can be read, in MB/s.
    #[serde(default)]
    pub read_bandwidth_mbs: u32,
    /// What can be written, in MB/s.
    #[serde(default)]
    pub write_bandwidth_mbs: u32,
}

impl Access {
    /// Its values: read and write latency, read and write bandwidth.
    pub(crate) const fn values(&self) -> [u32; 4] {
        [
            self.read_latency_ns,
            self.write_latency_ns,
            self.read_bandwidth_mbs,
            self.write_bandwidth_mbs,
        ]
    }
}

/// `read 80 ns 204800 MB/s, write 85 ns 102400 MB/s, best from node 0`; what is
/// not known is left out.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [read, write, reads, writes] = self.values();
        for (what, latency, bandwidth) in [("read", read, reads), ("write", write, writes)] {
            let known = [(latency, "ns"), (bandwidth, "MB/s")].map(|(value, unit)| match value {
                0 => String::new(),
                value => format!(" {value} {unit}"),
            });
            if latency > 0 || bandwidth > 0 {
                write!(f, "{what}{}, ", known.concat())?;
            }
        }
        let nodes: Vec<String> = self.initiators.iter().map(u32::to_string).collect();
        let word = if nodes.len() == 1 { "node" } else { "nodes" };
        write!(f, "best from {word} {}", nodes.join(", "))
    }
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

#[cfg(test)]
mod tests {
    use super::Access;

    #[test]
    fn access_is_told_as_far_as_it_is_known() {
        let mut access = Access {
            initiators: vec![0],
            read_latency_ns: 80,
            write_latency_ns: 85,
            read_bandwidth_mbs: 204_800,
            write_bandwidth_mbs: 102_400,
        };
        assert_eq!(
            access.to_string(),
            "read 80 ns 204800 MB/s, write 85 ns 102400 MB/s, best from node 0"
        );
        access.read_latency_ns = 0;
        access.write_bandwidth_mbs = 0;
        access.initiators.push(2);
        assert_eq!(
            access.to_string(),
            "read 204800 MB/s, write 85 ns, best from nodes 0, 2"
        );
        access.write_latency_ns = 0;
        access.read_bandwidth_mbs = 0;
        assert_eq!(access.to_string(), "best from nodes 0, 2");
    }
}
