//! PCI functions through sysfs, and the devices that their drivers made.

use super::{Acs, Admin, Binding, Pci, Port, Vfs, netlink};
use crate::error::{Error, Result};
use crate::sysfs::{Sysfs, read_number};
use cellvisor_abi::Bdf;
use cellvisor_planner::host::{Bar, live};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The extended capability of access control services, and two of its words.
const ACS: u16 = 0x0d;
const ACS_CAPABILITY: usize = 4;
const ACS_CONTROL: usize = 6;

/// What `driver_override` reads if it is not set.
const NOBODY: &str = "(null)";

impl Sysfs {
    /// A file of a function.
    pub(super) fn function(&self, function: Bdf, file: &str) -> PathBuf {
        self.path(&format!("sys/bus/pci/devices/{function}"))
            .join(file)
    }

    /// Name and index of a function's network interface.
    fn interface(&self, function: Bdf) -> Result<Option<(String, u32)>> {
        let folder = self.function(function, "net");
        let Some(name) = names(&folder).into_iter().next() else {
            return Ok(None);
        };
        let index = read_number(&folder.join(&name).join("ifindex"))?;
        let index = u32::try_from(index)
            .map_err(|e| Error::internal("cannot use a network interface", e))?;
        Ok(Some((name, index)))
    }

    /// The interface of a PF, which must have one.
    fn card(&self, pf: Bdf) -> Result<(String, u32)> {
        self.interface(pf)?.ok_or_else(|| {
            Error::new(
                format!("cannot set up the virtual functions of {pf}"),
                "it has no network interface",
                "load its driver first: VFs are set up through it",
            )
        })
    }
}

