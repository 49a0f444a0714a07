//! Finding a link by its name.
//!
//! In a cell, an ACPI device stands for each link: its unique id is the name, its
//! description says what the cell may do there, and `/proc/iomem` has its range. On the
//! root, `cellctl` keeps a record of each link.

use crate::Window;
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Hardware id of the ACPI devices that stand for links.
const HARDWARE_ID: &str = "CLVS0001:";
const DEVICES: &str = "/sys/bus/acpi/devices";
const RANGES: &str = "/proc/iomem";
const MEMORY: &str = "/dev/mem";
/// Where `cellctl` keeps its records of links, and what maps their memory.
const RECORDS: &str = "/run/cellvisor/links";
const DRIVER: &str = "/dev/cellvisor";

/// Why a link cannot be had.
#[derive(Debug)]
pub enum Find {
    /// No link has this name here.
    Absent(String),
    /// The kernel shows its range to nobody but root.
    Hidden(String),
    /// This one only reads it, and it was to be written.
    ReadOnly(String),
    /// It is a network that the monitor carries, whose memory has frames on their way.
    Network(String),
    /// No interface has the Ethernet address that its doorbell has here.
    Deaf(String, String),
    /// A file cannot be read or mapped.
    File(PathBuf, io::Error),
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(name) => write!(
                f,
                "no link is called \"{name}\" here: see {DEVICES}/{HARDWARE_ID}*/uid in a cell, {RECORDS} on \
                 the root; a cell gets its links when it is created"
            ),
            Self::Hidden(name) => write!(
                f,
                "the address of link \"{name}\" is hidden: run this as root"
            ),
            Self::ReadOnly(name) => write!(
                f,
                "link \"{name}\" is not written here: name this one under `members` in the link's files"
            ),
            Self::Network(name) => write!(
                f,
                "link \"{name}\" is a network, and no window: `cellnet {name}` joins it"
            ),
            Self::Deaf(name, mac) => write!(
                f,
                "link \"{name}\" has a doorbell, and no network interface has its address {mac}: load \
                 the modules virtio_pci and virtio_net"
            ),
            Self::File(path, error) => {
                write!(
                    f,
                    "cannot use {}: {error}; run this as root",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for Find {}

/// Which of those that write to a link this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place among them, from 0.
    pub place: usize,
    /// How many they are.
    pub of: usize,
}

/// What the root sends and receives by in a network that the monitor carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// The Ethernet address that its frames have to come from.
    pub mac: String,
    /// The monitor's number of the link; `None` while the link is being made.
    pub number: Option<u32>,
}

/// A link, as it is told of here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Who this one is; `None` for one that only reads.
    pub member: Option<Member>,
    /// Address on the network over it, as in `10.1.2.1/24`.
    pub address: Option<String>,
    /// Who leads out of that network, as in `10.1.2.4`.
    pub gateway: Option<String>,
    /// What the root has in a network that the monitor carries; `None` of a window, and in
    /// a cell.
    pub adapter: Option<Adapter>,
    /// Ethernet address of this one's doorbell, of a window that has one.
    pub doorbell: Option<String>,
    /// What maps it, and where: offsets and sizes in bytes.
    file: &'static str,
    memory: Vec<(u64, usize)>,
}

/// What is of interest of `cellctl`'s record.
#[derive(Deserialize)]
struct Record {
    root: String,
    memory: Vec<Stretch>,
    steps: Vec<Step>,
}

