//! Root bridges as the firmware's AML tells of them.

use crate::hardware::Hardware;
use crate::resources::{Resources, resources};
use acpi::address::{AddressSpace, GenericAddress, MappedGas};
use acpi::aml::namespace::{AmlName, NamespaceLevelKind};
use acpi::aml::object::{DeviceStatus, Object, WrappedObject};
use acpi::aml::{AmlError, Interpreter};
use acpi::registers::{FixedRegisters, Pm1ControlRegisterBlock, Pm1EventRegisterBlock};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Bytes before the AML of a table, and where its revision is.
const HEADER: usize = 36;
const REVISION: usize = 8;

/// Root bridges by hardware id, as a compressed EISA id and as text.
const BRIDGES: [(u64, &str); 2] = [(0x030a_d041, "PNP0A03"), (0x080a_d041, "PNP0A08")];

/// A space of `_REG` and what it says of it.
const CONFIGURATION_SPACE: u64 = 2;
const CONNECTED: u64 = 1;

/// A root bridge.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// Its path in the namespace.
    pub(crate) path: String,
    /// Segment group.
    pub(crate) segment: u16,
    /// What it passes on, or why that is not known.
    pub(crate) resources: Result<Resources, String>,
}

/// Tables with AML, the DSDT first.
///
/// # Errors
///
/// They cannot be read.
pub(crate) fn tables(dir: &Path) -> Result<Vec<Vec<u8>>, String> {
    let mut extra: Vec<PathBuf> = Vec::new();
    for folder in [dir.to_owned(), dir.join("dynamic")] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|e| e.path());
        extra.extend(paths.filter(|p| is_named(p, "SSDT")));
    }
    extra.sort();
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|why| format!("{} cannot be read: {why}", path.display()))
    };
    std::iter::once(&dir.join("DSDT"))
        .chain(&extra)
        .map(read)
        .collect()
}

fn is_named(path: &Path, start: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(start))
}

/// The firmware of a machine.
pub(crate) struct Firmware<'h> {
    hardware: &'h Hardware,
    interpreter: Interpreter<&'h Hardware>,
}

