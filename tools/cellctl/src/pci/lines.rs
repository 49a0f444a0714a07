//! Interrupt lines of functions, as Linux routes them.

use super::sysfs::{read, write};
use crate::error::{Error, Result};
use crate::sysfs::{Sysfs, read_number};
use cellvisor_abi::Bdf;
use cellvisor_planner::host::live;
use std::fs;

/// Where configuration space tells the interrupt pin, and the capabilities of
/// MSI and MSI-X.
const PIN: usize = 0x3d;
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;
/// Interrupt numbers of functions that have none.
const NONE: [u32; 2] = [0, 255];

/// What Linux can be asked for about lines, or in tests a stand-in.
pub(crate) trait Lines {
    /// The interrupt pin of a function, if its driver may need it.
    fn pin(&self, function: Bdf) -> Result<Option<Pin>>;
    /// How many have enabled a function.
    fn enabled(&self, function: Bdf) -> Result<u64>;
    /// Enables a function without driver, so that Linux routes its interrupt; or
    /// takes that back.
    fn set_enabled(&self, function: Bdf, on: bool) -> Result<()>;
    /// Where the interrupt of an enabled function arrives; `None` if Linux has
    /// not routed it.
    fn line(&self, function: Bdf) -> Result<Option<Line>>;
}

/// What an interrupt pin is to its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// The only way to interrupt.
    Only,
    /// There is MSI, too, but not MSI-X: simple cards, whose drivers often do not
    /// use it. All those of functions with MSI-X do.
    BesideMsi,
}

/// An interrupt line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Linux's number of the interrupt.
    pub(crate) irq: u32,
    /// The kind of chip that it arrives at.
    pub(crate) chip: String,
    /// Which pin of the chip.
    pub(crate) pin: u32,
    /// Drivers that use it.
    pub(crate) users: Vec<String>,
}

impl Lines for Sysfs {
    fn pin(&self, function: Bdf) -> Result<Option<Pin>> {
        let path = self.function(function, "config");
        let config =
            fs::read(&path).map_err(|e| Error::file("cannot read", &path, &e, "run as root"))?;
        let has_pin = config.get(PIN).is_some_and(|pin| (1..=4).contains(pin));
        let has = |id: u8| live::capability(&config, id).is_some();
        Ok(match (has(MSIX), has(MSI)) {
            _ if !has_pin => None,
            (true, _) => None,
            (false, true) => Some(Pin::BesideMsi),
            (false, false) => Some(Pin::Only),
        })
    }

    fn enabled(&self, function: Bdf) -> Result<u64> {
        read_number(&self.function(function, "enable"))
    }

    fn set_enabled(&self, function: Bdf, on: bool) -> Result<()> {
        let path = self.function(function, "enable");
        write(&path, if on { "1" } else { "0" })
    }

    fn line(&self, function: Bdf) -> Result<Option<Line>> {
        let irq = read_number(&self.function(function, "irq"))?;
        let irq = u32::try_from(irq).unwrap_or_default();
        let folder = self.path(&format!("sys/kernel/irq/{irq}"));
        if NONE.contains(&irq) || !folder.is_dir() {
            return Ok(None);
        }
        let pin = read_number(&folder.join("hwirq"))?;
        let actions = read(&folder.join("actions"))?;
        let users = actions.split(',').filter(|name| !name.is_empty());
        Ok(Some(Line {
            irq,
            chip: read(&folder.join("chip_name"))?,
            pin: u32::try_from(pin).unwrap_or(u32::MAX),
            users: users.map(str::to_owned).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Bdf = Bdf::from_number(0x0028);

    /// A machine with one function that has this configuration space, routed to
    /// interrupt 22.
    fn machine(config: &[u8]) -> (tempfile::TempDir, Sysfs) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let put = |path: &str, text: &[u8]| {
            let path = dir.path().join("sys").join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
            fs::write(path, text).expect("file");
        };
        put(&format!("bus/pci/devices/{CARD}/config"), config);
        put(&format!("bus/pci/devices/{CARD}/enable"), b"1\n");
        put(&format!("bus/pci/devices/{CARD}/irq"), b"22\n");
        put("kernel/irq/22/hwirq", b"22\n");
        put("kernel/irq/22/chip_name", b"IR-IO-APIC\n");
        put("kernel/irq/22/actions", b"ehci_hcd:usb1,i801_smbus\n");
        let sysfs = Sysfs::new(dir.path());
        (dir, sysfs)
    }

    fn config(pin: u8, capability: u8) -> Vec<u8> {
        let mut config = vec![0; 256];
        config[0x34] = 0x40;
        config[PIN] = pin;
        config[0x40] = capability;
        config
    }

    #[test]
    fn pins_beside_msix_do_not_count() {
        for (pin, capability, found) in [
            (1, 0x01, Some(Pin::Only)),
            (4, 0x10, Some(Pin::Only)),
            (0, 0x01, None),
            (5, 0x01, None),
            (1, 0x05, Some(Pin::BesideMsi)),
            (1, 0x11, None),
        ] {
            let (_dir, sysfs) = machine(&config(pin, capability));
            assert_eq!(sysfs.pin(CARD).expect("reads"), found, "{pin} {capability}");
        }
    }

    #[test]
    fn line_is_read_as_linux_shows_it() {
        let (dir, sysfs) = machine(&config(1, 1));
        let line = sysfs.line(CARD).expect("reads").expect("a line");
        assert_eq!((line.irq, line.pin), (22, 22));
        assert_eq!(line.chip, "IR-IO-APIC");
        assert_eq!(line.users, ["ehci_hcd:usb1", "i801_smbus"]);
        assert_eq!(sysfs.enabled(CARD).expect("reads"), 1);
        sysfs.set_enabled(CARD, false).expect("writes");
        assert_eq!(sysfs.enabled(CARD).expect("reads"), 0);
        let folder = dir.path().join("sys/kernel/irq/22");
        fs::write(folder.join("actions"), "\n").expect("writes");
        let line = sysfs.line(CARD).expect("reads").expect("a line");
        assert_eq!(line.users, [""; 0]);
        fs::remove_dir_all(folder).expect("removes");
        assert_eq!(sysfs.line(CARD).expect("reads"), None);
    }
}
