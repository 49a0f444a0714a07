//! Kernel images and initrds: whether they are there, whole, and fit.

use super::Files;
use super::foreign::Foreign;
use super::image::{self, Image, Protocol};
use crate::config::Slice;
use crate::report::{Finding, Report};
use crate::size::about;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Longest command line that Linux takes on x86, in bytes without its zero,
/// where the kernel is not at hand to say so (`COMMAND_LINE_SIZE`).
const LONGEST_LINE: u64 = 2047;

/// The key of the files of an initrd.
const INITRD: &str = "kernel.initrd";

/// Each file of an initrd starts at a multiple of so many bytes (Linux, "initramfs
/// buffer format").
const ALIGNMENT: u64 = 4;

/// A look at what a slice boots.
struct Look<'s> {
    slice: &'s Slice,
    files: Files,
    /// Files that were told to be on another machine.
    absent: &'s mut BTreeSet<PathBuf>,
    report: Report,
}

/// What can be told of kernel, initrd and command line. Files on another machine
/// are told once, and noted in `absent`.
pub(super) fn look(slice: &Slice, files: Files, absent: &mut BTreeSet<PathBuf>) -> Report {
    let mut look = Look {
        slice,
        files,
        absent,
        report: Report::default(),
    };
    let kernel = match files {
        Files::Skip => None,
        Files::Look | Files::Elsewhere => look.kernel(),
    };
    if files != Files::Skip {
        look.initrd(kernel);
    }
    look.length(kernel);
    look.report
}

/// What a kernel asks for.
#[derive(Clone, Copy)]
struct Kernel {
    /// Bytes of its file, at least.
    length: u64,
    /// Longest command line without its zero, in bytes.
    longest_line: u64,
    /// Least memory that it runs in, in bytes, and what for.
    end: u64,
    purpose: &'static str,
    /// What follows `initrd` is for it to understand.
    modules: bool,
}

impl From<Image> for Kernel {
    fn from(image: Image) -> Self {
        match image {
            Image::BzImage(header) => Self {
                length: header.length,
                longest_line: header.longest_line,
                end: header.end,
                purpose: "to unpack itself",
                modules: false,
            },
            Image::Program(program) => Self {
                length: program.length(),
                longest_line: LONGEST_LINE,
                end: program.end(),
                purpose: "where it is linked",
                modules: program.protocol != Protocol::Linux,
            },
        }
    }
}

