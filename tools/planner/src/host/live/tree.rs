//! Small files that kernels write.

use crate::list::List;
use cellvisor_abi::Bdf;
use std::fs;
use std::path::{Path, PathBuf};

/// A file tree that stands for `/`.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The content of a file, without white space around it.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The content of a file.
    pub(super) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(path)).ok()
    }

    /// A decimal number, or a hexadecimal one after `0x`.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        parse_number(&self.text(path)?)
    }

    /// A list such as `0-3,8`.
    pub(super) fn list(&self, path: &str) -> List {
        let text = self.text(path).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    /// Names in a folder, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Numbers `n` of all names `{prefix}{n}` in a folder, sorted.
    pub(super) fn numbered(&self, path: &str, prefix: &str) -> Vec<u32> {
        let number = |name: &String| name.strip_prefix(prefix)?.parse().ok();
        let mut numbers: Vec<u32> = self.names(path).iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The last part of where a link leads.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The PCI function that a path leads through last, links followed.
    pub(super) fn function(&self, path: &str) -> Option<Bdf> {
        let path = fs::canonicalize(self.root.join(path)).ok()?;
        let mut parts = path.components().rev();
        parts.find_map(|part| {
            let text = part.as_os_str().to_str()?;
            // Other buses have names that only look alike, such as 00:00:0.0.
            let address: Bdf = text.parse().ok()?;
            (address.to_string() == text).then_some(address)
        })
    }
}

/// A decimal number, or a hexadecimal one after `0x`.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
