//! Whether a function can work in a cell at all.

use super::Wish;
use crate::config::{Console, Isolation, Reset, Which};
use crate::host::{Bar, Function, RootBus, Space, Window};
use crate::plan::pool::Pool;
use cellvisor_abi::plan::{ADAPTER_CONFIG, ADAPTER_REGISTERS, MAX_ADAPTERS, SOCKET_REGISTERS};
use cellvisor_abi::{Bdf, PAGE_SIZE};

/// Looks at isolation, windows, and
/// what else the slice asks of it.
pub(super) fn fits(
    pool: &mut Pool<'_>,
    wish: &Wish<'_>,
    function: &Function,
    address: Bdf,
    bars: &[Bar],
    key: &str,
) -> Option<()> {
    let before = pool.errors;
    let message = format!("slice `{}` cannot have {address}", wish.slice.name);
    // A virtual function is behind the unit of its physical one, and the
    // firmware knows that one alone.
    isolation(pool, wish, function.address, &message, key);
    reserved(pool, wish, function.address, &message, key);
    windows(pool, wish, address, bars, &message, key);
    suits(pool, wish, function);
    resets(pool, wish, function, &message, key);
    (pool.errors == before).then_some(())
}

/// Whether an IOMMU keeps the function's DMA in the cell.
fn isolation(pool: &mut Pool<'_>, wish: &Wish<'_>, address: Bdf, message: &str, key: &str) {
    if wish.pci.isolation == Isolation::Iommu && !pool.host.has_iommu(address) {
        let cause = "no IOMMU watches it: its DMA could reach all memory";
        let help =
            "turn VT-d or AMD-Vi on in the firmware's setup, or write `isolation = \"none\"`";
        wish.wrong(pool, key, message.to_owned(), cause, help);
    }
}

/// Whether the function can be cleared between two owners. Every virtual function
/// can (PCI Express, "Function Level Reset").
fn resets(pool: &mut Pool<'_>, wish: &Wish<'_>, function: &Function, message: &str, key: &str) {
    /// Resets of one function alone, as Linux names them, that the monitor uses.
    const OWN: [&str; 3] = ["flr", "af_flr", "pm"];
    let is_vf = matches!(wish.pci.which, Which::Vf { .. }) || function.pf.is_some();
    let has_own = function.reset.iter().any(|r| OWN.contains(&r.as_str()));
    if is_vf || has_own || wish.pci.reset == Reset::None {
        return;
    }
    let cause = "it has no reset of its own: its next owner would get it as this slice leaves it";
    let help = "name another function; or write `reset = \"none\"` if all who get it may see \
                each other's data";
    wish.wrong(pool, key, message.to_owned(), cause, help);
}

/// Whether the firmware leaves the function alone. In a cell it could not reach
/// the firmware's memory or, without an IOMMU, the firmware would go on to make
/// it transfer while the cell drives it.
fn reserved(pool: &mut Pool<'_>, wish: &Wish<'_>, address: Bdf, message: &str, key: &str) {
    if let Some(reserved) = pool.host.reserved_for(address) {
        let cause = format!(
            "the firmware wants it to reach {:#x}..{:#x} at all times (RMRR or IVMD)",
            reserved.range.start,
            reserved.range.end()
        );
        let help = "turn that use off in the firmware's setup, or name another function";
        wish.wrong(pool, key, message.to_owned(), cause, help);
    }
}

