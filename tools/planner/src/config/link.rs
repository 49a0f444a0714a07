//! Links: what cells share.

use super::raw::LinkKind;
use super::{Slice, Source};
use crate::report::{Finding, Place, Report};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What this Linux is called among the members.
pub const ROOT: &str = "root";

/// Something that cells share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Bytes of its memory, a multiple of 2 MiB; of an Ethernet what this Linux's frames go
    /// through, and 0 without it.
    pub size: u64,
    /// Who reads and writes it.
    pub members: Vec<String>,
    /// Who only reads it.
    pub readers: Vec<String>,
    /// Addresses of a network over it, one for each that writes, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Ipv4Net>,
    /// This Linux forwards what its cells send elsewhere, under its own address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nat: bool,
    /// Who writes to a window can ring the others who do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doorbell: bool,
}

impl Link {
    /// True if the cell of this name is in it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all().any(|member| member == name)
    }

    /// True if the cell of this name writes to it.
    #[must_use]
    pub fn is_written_by(&self, name: &str) -> bool {
        self.members.iter().any(|member| member == name)
    }

    /// Place of the cell of this name among those that write, from 0.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member == name)
    }

    /// The address that this one has on the network over it, with the network's bits.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<Ipv4Net> {
        let network = self.addresses?;
        let address = network.hosts().nth(self.place_of(name)?)?;
        Ipv4Net::new(address, network.prefix_len()).ok()
    }

    /// True for a network that the monitor carries.
    #[must_use]
    pub fn is_ethernet(&self) -> bool {
        self.kind == LinkKind::Ethernet
    }

    /// True for memory that its cells see at an address of their own.
    #[must_use]
    pub fn is_window(&self) -> bool {
        self.kind == LinkKind::Window
    }

    /// True for a network that Linux's driver `fjes` makes of memory.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.kind == LinkKind::ExtendedSocket
    }

    /// The Ethernet address of this one's adapter, if it has one: on such a network, or for the
    /// doorbell of a window.
    #[must_use]
    pub fn adapter_of(&self, name: &str) -> Option<[u8; 6]> {
        self.mac_of(name)
            .filter(|_| self.is_ethernet() || self.doorbell)
    }

    /// The Ethernet address that this one has on such a network: locally administered, the
    /// same in each run, and others on other networks as far as their names go.
    #[must_use]
    pub fn mac_of(&self, name: &str) -> Option<[u8; 6]> {
        let place = u8::try_from(self.place_of(name)?).ok()?;
        // FNV-1a.
        let hash = self.name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let [a, b, c, d] = hash.to_be_bytes();
        Some([2, a, b, c, d, place + 1])
    }

    /// The address that leads out of the network over it, for a cell.
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let root = self.address_of(ROOT).filter(|_| self.nat);
        root.map(|root| root.addr())
    }

    /// Who is in both networks, if their addresses overlap: it could not tell from an
    /// address which of them leads there.
    #[must_use]
    pub fn collides(&self, other: &Self) -> Option<&str> {
        let (mine, others) = (self.addresses?, other.addresses?);
        let overlap = mine.contains(&others) || others.contains(&mine);
        let mut both = self.members.iter().map(String::as_str);
        both.find(|name| overlap && other.is_written_by(name))
    }

    /// What a program in a member is told of its place: empty for one that only reads.
    #[must_use]
    pub fn note(&self, name: &str) -> String {
        let Some(place) = self.place_of(name) else {
            return String::new();
        };
        let mut note = format!("member {} of {}", place + 1, self.members.len());
        if let Some(address) = self.address_of(name) {
            note += &format!(", address {address}");
        }
        if let Some(gateway) = self.gateway().filter(|_| name != ROOT) {
            note += &format!(", gateway {gateway}");
        }
        if let Some(mac) = self.adapter_of(name) {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            let what = if self.doorbell { "doorbell" } else { "mac" };
            note += &format!(", {what} {mac}");
        }
        note
    }

    /// True if this Linux is a member.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.is_written_by(ROOT)
    }

    /// All that are in it, this Linux among them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.members.iter().chain(&self.readers).map(String::as_str)
    }

    /// The cells in it.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.all().filter(|name| *name != ROOT)
    }

    /// Who has which address on the network over it: a name and an address each.
    #[must_use]
    pub fn network(&self) -> Vec<String> {
        let address = |name: &String| Some(format!("{name} {}", self.address_of(name)?));
        self.members.iter().filter_map(address).collect()
    }

    /// Who writes and who reads, in words, and who has which address.
    #[must_use]
    pub fn who(&self) -> String {
        let network = self.network();
        let bell = match self.doorbell {
            true => format!("; doorbell: {} ring each other", join(&self.members)),
            false => String::new(),
        };
        let trust = self.trust() + &bell;
        match network.is_empty() {
            true => trust,
            false => {
                let outside = self
                    .outside()
                    .map_or_else(String::new, |o| format!("; {o}"));
                format!("{trust}; network: {}{outside}", network.join(", "))
            }
        }
    }

    /// Where its network leads, in words, if it leads anywhere.
    #[must_use]
    pub fn outside(&self) -> Option<String> {
        let gateway = self.gateway()?;
        Some(format!(
            "root ({gateway}) forwards for the cells, under its own addresses"
        ))
    }

    /// Who writes and who reads, in words.
    #[must_use]
    pub fn trust(&self) -> String {
        let writers = join(&self.members);
        if self.is_ethernet() {
            return format!("{writers} reach each other and need not trust each other");
        }
        if self.is_socket() {
            return format!(
                "{writers} reach each other and must trust each other: their kernels do not check \
                 what the others write"
            );
        }
        match (self.members.len(), self.readers.is_empty()) {
            (_, true) => format!("{writers} write to it and trust each other to"),
            (1, false) => format!("{writers} writes to it, {} only read", join(&self.readers)),
            (_, false) => format!(
                "{writers} write to it and trust each other to, {} only read",
                join(&self.readers)
            ),
        }
    }
}

