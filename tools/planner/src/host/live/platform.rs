//! Address spaces, and what the running Linux needs.

use super::tree::Tree;
use crate::host::{Region, Root};
use cellvisor_abi::Bdf;
use std::collections::BTreeSet;

/// How deep /proc/iomem and /proc/ioports are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Levels {
    /// Ranges that are in no other.
    Outermost,
    /// All.
    All,
}

/// What the machine calls itself.
pub(super) fn name(tree: &Tree) -> String {
    let vendor = tree.text("sys/class/dmi/id/sys_vendor").unwrap_or_default();
    let product = tree
        .text("sys/class/dmi/id/product_name")
        .unwrap_or_default();
    let host = || tree.text("proc/sys/kernel/hostname");
    match format!("{vendor} {product}").trim() {
        "" => host().unwrap_or_else(|| "this machine".to_owned()),
        name => name.to_owned(),
    }
}

/// The ranges of /proc/iomem or /proc/ioports.
pub(super) fn regions(tree: &Tree, path: &str, levels: Levels) -> Vec<Region> {
    let text = tree.bytes(path).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| levels == Levels::All || !line.starts_with(' '))
        .filter_map(region)
        .collect()
}

/// A line such as `  fe010000-fe010fff : PCI Bus 0000:00`.
fn region(line: &str) -> Option<Region> {
    let (range, name) = line.trim().split_once(" : ")?;
    let (start, end) = range.split_once('-')?;
    Some(Region {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        name: name.to_owned(),
    })
}

/// What the running Linux cannot do without.
pub(super) fn root(tree: &Tree) -> Root {
    let mut root = Root {
        boot_cpu: 0,
        cmdline: tree.text("proc/cmdline").unwrap_or_default(),
        storage: storage(tree),
        networks: networks(tree),
        ..Root::default()
    };
    for line in tree.text("proc/consoles").unwrap_or_default().lines() {
        let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|n| n.starts_with("ttyS"))
        else {
            continue;
        };
        let folder = format!("sys/class/tty/{name}");
        root.consoles
            .extend(tree.function(&format!("{folder}/device")));
        let port = tree.text(&format!("{folder}/port")).unwrap_or_default();
        let port = u16::from_str_radix(port.trim_start_matches("0x"), 16);
        root.console_ports.extend(port.ok().filter(|p| *p != 0));
    }
    root
}

/// Controllers of all block devices that are mounted.
fn storage(tree: &Tree) -> Vec<Bdf> {
    let mounts = tree.text("proc/self/mountinfo").unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in mounts.lines() {
        let number = line.split_whitespace().nth(2).unwrap_or_default();
        // Some file systems have no device number of their own: their source
        // is the first word but one after the dash.
        let source = line
            .split_once(" - ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        let source = source.and_then(|s| s.strip_prefix("/dev/")).unwrap_or("-");
        for path in [
            format!("sys/dev/block/{number}"),
            format!("sys/class/block/{source}"),
        ] {
            controllers(tree, &path, &mut found, 0);
        }
    }
    found.into_iter().collect()
}

/// The controller of a block device, or those of the devices that it is made
/// of.
fn controllers(tree: &Tree, path: &str, found: &mut BTreeSet<Bdf>, depth: u8) {
    const DEEPEST: u8 = 8;
    found.extend(tree.function(path));
    if depth < DEEPEST {
        let slaves = format!("{path}/slaves");
        for name in tree.names(&slaves) {
            controllers(tree, &format!("{slaves}/{name}"), found, depth + 1);
        }
    }
}

/// Functions of network interfaces that are up.
fn networks(tree: &Tree) -> Vec<Bdf> {
    const IFF_UP: u64 = 1;
    let folder = "sys/class/net";
    let up = |name: &String| {
        let flags = tree.number(&format!("{folder}/{name}/flags"));
        flags.is_some_and(|f| f & IFF_UP != 0)
    };
    let names = tree.names(folder);
    let found: BTreeSet<Bdf> = names
        .iter()
        .filter(|name| up(name))
        .filter_map(|name| tree.function(&format!("{folder}/{name}/device")))
        .collect();
    found.into_iter().collect()
}
