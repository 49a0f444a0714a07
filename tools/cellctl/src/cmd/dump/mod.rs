//! `dump`: an ELF core of what a cell that ended left in its memory.

mod elf;

use super::Context;
use crate::cli;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::hypercalls::Monitor;
use crate::output::{self, say, size};
use crate::state::CellRecord;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellStatus, State};
use elf::{Load, Note};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// How the description begins that a Linux kernel has of itself, on a page of its
/// own: a note without type.
const VMCOREINFO: &[u8] = b"VMCOREINFO\0";
const FIRST_LINE: &[u8] = b"OSRELEASE=";

/// `dump`.
pub(super) fn dump(context: &Context<'_>, options: &cli::Dump) -> Result<()> {
    let (name, out) = (&options.name, &options.out);
    let held = context.hold(name)?;
    let (driver, record, status) = (&held.driver, &held.record, &held.status);
    allowed(record, status)?;
    Monitor(driver).show(name, status.cell)?;
    let memory = driver.map(&record.memory)?;
    let description = description(&memory, record);
    if description.is_none() {
        output::warn(format!(
            "no Linux kernel describes itself in the memory of cell \"{name}\": tools that read cores \
             need its symbols"
        ));
    }
    let mut notes: Vec<Note> = (0..status.cpus)
        .map(|cpu| elf::registers(status.failure.filter(|f| f.cpu == cpu).map(|f| f.regs)))
        .collect();
    notes.extend(description.map(|text| Note {
        name: VMCOREINFO,
        kind: 0,
        content: text,
    }));
    let failed = |e| {
        Error::file(
            "cannot write",
            out,
            &e,
            "name a new file where there is room",
        )
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out);
    let file = file.map_err(failed)?;
    let written = write(&file, &memory, record, &notes);
    if let Err(e) = written {
        // What is not whole is no core.
        let _ = std::fs::remove_file(out);
        return Err(failed(e));
    }
    tell(context, record, out)
}

/// Refuses what the monitor would refuse, with the remedy.
fn allowed(record: &CellRecord, status: &CellStatus) -> Result<()> {
    let what = format!("cannot dump cell \"{}\"", record.name);
    if !record.policy.dump {
        return Err(Error::new(
            what,
            "its file does not allow it, so its memory is seen by nobody",
            "write `dump = true` in its [policy], destroy and create it: what is in its memory now is lost",
        ));
    }
    match status.state {
        State::Stopped(_) | State::Failed => Ok(()),
        State::Running => Err(Error::new(
            what,
            "it runs",
            format!("stop it first: cellctl kill {}", record.name),
        )),
        State::Loadable => Err(Error::new(
            what,
            "nothing has run in it since its memory was scrubbed",
            format!("start it: cellctl start {}", record.name),
        )),
    }
}

/// What a Linux kernel says of itself for tools that read cores. All of it is the
/// cell's own word.
fn description(memory: &GuestMemoryMmap, record: &CellRecord) -> Option<Vec<u8>> {
    let pages = record.memory.iter().flat_map(|m| {
        let count = m.size / PAGE_SIZE;
        (0..count).map(move |page| m.gpa + page * PAGE_SIZE)
    });
    pages.into_iter().find_map(|gpa| {
        let mut head = [0; elf::NOTE_HEAD + VMCOREINFO.len() + 1];
        memory.read_slice(&mut head, GuestAddress(gpa)).ok()?;
        let size = elf::size_of_note(&head, VMCOREINFO, 0)?;
        let mut page = [0; PAGE_SIZE as usize];
        memory.read_slice(&mut page, GuestAddress(gpa)).ok()?;
        let text = page.get(head.len()..head.len().checked_add(size)?)?;
        text.starts_with(FIRST_LINE).then(|| text.to_vec())
    })
}

/// Writes the whole file; pages of zeros become holes.
fn write(
    file: &File,
    memory: &GuestMemoryMmap,
    record: &CellRecord,
    notes: &[Note],
) -> io::Result<()> {
    let loads: Vec<_> = record.memory.iter().map(|m| (m.gpa, m.size)).collect();
    let (head, loads) = elf::head(&loads, notes);
    file.write_all_at(&head, 0)?;
    let end = loads
        .last()
        .map_or(head.len() as u64, |l| l.offset + l.size);
    file.set_len(end)?;
    let mut chunk = vec![0; CHUNK];
    for load in &loads {
        copy(file, memory, load, &mut chunk)?;
    }
    file.sync_all()
}

fn copy(file: &File, memory: &GuestMemoryMmap, load: &Load, chunk: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < load.size {
        let part = chunk
            .len()
            .min(usize::try_from(load.size - done).unwrap_or(usize::MAX));
        let Some(part) = chunk.get_mut(..part) else {
            break;
        };
        let from = GuestAddress(load.gpa + done);
        memory.read_slice(part, from).map_err(io::Error::other)?;
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, load.offset + done)?;
        }
        done += part.len() as u64;
    }
    Ok(())
}

fn tell(context: &Context<'_>, record: &CellRecord, out: &Path) -> Result<()> {
    if context.cli.json {
        return output::json(&serde_json::json!({
            "cell": record.name,
            "file": out,
            "memory": record.ram_bytes(),
        }));
    }
    say(format!(
        "the memory of cell \"{0}\" ({1}) is in {2}; what its kernel said: makedumpfile --dump-dmesg {2} \
         dmesg.txt",
        record.name,
        size(record.ram_bytes()),
        out.display(),
    ));
    Ok(())
}

#[cfg(test)]
mod tests;
