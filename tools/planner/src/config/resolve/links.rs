//! What the slices of a file share with others.

use super::Read;
use crate::config::link::{Link, LinkWish, ROOT};
use crate::config::{LinkKind, Slice, Source, doubts, name, raw};
use crate::report::Report;
use crate::size::{MIB, Size};
use cellvisor_abi::plan::{MAX_SOCKET_MEMBERS, Socket};
use cellvisor_window::{port, ring};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Bytes of a link's page.
const PAGE: u64 = 2 * MIB;
/// Most bytes of a link: what is more is a mistake in the unit.
const MOST: u64 = 64 << 30;
/// Bits of a network, with a first and a last address that nobody has.
const NETWORK_BITS: RangeInclusive<u8> = 8..=30;
/// Most cells that share one, and most links of a cell.
const MOST_CELLS: usize = 8;

/// Gives each slice of a file its links, and tells what is wrong with them.
pub(super) fn share(
    raw: &raw::File,
    source: &Source,
    doubtful: &BTreeSet<String>,
    slices: &mut [Slice],
) -> Report {
    let mut read = Read {
        source: source.clone(),
        report: Report::default(),
        doubtful: doubtful.clone(),
    };
    let mut seen = BTreeSet::new();
    for (at, raw) in raw.link.iter().flatten().enumerate() {
        if !seen.insert(&raw.name) {
            let message = format!("two links of this file are called `{}`", raw.name);
            let key = format!("link.{at}.name");
            read.wrong(&key, message, "give one of them another name");
            continue;
        }
        let Some(link) = read.link(raw, at) else {
            continue;
        };
        let mine: Vec<&mut Slice> = slices.iter_mut().filter(|s| link.has(&s.name)).collect();
        if mine.is_empty() {
            let message = format!("no slice of this file is in the link `{}`", link.name);
            let help = "name the slice's cell under `members`, or move the link to a member's file";
            read.wrong(&format!("link.{at}.members"), message, help);
        }
        for slice in mine {
            if slice.links.len() == MOST_CELLS {
                let message = format!("slice `{}` is in more than {MOST_CELLS} links", slice.name);
                let help = "share one larger window instead of several";
                read.wrong(&format!("link.{at}"), message, help);
                break;
            }
            let other = slice.links.iter().find(|wish| wish.link.is_socket());
            if let Some(other) = other.filter(|_| link.is_socket()) {
                let message = format!(
                    "slice `{}` is in two Extended Sockets, `{}` and `{}`, and its driver knows one",
                    slice.name, other.link.name, link.name
                );
                let help = "join all of them by one, or some by kind = \"ethernet\"";
                read.wrong(&format!("link.{at}.kind"), message, help);
                break;
            }
            slice.links.push(LinkWish {
                at,
                link: link.clone(),
                source: source.clone(),
            });
        }
    }
    read.report
}

impl Read {
    fn link(&mut self, raw: &raw::Link, at: usize) -> Option<Link> {
        let key = |name: &str| format!("link.{at}.{name}");
        if let Err(bad) = name::check(&raw.name) {
            let message = format!("`{}` cannot be the name of a link", raw.name);
            self.wrong(&key("name"), message, bad.help());
        }
        let size = match raw.kind {
            LinkKind::Window => self.window_size(raw, at),
            LinkKind::Ethernet => self.carried(raw, at),
            LinkKind::ExtendedSocket => self.socket(raw, at),
        };
        self.names(&key("members"), &raw.members, true);
        self.names(&key("readers"), &raw.readers, false);
        self.who(raw, &key("members"));
        let addresses = raw.addresses.as_deref();
        let addresses = addresses.and_then(|text| self.network(&key("addresses"), text, raw));
        if let (Some(size), Some(_), LinkKind::Window) = (size, addresses, raw.kind) {
            self.rings(&key("size"), size, raw.members.len());
        }
        self.outside(raw, &key("nat"));
        self.doorbell(raw, &key("doorbell"));
        if doubts(&self.doubtful, &format!("link.{at}")) {
            return None;
        }
        Some(Link {
            name: raw.name.clone(),
            kind: raw.kind,
            size: size?,
            members: raw.members.clone(),
            readers: raw.readers.clone(),
            addresses,
            nat: raw.nat,
            doorbell: raw.doorbell,
        })
    }

