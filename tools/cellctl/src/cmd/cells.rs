//! `create`, `stop` and `destroy`.

use super::{Context, planning, switch};
use crate::calls::Monitor;
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::journal;
use crate::output::{self, say, size};
use crate::power;
use crate::state::{CellRecord, Payload, Policy};
use cellvisor_planner::config::{self, Console, OnFailure, OnReboot, Slice};
use cellvisor_planner::plan::{CellAssignment, Taken};
use std::path::{Path, PathBuf};

/// `create`.
pub(super) fn create(context: &Context<'_>, options: &cli::Create) -> Result<()> {
    let slices = config::load(&options.files)?;
    refuse_functions(&slices)?;
    let _lock = context.state.lock()?;
    let existing = context.state.cells()?;
    refuse_existing(&slices, &existing)?;
    let host = context.host()?;
    let plan = planning::checked(&host, &slices, &taken(&existing))?;
    let records = records(&slices, plan.cells)?;

    let driver = context.driver()?;
    let was_on = driver.info()?.enabled != 0;
    if !was_on {
        switch::turn_on(context, &driver, &options.enable)?;
    }
    match create_all(context, &driver, records) {
        Ok(made) if context.cli.json => output::json(&made),
        Ok(made) => {
            made.iter().for_each(tell_created);
            Ok(())
        }
        Err(error) if was_on => Err(error),
        Err(error) => {
            let off = power::disable(context.machine(&driver), &context.state).err();
            Err(journal::with_leftovers(error, off.as_slice()))
        }
    }
}

/// Creates all cells, or none.
fn create_all(
    context: &Context<'_>,
    driver: &dyn Driver,
    records: Vec<CellRecord>,
) -> Result<Vec<CellRecord>> {
    let machine = context.machine(driver);
    let mut made: Vec<CellRecord> = Vec::new();
    for record in records {
        match create::create(machine, &context.state, record) {
            Ok(record) => made.push(record),
            Err(error) => {
                let undone = made.iter().rev();
                let leftovers: Vec<_> = undone
                    .filter_map(|r| create::destroy(machine, &context.state, r).err())
                    .collect();
                return Err(journal::with_leftovers(error, &leftovers));
            }
        }
    }
    Ok(made)
}

fn tell_created(cell: &CellRecord) {
    let cpus: Vec<_> = cell
        .assignment
        .cpus
        .iter()
        .map(|c| c.linux.to_string())
        .collect();
    say(format!(
        "cell \"{}\" is created: CPUs {}, {} of memory; start it with: cellctl start {}",
        cell.name,
        cpus.join(","),
        size(cell.ram_bytes()),
        cell.name
    ));
}

/// Refuses slices with PCI functions, before anything is touched: the monitor
/// would refuse them later.
fn refuse_functions(slices: &[Slice]) -> Result<()> {
    let uart = |s: &Slice| matches!(s.console, Console::UartPci(_));
    let Some(slice) = slices.iter().find(|s| !s.pci.is_empty() || uart(s)) else {
        return Ok(());
    };
    let key = if slice.pci.is_empty() {
        "console.pci"
    } else {
        "pci.0"
    };
    let place = slice.place(key);
    Err(Error::new(
        format!("cannot create cell \"{}\"", slice.name),
        format!(
            "{}:{} gives it a PCI function, which this version of the monitor cannot hand to cells",
            place.file.display(),
            place.line
        ),
        "leave out [[pci]] and a console with pci; `check`, `plan` and `acpi` take them already",
    ))
}

fn refuse_existing(slices: &[Slice], existing: &[CellRecord]) -> Result<()> {
    let twice = slices
        .iter()
        .find(|s| existing.iter().any(|c| c.name == s.name));
    match twice {
        None => Ok(()),
        Some(slice) => Err(Error::new(
            format!("cannot create cell \"{}\"", slice.name),
            "a cell of that name exists",
            format!("destroy it first: cellctl destroy {}", slice.name),
        )),
    }
}

/// What existing cells hold.
pub(super) fn taken(existing: &[CellRecord]) -> Taken {
    Taken {
        cells: existing.iter().map(|c| c.assignment.clone()).collect(),
    }
}

/// Records of cells to be created.
fn records(slices: &[Slice], assignments: Vec<CellAssignment>) -> Result<Vec<CellRecord>> {
    let mut records = Vec::new();
    for assignment in assignments {
        let slice = slices
            .iter()
            .find(|s| s.name == assignment.name)
            .ok_or_else(|| Error::internal("cannot create cells", "the plan has one too many"))?;
        let payload = Payload {
            image: absolute(&slice.kernel.image)?,
            initrd: slice.kernel.initrd.as_deref().map(absolute).transpose()?,
            cmdline: slice.kernel.cmdline.clone(),
        };
        let policy = Policy {
            restart_on_failure: slice.policy.on_failure == OnFailure::Restart,
            restart_on_reboot: slice.policy.on_reboot == OnReboot::Restart,
        };
        let source = absolute(&slice.place("cell.name").file)?;
        records.push(CellRecord::new(&source, assignment, payload, policy));
    }
    Ok(records)
}

/// A path that other folders can use as well.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|e| Error::file("cannot resolve", path, &e, "name it by its full path"))
}

/// `stop`.
pub(super) fn stop(context: &Context<'_>, name: &str) -> Result<()> {
    let _lock = context.state.lock()?;
    let record = context.state.cell(name)?;
    let driver = context.driver()?;
    Monitor(&driver).stop(name, create::id(&record)?)?;
    say_unless_json(context, format!("cell \"{name}\" is stopped"));
    Ok(())
}

/// `destroy`.
pub(super) fn destroy(context: &Context<'_>, names: &[String]) -> Result<()> {
    let _lock = context.state.lock()?;
    let driver = context.driver()?;
    for name in names {
        let record = context.state.cell(name)?;
        create::destroy(context.machine(&driver), &context.state, &record)?;
        say_unless_json(
            context,
            format!("cell \"{name}\" is gone; its CPUs and memory are back"),
        );
    }
    Ok(())
}

/// Tells people what was done; programs see the exit code.
pub(super) fn say_unless_json(context: &Context<'_>, line: String) {
    if !context.cli.json {
        say(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(extra: &str) -> Vec<Slice> {
        let text = format!(
            "version = 1\ncell.name = \"a\"\ncpus.count = 1\nmemory.size = \"64MiB\"\n\
             kernel.image = \"vmlinuz\"\n{extra}"
        );
        config::parse(&text, Path::new("a.toml")).expect("a slice file")
    }

    #[test]
    fn functions_are_refused_with_their_line() {
        refuse_functions(&slices("")).expect("nothing to refuse");
        for extra in [
            "pci = [{ address = \"0000:02:00.0\" }]",
            "console = { kind = \"uart\", pci = \"0000:02:00.0\" }",
        ] {
            let error = refuse_functions(&slices(extra)).expect_err("a function");
            let text = error.to_string();
            assert!(text.contains("a.toml:6 gives it a PCI function"), "{text}");
        }
    }
}
