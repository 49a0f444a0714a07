//! From what is written to what is meant: numbers, sizes, addresses and
//! choices, each with its own message.

use super::{Console, CpuWish, Kernel, Mac, MemoryWish, PciWish, Slice, Source, Which, raw};
use crate::list::List;
use crate::pci::Address;
use crate::report::{Finding, Report};
use crate::size::{GIB, MIB, Size};

/// Longest name of a slice, in bytes.
const MAX_NAME: usize = 31;
/// Least memory that a stock kernel with an initrd makes sense with.
const LEAST_MEMORY: u64 = 64 * MIB;

/// All slices of a file.
pub(super) fn file(raw: &raw::File, source: &Source) -> Result<Vec<Slice>, Report> {
    let mut read = Read::new(source.clone());
    let single = single(raw, &mut read);
    let mut slices = Vec::new();
    let mut report = match (&raw.slice, single) {
        (Some(_), Some(_)) => return Err(both_forms(source).into()),
        (None, None) => read.report,
        (None, Some(slice)) => {
            slices.push(read.slice(&slice));
            read.report
        }
        (Some(several), None) => {
            let mut report = Report::default();
            for (i, slice) in several.iter().enumerate() {
                let mut read = Read::new(source.slice(i));
                slices.push(read.slice(slice));
                report.extend(read.report);
            }
            report
        }
    };
    if slices.is_empty() && report.is_empty() {
        report.push(
            Finding::error("the file describes no slice")
                .at(source.place("version"))
                .help("add the tables [cell], [cpus], [memory] and [kernel]"),
        );
    }
    report.unless_errors(slices.into_iter().flatten().collect())
}

/// The one slice of a file without `[[slice]]`.
fn single(raw: &raw::File, read: &mut Read) -> Option<raw::Slice> {
    let there = [
        ("cell", raw.cell.is_some()),
        ("cpus", raw.cpus.is_some()),
        ("memory", raw.memory.is_some()),
        ("kernel", raw.kernel.is_some()),
    ];
    let optional = raw.console.is_some() || raw.pci.is_some() || raw.policy.is_some();
    if !optional && there.iter().all(|(_, there)| !there) {
        return None;
    }
    if raw.slice.is_none() {
        for (name, _) in there.iter().filter(|(_, there)| !there) {
            read.report.push(
                Finding::error(format!("the table `[{name}]` is missing"))
                    .at(crate::report::Place::file(read.source.path()))
                    .help("a slice has at least [cell], [cpus], [memory] and [kernel]"),
            );
        }
    }
    Some(raw::Slice {
        cell: raw.cell.clone()?,
        cpus: raw.cpus.clone()?,
        memory: raw.memory.clone()?,
        kernel: raw.kernel.clone()?,
        console: raw.console.clone().unwrap_or_default(),
        pci: raw.pci.clone().unwrap_or_default(),
        policy: raw.policy.unwrap_or_default(),
    })
}

/// Two ways to say it in one file.
fn both_forms(source: &Source) -> Finding {
    Finding::error("the file has both `[[slice]]` and tables of a slice at the top level")
        .at(source.place("slice"))
        .help("move the tables at the top level into a `[[slice]]` of their own")
}

/// Reads one slice and gathers what is wrong.
struct Read {
    source: Source,
    report: Report,
}

impl Read {
    fn new(source: Source) -> Self {
        Self {
            source,
            report: Report::default(),
        }
    }

    fn wrong(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let place = self.source.place(key);
        self.report
            .push(Finding::error(message).at(place).help(help));
    }

    /// `None` after at least one finding.
    fn slice(&mut self, raw: &raw::Slice) -> Option<Slice> {
        let name = self.name(&raw.cell.name);
        let cpus = self.cpus(&raw.cpus);
        let memory = self.memory(&raw.memory);
        let kernel = self.kernel(&raw.kernel);
        let console = self.console(&raw.console);
        let pci: Vec<_> = raw
            .pci
            .iter()
            .enumerate()
            .map(|(i, raw)| self.pci(raw, &format!("pci.{i}")))
            .collect();
        Some(Slice {
            name: name?,
            source: self.source.clone(),
            cpus: cpus?,
            memory: memory?,
            kernel: kernel?,
            console: console?,
            pci: pci.into_iter().collect::<Option<_>>()?,
            policy: raw.policy,
        })
    }

