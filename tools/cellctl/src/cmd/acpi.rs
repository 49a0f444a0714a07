//! `acpi`: the tables of planned cells as files, for `iasl` and for the curious.

use super::{Context, planning};
use crate::cli;
use crate::error::{Error, Result};
use crate::output::say;
use crate::tables::{self, Surroundings};
use acpi_tables::Tables;
use cellvisor_planner::config;
use cellvisor_planner::plan;
use std::fs;
use std::path::Path;

/// `acpi`.
pub(super) fn acpi(context: &Context<'_>, options: &cli::Acpi) -> Result<()> {
    let slices = config::load(&options.files)?;
    let ground = planning::ground(context, &options.files, options.host.as_deref())?;
    let plan = plan::plan(&ground.host, &slices, &ground.taken)?;
    for cell in &plan.cells {
        let around = Surroundings::of(cell, &ground.host)?;
        let tables = tables::build(cell, &around, &[])?;
        write(&tables, &options.out.join(&cell.name))?;
    }
    Ok(())
}

/// Writes each table of a cell to a file that bears its name.
fn write(tables: &Tables, dir: &Path) -> Result<()> {
    let help = "name a folder that can be written to: --out DIR";
    let failed = |e| Error::file("cannot write to", dir, &e, help);
    fs::create_dir_all(dir).map_err(failed)?;
    for entry in &tables.entries {
        let name = String::from_utf8_lossy(&entry.signature)
            .trim()
            .to_lowercase();
        let bytes = tables.table(&entry.signature).unwrap_or_default();
        fs::write(dir.join(format!("{name}.dat")), bytes).map_err(failed)?;
    }
    say(format!(
        "{}: {} tables",
        dir.display(),
        tables.entries.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn every_table_has_its_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let tables = tables::build(&record("a").assignment, &Surroundings::default(), &[]);
        write(&tables.expect("builds"), &dir.path().join("a")).expect("writes");
        for name in ["rsd.dat", "xsdt.dat", "facp.dat", "apic.dat", "dsdt.dat"] {
            assert!(dir.path().join("a").join(name).exists(), "{name}");
        }
        let dsdt = fs::read(dir.path().join("a/dsdt.dat")).expect("reads");
        assert!(dsdt.starts_with(b"DSDT"));
    }
}
