//! Functions whose drivers may want their interrupt pin: which pin of which I/O
//! APIC that is, and whether a cell can have it.

use super::Around;
use crate::error::Result;
use crate::journal::Step;
use crate::pci::{Line, Pci, Pin};
use crate::state::{CellJournal, CellRecord};
use cellvisor_abi::Bdf;
use cellvisor_abi::plan::{WIRE_GSIS, Wire};
use cellvisor_planner::host::IoApic;

/// Chips' names: one whose interrupts a unit remaps, and one whose are not.
const REMAPPED: &str = "IR-IO-APIC";
const PLAIN: &str = "IO-APIC";

/// Wires the functions of the journal's cell that may interrupt by their pin. One whose line
/// the cell cannot have goes without; if it has no other way, its record tells
/// why. No driver has them.
pub(super) fn take(
    journal: &mut CellJournal<'_>,
    others: &[CellRecord],
    around: &Around<'_>,
) -> Result<()> {
    let pci = journal.machine().pci;
    for index in 0..journal.record.functions.len() {
        let Some(function) = journal.record.assignment.functions.get(index) else {
            continue;
        };
        let address = function.address;
        if function.pf.is_some() {
            continue;
        }
        let Some(pin) = pci.pin(address)? else {
            continue;
        };
        enable(journal, address)?;
        let line = pci.line(address)?;
        let found = place(line.as_ref(), around)
            .and_then(|place| Ok((place, gsi(place, journal.record, others)?)));
        if let Some(taken) = journal.record.functions.get_mut(index) {
            match found {
                Ok(((io_apic, pin), gsi)) => taken.plan.wire = Some(Wire { io_apic, pin, gsi }),
                Err(why) if pin == Pin::Only => taken.silent = Some(why),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// Has Linux route the function's interrupt.
fn enable(journal: &mut CellJournal<'_>, function: Bdf) -> Result<()> {
    let pci = journal.machine().pci;
    let before = pci.enabled(function)?;
    let step = Step::Enabled { function, before };
    journal.take(step.clone(), || {
        if before == 0 {
            pci.set_enabled(function, true)?;
        }
        Ok((step, ()))
    })
}

/// Takes back what [`enable`] did.
pub(super) fn undo(pci: &dyn Pci, function: Bdf, before: u64) -> Result<()> {
    let binding = pci.binding(function)?;
    if binding.is_some_and(|b| b.driver.is_none()) && pci.enabled(function)? > before {
        return pci.set_enabled(function, false);
    }
    Ok(())
}

/// Address of an I/O APIC, and one of its pins.
type Place = (u64, u8);

/// Where a line arrives, or why a cell cannot have it.
fn place(line: Option<&Line>, around: &Around<'_>) -> std::result::Result<Place, String> {
    let line = line.ok_or("Linux has not routed its interrupt; see `dmesg`")?;
    if let Some(users) = Some(line.users.join(", ")).filter(|users| !users.is_empty()) {
        let irq = line.irq;
        return Err(format!(
            "its line is shared with {users} of this Linux (IRQ {irq})"
        ));
    }
    match (line.chip.as_str(), around.remapped) {
        (REMAPPED, true) | (PLAIN, false) => {}
        (REMAPPED, false) => {
            return Err("Linux remaps interrupts, and the monitor drives no IOMMU".into());
        }
        (chip, _) => return Err(format!("it arrives at a chip of the kind {chip}")),
    }
    let chip = chip(line, around.io_apics).ok_or(
        "there are several I/O APICs, and Linux does not tell which one its line leads to",
    )?;
    if around.remapped && chip.source.is_none() {
        return Err("the firmware's DMAR does not name its I/O APIC".into());
    }
    let pin = u8::try_from(line.pin).map_err(|_| "its line has no number".to_owned())?;
    Ok((u64::from(chip.address), pin))
}

/// The I/O APIC that a line arrives at, if that is certain. Linux numbers the
/// interrupts of the one that has the ISA's by their global numbers, and those of
/// the others beyond all of these.
fn chip<'a>(line: &Line, all: &'a [IoApic]) -> Option<&'a IoApic> {
    if let [only] = all {
        return Some(only);
    }
    let first = all.iter().find(|chip| chip.first_gsi == 0)?;
    let others = all.iter().map(|chip| chip.first_gsi);
    let end = others.filter(|gsi| *gsi > 0).min()?;
    (line.irq == line.pin && line.irq < end).then_some(first)
}

/// The global system interrupt that the cell sees: that of its other functions
/// at the same pin, or a free one.
fn gsi(
    place: Place,
    record: &CellRecord,
    others: &[CellRecord],
) -> std::result::Result<u8, String> {
    if record.assignment.links.iter().any(|link| link.is_socket()) {
        return Err(
            "the cell has an Extended Socket, beside which there is no room for lines".into(),
        );
    }
    let wires = |cell: &'_ CellRecord| -> Vec<Wire> {
        cell.functions.iter().filter_map(|f| f.plan.wire).collect()
    };
    let same = |wire: &Wire| (wire.io_apic, wire.pin) == place;
    if let Some(other) = others.iter().find(|cell| wires(cell).iter().any(same)) {
        return Err(format!("cell \"{}\" has its line", other.name));
    }
    let own = wires(record);
    if let Some(wire) = own.iter().find(|wire| same(wire)) {
        return Ok(wire.gsi);
    }
    let is_free = |gsi: &u8| !own.iter().any(|wire| wire.gsi == *gsi);
    let free = WIRE_GSIS.into_iter().find(is_free);
    free.ok_or_else(|| format!("the cell has {} lines already", WIRE_GSIS.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(irq: u32, pin: u32, chip: &str, users: &[&str]) -> Line {
        Line {
            irq,
            chip: chip.into(),
            pin,
            users: users.iter().map(|&user| user.to_owned()).collect(),
        }
    }

    fn io_apic(address: u32, first_gsi: u32, source: Option<u16>) -> IoApic {
        IoApic {
            id: 0,
            address,
            first_gsi,
            source,
        }
    }

    fn found(
        line: &Line,
        io_apics: &[IoApic],
        remapped: bool,
    ) -> std::result::Result<Place, String> {
        let vfs = super::super::Needed::new();
        let around = Around {
            vfs: &vfs,
            io_apics,
            remapped,
        };
        place(Some(line), &around)
    }

    #[test]
    fn line_that_this_linux_uses_stays_with_it_and_names_the_user() {
        let one = [io_apic(0xfec0_0000, 0, Some(0xf0f8))];
        let why = found(&line(16, 16, REMAPPED, &["ehci_hcd:usb1"]), &one, true);
        let text = "its line is shared with ehci_hcd:usb1 of this Linux (IRQ 16)";
        assert_eq!(why, Err(text.into()));
        let free = found(&line(30, 16, REMAPPED, &[]), &one, true);
        assert_eq!(free, Ok((0xfec0_0000, 16)), "one chip is certain");
    }

    #[test]
    fn of_several_chips_only_the_first_is_certain() {
        let two = [
            io_apic(0xfec0_1000, 24, None),
            io_apic(0xfec0_0000, 0, None),
        ];
        let certain = found(&line(17, 17, PLAIN, &[]), &two, false);
        assert_eq!(certain, Ok((0xfec0_0000, 17)));
        for unclear in [line(30, 6, PLAIN, &[]), line(24, 24, PLAIN, &[])] {
            let why = found(&unclear, &two, false).expect_err("unclear");
            assert!(why.contains("several I/O APICs"), "{why}");
        }
        assert!(found(&line(17, 17, PLAIN, &[]), &[], false).is_err());
    }

    #[test]
    fn remapping_must_be_the_monitor_s_or_nobody_s() {
        let known = [io_apic(0xfec0_0000, 0, Some(1))];
        let unknown = [io_apic(0xfec0_0000, 0, None)];
        for (name, chips, remapped, works) in [
            (REMAPPED, &known, true, true),
            (PLAIN, &known, false, true),
            (PLAIN, &unknown, false, true),
            (REMAPPED, &unknown, true, false),
            (REMAPPED, &known, false, false),
            (PLAIN, &known, true, false),
            ("XT-PIC", &known, false, false),
        ] {
            let found = found(&line(16, 16, name, &[]), chips, remapped);
            assert_eq!(found.is_ok(), works, "{name} {remapped}: {found:?}");
        }
    }
}
