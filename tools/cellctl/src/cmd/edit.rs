//! `edit`: changes the file that defines a slice for this machine. What was written is
//! checked before it takes the file's place, and kept if it cannot.

use super::cells::{say_unless_json, taken};
use super::{Context, planning};
use crate::error::{Error, Kind, Result};
use crate::output::warn;
use crate::signals;
use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a draft's name has behind the file's: only files that end with `.toml` define
/// slices.
const DRAFT: &str = ".edited";

/// The editor of those who have chosen none, for a shell.
const EDITOR: &str = "$(command -v editor || echo vi)";

/// `edit`.
pub(super) fn edit(context: &Context<'_>, name: &str) -> Result<()> {
    let draft = Draft::begin(&context.cli.slices_dir, name)?;
    // Ctrl-C is the editor's.
    signals::catch()?;
    let edited = run_editor(&draft.path)
        .and_then(|()| draft.finish(name, |text| check(context, text, &draft.file)));
    match edited {
        Ok(true) => {
            let line = format!(
                "{} is changed; `cellctl diff` shows what `cellctl apply` would do",
                draft.file.display()
            );
            say_unless_json(context, line);
            Ok(())
        }
        Ok(false) => {
            say_unless_json(context, format!("{} is as it was", draft.file.display()));
            Ok(())
        }
        Err(error) => {
            draft.keep(name);
            Err(error)
        }
    }
}

/// A file, and the text that is to take its place.
struct Draft {
    /// The file itself, behind all links.
    file: PathBuf,
    /// What was in it.
    before: String,
    /// Beside it.
    path: PathBuf,
}

impl Draft {
    /// A copy of the definition of a slice, or what is left of the last time.
    fn begin(dir: &Path, name: &str) -> Result<Self> {
        let defined = dir.join(format!("{name}.toml"));
        let what = format!("cannot edit slice \"{name}\"");
        let file = fs::canonicalize(&defined).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                let why = format!("{} is not there", defined.display());
                let help = format!("write it, or: cellctl autostart {name}");
                Error::new(&what, why, help).kind(Kind::Absent)
            }
            _ => Error::file("cannot read", &defined, &e, "run this as root"),
        })?;
        let before = read(&file)?;
        let mut path = OsString::from(&file);
        path.push(DRAFT);
        let path = PathBuf::from(path);
        let new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match new.and_then(|mut draft| draft.write_all(before.as_bytes())) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                warn(format!(
                    "this goes on with what was left in {}",
                    path.display()
                ));
            }
            written => {
                written.map_err(|e| Error::file("cannot write", &path, &e, "run this as root"))?;
            }
        }
        Ok(Self { file, before, path })
    }

    /// Puts the draft in the file's place, if `check` finds it good. False if nothing was
    /// changed in it.
    fn finish(&self, name: &str, check: impl Fn(&str) -> Result<Vec<String>>) -> Result<bool> {
        let now = read(&self.path)?;
        let failed = |e| Error::file("cannot write", &self.file, &e, "run this as root");
        if now == self.before {
            fs::remove_file(&self.path).map_err(failed)?;
            return Ok(false);
        }
        let what = format!("cannot change {}", self.file.display());
        if !check(&now)?.iter().any(|slice| slice == name) {
            let why = format!("no slice in it is called \"{name}\" any more");
            let help = "keep its name: what defines another slice is another file";
            return Err(Error::new(what, why, help));
        }
        if read(&self.file)? != self.before {
            let why = "somebody else has changed it meanwhile";
            let help = format!(
                "compare both: diff {} {}",
                self.file.display(),
                self.path.display()
            );
            return Err(Error::new(what, why, help));
        }
        self.replace().map_err(failed)?;
        Ok(true)
    }

    /// Gives the draft the file's owner and rights, then its name.
    fn replace(&self) -> io::Result<()> {
        let was = fs::metadata(&self.file)?;
        chown(&self.path, Some(was.uid()), Some(was.gid()))?;
        fs::set_permissions(&self.path, was.permissions())?;
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, &self.file)
    }

    /// Tells where the draft is; one that says nothing new goes.
    fn keep(&self, name: &str) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.before) {
            let _ = fs::remove_file(&self.path);
            return;
        }
        warn(format!(
            "{} is as it was; what you wrote is in {}, and `cellctl edit {name}` goes on with it",
            self.file.display(),
            self.path.display()
        ));
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::file("cannot read", path, &e, "check the file"))
}

