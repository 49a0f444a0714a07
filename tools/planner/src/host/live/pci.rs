//! PCI functions and root buses, from sysfs.

use super::tree::{Tree, parse_number};
use crate::host::{Bar, Bridge, Function, Host, RootBus, Space, Sriov, Window};
use cellvisor_abi::Bdf;

const DEVICES: &str = "sys/bus/pci/devices";

// Flags in the `resource` file (Linux, "ioport.h").
const FLAG_IO: u64 = 0x100;
const FLAG_MEM: u64 = 0x200;
const FLAG_PREFETCH: u64 = 0x2000;
const FLAG_MEM_64: u64 = 0x10_0000;

/// Lines of the `resource` file: BARs, ROM, then those of VFs or of a bridge.
const VF_BARS: usize = 7;

// Registers and capabilities of configuration space (PCI Local Bus, PCI
// Express Base).
const SECONDARY_BUS: usize = 0x19;
const SUBORDINATE_BUS: usize = 0x1a;
const CAPABILITIES: usize = 0x34;
const PIN: usize = 0x3d;
/// Bytes that everybody may read, which have no capabilities in them.
const HEADER: usize = 0x40;
const CAP_MSI: u8 = 0x05;
const CAP_EXPRESS: u8 = 0x10;
const CAP_MSIX: u8 = 0x11;
const EXTENDED: usize = 0x100;
const EXTENDED_ACS: u16 = 0x0d;

/// All functions that Linux shows; those in segments beyond 16 bits (behind
/// volume management devices) are left out.
pub(super) fn functions(tree: &Tree) -> Vec<Function> {
    let names = tree.names(DEVICES);
    names
        .iter()
        .filter_map(|name| function(tree, name))
        .collect()
}

/// One function.
fn function(tree: &Tree, name: &str) -> Option<Function> {
    let file = |file: &str| format!("{DEVICES}/{name}/{file}");
    let short = |path: &str| tree.number(&file(path)).and_then(|n| u16::try_from(n).ok());
    let config = tree.bytes(&file("config")).unwrap_or_default();
    let class = u32::try_from(tree.number(&file("class"))?).ok()?;
    let lines = resources(&tree.text(&file("resource")).unwrap_or_default());
    let is_bridge = class >> 8 == 0x0604;
    let group = tree.link(&file("iommu_group"));
    Some(Function {
        address: name.parse().ok()?,
        vendor: short("vendor")?,
        device: short("device")?,
        class,
        name: String::new(),
        node: node(tree, &file("numa_node")),
        group: group.and_then(|g| g.parse().ok()),
        driver: tree.link(&file("driver")),
        reset: reset(tree, &file("reset_method")),
        msix: msix(&config),
        bars: bars(&lines, 0),
        bridge: is_bridge.then(|| bridge(&config, &lines)),
        sriov: short("sriov_totalvfs").and_then(|total_vfs| {
            Some(Sriov {
                total_vfs,
                num_vfs: short("sriov_numvfs")?,
                offset: short("sriov_offset")?,
                stride: short("sriov_stride")?,
                vf_device: vf_device(tree, &file("sriov_vf_device"))?,
                bars: bars(&lines, VF_BARS),
            })
        }),
        pf: tree.link(&file("physfn")).and_then(|pf| pf.parse().ok()),
        conventional: capability(&config, CAP_EXPRESS).is_none(),
        // A bridge says it for what is behind it.
        acs: !is_bridge && extended_capability(&config, EXTENDED_ACS).is_some(),
        pin_only: !is_bridge && pin_only(&config),
    })
}

/// The node of a function; -1 in the file stands for none.
fn node(tree: &Tree, path: &str) -> Option<u32> {
    tree.text(path)?.parse().ok()
}