    fn window_size(&mut self, raw: &raw::Link, at: usize) -> Option<u64> {
        let key = format!("link.{at}.size");
        if let Some(size) = &raw.size {
            return self.link_size(&key, size);
        }
        let message = format!("nothing says how large the window `{}` is", raw.name);
        self.wrong(&format!("link.{at}.kind"), message, "write size = \"4MiB\"");
        None
    }

    /// A network has no memory but for this Linux's frames, and nobody who only reads.
    fn carried(&mut self, raw: &raw::Link, at: usize) -> Option<u64> {
        let has_root = raw.members.iter().any(|name| name == ROOT);
        let (key, message, help) = if raw.size.is_some() {
            let message = "nobody chooses how much memory a network takes";
            ("size", message, "leave `size` out")
        } else if !raw.readers.is_empty() {
            let help = "name them under `members`";
            (
                "readers",
                "nobody only reads what is sent on a network",
                help,
            )
        } else {
            return Some(if has_root { port::BYTES } else { 0 });
        };
        self.wrong(&format!("link.{at}.{key}"), message, help);
        None
    }

    /// Its memory follows from the number of its members, who are cells, and all of them write.
    fn socket(&mut self, raw: &raw::Link, at: usize) -> Option<u64> {
        let members = raw.members.len();
        let (key, message, help) = if raw.size.is_some() {
            let message = "the memory of an Extended Socket follows from its members";
            ("size", message.to_owned(), "leave `size` out")
        } else if !raw.readers.is_empty() {
            let message = "nobody only reads what is sent on a network";
            let help = "name them under `members`";
            ("readers", message.to_owned(), help)
        } else if raw.members.iter().any(|name| name == ROOT) {
            let message = "this Linux has no Extended Socket: its own firmware would have to \
                           describe one";
            let help = "name cells alone; for this Linux and cells there is kind = \"ethernet\"";
            ("members", message.to_owned(), help)
        } else if members > usize::from(MAX_SOCKET_MEMBERS) {
            let message = format!(
                "{members} cells are in an Extended Socket, and its drivers take 16 MiB for each other one"
            );
            let help = "name at most 4; kind = \"ethernet\" joins more";
            ("members", message, help)
        } else if raw.addresses.is_some() {
            let message = "nobody is told addresses on an Extended Socket";
            let help = "leave `addresses` out, and give `es0` one in each cell";
            ("addresses", message.to_owned(), help)
        } else {
            let members = u8::try_from(members).ok()?;
            return Some(Socket::size(members).next_multiple_of(PAGE));
        };
        self.wrong(&format!("link.{at}.{key}"), message, help);
        None
    }

    fn link_size(&mut self, key: &str, text: &str) -> Option<u64> {
        let size = self.size(key, text, "4MiB")?;
        let (message, help) = match size {
            0 => (
                "a link without memory joins nothing".to_owned(),
                "write at least \"2MiB\"".to_owned(),
            ),
            size if !size.is_multiple_of(PAGE) => (
                format!("{} is no multiple of 2MiB, the page of a link", Size(size)),
                format!("write \"{}\"", Size(size.next_multiple_of(PAGE))),
            ),
            size if size > MOST => (
                format!("{} is more than the {} of a link", Size(size), Size(MOST)),
                "write a size as in \"4MiB\"".to_owned(),
            ),
            size => return Some(size),
        };
        self.wrong(key, message, help);
        None
    }

