//! What a new system gets beside packages: files of this machine, and a script for its
//! first boot. All is read before anything is made.

use crate::error::{Error, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where the script for the first boot lies; `configure.sh` has its unit.
const FIRST_BOOT: &str = "/usr/local/sbin/first-boot";

/// A file for the new system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    /// Bits of its mode.
    mode: u32,
    owner: String,
    target: String,
}

/// The files that `--copy` and `--first-boot` name.
///
/// # Errors
///
/// One cannot be read, or cannot be where it is to go.
pub(super) fn all(copies: &[String], first_boot: Option<&Path>, what: &str) -> Result<Vec<File>> {
    let mut files = copies
        .iter()
        .map(|text| copy(text, what))
        .collect::<Result<Vec<_>>>()?;
    if let Some(path) = first_boot {
        let (content, _) = read(path, "--first-boot", what)?;
        if !content.starts_with(b"#!") {
            let why = format!("--first-boot: {} is no script", path.display());
            return Err(Error::new(what, why, "begin it with #!/bin/sh, say"));
        }
        files.push(File {
            content,
            mode: 0o755,
            owner: "root".to_owned(),
            target: FIRST_BOOT.to_owned(),
        });
    }
    Ok(files)
}

/// A file as `--copy` has it: `FILE:/PATH` or `FILE:/PATH:OWNER`.
fn copy(text: &str, what: &str) -> Result<File> {
    let wrong = || {
        Error::new(
            what,
            format!("--copy cannot be {text:?}"),
            "write FILE:/PATH or FILE:/PATH:OWNER, such as munge.key:/etc/munge/munge.key:munge",
        )
    };
    let (source, rest) = text.split_once(":/").ok_or_else(wrong)?;
    let (target, owner) = rest.split_once(':').unwrap_or((rest, "root"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+@/".contains(&b);
    let parts = |part: &str| !part.is_empty() && part != "." && part != "..";
    let user = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let good = target.bytes().all(plain) && target.split('/').all(parts);
    if source.is_empty() || !good || owner.is_empty() || !owner.bytes().all(user) {
        return Err(wrong());
    }
    let (content, mode) = read(Path::new(source), "--copy", what)?;
    Ok(File {
        content,
        mode,
        owner: owner.to_owned(),
        target: format!("/{target}"),
    })
}

/// Content and mode of a file.
fn read(path: &Path, option: &str, what: &str) -> Result<(Vec<u8>, u32)> {
    let help = "name a file that can be read";
    let failed = |e| Error::file(&format!("{option}: cannot read"), path, &e, help);
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        let why = format!("{option}: {} is no file", path.display());
        return Err(Error::new(what, why, help));
    }
    let content = fs::read(path).map_err(failed)?;
    Ok((content, about.permissions().mode() & 0o7777))
}

/// Puts the files into a folder under their numbers; tells `configure.sh` number, mode,
/// owner and place of each.
///
/// # Errors
///
/// The folder cannot be written.
pub(super) fn stage(files: &[File], folder: &Path) -> Result<String> {
    let failed = |e| Error::file("cannot write into", folder, &e, "make room there");
    let mut list = String::new();
    fs::create_dir(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    for (number, file) in files.iter().enumerate() {
        fs::write(folder.join(number.to_string()), &file.content).map_err(failed)?;
        let File {
            mode,
            owner,
            target,
            ..
        } = file;
        list += &format!("{number} {mode:o} {owner} {target}\n");
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: &str = "cannot make an image";

    #[test]
    fn files_keep_their_mode_and_get_the_owner_that_is_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (key, script) = (dir.path().join("a key"), dir.path().join("join"));
        fs::write(&key, "secret").expect("writes");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("sets");
        fs::write(&script, "#!/bin/sh\n").expect("writes");
        let copies = [
            format!("{}:/etc/munge/munge.key:munge", key.display()),
            format!("{}:/etc/join", script.display()),
        ];
        let files = all(&copies, Some(&script), WHAT).expect("good");
        let folder = dir.path().join("files");
        let list = stage(&files, &folder).expect("writes");
        let mode = fs::metadata(&script).expect("there").permissions().mode() & 0o777;
        assert_eq!(
            list,
            format!(
                "0 400 munge /etc/munge/munge.key\n1 {mode:o} root /etc/join\n\
                 2 755 root /usr/local/sbin/first-boot\n"
            )
        );
        assert_eq!(fs::read(folder.join("0")).expect("reads"), b"secret");
    }

    #[test]
    fn what_cannot_be_copied_is_refused_with_its_option() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let key = dir.path().join("key");
        fs::write(&key, "secret").expect("writes");
        for rest in [
            "",
            ":etc/x",
            ":/",
            ":/etc/",
            ":/etc/../x",
            ":/etc/a b",
            ":/etc/x:",
            ":/etc/x:A",
            ":/etc/x:root:0",
            ":/e$(id)",
        ] {
            let text = format!("{}{rest}", key.display());
            let error = copy(&text, WHAT).expect_err(rest).to_string();
            assert!(error.contains("--copy cannot be"), "{error}");
        }
        let error = copy("/nowhere/key:/etc/key", WHAT).expect_err("absent");
        assert!(
            error.to_string().contains("cannot read /nowhere/key"),
            "{error}"
        );
        let folder = format!("{}:/etc/key", dir.path().display());
        let error = copy(&folder, WHAT).expect_err("a folder").to_string();
        assert!(error.contains("is no file"), "{error}");
        let error = all(&[], Some(&key), WHAT)
            .expect_err("no script")
            .to_string();
        assert!(
            error.contains("--first-boot: ") && error.contains("is no script"),
            "{error}"
        );
    }
}
