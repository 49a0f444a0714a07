//! Where things are: the repository, its build folder, the cache of fetched
//! packages.

use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folders that every command works in.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The repository.
    pub(crate) root: PathBuf,
    /// `target/`, or what `CARGO_TARGET_DIR` names.
    pub(crate) target: PathBuf,
    /// Fetched packages and built tools, shared by all clones.
    pub(crate) cache: PathBuf,
}

impl Paths {
    /// Finds the folders.
    ///
    /// # Errors
    ///
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set, or the repository is gone.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .context(
                "the repository that this xtask was built in has moved: run it by `cargo xtask`",
            )?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        let base = std::env::var_os("XDG_CACHE_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .context("no place for the cache: set XDG_CACHE_HOME or HOME")?;
        Ok(Self {
            root,
            target,
            cache: base.join("cellvisor"),
        })
    }

    /// A file of the repository.
    pub(crate) fn repo(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The folder for logs of commands.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask-logs")
    }

    /// The folder for images.
    pub(crate) fn images(&self) -> PathBuf {
        self.target.join("images")
    }
}

/// Creates a folder with its parents.
///
/// # Errors
///
/// What the file system says, with the path.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot create the folder {}", dir.display()))
}

/// Waits until no other run of this program has locked the file, which is made if it
/// is not there, and keeps the others away as long as what is returned lives.
///
/// # Errors
///
/// The file cannot be made, or its file system knows no locks.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    let what = || format!("cannot lock {}", path.display());
    let file = File::create(path).with_context(what)?;
    file.lock().with_context(what)?;
    Ok(file)
}

/// Writes a file only if its content changes, so that `make` and `cargo` do
/// not build again what depends on it. Returns whether it wrote.
///
/// # Errors
///
/// What the file system says, with the path.
pub(crate) fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Reads a file.
///
/// # Errors
///
/// What the file system says, with the path.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a text file.
///
/// # Errors
///
/// What the file system says, with the path.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