impl Pci for Sysfs {
    fn class(&self, function: Bdf) -> Result<u32> {
        let path = self.function(function, "class");
        let text = read(&path)?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16)
            .map(|class| class >> 8)
            .map_err(|e| Error::internal(&format!("cannot read {}", path.display()), e))
    }

    fn vfs(&self, pf: Bdf) -> Result<Vfs> {
        let number = read_number(&self.function(pf, "sriov_numvfs"))?;
        Ok(Vfs {
            number: u16::try_from(number)
                .map_err(|e| Error::internal("cannot count virtual functions", e))?,
            autoprobe: read_number(&self.function(pf, "sriov_drivers_autoprobe"))? != 0,
        })
    }

    fn set_vfs(&self, pf: Bdf, number: u16) -> Result<()> {
        let what = format!("cannot make {number} virtual functions of {pf}");
        let help = "see the end of `dmesg`; the driver of the PF must be loaded, and must allow it";
        fs::write(self.function(pf, "sriov_numvfs"), number.to_string())
            .map_err(|e| Error::new(what, e.to_string(), help))
    }

    fn set_autoprobe(&self, pf: Bdf, on: bool) -> Result<()> {
        let path = self.function(pf, "sriov_drivers_autoprobe");
        write(&path, if on { "1" } else { "0" })
    }

    fn vf(&self, pf: Bdf, number: u16) -> Result<Option<Bdf>> {
        let link = fs::read_link(self.function(pf, &format!("virtfn{number}")));
        let target = link
            .ok()
            .and_then(|t| t.file_name()?.to_str()?.parse().ok());
        Ok(target)
    }

    fn bars(&self, function: Bdf) -> Result<Vec<Bar>> {
        Ok(live::bars_of(&read(&self.function(function, "resource"))?))
    }

    fn binding(&self, function: Bdf) -> Result<Option<Binding>> {
        if !self.function(function, "").is_dir() {
            return Ok(None);
        }
        let driver = fs::read_link(self.function(function, "driver")).ok();
        let driver = driver.and_then(|d| Some(d.file_name()?.to_str()?.to_owned()));
        let wanted = read(&self.function(function, "driver_override"))?;
        Ok(Some(Binding {
            driver,
            wanted: Some(wanted).filter(|w| !w.is_empty() && w != NOBODY),
        }))
    }

    fn set_wanted(&self, function: Bdf, driver: Option<&str>) -> Result<()> {
        let path = self.function(function, "driver_override");
        write(&path, &format!("{}\n", driver.unwrap_or_default()))
    }

    fn unbind(&self, function: Bdf, driver: &str) -> Result<()> {
        let path = self.path(&format!("sys/bus/pci/drivers/{driver}/unbind"));
        write(&path, &function.to_string())
    }

    fn bind(&self, function: Bdf, driver: &str) -> Result<()> {
        let path = self.path(&format!("sys/bus/pci/drivers/{driver}/bind"));
        write(&path, &function.to_string())
    }

    fn reset(&self, function: Bdf) -> Result<()> {
        write(&self.function(function, "reset"), "1")?;
        self.works_again(function)
    }

    fn acs(&self, function: Bdf) -> Result<Option<Acs>> {
        let path = self.function(function, "config");
        let help = "run this as root";
        let config = fs::read(&path).map_err(|e| Error::file("cannot read", &path, &e, help))?;
        let found = live::extended_capability(&config, ACS).and_then(|at| {
            let word = |at: usize| Some(u16::from_le_bytes(*config.get(at..)?.first_chunk()?));
            Some(Acs {
                can: word(at + ACS_CAPABILITY)?,
                on: word(at + ACS_CONTROL)?,
            })
        });
        Ok(found)
    }

    fn set_acs(&self, function: Bdf, on: u16) -> Result<()> {
        let path = self.function(function, "config");
        let failed = |e: io::Error| Error::file("cannot write", &path, &e, "run this as root");
        let config = fs::read(&path).map_err(failed)?;
        let Some(at) = live::extended_capability(&config, ACS) else {
            return Ok(());
        };
        let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        file.write_all_at(&on.to_le_bytes(), (at + ACS_CONTROL) as u64)
            .map_err(failed)
    }

    fn link(&self, function: Bdf) -> Result<Option<bool>> {
        let Some((name, _)) = self.interface(function)? else {
            return Ok(None);
        };
        let path = self.function(function, "net").join(name).join("flags");
        let flags = read(&path)?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16)
            .map_err(|e| Error::internal(&format!("cannot read {}", path.display()), e))?;
        Ok(Some(flags & 1 != 0))
    }

    fn set_link(&self, function: Bdf, up: bool) -> Result<()> {
        let (name, index) = self.card(function)?;
        let state = if up { "up" } else { "down" };
        netlink::set_link(index, up).map_err(|e| {
            let help = "see the end of `dmesg`";
            Error::new(format!("cannot turn {name} {state}"), e.to_string(), help)
        })
    }

    fn port(&self, pf: Bdf, vf: u16) -> Result<Port> {
        let (name, index) = self.card(pf)?;
        netlink::port(index, vf).map_err(|e| {
            let help = "use a driver that can set up VFs";
            let what = format!("cannot read the settings of VF {vf} of {name}");
            Error::new(what, e.to_string(), help)
        })
    }

    fn set_port(&self, pf: Bdf, vf: u16, port: Port) -> Result<()> {
        let (name, index) = self.card(pf)?;
        let now = self.port(pf, vf)?;
        let failed = |what: &str, e: io::Error| {
            let help = "use a driver that can set it, or leave the key out of the TOML file";
            let what = format!("cannot set the {what} of VF {vf} of {name}");
            Error::new(what, e.to_string(), help)
        };
        if now.mac != port.mac {
            let done = netlink::set_mac(index, vf, port.mac);
            // Not every driver can take an address back.
            if port.mac != [0; 6] {
                done.map_err(|e| failed("MAC address", e))?;
            }
        }
        if now.vlan != port.vlan {
            netlink::set_vlan(index, vf, port.vlan).map_err(|e| failed("VLAN", e))?;
        }
        Ok(())
    }

    fn admin(&self, controller: Bdf, command: &Admin, data: &mut [u8]) -> Result<u32> {
        self.nvme_admin(controller, command, data)
    }

    fn namespace_in_use(&self, controller: Bdf, namespace: u32) -> Result<bool> {
        self.nvme_in_use(controller, namespace)
    }

    fn user_of_disks(&self, function: Bdf) -> Option<String> {
        self.user_of(function)
    }
}

/// Names in a folder, sorted; none if there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The text of a file without the line's end.
pub(super) fn read(path: &Path) -> Result<String> {
    let help = "sysfs must be mounted on /sys";
    let text = fs::read_to_string(path).map_err(|e| Error::file("cannot read", path, &e, help))?;
    Ok(text.trim().to_owned())
}