    fn name(&mut self, name: &str) -> Option<String> {
        let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good) {
            return Some(name.to_owned());
        }
        self.wrong(
            "cell.name",
            format!("`{name}` cannot be the name of a cell"),
            format!("use 1 to {MAX_NAME} of a-z, 0-9, - and _"),
        );
        None
    }

    fn cpus(&mut self, raw: &raw::Cpus) -> Option<CpuWish> {
        let list = match &raw.list {
            Some(text) => match text.parse::<List>() {
                Ok(list) => Some(list.0.into_iter().collect::<Vec<_>>()),
                Err(e) => {
                    let message = format!("the list of CPUs is wrong: {e}");
                    self.wrong(
                        "cpus.list",
                        message,
                        "write CPUs as in \"2,4\" or \"12-19\"",
                    );
                    return None;
                }
            },
            None => None,
        };
        let count = match (&list, raw.count) {
            (Some(list), Some(count)) if list.len() != count as usize => {
                let message = format!("`count` is {count}, but `list` names {}", list.len());
                self.wrong("cpus.count", message, "leave one of the two out");
                return None;
            }
            (Some(list), _) => list.len(),
            (None, Some(count)) => count as usize,
            (None, None) => {
                self.wrong(
                    "cpus",
                    "`cpus` says neither how many CPUs nor which",
                    "add `count = 2`, or `list = \"2-3\"` for just these",
                );
                return None;
            }
        };
        if count == 0 {
            let key = if list.is_some() {
                "cpus.list"
            } else {
                "cpus.count"
            };
            self.wrong(
                key,
                "a slice needs at least one CPU",
                "write `count = 1` or more",
            );
            return None;
        }
        Some(CpuWish {
            count,
            list,
            numa_node: raw.numa_node,
            split_siblings: raw.split_siblings,
        })
    }

    fn memory(&mut self, raw: &raw::Memory) -> Option<MemoryWish> {
        let size = self.memory_size(&raw.size);
        let page_size = match &raw.page_size {
            Some(text) => Some(self.page_size(text)),
            None => None,
        };
        let base = match &raw.base {
            Some(text) => Some(self.base(text)),
            None => None,
        };
        let (size, page_size, base) = (
            size?,
            page_size.map_or(Some(None), |p| p.map(Some))?,
            base.map_or(Some(None), |b| b.map(Some))?,
        );
        if let Some(page) = page_size.filter(|p| !size.is_multiple_of(*p)) {
            let page = Size(page);
            self.wrong(
                "memory.size",
                format!("{} is no multiple of the page size, {page}", Size(size)),
                format!("round it to whole pages of {page}, or leave `page-size` out"),
            );
            return None;
        }
        if base.is_some_and(|b| b.checked_add(size).is_none()) {
            self.wrong(
                "memory.base",
                "the range ends beyond 2^64",
                "write a lower address",
            );
            return None;
        }
        Some(MemoryWish {
            size,
            numa_node: raw.numa_node,
            page_size,
            base,
        })
    }

    fn memory_size(&mut self, text: &str) -> Option<u64> {
        let size = self.size("memory.size", text, "16GiB")?;
        if size < LEAST_MEMORY {
            let message = format!("{} is too little memory for a Linux kernel", Size(size));
            self.wrong(
                "memory.size",
                message,
                format!("write at least \"{}\"", Size(LEAST_MEMORY)),
            );
            return None;
        }
        if !size.is_multiple_of(2 * MIB) {
            let up = Size(size.next_multiple_of(2 * MIB));
            self.wrong(
                "memory.size",
                format!(
                    "{} is no multiple of 2MiB, the smallest page of a cell",
                    Size(size)
                ),
                format!("write \"{up}\""),
            );
            return None;
        }
        Some(size)
    }

    /// Also keeps `next_multiple_of` from overflowing: nobody has 2^60 bytes.
    fn size(&mut self, key: &str, text: &str, example: &str) -> Option<u64> {
        match text.parse::<Size>() {
            Ok(Size(bytes)) if bytes <= 1 << 60 => Some(bytes),
            Ok(_) => {
                let help = format!("write a size as in \"{example}\"");
                self.wrong(
                    key,
                    format!("\"{text}\" is more than any machine has"),
                    help,
                );
                None
            }
            Err(e) => {
                let help = format!("write a size as in \"{example}\"");
                self.wrong(key, format!("\"{text}\" is no size: {e}"), help);
                None
            }
        }
    }

    fn page_size(&mut self, text: &str) -> Option<u64> {
        let size = self.size("memory.page-size", text, "1GiB")?;
        if size == 2 * MIB || size == GIB {
            return Some(size);
        }
        let message = format!("there are no huge pages of {}", Size(size));
        self.wrong("memory.page-size", message, "write \"2MiB\" or \"1GiB\"");
        None
    }

    fn base(&mut self, text: &str) -> Option<u64> {
        let digits = text.strip_prefix("0x").filter(|d| !d.starts_with('+'));
        let base = digits.and_then(|d| u64::from_str_radix(d, 16).ok());
        if let Some(base) = base.filter(|b| b.is_multiple_of(2 * MIB)) {
            return Some(base);
        }
        let (message, help) = match base {
            Some(base) => (
                format!("{base:#x} is no multiple of 2MiB"),
                format!("write \"{:#x}\"", base & !(2 * MIB - 1)),
            ),
            None => (
                format!("\"{text}\" is no physical address"),
                "write it in hexadecimal, as in \"0x880000000\"".to_owned(),
            ),
        };
        self.wrong("memory.base", message, help);
        None
    }

    fn kernel(&mut self, raw: &raw::Kernel) -> Option<Kernel> {
        let mut path = |key: &str, text: &str| {
            if text.is_empty() {
                self.wrong(
                    key,
                    format!("`{key}` names no file"),
                    "write the path of a file",
                );
                return None;
            }
            Some(self.source.resolve(text))
        };
        let image = path("kernel.image", &raw.image);
        let initrd = raw.initrd.as_ref().map(|i| path("kernel.initrd", i));
        if raw.cmdline.contains(['\n', '\0']) {
            let help = "write it on one line";
            self.wrong(
                "kernel.cmdline",
                "the command line has a line end in it",
                help,
            );
            return None;
        }
        Some(Kernel {
            image: image?,
            initrd: match initrd {
                Some(initrd) => Some(initrd?),
                None => None,
            },
            cmdline: raw.cmdline.clone(),
        })
    }

    fn console(&mut self, raw: &raw::Console) -> Option<Console> {
        match (raw.kind, &raw.pci, raw.port) {
            (raw::ConsoleKind::Virtual, None, None) => Some(Console::Virtual),
            (raw::ConsoleKind::Virtual, ..) => {
                let key = if raw.pci.is_some() {
                    "console.pci"
                } else {
                    "console.port"
                };
                self.wrong(
                    key,
                    "a virtual console is no device of the machine",
                    "write `kind = \"uart\"`, or leave this key out",
                );
                None
            }
            (raw::ConsoleKind::Uart, Some(pci), None) => {
                self.address("console.pci", pci).map(Console::UartPci)
            }
            (raw::ConsoleKind::Uart, None, Some(port)) if port <= u16::MAX - 7 => {
                Some(Console::UartPort(port))
            }
            (raw::ConsoleKind::Uart, None, Some(port)) => {
                let message = format!("no UART has its first port at {port:#x}");
                self.wrong(
                    "console.port",
                    message,
                    "the usual ones are 0x3f8 and 0x2f8",
                );
                None
            }
            (raw::ConsoleKind::Uart, ..) => {
                self.wrong(
                    "console.kind",
                    "a UART needs either `pci` or `port`",
                    "add `pci = \"0000:21:00.0\"` or `port = 0x2f8`",
                );
                None
            }
        }
    }

    fn address(&mut self, key: &str, text: &str) -> Option<Address> {
        match text.parse() {
            Ok(address) => Some(address),
            Err(e) => {
                let message = format!("\"{text}\" is no PCI address");
                self.wrong(key, message, e.to_string());
                None
            }
        }
    }

    fn pci(&mut self, raw: &raw::Pci, at: &str) -> Option<PciWish> {
        let key = |name: &str| format!("{at}.{name}");
        let which = match (&raw.address, &raw.sriov) {
            (Some(address), None) => self.address(&key("address"), address).map(Which::Address),
            (None, Some(sriov)) => {
                let pf = self.address(&key("sriov.pf"), &sriov.pf);
                pf.map(|pf| Which::Vf { pf, vf: sriov.vf })
            }
            _ => {
                self.wrong(
                    at,
                    "a PCI function needs either `address` or `sriov`",
                    "write `address = \"0000:8c:00.0\"` or `sriov = { pf = \"…\", vf = 0 }`",
                );
                None
            }
        };
        let mac = match &raw.mac {
            Some(text) => Some(self.mac(&key("mac"), text)?),
            None => None,
        };
        if let Some(vlan) = raw.vlan.filter(|v| !(1..=4094).contains(v)) {
            let message = format!("{vlan} is no VLAN");
            self.wrong(&key("vlan"), message, "write a number from 1 to 4094");
            return None;
        }
        let namespace_size = match &raw.namespace_size {
            Some(text) => Some(self.size(&key("namespace-size"), text, "32GiB")?),
            None => None,
        };
        Some(PciWish {
            which: which?,
            mac,
            vlan: raw.vlan,
            namespace_size,
            isolation: raw.isolation,
        })
    }

    fn mac(&mut self, key: &str, text: &str) -> Option<Mac> {
        let help = "write one as in \"02:00:00:00:00:01\"";
        match text.parse() {
            Err(()) => self.wrong(key, format!("\"{text}\" is no MAC address"), help),
            Ok(Mac(mac)) if mac[0] & 1 == 1 || mac == [0; 6] => {
                let message = format!("\"{text}\" is not the address of one network card");
                self.wrong(key, message, help);
            }
            Ok(mac) => return Some(mac),
        }
        None
    }
}
