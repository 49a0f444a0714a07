//! `create` and `destroy`.

use super::{Context, parts, planning, switch};
use crate::cli;
use crate::create;
use crate::driver::Driver;
use crate::error::{Error, Kind, Result};
use crate::functions::{self, Around};
use crate::hypercalls::Monitor;
use crate::journal;
use crate::links;
use crate::output::{self, say, size};
use crate::power;
use crate::signals;
use crate::state::{CellRecord, Payload, Policy};
use crate::tables::{self, Surroundings};
use cellvisor_abi::call::Info;
use cellvisor_planner::config::{Isolation, OnFailure, OnReboot, Slice};
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{CellAssignment, NewLink, Taken};
use std::path::{Path, PathBuf};

/// `create`.
pub(super) fn create(context: &Context<'_>, options: &cli::Create) -> Result<()> {
    let slices = planning::slices(context, &options.files)?;
    let made = create_slices(context, &slices, &options.enable)?;
    if context.cli.json {
        return output::json(&made);
    }
    made.iter().for_each(tell_created);
    Ok(())
}

/// Creates the cells of all slices, or none; turns the monitor on if it is off.
pub(super) fn create_slices(
    context: &Context<'_>,
    slices: &[Slice],
    enable: &cli::Enable,
) -> Result<Vec<CellRecord>> {
    let _machine = context.state.lock_machine()?;
    let names = slices.iter().map(|slice| slice.name.as_str());
    let _cells = context.state.lock_cells(names)?;
    let existing = context.state.cells()?.whole()?;
    refuse_existing(slices, &existing)?;
    let host = context.host()?;
    let plan = planning::checked(&host, slices, &taken(&existing))?;
    let links = plan.links;
    let records = records(slices, plan.cells, &host)?;

    let driver = context.driver()?;
    let was_on = driver.info()?.enabled != 0;
    signals::catch()?;
    if !was_on {
        switch::turn_on(context, &driver, enable)?;
    }
    let created = monitor_allows(&driver, slices)
        .and_then(|iommus| create_all(context, &driver, records, &links, &host, iommus));
    match created {
        Ok(made) => Ok(made),
        Err(error) if was_on => Err(error),
        Err(error) => {
            let off = power::disable(context.machine(&driver), &context.state).err();
            Err(journal::with_leftovers(error, off.as_slice()))
        }
    }
}

/// Asks the monitor how many IOMMUs it drives, and whether they and its parts will do.
fn monitor_allows(driver: &dyn Driver, slices: &[Slice]) -> Result<u32> {
    let Info { iommus, parts, .. } = Monitor(driver).info()?;
    refuse_open_dma(slices, iommus)?;
    parts::check(slices, parts)?;
    Ok(iommus)
}