/// Writes the text of a file that is there.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let help = "see the end of `dmesg`; run this as root";
    fs::write(path, text).map_err(|e| Error::file("cannot write", path, &e, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_planner::host::Space;
    use std::os::unix::fs::symlink;

    const PF: Bdf = Bdf::from_number(0x0100);
    const VF: Bdf = Bdf::from_number(0x0180);

    /// A PF with its VF 0, and a driver.
    fn machine() -> (tempfile::TempDir, Sysfs) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let put = |path: &str, text: &str| {
            let path = dir.path().join("sys/bus/pci").join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
            fs::write(path, text).expect("file");
        };
        for (function, driver) in [(PF, "(null)\n"), (VF, "cellvisor\n")] {
            put(&format!("devices/{function}/driver_override"), driver);
            put(&format!("devices/{function}/class"), "0x020000\n");
        }
        put(&format!("devices/{PF}/sriov_numvfs"), "2\n");
        put(&format!("devices/{PF}/sriov_drivers_autoprobe"), "1\n");
        let bar = "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n";
        put(&format!("devices/{VF}/resource"), bar);
        put("drivers/igb/unbind", "");
        let devices = dir.path().join("sys/bus/pci/devices");
        let link = |target: &str, name: &str| {
            symlink(target, devices.join(PF.to_string()).join(name)).expect("link");
        };
        link("../../drivers/igb", "driver");
        link(&format!("../{VF}"), "virtfn0");
        let sysfs = Sysfs::new(dir.path());
        (dir, sysfs)
    }

    #[test]
    fn functions_are_read_as_linux_shows_them() {
        let (_dir, sysfs) = machine();
        assert_eq!(sysfs.class(PF).expect("reads"), 0x0200);
        let vfs = Vfs {
            number: 2,
            autoprobe: true,
        };
        assert_eq!(sysfs.vfs(PF).expect("reads"), vfs);
        assert_eq!(sysfs.vf(PF, 0).expect("reads"), Some(VF));
        assert_eq!(sysfs.vf(PF, 1).expect("reads"), None);
        let bars = sysfs.bars(VF).expect("reads");
        let sizes: Vec<_> = bars.iter().map(|b| (b.index, b.space, b.size)).collect();
        assert_eq!(sizes, [(0, Space::Mem, 0x4000)]);
        let driven = Binding {
            driver: Some("igb".into()),
            wanted: None,
        };
        assert_eq!(sysfs.binding(PF).expect("reads"), Some(driven));
        let held = Binding {
            driver: None,
            wanted: Some("cellvisor".into()),
        };
        assert_eq!(sysfs.binding(VF).expect("reads"), Some(held));
        assert_eq!(sysfs.binding(Bdf::from_number(9)).expect("reads"), None);
        assert_eq!(sysfs.link(PF).expect("reads"), None);
    }

    #[test]
    fn driver_lets_go_of_the_function_by_its_address() {
        let (dir, sysfs) = machine();
        sysfs.unbind(PF, "igb").expect("unbinds");
        let unbind = dir.path().join("sys/bus/pci/drivers/igb/unbind");
        assert_eq!(fs::read_to_string(unbind).expect("reads"), "0000:01:00.0");
        let error = sysfs
            .set_port(PF, 0, Port::default())
            .expect_err("no interface");
        assert!(
            error.to_string().contains("no network interface"),
            "{error}"
        );
        let error = sysfs.namespace_in_use(PF, 1).expect_err("no controller");
        assert!(error.to_string().contains("module nvme"), "{error}");
    }

    #[test]
    fn peers_are_kept_apart_through_configuration_space() {
        let (dir, sysfs) = machine();
        let path = dir.path().join(format!("sys/bus/pci/devices/{PF}/config"));
        let mut config = vec![0; 4096];
        config[0x100..0x108].copy_from_slice(&[0x0d, 0, 1, 0, 0x5f, 0, 0x01, 0]);
        fs::write(&path, &config).expect("writes");
        let acs = |on| Some(Acs { can: 0x5f, on });
        assert_eq!(sysfs.acs(PF).expect("reads"), acs(1));
        sysfs.set_acs(PF, 0x1d).expect("sets");
        assert_eq!(sysfs.acs(PF).expect("reads"), acs(0x1d));
        fs::write(&path, &config[..64]).expect("writes");
        assert_eq!(sysfs.acs(PF).expect("reads"), None);
    }
}
