//! Slice files as text: files, pipes and standard input, but no more of them
//! than a slice file has.

use crate::report::{Finding, Place, Report};
use crate::size::{MIB, Size};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What names standard input on the command line.
const STDIN: &str = "-";
/// What standard input is called in findings.
const STDIN_SHOWN: &str = "<stdin>";
/// Ten thousand slices have some two MiB.
const MOST: u64 = 16 * MIB;

/// The name of a file in findings; relative paths start at its folder.
pub(super) fn shown(path: &Path) -> PathBuf {
    match path == Path::new(STDIN) {
        true => STDIN_SHOWN.into(),
        false => path.to_owned(),
    }
}

/// The text of a slice file.
pub(super) fn text(path: &Path) -> Result<String, Report> {
    let refused = |message: String, help: &str| {
        let finding = Finding::error(message).at(Place::file(shown(path)));
        Report::from(finding.help(help))
    };
    let help = "name a TOML file that describes a slice, or `-` for standard input";
    let failed = |e: io::Error| refused(format!("the slice file cannot be read: {e}"), help);
    let bytes = match path == Path::new(STDIN) {
        true => at_most(io::stdin().lock()).map_err(failed)?,
        false => at_most(File::open(path).map_err(failed)?).map_err(failed)?,
    };
    if bytes.len() as u64 > MOST {
        let message = format!(
            "the file has more than {}, no slice file is so large",
            Size(MOST)
        );
        return Err(refused(message, help));
    }
    String::from_utf8(bytes).map_err(|e| {
        let message = format!(
            "the file is no text: byte {} is not UTF-8",
            e.utf8_error().valid_up_to()
        );
        refused(message, help)
    })
}

/// All bytes, or one more than there may be.
fn at_most(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn files_without_end_are_refused_at_once() {
        let start = Instant::now();
        let report = text(Path::new("/dev/zero")).expect_err("no slice file");
        assert_eq!(
            report.findings[0].message,
            "the file has more than 16MiB, no slice file is so large"
        );
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn folders_and_bytes_are_no_slice_files() {
        let report = text(Path::new("/")).expect_err("a folder");
        let told = "the slice file cannot be read: Is a directory (os error 21)";
        assert_eq!(report.findings[0].message, told);
        let program = text(Path::new("/proc/self/exe")).expect_err("bytes");
        let told = &program.findings[0].message;
        assert!(told.starts_with("the file "), "{told}");
    }
}