/// Has the user's editor change a file.
fn run_editor(path: &Path) -> Result<()> {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(env::var_os);
    let editor = chosen.into_iter().find(|e| !e.is_empty());
    let mut line = editor.unwrap_or_else(|| EDITOR.into());
    line.push(" \"$1\"");
    let what = format!("cannot edit {}", path.display());
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg(line)
        .arg("editor")
        .arg(path)
        .status();
    let status =
        status.map_err(|e| Error::file("cannot run", Path::new("/bin/sh"), &e, "install it"))?;
    if status.success() {
        return Ok(());
    }
    let why = format!("the editor ended with {status}");
    Err(Error::new(
        what,
        why,
        "choose one: EDITOR=nano cellctl edit NAME",
    ))
}

/// Names of the slices in a text, if it is a good file: by itself, and, for slices
/// whose cells are not there yet, on this machine.
fn check(context: &Context<'_>, text: &str, path: &Path) -> Result<Vec<String>> {
    let slices = config::parse(text, path)?;
    let cells = context.state.cells()?.whole()?;
    let mut new = slices.clone();
    new.retain(|slice| cells.iter().all(|cell| cell.name != slice.name));
    // Where the machine cannot be looked at, `apply` will tell.
    if let Ok(ground) = planning::ground(context, &[], None) {
        let report = check::check(&ground.host, &new, &taken(&cells), Files::Look);
        if report.has_errors() {
            return Err(report.into());
        }
    }
    Ok(slices.into_iter().map(|slice| slice.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder with a definition of `web` that is a link to `real.toml`.
    fn defined() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let real = dir.path().join("real.toml");
        fs::write(&real, "old").expect("writes");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("sets");
        symlink(&real, dir.path().join("web.toml")).expect("links");
        (dir, real)
    }

    fn good(_: &str) -> Result<Vec<String>> {
        Ok(vec!["web".to_owned()])
    }

    #[test]
    fn good_text_takes_the_place_of_the_file_behind_the_link() {
        let (dir, real) = defined();
        let draft = Draft::begin(dir.path(), "web").expect("begins");
        fs::write(&draft.path, "new").expect("writes");
        assert!(draft.finish("web", good).expect("changes"));
        let mode = fs::metadata(&real).expect("there").permissions().mode();
        assert_eq!(
            (
                fs::read_to_string(&real).expect("reads").as_str(),
                mode & 0o777
            ),
            ("new", 0o640)
        );
        assert!(!draft.path.exists() && dir.path().join("web.toml").is_symlink());
    }

    #[test]
    fn text_that_is_refused_changes_nothing_and_is_gone_on_with() {
        let (dir, real) = defined();
        let draft = Draft::begin(dir.path(), "web").expect("begins");
        fs::write(&draft.path, "new").expect("writes");
        let bad = |_: &str| Err(Error::new("no", "no", "no"));
        draft.finish("web", bad).expect_err("refused");
        let other = |_: &str| Ok(vec!["db".to_owned()]);
        let told = draft.finish("web", other).expect_err("refused").to_string();
        assert!(told.contains("no slice in it is called \"web\""), "{told}");
        fs::write(&real, "another's").expect("writes");
        let told = draft.finish("web", good).expect_err("refused").to_string();
        assert!(told.contains("somebody else has changed it"), "{told}");
        assert_eq!(fs::read_to_string(&real).expect("reads"), "another's");
        draft.keep("web");
        let again = Draft::begin(dir.path(), "web").expect("goes on");
        assert_eq!(read(&again.path).expect("reads"), "new");
    }

    #[test]
    fn draft_that_says_nothing_new_goes() {
        let (dir, _) = defined();
        let draft = Draft::begin(dir.path(), "web").expect("begins");
        assert!(!draft.finish("web", good).expect("as it was"));
        assert!(!draft.path.exists());
        let told = Draft::begin(dir.path(), "db").err().expect("none");
        assert_eq!(told.code(), Kind::Absent as u8);
    }
}