    /// A network with an address for each that writes.
    fn network(&mut self, key: &str, text: &str, raw: &raw::Link) -> Option<Ipv4Net> {
        let example = "write a network as in \"10.1.2.0/24\"".to_owned();
        let members = raw.members.len();
        let (message, help) = match text.parse::<Ipv4Net>() {
            Err(_) => (format!("`{text}` is no network"), example),
            Ok(network) if network.trunc() != network => (
                format!("`{text}` is an address, and no network"),
                format!("write \"{}\"", network.trunc()),
            ),
            Ok(network) if !NETWORK_BITS.contains(&network.prefix_len()) => {
                (format!("`{text}` is no network of members"), example)
            }
            Ok(network) if network.hosts().take(members).count() < members => (
                format!("`{text}` has too few addresses for {members} members"),
                example,
            ),
            Ok(network) => return Some(network),
        };
        self.wrong(key, message, help);
        None
    }

    /// Whether there is somebody who forwards, and a network to forward for.
    fn outside(&mut self, raw: &raw::Link, key: &str) {
        if !raw.nat {
            return;
        }
        if raw.addresses.is_none() {
            let help = "give it `addresses`, as in \"10.1.2.0/24\"";
            self.wrong(key, "a link without a network leads nowhere", help);
        }
        if !raw.members.iter().any(|name| name == ROOT) {
            let help = format!("name `{ROOT}` under `members`");
            self.wrong(key, "this Linux cannot forward for a link without it", help);
        }
    }

    /// Whether there are two who can ring each other, and no better way.
    fn doorbell(&mut self, raw: &raw::Link, key: &str) {
        let (message, help) = match raw.kind {
            _ if !raw.doorbell => return,
            LinkKind::Ethernet | LinkKind::ExtendedSocket => (
                "what comes by a network interrupts by itself",
                "leave `doorbell` out",
            ),
            LinkKind::Window if raw.members.iter().any(|name| name == ROOT) => (
                "this Linux cannot be rung, and the others would sleep over what it writes",
                "leave `doorbell` out: all look then now and then; or give this Linux a window of its own",
            ),
            LinkKind::Window if raw.members.len() < 2 => (
                "who only reads is not rung, and nobody else is there",
                "name two cells under `members`, or leave `doorbell` out",
            ),
            LinkKind::Window => return,
        };
        self.wrong(key, message, help);
    }

    /// Whether a network's rings fit.
    fn rings(&mut self, key: &str, size: u64, members: usize) {
        let least = ring::least_bytes(members);
        if size < least {
            let (size, least) = (Size(size), Size(least));
            let message = format!("a network of {members} members takes {least}, not {size}");
            self.wrong(key, message, format!("write \"{least}\""));
        }
    }

    /// Each name is one that a cell can have, or this Linux's.
    fn names(&mut self, key: &str, names: &[String], root: bool) {
        for (i, text) in names.iter().enumerate() {
            let key = format!("{key}.{i}");
            match name::check(text) {
                Ok(()) => {}
                Err(name::BadName::Reserved) if root => {}
                Err(name::BadName::Reserved) => {
                    let help = format!("write `{ROOT}` under `members`");
                    self.wrong(&key, "this Linux cannot be kept from writing", help);
                }
                Err(bad) => {
                    self.wrong(&key, format!("no cell can be called `{text}`"), bad.help());
                }
            }
        }
    }

    /// At least two are there, one that writes, at least one cell, nobody twice.
    fn who(&mut self, raw: &raw::Link, key: &str) {
        let all = || raw.members.iter().chain(&raw.readers);
        let mut seen = BTreeSet::new();
        let twice = all().find(|name| !seen.insert(name.as_str()));
        let cells = all().filter(|name| *name != ROOT).count();
        let (message, help) = match twice {
            Some(name) => (
                format!("`{name}` is in the link `{}` twice", raw.name),
                "name it once, under `members` or under `readers`".to_owned(),
            ),
            None if all().count() < 2 || cells == 0 => (
                format!("the link `{}` joins nobody to anybody", raw.name),
                "name two cells, or a cell and `root`, under `members`".to_owned(),
            ),
            None if raw.members.is_empty() => (
                format!("nobody writes to the link `{}`", raw.name),
                "name who writes under `members`".to_owned(),
            ),
            None if cells > MOST_CELLS => (
                format!("{cells} cells are in the link `{}`", raw.name),
                format!("name at most {MOST_CELLS}; more can be joined by several links"),
            ),
            None => return,
        };
        self.wrong(key, message, help);
    }
}