/// Creates all cells with their links, or none.
fn create_all(
    context: &Context<'_>,
    driver: &dyn Driver,
    records: Vec<CellRecord>,
    links: &[NewLink],
    host: &Host,
    iommus: u32,
) -> Result<Vec<CellRecord>> {
    let machine = context.machine(driver);
    let mut made: Vec<CellRecord> = Vec::new();
    let needed = functions::needed(records.iter().map(|r| &r.assignment));
    let around = Around {
        vfs: &needed,
        io_apics: &host.io_apics,
        remapped: iommus > 0,
    };
    links::make_all(machine, &context.state, links)?;
    for mut record in records {
        // What is left without an IOMMU said that it can do without.
        let functions = record.functions.iter_mut();
        functions.for_each(|f| f.plan.unprotected |= iommus == 0);
        match create::create(machine, &context.state, record, &around) {
            Ok(record) => made.push(record),
            Err(error) => {
                let undone = made.into_iter().rev();
                let leftovers = undone
                    .filter_map(|r| create::destroy(machine, &context.state, r).err())
                    .collect::<Vec<_>>();
                let leftovers = leftovers
                    .into_iter()
                    .chain(links::sweep(machine, &context.state));
                let leftovers: Vec<_> = leftovers.collect();
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
    for function in &cell.functions {
        if let Some(why) = &function.silent {
            output::warn(format!(
                "{} has no interrupt in cell \"{}\": {why}; a driver that does not poll \
                 cannot use it there",
                function.plan.bdf, cell.name
            ));
        }
    }
}

/// Refuses functions whose DMA the monitor cannot keep in the cell, unless the
/// slice is content with that.
fn refuse_open_dma(slices: &[Slice], iommus: u32) -> Result<()> {
    if iommus > 0 {
        return Ok(());
    }
    for slice in slices {
        let open = slice.pci.iter().find(|p| p.isolation == Isolation::Iommu);
        if let Some(open) = open {
            let place = slice.place(&format!("pci.{}", open.at));
            return Err(Error::new(
                format!("cannot create cell \"{}\"", slice.name),
                format!(
                    "{}:{} gives it a PCI function whose DMA nothing would hold back: the \
                     monitor drives no IOMMU",
                    place.file.display(),
                    place.line
                ),
                "see `cellctl check`; or write `isolation = \"none\"` to let it reach all memory",
            ));
        }
    }
    Ok(())
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
fn records(
    slices: &[Slice],
    assignments: Vec<CellAssignment>,
    host: &Host,
) -> Result<Vec<CellRecord>> {
    let mut records = Vec::new();
    for assignment in assignments {
        let slice = slices
            .iter()
            .find(|s| s.name == assignment.name)
            .ok_or_else(|| Error::internal("cannot create cells", "the plan has one too many"))?;
        let source = source(slice)?;
        let functions = tables::places(&assignment, host)?;
        let around = Surroundings::of(&assignment, host)?;
        records.push(CellRecord {
            functions,
            off_limits: around.taken().to_vec(),
            wish: wish(slice),
            ..CellRecord::new(&source, assignment, payload(slice)?, policy(slice))
        });
    }
    Ok(records)
}

/// The file that describes a slice.
pub(super) fn source(slice: &Slice) -> Result<PathBuf> {
    absolute(&slice.place("cell.name").file)
}

/// What a slice boots, with paths that other folders can use as well.
pub(super) fn payload(slice: &Slice) -> Result<Payload> {
    let initrd = slice.kernel.initrd.iter();
    Ok(Payload {
        image: absolute(&slice.kernel.image)?,
        initrd: initrd.map(|path| absolute(path)).collect::<Result<_>>()?,
        cmdline: slice.command_line(),
    })
}

/// How a slice's cell is watched and stopped.
pub(super) fn policy(slice: &Slice) -> Policy {
    Policy {
        restart_on_failure: slice.policy.on_failure == OnFailure::Restart,
        restart_on_reboot: slice.policy.on_reboot == OnReboot::Restart,
        stop_timeout: slice.policy.stop_timeout,
        dump: slice.policy.dump,
    }
}

/// What a slice asks for of the machine, by the names of its tables.
pub(super) fn wish(slice: &Slice) -> serde_json::Value {
    let Slice {
        cpus,
        memory,
        console,
        pci,
        l3_ways,
        bandwidth,
        ..
    } = slice;
    let mut wish = serde_json::json!({
        "cpus": cpus,
        "memory": memory,
        "console": console,
        "pci": pci,
    });
    for (table, share) in [("cache", l3_ways), ("bandwidth", bandwidth)] {
        if let Some(share) = share {
            wish[table] = (*share).into();
        }
    }
    wish
}

/// A path that other folders can use as well.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|e| Error::file("cannot resolve", path, &e, "name it by its full path"))
}

/// `destroy`.
pub(super) fn destroy(context: &Context<'_>, names: &[String]) -> Result<()> {
    let _machine = context.state.lock_machine()?;
    let driver = context.driver()?;
    signals::catch()?;
    for name in names {
        destroy_one(context, &driver, name)?;
        say_unless_json(
            context,
            format!("cell \"{name}\" is gone; its CPUs and memory are back"),
        );
    }
    Ok(())
}

/// Destroys a cell; the caller holds the machine's lock.
pub(super) fn destroy_one(context: &Context<'_>, driver: &dyn Driver, name: &str) -> Result<()> {
    let _cell = context.state.lock_cell(name)?;
    let machine = context.machine(driver);
    let state = &context.state;
    match state.cell(name) {
        Ok(record) => create::destroy(machine, state, record),
        Err(absent) if absent.code() == Kind::Absent as u8 => Err(absent),
        Err(why) => create::destroy_unreadable(machine, state, name, &why),
    }?;
    links::swept(machine, state)
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
    use crate::testing::slices;

    #[test]
    fn open_dma_is_refused_with_its_line_unless_the_slice_wants_it() {
        let bare = slices("pci = [{ address = \"0000:02:00.0\" }]");
        refuse_open_dma(&bare, 1).expect("an IOMMU");
        let error = refuse_open_dma(&bare, 0).expect_err("none");
        let text = error.to_string();
        assert!(text.contains("a.toml:6 gives it a PCI function"), "{text}");
        assert!(text.contains("isolation = \"none\""), "{text}");
        for extra in [
            "",
            "pci = [{ address = \"0000:02:00.0\", isolation = \"none\" }]",
            // No bus master.
            "console = { kind = \"uart\", pci = \"0000:02:00.0\" }",
        ] {
            refuse_open_dma(&slices(extra), 0).expect("nothing to refuse");
        }
    }
}
