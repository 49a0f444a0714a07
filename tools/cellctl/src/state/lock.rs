//! Who may change what, one at a time.
//!
//! A cell has a lock of its own, so that a runaway cell can be stopped while
//! another one is being created. Order: the machine's lock first, then those of
//! cells by name.

use super::{HELP, StateDir};
use crate::error::{Error, Result};
use crate::output::warn;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// A lock that lasts until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it is what counts")] File);

impl StateDir {
    /// Waits until nobody else takes from this Linux or gives back.
    pub(crate) fn lock_machine(&self) -> Result<Lock> {
        self.wait_for("machine.lock")
    }

    /// Waits until nobody else changes the cell of this name, which need not
    /// exist.
    pub(crate) fn lock_cell(&self, name: &str) -> Result<Lock> {
        self.wait_for(&cell_lock(name))
    }

    /// [`Self::lock_cell`] for several, which are in nobody's way as long as all
    /// ask in this order.
    pub(crate) fn lock_cells<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Vec<Lock>> {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.lock_cell(name)).collect()
    }

    /// As [`Self::lock_cell`], but `None` at once if somebody else has it.
    pub(crate) fn try_lock_cell(&self, name: &str) -> Result<Option<Lock>> {
        let (file, _) = self.open_lock(&cell_lock(name))?;
        Ok(file.try_lock().is_ok().then_some(Lock(file)))
    }

    /// Becomes the only one who types on the cell's console.
    ///
    /// # Errors
    ///
    /// Somebody does already.
    pub(crate) fn lock_keyboard(&self, name: &str) -> Result<Lock> {
        let (file, _) = self.open_lock(&format!("cells/{name}.keyboard"))?;
        if file.try_lock().is_ok() {
            return Ok(Lock(file));
        }
        Err(Error::new(
            format!("cannot type on the console of cell \"{name}\""),
            format!("{} does", holder(&file)),
            "look on: cellctl console --read-only; or end that one",
        ))
    }

    /// Becomes the cell's supervisor for as long as the lock is held; `None` if
    /// there is one.
    pub(crate) fn supervise(&self, name: &str) -> Result<Option<Lock>> {
        let (file, _) = self.open_lock(&format!("cells/{name}.supervisor"))?;
        Ok(file.try_lock().is_ok().then_some(Lock(file)))
    }

    /// Locks a file, and says for whom it waits if it has to.
    fn wait_for(&self, name: &str) -> Result<Lock> {
        let (file, path) = self.open_lock(name)?;
        if file.try_lock().is_err() {
            warn(format!("waiting for {}", holder(&file)));
            file.lock()
                .map_err(|e| Error::file("cannot lock", &path, &e, HELP))?;
        }
        Ok(Lock(file))
    }

    fn open_lock(&self, name: &str) -> Result<(File, PathBuf)> {
        self.make()?;
        let path = self.path().join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::file("cannot open", &path, &e, "run this as root"))?;
        Ok((file, path))
    }
}

fn cell_lock(name: &str) -> String {
    format!("cells/{name}.lock")
}

/// Who holds the lock on a file, for people.
fn holder(file: &File) -> String {
    let known = || {
        let inode = file.metadata().ok()?.ino();
        let pid = holder_of(&fs::read_to_string("/proc/locks").ok()?, inode)?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let stopped = stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T'));
        let hint = if stopped {
            ", which is stopped: let it go on with `fg`, or kill -CONT"
        } else {
            ""
        };
        Some(format!("`{}` (PID {pid}){hint}", line.trim()))
    };
    known().unwrap_or_else(|| "another cellctl".to_owned())
}

/// The process that /proc/locks says has locked the file with this inode.
fn holder_of(locks: &str, inode: u64) -> Option<u32> {
    let end = format!(":{inode}");
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // One that waits has an arrow before these.
        match words.as_slice() {
            [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(&end) => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let state = StateDir::new(dir.path().join("run"));
        (dir, state)
    }

    #[test]
    fn nobody_else_can_open_the_locks() {
        let (_dir, state) = state();
        fs::create_dir(state.path()).expect("one of an older cellctl");
        let _lock = state.lock_cell("a").expect("locks");
        let mode = |path: PathBuf| fs::metadata(path).expect("exists").mode() & 0o777;
        assert_eq!(mode(state.path().to_owned()), 0o700);
        assert_eq!(mode(state.path().join("cells")), 0o700);
        assert_eq!(mode(state.path().join("cells/a.lock")), 0o600);
    }

    #[test]
    fn a_folder_that_hands_its_group_on_lets_that_group_look_and_no_more() {
        let (_dir, state) = state();
        fs::create_dir(state.path()).expect("as tmpfiles.d does");
        let group = |mode| fs::set_permissions(state.path(), fs::Permissions::from_mode(mode));
        group(0o2777).expect("sets");
        let _lock = state.lock_cell("a").expect("locks");
        state
            .save_cell(&crate::testing::record("a"))
            .expect("saves");
        let mode = |path: &str| {
            let path = state.path().join(path);
            fs::metadata(path).expect("exists").mode() & 0o7777
        };
        assert_eq!((mode(""), mode("cells")), (0o2750, 0o2750));
        assert_eq!((mode("cells/a.lock"), mode("cells/a.json")), (0o600, 0o640));
    }

    #[test]
    fn cells_and_the_machine_do_not_wait_for_each_other() {
        let (_dir, state) = state();
        let _machine = state.lock_machine().expect("locks");
        let _a = state.lock_cell("a").expect("locks");
        assert!(state.try_lock_cell("a").expect("opens").is_none());
        assert!(state.try_lock_cell("b").expect("opens").is_some());
    }

    #[test]
    fn one_types_at_a_time() {
        let (_dir, state) = state();
        let first = state.lock_keyboard("a").expect("types");
        let refused = state.lock_keyboard("a").expect_err("another one does");
        let here = format!("(PID {}) does", std::process::id());
        assert!(refused.to_string().contains(&here), "{refused}");
        drop(first);
        assert!(state.lock_keyboard("a").is_ok());
    }

    #[test]
    fn holder_of_a_lock_has_a_name() {
        let (_dir, state) = state();
        let _lock = state.lock_machine().expect("locks");
        let (file, _) = state.open_lock("machine.lock").expect("opens");
        let who = holder(&file);
        let here = format!("(PID {})", std::process::id());
        assert!(who.contains(&here), "{who}");
        let waiting = "7: -> FLOCK  ADVISORY  WRITE 9 00:1a:77 0 EOF\n";
        assert_eq!(holder_of(waiting, 77), None, "it only waits");
    }
}