/// Names in a row.
fn join(names: &[String]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.join(", "),
    }
}

/// A link as a slice's file has it.
#[derive(Clone, Debug)]
pub struct LinkWish {
    /// Its place among the `[[link]]` of the file, from 0.
    pub at: usize,
    /// The link.
    pub link: Link,
    /// The file.
    pub(super) source: Source,
}

impl LinkWish {
    /// The place of one of its keys.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.source.place(&format!("link.{}.{key}", self.at))
    }
}

/// Whether all say the same of the links that they share: those of one name are the
/// same everywhere, all of its cells that are here have it, no cell has its name, and
/// nobody is in two networks whose addresses overlap.
pub(super) fn agree(slices: &[Slice]) -> Report {
    let mut report = Report::default();
    let mut first: BTreeMap<&str, &LinkWish> = BTreeMap::new();
    for wish in slices.iter().flat_map(|slice| &slice.links) {
        let name = wish.link.name.as_str();
        let known = *first.entry(name).or_insert(wish);
        let (there, here) = (known.place("name"), wish.place("name"));
        if known.link != wish.link {
            let cause = format!("the other is at {}:{}", there.file.display(), there.line);
            let finding =
                Finding::error(format!("two files say different things of link `{name}`"));
            let help = "write the same `[[link]]` into both";
            report.push(finding.at(here).because(cause).help(help));
        }
    }
    for (name, wish) in &first {
        report.extend(known_by_its_cells(name, wish, slices));
    }
    let mut before: Vec<&LinkWish> = Vec::new();
    for wish in first.into_values() {
        let findings = before.iter().filter_map(|other| {
            let place = other.place("addresses");
            let there = format!("is at {}:{}", place.file.display(), place.line);
            collision(wish, &other.link, &there)
        });
        findings.for_each(|finding| report.push(finding));
        before.push(wish);
    }
    report
}

/// What is wrong if somebody is in a wished link and in another, whose networks overlap;
/// `there` tells where the other one is.
pub(crate) fn collision(wish: &LinkWish, other: &Link, there: &str) -> Option<Finding> {
    let (link, who) = (&wish.link, wish.link.collides(other)?);
    let message = format!(
        "`{who}` is in two networks that overlap, `{}` and `{}`",
        other.name, link.name
    );
    let cause = format!("that of `{}`, {}, {there}", other.name, other.addresses?);
    let help = "give one of them other addresses, as in \"10.1.3.0/24\"";
    Some(
        Finding::error(message)
            .at(wish.place("addresses"))
            .because(cause)
            .help(help),
    )
}

fn known_by_its_cells(name: &str, wish: &LinkWish, slices: &[Slice]) -> Report {
    let mut report = Report::default();
    for slice in slices {
        if slice.name == name {
            let finding = Finding::error(format!("a cell and a link are called `{name}`"));
            let cell = slice.place("cell.name");
            let cause = format!("the cell is at {}:{}", cell.file.display(), cell.line);
            let finding = finding.at(wish.place("name")).because(cause);
            report.push(finding.help("give one of them another name"));
        }
        let has = slice.links.iter().any(|other| other.link.name == name);
        if wish.link.has(&slice.name) && !has && !slice.doubts("cell.name") {
            let member = &slice.name;
            let finding =
                Finding::error(format!("slice `{member}` does not name the link `{name}`"));
            let there = wish.place("name");
            let cause = format!(
                "{}:{} names it as a member, and both sides must want a link",
                there.file.display(),
                there.line
            );
            let help =
                format!("copy that `[[link]]` to the file of `{member}`, or take it out there");
            report.push(
                finding
                    .at(slice.place("cell.name"))
                    .because(cause)
                    .help(help),
            );
        }
    }
    report
}
