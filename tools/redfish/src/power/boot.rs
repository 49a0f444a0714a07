//! What root takes of an image: copies of the server's files in a folder of its own.
//!
//! Nobody can change them under `cellctl`, and nothing else than what the server itself
//! wrote gets into a cell: whose a file is is seen on the file that is open.

use super::Failure;
use crate::boots::{FOLDER, INITRD, KERNEL, WORDS};
use crate::error::Error;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Bytes of a command line at most.
const LONGEST: u64 = 4096;

/// What a kernel needs to be heard.
const CONSOLE: &str = "console=ttyS0";

/// Copies what a system's image boots into `folder`; the words with which `cellctl start`
/// boots it.
pub(super) fn take(state: &Path, folder: &Path, name: &str) -> Result<Vec<String>, Failure> {
    let from = state.join(FOLDER).join(name);
    copies(state, &from, folder).map_err(|e| {
        let help = "insert the image again";
        Failure::from(Error::file("cannot boot from", &from, e, help))
    })
}

fn copies(state: &Path, from: &Path, folder: &Path) -> io::Result<Vec<String>> {
    let owner = std::fs::metadata(state)?.uid();
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(folder)?;
    let copy = |name: &str| {
        let mut file = open(&from.join(name), owner)?;
        io::copy(&mut file, &mut File::create(folder.join(name))?)?;
        Ok::<_, io::Error>(folder.join(name).to_string_lossy().into_owned())
    };
    let mut words = vec!["--kernel".to_owned(), copy(KERNEL)?];
    match copy(INITRD) {
        Ok(path) => words.extend(["--initrd".to_owned(), path]),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut line = String::new();
    let file = open(&from.join(WORDS), owner)?;
    file.take(LONGEST).read_to_string(&mut line)?;
    words.push(format!("--cmdline={}", heard(&line)));
    Ok(words)
}

/// Opens a regular file of this owner.
fn open(path: &Path, owner: u32) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let data = file.metadata()?;
    match data.is_file() && data.uid() == owner {
        true => Ok(file),
        false => Err(io::Error::other(format!(
            "{} is not its own",
            path.display()
        ))),
    }
}

/// A command line with the console that a cell has.
fn heard(line: &str) -> String {
    let mut words = line.split_whitespace();
    match words.any(|word| word.starts_with(CONSOLE)) {
        true => line.to_owned(),
        false => format!("{CONSOLE} {line}").trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::create_dir_all(dir.path().join("state/media/web")).expect("folders");
            let place = Self { dir };
            place.put(KERNEL, "kernel");
            place.put(WORDS, "quiet");
            place
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.of(name), text).expect("a file");
        }

        fn of(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join("state/media/web").join(name)
        }

        fn take(&self) -> Result<Vec<String>, Failure> {
            let at = |name: &str| self.dir.path().join(name);
            take(&at("state"), &at("boot/web"), "web")
        }
    }

    #[test]
    fn copies_are_what_is_booted() {
        let place = Place::new();
        let kernel = place.dir.path().join("boot/web/kernel");
        let kernel = kernel.to_string_lossy();
        let words = place.take().expect("copies");
        assert_eq!(
            words,
            ["--kernel", &*kernel, "--cmdline=console=ttyS0 quiet"]
        );
        assert_eq!(std::fs::read(&*kernel).expect("a copy"), b"kernel");
        place.put(INITRD, "disk");
        place.put(WORDS, "console=ttyS0,115200 -- x");
        let words = place.take().expect("copies");
        assert_eq!(words[2], "--initrd");
        assert_eq!(words[4], "--cmdline=console=ttyS0,115200 -- x");
    }

    #[test]
    fn what_is_not_the_servers_own_is_refused() {
        let place = Place::new();
        std::fs::remove_file(place.of(KERNEL)).expect("gone");
        std::os::unix::fs::symlink("/etc/passwd", place.of(KERNEL)).expect("a link");
        place.take().expect_err("a link");
        std::fs::remove_file(place.of(KERNEL)).expect("gone");
        std::fs::create_dir(place.of(KERNEL)).expect("a folder");
        place.take().expect_err("a folder");
        std::fs::remove_dir(place.of(KERNEL)).expect("gone");
        place.put(KERNEL, "kernel");
        assert!(open(&place.of(KERNEL), 1).is_err(), "of another user");
        std::fs::remove_file(place.of(WORDS)).expect("gone");
        place.take().expect_err("not whole");
    }
}
