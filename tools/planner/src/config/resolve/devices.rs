//! Console and PCI functions.

use super::Read;
use crate::config::{Console, Mac, PciWish, Which, raw};
use cellvisor_abi::Bdf;

impl Read {
    pub(super) fn console(&mut self, raw: &raw::Console) -> Option<Console> {
        match (raw.kind, &raw.pci, raw.port) {
            (raw::ConsoleKind::Virtual, None, None) => Some(Console::Virtual),
            (raw::ConsoleKind::Virtio, None, None) => Some(Console::Virtio),
            (raw::ConsoleKind::Virtual | raw::ConsoleKind::Virtio, ..) => {
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

    fn address(&mut self, key: &str, text: &str) -> Option<Bdf> {
        match text.parse() {
            Ok(address) => Some(address),
            Err(e) => {
                let message = format!("\"{text}\" is no PCI address");
                self.wrong(key, message, e.to_string());
                None
            }
        }
    }

    /// The wish at this place of the file's list.
    pub(super) fn pci(&mut self, raw: &raw::Pci, index: usize) -> Option<PciWish> {
        let at = format!("pci.{index}");
        let key = |name: &str| format!("{at}.{name}");
        let which = match (&raw.address, &raw.sriov) {
            (Some(address), None) => self.address(&key("address"), address).map(Which::Address),
            (None, Some(sriov)) => {
                let pf = self.address(&key("sriov.pf"), &sriov.pf);
                pf.map(|pf| Which::Vf { pf, vf: sriov.vf })
            }
            _ => {
                self.wrong(
                    &at,
                    "a PCI function needs either `address` or `sriov`",
                    "write `address = \"0000:8c:00.0\"` or `sriov = { pf = \"…\", vf = 0 }`",
                );
                None
            }
        };
        let mac = self.maybe(raw.mac.as_ref(), |read, t| read.mac(&key("mac"), t));
        if let Some(vlan) = raw.vlan.filter(|v| !(1..=4094).contains(v)) {
            let message = format!("{vlan} is no VLAN");
            self.wrong(&key("vlan"), message, "write a number from 1 to 4094");
            return None;
        }
        if let (Some(_), Some(_)) = (raw.namespace, &raw.namespace_size) {
            let message = "a namespace that exists has its size already";
            self.wrong(&key("namespace-size"), message, "remove one of the two");
            return None;
        }
        if let Some(id @ (0 | u32::MAX)) = raw.namespace {
            let message = format!("no namespace has the id {id}");
            self.wrong(&key("namespace"), message, "write its id, from 1");
            return None;
        }
        let namespace_size = self.maybe(raw.namespace_size.as_ref(), |read, t| {
            read.size(&key("namespace-size"), t, "32GiB")
        });
        Some(PciWish {
            at: index,
            which: which?,
            mac: mac?,
            vlan: raw.vlan,
            namespace: raw.namespace,
            namespace_size: namespace_size?,
            isolation: raw.isolation,
            reset: raw.reset,
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