/// What was done for the link. That the monitor has it is one of them, which has its number
/// there.
#[derive(Deserialize)]
struct Step {
    step: String,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Stretch {
    start: u64,
    size: usize,
}

impl Link {
    /// The link of this name, in a cell or on the root.
    ///
    /// # Errors
    ///
    /// There is none, or what tells of it cannot be read; see [`Find`].
    pub fn find(name: &str) -> Result<Self, Find> {
        // A name is no path: whatever has a slash in it is no link.
        let record = Path::new(RECORDS).join(format!("{name}.json"));
        if !name.contains('/') && record.exists() {
            let text = fs::read_to_string(&record).map_err(|e| Find::File(record.clone(), e))?;
            return on_the_root(name, &text).map_err(|e| Find::File(record, e.into()));
        }
        let failed = |e| Find::File(DEVICES.into(), e);
        for entry in fs::read_dir(DEVICES).map_err(failed)? {
            let device = entry.map_err(failed)?.file_name();
            let device = device.to_string_lossy();
            let attribute = |name| {
                let path = Path::new(DEVICES).join(&*device).join(name);
                fs::read_to_string(path).unwrap_or_default()
            };
            if device.starts_with(HARDWARE_ID) && attribute("uid").trim() == name {
                let ranges =
                    fs::read_to_string(RANGES).map_err(|e| Find::File(RANGES.into(), e))?;
                let range = range(&ranges, &device).filter(|(start, _)| *start != 0);
                let range = range.ok_or_else(|| Find::Hidden(name.to_owned()))?;
                return Ok(told(name, &attribute("description"), MEMORY, vec![range]));
            }
        }
        Err(Find::Absent(name.to_owned()))
    }

    /// Maps all of it, to read and to write.
    ///
    /// # Errors
    ///
    /// This one only reads it, it is no window, or it may not be mapped.
    pub fn map(&self) -> Result<Window, Find> {
        match self.adapter {
            None => self.memory(),
            Some(_) => Err(Find::Network(self.name.clone())),
        }
    }

    /// Maps the memory that the queues of a network's [`Adapter`] are in.
    ///
    /// # Errors
    ///
    /// It may not be mapped.
    pub fn queues(&self) -> Result<Window, Find> {
        self.memory()
    }

    /// One that is in no memory, for tests.
    #[cfg(test)]
    pub(crate) fn of_note(name: &str, note: &str) -> Self {
        told(name, note, MEMORY, Vec::new())
    }

