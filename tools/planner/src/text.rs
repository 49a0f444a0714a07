//! Files that people write or save, as text: files, pipes and standard input, but
//! no more of them than such a file has.

use crate::report::{Finding, Place, Report};
use crate::size::{MIB, Size};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What names standard input on the command line.
const STDIN: &str = "-";
/// What standard input is called in findings.
const STDIN_SHOWN: &str = "<stdin>";

/// A kind of files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What people call one.
    name: &'static str,
    /// What helps whoever names another file.
    help: &'static str,
    /// Bytes that none of them has.
    most: u64,
}

/// Ten thousand slices have some two MiB.
pub(crate) const SLICES: Kind = Kind {
    name: "slice file",
    help: "name a TOML file that describes a slice, or `-` for standard input",
    most: 16 * MIB,
};

/// Ten thousand PCI functions have some ten MiB.
pub(crate) const HOST: Kind = Kind {
    name: "host file",
    help: "`cellctl host --save FILE` writes one on the machine itself; `-` is standard input",
    most: 64 * MIB,
};

/// True for the name of standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// The name of a file in findings; relative paths start at its folder.
pub(crate) fn shown(path: &Path) -> PathBuf {
    match is_stdin(path) {
        true => STDIN_SHOWN.into(),
        false => path.to_owned(),
    }
}

/// The text of a file; `-` is standard input.
///
/// # Errors
///
/// It cannot be read, is too large for its kind, or no text.
pub(crate) fn read(path: &Path, kind: Kind) -> Result<String, Report> {
    let Kind { name, help, most } = kind;
    let refused = |message: String| {
        let finding = Finding::error(message).at(Place::file(shown(path)));
        Report::from(finding.help(help))
    };
    let failed = |e: io::Error| refused(format!("the {name} cannot be read: {e}"));
    let bytes = match is_stdin(path) {
        true => at_most(most, io::stdin().lock()).map_err(failed)?,
        false => at_most(most, File::open(path).map_err(failed)?).map_err(failed)?,
    };
    if bytes.len() as u64 > most {
        let most = Size(most);
        let message = format!("the file has more than {most}, no {name} is so large");
        return Err(refused(message));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        refused(format!("the file is no text: byte {at} is not UTF-8"))
    })
}

/// All bytes, or one more than there may be.
fn at_most(most: u64, from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn files_without_end_are_refused_at_once() {
        for (kind, told) in [
            (
                SLICES,
                "the file has more than 16MiB, no slice file is so large",
            ),
            (
                HOST,
                "the file has more than 64MiB, no host file is so large",
            ),
        ] {
            let start = Instant::now();
            let report = read(Path::new("/dev/zero"), kind).expect_err("no end");
            assert_eq!(report.findings[0].message, told);
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    }

    #[test]
    fn folders_and_bytes_are_no_text() {
        let report = read(Path::new("/"), SLICES).expect_err("a folder");
        let told = "the slice file cannot be read: Is a directory (os error 21)";
        assert_eq!(report.findings[0].message, told);
        let program = read(Path::new("/proc/self/exe"), SLICES).expect_err("bytes");
        let told = &program.findings[0].message;
        assert!(told.starts_with("the file "), "{told}");
    }
}
