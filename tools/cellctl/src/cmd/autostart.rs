//! `autostart`: slices that are there whenever this machine is up. A file
//! `NAME.toml` in the folder of definitions, or a link to one, defines the slice
//! NAME; `apply` without files brings the machine to what all of them say.

use super::Context;
use super::cells::say_unless_json;
use crate::cli;
use crate::error::{Error, Kind, Result};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What the folder defines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Defined {
    /// Names of the slices.
    pub(super) names: Vec<String>,
    /// The files behind the links, each once: relative paths start at their
    /// folders.
    pub(super) files: Vec<PathBuf>,
}

/// The definitions in a folder.
///
/// # Errors
///
/// There are none, or a link leads nowhere.
pub(super) fn defined(dir: &Path) -> Result<Defined> {
    let help = format!("put NAME.toml into {0}, or a link to it", dir.display());
    let mut found = Defined::default();
    for path in entries(dir)? {
        let Some(name) = path.file_stem().and_then(OsStr::to_str) else {
            continue;
        };
        let gone = format!("mend it, or forget the slice: cellctl autostart --off {name}");
        let file =
            fs::canonicalize(&path).map_err(|e| Error::file("cannot read", &path, &e, &gone))?;
        found.names.push(name.to_owned());
        if !found.files.contains(&file) {
            found.files.push(file);
        }
    }
    if found.names.is_empty() {
        let what = "cannot tell what this machine shall have";
        let why = format!("no slice is defined in {}", dir.display());
        return Err(Error::new(what, why, help).kind(Kind::Absent));
    }
    Ok(found)
}

/// The `.toml` files of a folder, by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::file("cannot read", dir, &e, "check the folder");
    let listed = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.retain(|path| path.extension() == Some(OsStr::new("toml")));
    paths.sort();
    Ok(paths)
}

/// `autostart`.
pub(super) fn autostart(context: &Context<'_>, options: &cli::Autostart) -> Result<()> {
    let (dir, name) = (&context.cli.slices_dir, &options.name);
    let path = dir.join(format!("{name}.toml"));
    if options.off {
        unlink(&path, name)?;
        say_unless_json(context, format!("\"{name}\" is defined here no more"));
        return Ok(());
    }
    link(&context.state.cell(name)?.source, &path, name)?;
    let line = format!("\"{name}\" is one of what `cellctl apply` starts");
    say_unless_json(context, line);
    Ok(())
}

/// Has the definition at `path` be the file that the cell was created from.
fn link(source: &Path, path: &Path, name: &str) -> Result<()> {
    let what = format!("cannot define slice \"{name}\"");
    if !source.is_file() {
        let why = format!(
            "the file it was created from, {}, is gone",
            source.display()
        );
        let help = format!("write its slice file to {}", path.display());
        return Err(Error::new(what, why, help));
    }
    if fs::canonicalize(path).ok() == fs::canonicalize(source).ok() {
        return Ok(());
    }
    if fs::symlink_metadata(path).is_ok() {
        let why = format!("{} defines it already, as something else", path.display());
        let help = format!("remove that first: cellctl autostart --off {name}");
        return Err(Error::new(what, why, help));
    }
    let failed = |e| Error::file("cannot make", path, &e, "run this as root");
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    symlink(source, path).map_err(failed)
}

/// Forgets a definition that is a link.
fn unlink(path: &Path, name: &str) -> Result<()> {
    let what = format!("cannot forget slice \"{name}\"");
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::remove_file(path)
            .map_err(|e| Error::file("cannot remove", path, &e, "run this as root")),
        Ok(_) => {
            let why = format!(
                "{} is the slice file itself, not a link to it",
                path.display()
            );
            Err(Error::new(what, why, "move it to another folder"))
        }
        Err(_) => {
            let why = format!("{} is not there", path.display());
            Err(Error::new(what, why, "nothing is to be done").kind(Kind::Absent))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_files_and_links_each_file_once() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (slices, both) = (dir.path().join("slices"), dir.path().join("both.toml"));
        assert_eq!(
            defined(&slices).expect_err("no folder").code(),
            Kind::Absent as u8
        );
        fs::write(&both, "").expect("written");
        for name in ["web", "db"] {
            let path = slices.join(format!("{name}.toml"));
            link(&both, &path, name).expect("links");
            link(&both, &path, name).expect("is there already");
        }
        fs::write(slices.join("own.toml"), "").expect("written");
        fs::write(slices.join("notes.txt"), "").expect("written");
        let found = defined(&slices).expect("three");
        assert_eq!(found.names, ["db", "own", "web"]);
        let real = fs::canonicalize(dir.path()).expect("a folder");
        assert_eq!(
            found.files,
            [real.join("both.toml"), real.join("slices/own.toml")]
        );
    }

    #[test]
    fn only_links_are_forgotten_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (a, b) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        fs::write(&a, "").expect("written");
        let path = dir.path().join("slices/web.toml");
        let told = |result: Result<()>| result.expect_err("refused").to_string();
        assert!(told(link(&b, &path, "web")).contains("b.toml, is gone"));
        assert!(told(unlink(&path, "web")).contains("is not there"));
        link(&a, &path, "web").expect("links");
        fs::write(&b, "").expect("written");
        assert!(told(link(&b, &path, "web")).contains("defines it already"));
        unlink(&path, "web").expect("a link");
        assert!(a.exists() && !path.exists());
        fs::write(&path, "").expect("written");
        assert!(told(unlink(&path, "web")).contains("is the slice file itself"));
    }

    #[test]
    fn link_that_leads_nowhere_says_how_to_forget_it() {
        let dir = tempfile::tempdir().expect("temporary folder");
        symlink("/nowhere.toml", dir.path().join("web.toml")).expect("a link");
        let error = defined(dir.path()).expect_err("nowhere").to_string();
        assert!(error.contains("cellctl autostart --off web"), "{error}");
    }
}