impl Look<'_> {
    fn wrong(&mut self, key: &str, message: String, cause: &str, help: &str) {
        if self.slice.doubts(key) {
            return;
        }
        let mut finding = Finding::error(message).at(self.slice.place(key));
        finding.cause = Some(cause.to_owned()).filter(|c| !c.is_empty());
        self.report.push(finding.help(help));
    }

    /// The kernel, if it is one that cells boot.
    fn kernel(&mut self) -> Option<Kernel> {
        const KEY: &str = "kernel.image";
        let path = &self.slice.kernel.image;
        let shown = path.display().to_string();
        let (file, _, length) = self.open(KEY, "kernel", path)?;
        let read = |at, length| read_at(&file, at, length).unwrap_or_default();
        let kernel = match image::image(&read, length) {
            Ok(image) => Kernel::from(image),
            Err(Foreign { what, help }) => {
                self.wrong(KEY, format!("{shown} {what}"), "", help);
                return None;
            }
        };
        if length < kernel.length {
            let message = format!("{shown} is cut short");
            let cause = format!("it has {length} bytes, its header says {}", kernel.length);
            self.wrong(KEY, message, &cause, "copy it again");
        }
        self.socket(&shown, &image::release(&read));
        let memory = self.slice.memory.size;
        if kernel.end > memory && !self.slice.doubts("memory.size") {
            let message = format!("the kernel does not fit into {}", about(memory));
            let cause = format!("{shown} needs {} {}", about(kernel.end), kernel.purpose);
            self.wrong("memory.size", message, &cause, "give the slice more memory");
        }
        Some(kernel)
    }

    /// Whether a kernel of this release can have the driver of an Extended Socket.
    fn socket(&mut self, shown: &str, release: &str) {
        let mut links = self.slice.links.iter();
        let Some(wish) = links.find(|wish| wish.link.is_socket()) else {
            return;
        };
        if release
            .split_whitespace()
            .next()
            .is_some_and(|r| r.contains("-cloud-"))
        {
            let name = &wish.link.name;
            let message = format!("{shown} has no driver for link `{name}`");
            let finding = Finding::warning(message).at(self.slice.place("kernel.image"));
            let finding = finding.because("Debian's kernels for clouds come without `fjes`");
            let help = "take a generic kernel, or kind = \"ethernet\"";
            self.report.push(finding.help(help));
        }
    }

    /// The files of an initrd, each for itself and all for their length.
    fn initrd(&mut self, kernel: Option<Kernel>) {
        let slice = self.slice;
        let modules = kernel.is_some_and(|k| k.modules);
        let mut total = 0_u64;
        for (n, path) in slice.kernel.initrd.iter().enumerate() {
            let Some(length) = self.part(&format!("{INITRD}.{n}"), path, modules) else {
                continue;
            };
            total = total.next_multiple_of(ALIGNMENT).saturating_add(length);
        }
        let end = kernel.map_or(0, |k| k.end);
        let memory = slice.memory.size;
        if total <= memory.saturating_sub(end) || slice.doubts("memory.size") {
            return;
        }
        let files = match slice.kernel.initrd.len() {
            1 => "it has".to_owned(),
            several => format!("its {several} files have"),
        };
        let cause = match kernel {
            None => format!("{files} {}", about(total)),
            Some(Kernel { end, purpose, .. }) => format!(
                "{files} {}, and the kernel needs {} {purpose}",
                about(total),
                about(end)
            ),
        };
        let message = format!("the initrd does not fit into {}", about(memory));
        let help = "give the slice more memory, or make the initrd smaller";
        self.wrong(INITRD, message, &cause, help);
    }

    /// The length of one of the files of an initrd, if it is one, or if it may be
    /// anything.
    fn part(&mut self, key: &str, path: &Path, anything: bool) -> Option<u64> {
        let shown = path.display().to_string();
        let (_, head, length) = self.open(key, "initrd", path)?;
        if length == 0 {
            let help = "build it again, or leave `initrd` out";
            self.wrong(key, format!("the initrd {shown} is empty"), "", help);
            return None;
        }
        match Foreign::of_initrd(&head).filter(|_| !anything) {
            None => Some(length),
            Some(Foreign { what, help }) => {
                let message = format!("{shown} is no initrd");
                self.wrong(key, message, &format!("it {what}"), help);
                None
            }
        }
    }

    /// A file with its first bytes and length; none after a finding.
    fn open(&mut self, key: &str, what: &str, path: &Path) -> Option<(File, Vec<u8>, u64)> {
        if self.slice.doubts(key) {
            return None;
        }
        let shown = path.display();
        let advice = match key {
            key if key.starts_with(INITRD) => {
                "relative paths start at this file's folder; or leave `initrd` out"
            }
            _ => "relative paths start at this file's folder; kernels are in /boot",
        };
        match first_bytes(path) {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {
                let message = format!("the {what} {shown} is no ordinary file");
                self.wrong(key, message, "", "name a file, not a folder or device");
            }
            Err(e) if e.kind() == ErrorKind::NotFound && self.files == Files::Elsewhere => {
                if !self.absent.insert(path.to_owned()) {
                    return None;
                }
                let message = format!("the {what} {shown} is not on this machine");
                let finding = Finding::warning(message).at(self.slice.place(key));
                let cause = "so it was not looked at";
                let help = "it must be on the machine where the slice is created";
                self.report.push(finding.because(cause).help(help));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.wrong(
                    key,
                    format!("the {what} {shown} does not exist"),
                    "",
                    advice,
                );
            }
            Err(e) => {
                let message = format!("the {what} {shown} cannot be read: {e}");
                self.wrong(key, message, "", advice);
            }
        }
        None
    }

    /// Whether the kernel takes so long a command line.
    fn length(&mut self, kernel: Option<Kernel>) {
        let length = self.slice.command_line().len() as u64;
        let longest = kernel.map_or(LONGEST_LINE, |k| k.longest_line);
        if length > longest {
            let message = "the command line is too long".to_owned();
            let cause = format!("it has {length} bytes, and the kernel takes {longest}");
            let help = format!("shorten it by {} bytes", length - longest);
            self.wrong("kernel.cmdline", message, &cause, &help);
        }
    }
}

/// An ordinary file, its first bytes and its length.
fn first_bytes(path: &Path) -> std::io::Result<Option<(File, Vec<u8>, u64)>> {
    // Opening a pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let head = read_at(&file, 0, image::HEAD)?;
    Ok(Some((file, head, length)))
}

/// So many bytes of a file from somewhere on; fewer at its end.
fn read_at(file: &File, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
