//! Interrupt lines of the machine for tests.

use super::Fake;
use super::pci::CARD;
use crate::error::Result;
use crate::functions::{Around, Needed};
use crate::pci::{Line, Lines, Pci, Pin};
use cellvisor_abi::Bdf;
use cellvisor_planner::host::IoApic;

/// The I/O APIC.
pub(crate) const IO_APIC: IoApic = IoApic {
    id: 0,
    address: 0xfec0_0000,
    first_gsi: 0,
    source: Some(0xf0f8),
};

/// A machine with just that I/O APIC, for cells that need these VFs.
pub(crate) fn alone(vfs: &Needed) -> Around<'_> {
    Around {
        vfs,
        io_apics: &[IO_APIC],
        remapped: true,
    }
}

/// The line of the function without VFs, and who else has it.
pub(crate) fn line(users: &[&str]) -> Line {
    Line {
        irq: 18,
        chip: "IR-IO-APIC".into(),
        pin: 18,
        users: users.iter().map(|&user| user.to_owned()).collect(),
    }
}

impl Lines for Fake {
    fn pin(&self, function: Bdf) -> Result<Option<Pin>> {
        let pin = self.now.borrow().functions.pin;
        Ok(pin.filter(|_| function == CARD))
    }

    fn enabled(&self, function: Bdf) -> Result<u64> {
        let now = self.now.borrow();
        let enabled = now.functions.enabled.contains(&function);
        Ok(u64::from(enabled))
    }

    fn set_enabled(&self, function: Bdf, on: bool) -> Result<()> {
        let driver = self.binding(function)?.expect("exists").driver;
        assert_eq!(driver, None, "Linux refuses it to others");
        self.change("enable")?;
        let mut now = self.now.borrow_mut();
        match on {
            true => assert!(now.functions.enabled.insert(function)),
            false => assert!(now.functions.enabled.remove(&function)),
        }
        Ok(())
    }

    fn line(&self, function: Bdf) -> Result<Option<Line>> {
        assert_eq!(self.enabled(function)?, 1, "Linux routes it then");
        Ok(self.now.borrow().functions.line.clone())
    }
}