impl<'h> Firmware<'h> {
    /// Makes the namespace of `tables`.
    ///
    /// # Errors
    ///
    /// A table is malformed, or reaches for hardware that is not there.
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "the interpreter takes an Arc, and there is one thread"
    )]
    pub(crate) fn load(hardware: &'h Hardware, tables: &[Vec<u8>]) -> Result<Self, String> {
        let revision = tables.first().and_then(|dsdt| dsdt.get(REVISION));
        let revision = *revision.ok_or("there is no DSDT")?;
        // Without an FACS the firmware's global lock is not taken: nothing is
        // written to the machine, and registers are for giving the lock back.
        let registers = Arc::new(no_registers(hardware)?);
        let interpreter = Interpreter::new(hardware, revision, registers, None);
        for (index, table) in tables.iter().enumerate() {
            let aml = table
                .get(HEADER..)
                .ok_or("a table ends within its header")?;
            interpreter
                .load_table(aml)
                .map_err(|why| format!("table {index} cannot be loaded: {why:?}"))?;
        }
        if let Some(why) = hardware.failure() {
            return Err(format!("the tables cannot be loaded: {why}"));
        }
        Ok(Self {
            hardware,
            interpreter,
        })
    }

    /// All root bridges that are present.
    ///
    /// Only they are initialised: `_INI` of other devices touches hardware that
    /// Linux drives already.
    ///
    /// # Errors
    ///
    /// `_INI` of all of the machine fails, or the namespace cannot be walked.
    pub(crate) fn bridges(&self) -> Result<Vec<Bridge>, String> {
        for name in ["\\_INI", "\\_SB._INI"] {
            self.call(&absolute(name)?, vec![])?;
        }
        let mut devices = Vec::new();
        let walked = self.interpreter.namespace.lock().traverse(|path, level| {
            if level.kind == NamespaceLevelKind::Device {
                devices.push(path.clone());
            }
            Ok(true)
        });
        walked.map_err(|why| format!("the namespace cannot be walked: {why:?}"))?;
        let bridges = devices.iter().filter(|path| self.is_bridge(path));
        Ok(bridges.filter_map(|path| self.bridge(path)).collect())
    }

    /// True if the device and all above it are there.
    fn is_present(&self, path: &AmlName) -> Result<bool, String> {
        let status = self.number(path, "_STA")?;
        let here = status.is_none_or(|status| DeviceStatus(status).present());
        match path.parent() {
            Ok(parent) if here => self.is_present(&parent),
            _ => Ok(here),
        }
    }

    /// Runs what a driver of the bridge would run first.
    fn bring_up(&self, path: &AmlName) -> Result<(), String> {
        let arguments = [CONFIGURATION_SPACE, CONNECTED].map(|n| Object::Integer(n).wrap());
        self.call(&below(path, "_REG")?, arguments.to_vec())?;
        self.call(&below(path, "_INI")?, vec![]).map(drop)
    }

    /// A root bridge; `None` if it is absent.
    fn bridge(&self, path: &AmlName) -> Option<Bridge> {
        let (segment, resources) = match self.ask(path) {
            Ok(None) => return None,
            Ok(Some((segment, resources))) => (segment, Ok(resources)),
            Err(why) => (0, Err(why)),
        };
        Some(Bridge {
            path: path.as_string(),
            segment,
            resources,
        })
    }

    /// Segment and resources of a root bridge; `None` if it is absent.
    fn ask(&self, path: &AmlName) -> Result<Option<(u16, Resources)>, String> {
        if !self.is_present(path)? {
            return Ok(None);
        }
        self.bring_up(path)?;
        let segment = self.number(path, "_SEG")?.unwrap_or(0);
        let segment = u16::try_from(segment).map_err(|_| format!("_SEG is {segment:#x}"))?;
        let base = self.number(path, "_BBN")?;
        let template = self.call(&below(path, "_CRS")?, vec![])?;
        let mut found = resources(template.ok_or("it has no _CRS")?)?;
        // As Linux does: _CRS comes first, then _BBN with all buses above.
        let base = base.and_then(|bus| u8::try_from(bus).ok());
        found.buses = found.buses.or(base.map(|first| (first, u8::MAX)));
        Ok(Some((segment, found)))
    }

    /// True if the device's ids are those of a root bridge.
    fn is_bridge(&self, path: &AmlName) -> bool {
        let names = |name: &&str| {
            // Other devices may have ids that cannot be had without them.
            let ids = below(path, name).and_then(|ids| self.call(&ids, vec![]));
            ids.is_ok_and(|ids| ids.is_some_and(|ids| names_bridge(&ids)))
        };
        ["_HID", "_CID"].iter().any(names)
    }

    /// The number that an object of a device holds or returns.
    fn number(&self, path: &AmlName, name: &str) -> Result<Option<u64>, String> {
        let object = self.call(&below(path, name)?, vec![])?;
        let number = object.map(|object| object.unwrap_reference().as_integer());
        number
            .transpose()
            .map_err(|why| format!("{path}.{name} is no number: {why:?}"))
    }

    /// Evaluates an object, if it is there.
    fn call(
        &self,
        path: &AmlName,
        arguments: Vec<WrappedObject>,
    ) -> Result<Option<WrappedObject>, String> {
        let result = self
            .interpreter
            .evaluate_if_present(path.clone(), arguments);
        if let Some(why) = self.hardware.failure() {
            return Err(format!("{path} cannot be evaluated: {why}"));
        }
        match result {
            Ok(object) => Ok(object),
            // A device without any object has no level of its own.
            Err(AmlError::LevelDoesNotExist(_)) => Ok(None),
            Err(why) => Err(format!("{path} cannot be evaluated: {why:?}")),
        }
    }
}

/// True if `ids` is the id of a root bridge or has it among others.
fn names_bridge(ids: &Object) -> bool {
    match ids {
        Object::Integer(id) => BRIDGES.iter().any(|(number, _)| number == id),
        Object::String(id) => BRIDGES.iter().any(|(_, text)| text == id),
        Object::Package(ids) => ids.iter().any(|id| names_bridge(id)),
        _ => false,
    }
}

