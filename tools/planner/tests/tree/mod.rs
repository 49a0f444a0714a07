//! A machine made of files: what sysfs, procfs and ACPI show.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A folder that stands for `/`, removed at the end.
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("cellvisor-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(unique);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("a folder");
        Self { root }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Writes a file.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("written");
        self
    }

    /// Makes a link; `target` is a path in the tree.
    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::create_dir_all(self.root.join(target)).expect("a folder");
        symlink(self.root.join(target), path).expect("linked");
        self
    }

    /// A PCI function below `parent`, with its link in the list of devices.
    pub(crate) fn function(&self, parent: &str, address: &str, files: &[(&str, &str)]) -> String {
        let folder = format!("sys/devices/{parent}/{address}");
        for (name, content) in files {
            self.file(&format!("{folder}/{name}"), content);
        }
        self.link(&format!("sys/bus/pci/devices/{address}"), &folder);
        folder
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// An ACPI table: a header, `middle`, then structures.
pub(crate) fn table(middle: &[u8], structures: &[Vec<u8>]) -> Vec<u8> {
    let mut table = vec![0; 36];
    table.extend(middle);
    for structure in structures {
        table.extend(structure);
    }
    table
}

/// Bytes out of little-endian numbers of several widths.
#[macro_export]
macro_rules! bytes {
    ($($number:expr),* $(,)?) => {{
        let mut bytes: Vec<u8> = Vec::new();
        $(bytes.extend($number.to_le_bytes());)*
        bytes
    }};
}
