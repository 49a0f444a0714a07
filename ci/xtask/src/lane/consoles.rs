//! What comes on machines' consoles.

use super::Console;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Child;

/// Reads a root's console in a thread of its own: raw to `root.log`, line by line to
/// `take`, until it is false.
///
/// # Errors
///
/// A file in `dir` cannot be written.
pub(super) fn read(
    child: &mut Child,
    console: Console,
    dir: &Path,
    take: impl Fn(&str) -> bool + Send + 'static,
) -> Result<()> {
    let output = child.stdout.take().context("the emulator has no output")?;
    let mut log = File::create(dir.join("root.log")).context("cannot write root.log")?;
    let mut said = File::options()
        .append(true)
        .open(dir.join("emulator.log"))
        .context("cannot write emulator.log")?;
    std::thread::spawn(move || {
        let source: Box<dyn Read> = match console {
            Console::Output => Box::new(output),
            Console::Pipe(path) => {
                std::thread::spawn(move || std::io::copy(&mut { output }, &mut said));
                // Without a console the judge's limits end the run.
                let Ok(pipe) = File::open(path) else { return };
                Box::new(pipe)
            }
        };
        let mut pipe = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).replace('\0', "");
            // A full disk must not stop the run; the judge still sees all.
            drop(log.write_all(&line));
            if !take(&text) {
                break;
            }
            line.clear();
        }
    });
    Ok(())
}

/// Lines of a cell's console also go to a file of their own.
///
/// # Errors
///
/// It cannot be written.
pub(super) fn sort_out(line: &str, dir: &Path) -> Result<()> {
    let Some((name, text)) = line
        .strip_prefix("[cell ")
        .and_then(|rest| rest.split_once("] "))
    else {
        return Ok(());
    };
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return Ok(());
    }
    let mut log = File::options()
        .create(true)
        .append(true)
        .open(dir.join(format!("cell-{name}.log")))
        .context("cannot write a cell's console")?;
    writeln!(log, "{text}").context("cannot write a cell's console")
}