/// Why the slice's network adapters and Extended Socket could not be where they are beside
/// such a root bus: its kernel would take their registers for what a function has there.
fn hides_adapters(wish: &Wish<'_>, root: &RootBus) -> Option<String> {
    const END: u64 = ADAPTER_REGISTERS + ((MAX_ADAPTERS as u64) << 12);
    const SOCKET_END: u64 = SOCKET_REGISTERS + PAGE_SIZE;
    const _: () = assert!(END <= SOCKET_REGISTERS);
    let links = || wish.slice.links.iter().map(|wish| &wish.link);
    let carried = links().find(|link| link.adapter_of(&wish.slice.name).is_some());
    let socket = links().find(|link| link.is_socket());
    let what = match (carried, socket, wish.slice.console) {
        (Some(carried), ..) => format!("the adapter of link `{}`", carried.name),
        (None, Some(socket), _) => format!("the device of link `{}`", socket.name),
        (None, None, Console::Virtio) => "its virtio console".to_owned(),
        (None, None, _) => return None,
    };
    let end_of = socket.map_or(END, |_| SOCKET_END);
    let overlaps = |w: &&_| {
        let Window {
            space, start, end, ..
        } = **w;
        space == Space::Mem && start < end_of && ADAPTER_CONFIG <= end
    };
    let window = root.windows.iter().find(overlaps)?;
    Some(format!(
        "root bus {:02x} has {:#x}..={:#x}, and {what} is in {ADAPTER_CONFIG:#x}..{end_of:#x}",
        root.first_bus, window.start, window.end
    ))
}

/// Whether the function's BARs are where its root bus forwards to.
fn windows(
    pool: &mut Pool<'_>,
    wish: &Wish<'_>,
    address: Bdf,
    bars: &[Bar],
    message: &str,
    key: &str,
) {
    let Some(root) = pool.host.root_of(address) else {
        let cause = format!("no root bus leads to bus {:02x}", address.bus());
        let help = "save the host again; the slice's ACPI tables need the windows of its root bus";
        return wish.wrong(pool, key, message.to_owned(), cause, help);
    };
    if let Some(cause) = hides_adapters(wish, root) {
        let help = "name a function below another root bus, or leave that out";
        return wish.wrong(pool, key, message.to_owned(), cause, help);
    }
    for bar in bars.iter().filter(|b| b.size > 0) {
        let (start, end) = (bar.start, bar.start.saturating_add(bar.size - 1));
        if start == 0 {
            let cause = format!("BAR {} has no address", bar.index);
            let help = "turn \"above 4G decoding\" on in the firmware's setup, or boot Linux with `pci=realloc`";
            return wish.wrong(pool, key, message.to_owned(), cause, help);
        }
        if !root
            .windows
            .iter()
            .any(|w| w.contains(bar.space, start, end))
        {
            let cause = format!(
                "BAR {} at {start:#x} is in no window of root bus {:02x}",
                bar.index, root.first_bus
            );
            let help = "boot Linux with `pci=realloc`, and save the host again";
            return wish.wrong(pool, key, message.to_owned(), cause, help);
        }
    }
}

/// Whether the keys beside the function make sense for it.
fn suits(pool: &mut Pool<'_>, wish: &Wish<'_>, function: &Function) {
    let what = function.what();
    let is_vf = matches!(wish.pci.which, Which::Vf { .. }) || function.pf.is_some();
    let cause = format!(
        "it is {} {}",
        function.a_what(),
        if is_vf { "VF" } else { "function" }
    );
    if wish.pci.mac.is_some() && !(is_vf && what == "network") {
        let message = "only a VF of a network card can get a MAC address".to_owned();
        wish.wrong(pool, "mac", message, cause.clone(), "remove `mac`");
    }
    if wish.pci.vlan.is_some() && !(is_vf && what == "network") {
        let message = "only a VF of a network card can be put into a VLAN".to_owned();
        wish.wrong(pool, "vlan", message, cause.clone(), "remove `vlan`");
    }
    let key = match (wish.pci.namespace, wish.pci.namespace_size) {
        (Some(_), _) => "namespace",
        (None, Some(_)) => "namespace-size",
        (None, None) => return,
    };
    if !(is_vf && what == "NVMe") {
        let message = "only a VF of an NVMe controller can get a namespace".to_owned();
        wish.wrong(pool, key, message, cause, format!("remove `{key}`"));
    }
}