/// Unlike other ids, this file has hexadecimal digits without `0x`.
fn vf_device(tree: &Tree, path: &str) -> Option<u16> {
    let text = tree.text(path)?;
    u16::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Ways to reset a function.
fn reset(tree: &Tree, path: &str) -> Vec<String> {
    let text = tree.text(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Start, end and flags of each line of a `resource` file.
fn resources(text: &str) -> Vec<(u64, u64, u64)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(parse_number);
        Some((words.next()??, words.next()??, words.next()??))
    };
    text.lines().map(|l| line(l).unwrap_or((0, 0, 0))).collect()
}

/// The space of a resource.
const fn space(flags: u64) -> Option<Space> {
    match (flags & FLAG_IO, flags & FLAG_MEM) {
        (0, 0) => None,
        (0, _) => Some(Space::Mem),
        _ => Some(Space::Io),
    }
}

/// The BARs of a function, from the text of its `resource` file.
#[must_use]
pub fn bars_of(resource: &str) -> Vec<Bar> {
    bars(&resources(resource), 0)
}

/// Six BARs from line `first` on. A bridge has windows in the place of VF
/// BARs; the caller tells them apart.
fn bars(lines: &[(u64, u64, u64)], first: usize) -> Vec<Bar> {
    let bar = |(index, (start, end, flags)): (usize, &(u64, u64, u64))| {
        Some(Bar {
            index: u8::try_from(index).ok()?,
            space: space(*flags)?,
            start: *start,
            size: end.checked_sub(*start)?.checked_add(1)?,
            prefetchable: flags & FLAG_PREFETCH != 0,
            wide: flags & FLAG_MEM_64 != 0,
        })
    };
    let lines = lines.iter().skip(first).take(6);
    lines.enumerate().filter_map(bar).collect()
}

/// What a bridge forwards.
fn bridge(config: &[u8], lines: &[(u64, u64, u64)]) -> Bridge {
    let byte = |at: usize| config.get(at).copied().unwrap_or(0);
    let window = |(start, end, flags): &(u64, u64, u64)| {
        Some(Window {
            space: space(*flags).filter(|_| *start != 0 && start < end)?,
            start: *start,
            end: *end,
            prefetchable: flags & FLAG_PREFETCH != 0,
        })
    };
    Bridge {
        secondary: byte(SECONDARY_BUS),
        subordinate: byte(SUBORDINATE_BUS),
        windows: lines.iter().skip(VF_BARS).filter_map(window).collect(),
        acs: extended_capability(config, EXTENDED_ACS).is_some(),
    }
}

/// Where a capability is in configuration space, if it is there.
#[must_use]
pub fn capability(config: &[u8], id: u8) -> Option<usize> {
    let mut at = usize::from(*config.get(CAPABILITIES)?);
    // A list has at most 48 entries of 4 bytes; a longer one is a loop.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if *config.get(at)? == id {
            return Some(at);
        }
        at = usize::from(*config.get(at + 1)?) & !3;
    }
    None
}

/// Where an extended capability is in configuration space, if it is there.
#[must_use]
pub fn extended_capability(config: &[u8], id: u16) -> Option<usize> {
    let mut at = EXTENDED;
    for _ in 0..(4096 - EXTENDED) / 4 {
        let head = u32::from_le_bytes(*config.get(at..)?.first_chunk()?);
        if head & 0xffff == u32::from(id) {
            return Some(at);
        }
        at = (head >> 20) as usize;
        if at < EXTENDED {
            return None;
        }
    }
    None
}

/// Whether a function interrupts by its pin alone, as far as its space can be read.
fn pin_only(config: &[u8]) -> bool {
    let has = |id| capability(config, id).is_some();
    let has_pin = config.get(PIN).is_some_and(|pin| (1..=4).contains(pin));
    config.len() > HEADER && has_pin && !has(CAP_MSI) && !has(CAP_MSIX)
}

/// Vectors of the MSI-X capability.
fn msix(config: &[u8]) -> u16 {
    let control = || {
        let at = capability(config, CAP_MSIX)? + 2;
        Some(u16::from_le_bytes([*config.get(at)?, *config.get(at + 1)?]))
    };
    control().map_or(0, |control| (control & 0x7ff) + 1)
}

/// Root buses, with the windows that Linux shows in its address spaces. A root
/// bus reaches to the next one, or to where configuration space ends.
pub(super) fn roots(tree: &Tree, host: &Host) -> Vec<RootBus> {
    let names = tree.names("sys/devices");
    let mut starts: Vec<Bdf> = names
        .iter()
        .filter_map(|name| format!("{}:00.0", name.strip_prefix("pci")?).parse().ok())
        .collect();
    starts.sort();
    let last = |start: &Bdf| {
        let next = starts
            .iter()
            .find(|s| s.segment == start.segment && s.bus() > start.bus());
        let ecam = host.ecam.iter().find(|e| {
            e.segment == start.segment && (e.first_bus..=e.last_bus).contains(&start.bus())
        });
        next.map_or(ecam.map_or(u8::MAX, |e| e.last_bus), |next| next.bus() - 1)
    };
    let root = |start: &Bdf| RootBus {
        segment: start.segment,
        first_bus: start.bus(),
        last_bus: last(start),
        node: host
            .functions
            .iter()
            .filter(|f| f.address.segment == start.segment && f.address.bus() == start.bus())
            .find_map(|f| f.node),
        windows: windows(tree, *start),
    };
    starts.iter().map(root).collect()
}

/// Ranges that carry the name of a root bus.
fn windows(tree: &Tree, bus: Bdf) -> Vec<Window> {
    use super::platform::{Levels, regions};
    let name = format!("PCI Bus {:04x}:{:02x}", bus.segment, bus.bus());
    let mut windows = Vec::new();
    for (path, space) in [("proc/ioports", Space::Io), ("proc/iomem", Space::Mem)] {
        let regions = regions(tree, path, Levels::All);
        windows.extend(regions.iter().filter(|r| r.name == name).map(|r| Window {
            space,
            start: r.start,
            end: r.end,
            prefetchable: false,
        }));
    }
    windows
}