fn absolute(path: &str) -> Result<AmlName, String> {
    AmlName::from_str(path).map_err(|why| format!("{path} is no path: {why:?}"))
}

/// The object `name` of a device.
fn below(path: &AmlName, name: &str) -> Result<AmlName, String> {
    absolute(name)?
        .resolve(path)
        .map_err(|why| format!("{path} has no {name}: {why:?}"))
}

/// Fixed registers of ACPI that nobody reads: ports are not mapped.
#[expect(unsafe_code, reason = "the registers' type has no other way")]
fn no_registers(hardware: &Hardware) -> Result<FixedRegisters<&Hardware>, String> {
    let nowhere = GenericAddress {
        address_space: AddressSpace::SystemIo,
        bit_width: 16,
        bit_offset: 0,
        access_size: 2,
        address: 0,
    };
    // SAFETY: the address is one of a port, so no memory is mapped.
    let map = || unsafe { MappedGas::map_gas(nowhere, &hardware) };
    let map = || map().map_err(|why| format!("no registers: {why:?}"));
    Ok(FixedRegisters {
        pm1_event_registers: Pm1EventRegisterBlock {
            pm1_event_length: 0,
            pm1a: map()?,
            pm1b: None,
        },
        pm1_control_registers: Pm1ControlRegisterBlock {
            pm1a: map()?,
            pm1b: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use acpi_tables::{Aml, aml};

    /// A bridge without `_CRS` whose `_STA` is a variable in memory at 0x1000,
    /// with `before` among the objects of `\_SB`.
    fn dsdt(before: &dyn Aml) -> Vec<u8> {
        let (start, size) = (0x1000_u32, 4_u32);
        let space = aml::OpRegionSpace::SystemMemory;
        let region = aml::OpRegion::new("VARS".into(), space, &start, &size);
        let field = aml::Field::new(
            "VARS".into(),
            aml::FieldAccessType::DWord,
            aml::FieldLockRule::NoLock,
            aml::FieldUpdateRule::Preserve,
            vec![aml::FieldEntry::Named(*b"STAT", 32)],
        );
        let id = aml::EISAName::new("PNP0A03");
        let id = aml::Name::new("_HID".into(), &id);
        let variable = aml::Path::new("STAT");
        let value = aml::Return::new(&variable);
        let status = aml::Method::new("_STA".into(), 0, false, vec![&value]);
        let bridge = aml::Device::new("PCI0".into(), vec![&id, &status]);
        let all: Vec<&dyn Aml> = vec![&region, &field, before, &bridge];
        let mut table = vec![0; HEADER];
        aml::Scope::new("\\_SB_".into(), all).to_aml_bytes(&mut table);
        table
    }

    /// Bridges as they are told without a machine.
    fn bridges(dsdt: Vec<u8>) -> Vec<Bridge> {
        let hardware = Hardware::none();
        let firmware = Firmware::load(&hardware, &[dsdt]).expect("loads");
        firmware.bridges().expect("bridges")
    }

    /// `\_SB._INI`, which writes `status` to the variable.
    fn with_status(status: u32) -> Vec<Bridge> {
        let variable = aml::Path::new("STAT");
        let store = aml::Store::new(&variable, &status);
        bridges(dsdt(&aml::Method::new(
            "_INI".into(),
            0,
            false,
            vec![&store],
        )))
    }

    #[test]
    fn bridge_that_needs_the_machine_is_told_with_what_it_needs() {
        let nothing = aml::Name::new("NONE".into(), &aml::ZERO);
        let found = bridges(dsdt(&nothing));
        let why = found[0].resources.as_ref().expect_err("no memory");
        assert!(
            why.contains("AML reads 4 bytes of memory at 0x1000"),
            "{why}"
        );
    }

    #[test]
    fn what_methods_write_to_memory_counts_for_those_after_them() {
        assert!(with_status(0).is_empty(), "it is absent");
        let found = with_status(0xf);
        let why = found[0].resources.as_ref().expect_err("no resources");
        assert_eq!(why, "it has no _CRS");
    }
}