    fn memory(&self) -> Result<Window, Find> {
        if self.member.is_none() {
            return Err(Find::ReadOnly(self.name.clone()));
        }
        let failed = |e| Find::File(self.file.into(), e);
        Window::map(Path::new(self.file), &self.memory).map_err(failed)
    }
}

fn on_the_root(name: &str, text: &str) -> Result<Link, serde_json::Error> {
    let record: Record = serde_json::from_str(text)?;
    let memory = record.memory.iter().map(|m| (m.start, m.size)).collect();
    let mut link = told(name, &record.root, DRIVER, memory);
    if let Some(adapter) = &mut link.adapter {
        let made = record.steps.iter().find(|step| step.step == "cell");
        let number = made.and_then(|step| step.id);
        adapter.number = number.and_then(|number| u32::try_from(number).ok());
    }
    Ok(link)
}

/// A link from what is said of it: `…, member 1 of 2, address 10.1.2.1/24, gateway
/// 10.1.2.2, doorbell 02:00:00:00:00:01`; on the root also `mac 02:00:00:00:00:01`, of a
/// network that the monitor carries.
fn told(name: &str, note: &str, file: &'static str, memory: Vec<(u64, usize)>) -> Link {
    let part = |what| {
        note.trim()
            .split(", ")
            .find_map(|part| part.strip_prefix(what))
    };
    let member = |text: &str| {
        let (number, of) = text.split_once(" of ")?;
        let (number, of): (usize, usize) = (number.parse().ok()?, of.parse().ok()?);
        let place = number.checked_sub(1).filter(|place| *place < of)?;
        Some(Member { place, of })
    };
    Link {
        name: name.to_owned(),
        member: part("member ").and_then(member),
        address: part("address ").map(str::to_owned),
        gateway: part("gateway ").map(str::to_owned),
        adapter: part("mac ").map(|mac| Adapter {
            mac: mac.to_owned(),
            number: None,
        }),
        doorbell: part("doorbell ").map(str::to_owned),
        file,
        memory,
    }
}

/// Start and size of the range that has this device's name.
fn range(text: &str, device: &str) -> Option<(u64, usize)> {
    let named = |line: &&str| {
        line.split_once(" : ")
            .is_some_and(|(_, n)| n.trim() == device)
    };
    let (range, _) = text.lines().find(named)?.split_once(" : ")?;
    let (first, last) = range.trim().split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (first, last) = (number(first)?, number(last)?);
    let size = last.checked_sub(first)?.checked_add(1)?;
    Some((first, usize::try_from(size).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IOMEM: &str = "00001000-0009fbff : System RAM\n140000000-1403fffff : CLVS0001:00\n\
                         180000000-1801fffff : Reserved\n  180000000-1801fffff : CLVS0001:01\n";

    #[test]
    fn ranges_are_found_by_the_devices_names() {
        assert_eq!(range(IOMEM, "CLVS0001:00"), Some((0x1_4000_0000, 4 << 20)));
        assert_eq!(range(IOMEM, "CLVS0001:01"), Some((0x1_8000_0000, 2 << 20)));
        assert_eq!(range(IOMEM, "CLVS0001:0"), None);
        assert_eq!(range("nonsense : CLVS0001:00", "CLVS0001:00"), None);
        assert_eq!(range("2-1 : CLVS0001:00", "CLVS0001:00"), None);
    }

    #[test]
    fn a_note_says_who_one_is() {
        let told = |note| told("net", note, MEMORY, Vec::new());
        let link = told("shared memory, read and written, member 2 of 4, address 10.1.2.2/24\n");
        assert_eq!(link.member, Some(Member { place: 1, of: 4 }));
        assert_eq!(link.address.as_deref(), Some("10.1.2.2/24"));
        assert_eq!(link.gateway, None);
        let link = told("member 1 of 2, address 10.1.2.1/24, gateway 10.1.2.2\n");
        assert_eq!(link.gateway.as_deref(), Some("10.1.2.2"));
        assert_eq!(link.doorbell, None);
        let link = told("member 1 of 2, doorbell 02:01:02:03:04:01\n");
        assert_eq!(link.doorbell.as_deref(), Some("02:01:02:03:04:01"));
        assert_eq!(link.adapter, None, "a window");
        let link = told("shared memory, read and written, member 1 of 2");
        assert_eq!(
            (link.member.map(|m| m.place), link.address),
            (Some(0), None)
        );
        for nobody in [
            "shared memory, read only",
            "member 0 of 2",
            "member 3 of 2",
            "member x of y",
        ] {
            assert_eq!(told(nobody).member, None, "{nobody}");
        }
    }

    #[test]
    fn the_record_of_cellctl_is_read() {
        let text = r#"{"version": 1, "root": "member 2 of 2", "steps": [],
            "memory": [{"start": 4096, "size": 8192}, {"start": 65536, "size": 4096}]}"#;
        let link = on_the_root("net", text).expect("a record");
        assert_eq!(link.memory, [(4096, 8192), (65536, 4096)]);
        assert_eq!(link.member, Some(Member { place: 1, of: 2 }));
        assert_eq!(link.adapter, None);
        assert!(on_the_root("net", "{}").is_err());
    }

    #[test]
    fn a_network_that_the_monitor_carries_is_no_window() {
        let record = |step: &str| {
            let text = format!(
                r#"{{"version": 1, "root": "member 1 of 3, address 10.1.2.1/24, mac 02:01:02:03:04:01",
                "steps": [{{"step": "pin", "id": 77, "done": true}}{step}],
                "memory": [{{"start": 4096, "size": 8192}}]}}"#
            );
            on_the_root("lan", &text).expect("a record")
        };
        let adapter = |number| {
            let mac = "02:01:02:03:04:01".to_owned();
            Some(Adapter { mac, number })
        };
        let made = r#", {"step": "cell", "name": "lan", "id": 5, "done": true}"#;
        assert_eq!(record(made).adapter, adapter(Some(5)));
        let begun = r#", {"step": "cell", "name": "lan", "id": null, "done": false}"#;
        assert_eq!(record(begun).adapter, adapter(None));
        assert_eq!(record("").adapter, adapter(None));
        let why = record(made).map().expect_err("no window").to_string();
        assert!(why.contains("`cellnet lan` joins it"), "{why}");
    }

    #[test]
    fn a_name_that_is_not_there_says_where_names_are() {
        for name in ["no-such-link", "../links/no"] {
            let text = Link::find(name).expect_err("none").to_string();
            assert!(text.contains("/sys/bus/acpi/devices"), "{text}");
        }
    }
}
