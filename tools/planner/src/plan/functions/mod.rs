//! PCI functions for slices.

mod fits;
mod groups;

pub(super) use groups::{check_groups, check_macs, check_namespaces};

use super::AssignedFunction;
use super::pool::{Owner, Pool};
use crate::config::{Console, Isolation, PciWish, Reset, Slice, Which};
use crate::host::{Function, Sriov};
use crate::words::count;
use cellvisor_abi::Bdf;
use cellvisor_abi::plan::MAX_FUNCTIONS;
use fits::fits;

/// A wish with the key under which its file has it.
struct Wish<'s> {
    slice: &'s Slice,
    key: String,
    pci: PciWish,
}

impl Wish<'_> {
    fn wrong(
        &self,
        pool: &mut Pool<'_>,
        key: &str,
        message: String,
        cause: impl Into<String>,
        help: impl Into<String>,
    ) {
        let key = match self.key.as_str() {
            "console.pci" => "console.pci".to_owned(),
            at => format!("{at}.{key}"),
        };
        pool.wrong(self.slice, &key, message, cause, help);
    }
}

/// All functions that a slice wants: those of `[[pci]]`, then its console.
fn wishes<'s>(slice: &'s Slice, pool: &Pool<'_>) -> Vec<Wish<'s>> {
    let mut wishes = Vec::new();
    for pci in &slice.pci {
        wishes.push(Wish {
            slice,
            key: format!("pci.{}", pci.at),
            pci: pci.clone(),
        });
    }
    if let Console::UartPci(address) = slice.console {
        // A UART is no bus master: it does not need the IOMMU.
        let isolation = match pool.host.has_iommu(address) {
            true => Isolation::Iommu,
            false => Isolation::None,
        };
        wishes.push(Wish {
            slice,
            key: "console.pci".to_owned(),
            pci: PciWish {
                at: slice.pci.len(),
                which: Which::Address(address),
                mac: None,
                vlan: None,
                namespace: None,
                namespace_size: None,
                isolation,
                // What it holds is the text of a console.
                reset: Reset::None,
            },
        });
    }
    wishes
}

/// Claims the functions that a slice names. A place in the list is `None` if
/// any VF will do there, or after a finding.
pub(super) fn claim(pool: &mut Pool<'_>, slice: &Slice) -> Vec<Option<AssignedFunction>> {
    let wishes = wishes(slice, pool);
    if let Some(first) = wishes.get(MAX_FUNCTIONS) {
        let number = wishes.len();
        let message = format!("slice `{}` cannot have {number} PCI functions", slice.name);
        let cause = format!("the monitor gives a cell {MAX_FUNCTIONS} at most");
        let help = "remove some, or divide them among more slices";
        pool.wrong(slice, &first.key, message, cause, help);
        return vec![None; number];
    }
    let named = wishes.iter().map(|wish| match wish.pci.which {
        Which::Address(address) => by_address(pool, wish, address),
        Which::Vf { pf, vf: Some(vf) } => by_number(pool, wish, pf, vf),
        Which::Vf { vf: None, .. } => None,
    });
    named.collect()
}

/// Finds VFs for the places where any will do.
pub(super) fn wish(
    pool: &mut Pool<'_>,
    slice: &Slice,
    claimed: Vec<Option<AssignedFunction>>,
    why: &mut Vec<String>,
) -> Vec<AssignedFunction> {
    let mut functions = Vec::new();
    // More than there can be are none: nobody gets them.
    let wishes = Some(wishes(slice, pool)).filter(|w| w.len() <= MAX_FUNCTIONS);
    for (wish, claimed) in wishes.unwrap_or_default().iter().zip(claimed) {
        let any = match wish.pci.which {
            Which::Vf { pf, vf: None } => Some(pf),
            _ => None,
        };
        let found = claimed.or_else(|| {
            let found = any_vf(pool, wish, any?)?;
            let vf = found.vf.unwrap_or_default();
            why.push(format!(
                "{}: VF {vf} is the first free one of {}",
                found.address, any?
            ));
            Some(found)
        });
        functions.extend(found);
    }
    functions
}

/// The function with this address.
fn by_address(pool: &mut Pool<'_>, wish: &Wish<'_>, address: Bdf) -> Option<AssignedFunction> {
    const KEY: &str = "address";
    let name = &wish.slice.name;
    let Some(function) = pool.function(address) else {
        let help = "`cellctl host --functions` lists them; a VF is named by `sriov = { pf, vf }`";
        wish.wrong(
            pool,
            KEY,
            format!("there is no function {address}"),
            "it is not on this machine",
            help,
        );
        return None;
    };
    let message = format!("slice `{name}` cannot have {address}");
    if function.is_bridge() {
        let cause = format!("it is {}, which others need too", function.a_what());
        wish.wrong(pool, KEY, message, cause, "name the functions behind it");
        return None;
    }
    if let Some(owner) = pool.function_owners.get(&address) {
        let (cause, help) = (owner.sentence(), help_for(function, owner));
        wish.wrong(pool, KEY, message, cause, help);
        return None;
    }
    if let Some((vf, owner)) = vf_of(pool, address) {
        let cause = format!("{}, namely its virtual function {vf}", owner.sentence());
        wish.wrong(
            pool,
            KEY,
            message,
            cause,
            "take a virtual function: `sriov = { pf = … }`",
        );
        return None;
    }
    if let Some(vfs) = function
        .sriov
        .as_ref()
        .map(|s| s.num_vfs)
        .filter(|n| *n > 0)
    {
        let vfs = count(vfs, "virtual function");
        let cause = format!("it has {vfs}, which the root would keep");
        let help = format!("remove them: echo 0 > /sys/bus/pci/devices/{address}/sriov_numvfs");
        wish.wrong(pool, KEY, message, cause, help);
        return None;
    }
    if wish.key == "console.pci" && function.kind() != 0x0700 {
        let cause = format!("it is {}, no UART", function.a_what());
        wish.wrong(pool, KEY, message, cause, "name a function of class 07.00");
        return None;
    }
    fits(pool, wish, function, address, &function.bars, KEY)?;
    pool.function_owners
        .insert(address, Owner::slice(wish.slice, &wish.key));
    Some(assigned(pool, wish, address, function.pf, None))
}

/// What to do about a function that somebody has.
fn help_for(function: &Function, owner: &Owner) -> &'static str {
    match owner {
        Owner::Root(_) if function.sriov.is_some() => {
            "take one of its virtual functions: `sriov = { pf = …, vf = 0 }`"
        }
        Owner::Root(_) => "name another function, or give the root a replacement first",
        Owner::Running(_) => "name another function, or destroy that cell first",
        Owner::Slice { .. } => "name another function in one of the two",
    }
}

/// A VF of `pf` that a cell has already.
fn vf_of(pool: &Pool<'_>, pf: Bdf) -> Option<(Bdf, Owner)> {
    let sriov = pool.function(pf)?.sriov.as_ref()?;
    (0..sriov.total_vfs).find_map(|vf| {
        let address = sriov.vf(pf, vf)?;
        let owner = pool.function_owners.get(&address)?;
        Some((address, owner.clone()))
    })
}

/// The physical function of a wish, if it has virtual ones to give.
fn physical<'h>(
    pool: &mut Pool<'h>,
    wish: &Wish<'_>,
    pf: Bdf,
) -> Option<(&'h Function, &'h Sriov)> {
    const KEY: &str = "sriov.pf";
    let Some(function) = pool.function(pf) else {
        let help = "`cellctl host --functions` lists them";
        wish.wrong(
            pool,
            KEY,
            format!("there is no function {pf}"),
            "it is not on this machine",
            help,
        );
        return None;
    };
    let Some(sriov) = &function.sriov else {
        let cause = format!("it is {} function without SR-IOV", function.a_what());
        let help = "write `address = …` to give it away as a whole";
        wish.wrong(
            pool,
            KEY,
            format!("{pf} has no virtual functions"),
            cause,
            help,
        );
        return None;
    };
    match pool.function_owners.get(&pf) {
        Some(owner @ (Owner::Running(_) | Owner::Slice { .. })) => {
            let cause = owner.sentence();
            let message = format!("slice `{}` cannot have a VF of {pf}", wish.slice.name);
            let help = "the physical function must stay with the root: give VFs only";
            wish.wrong(pool, KEY, message, cause, help);
            None
        }
        _ => Some((function, sriov)),
    }
}

/// The virtual function with this number.
fn by_number(pool: &mut Pool<'_>, wish: &Wish<'_>, pf: Bdf, vf: u16) -> Option<AssignedFunction> {
    const KEY: &str = "sriov.vf";
    let (function, sriov) = physical(pool, wish, pf)?;
    if vf >= sriov.total_vfs {
        let message = format!("{pf} has no VF {vf}");
        let cause = format!("it can have {}, counted from 0", sriov.total_vfs);
        let help = match sriov.total_vfs {
            0 => "turn SR-IOV on in the device's or the machine's setup".to_owned(),
            total => format!("write a number from 0 to {}", total - 1),
        };
        wish.wrong(pool, KEY, message, cause, help);
        return None;
    }
    let Some(address) = sriov.vf(pf, vf).filter(|a| reaches(pool, pf, *a)) else {
        let message = format!("VF {vf} of {pf} cannot be reached");
        let cause = "its bus number is beyond those of the bridge above it";
        wish.wrong(
            pool,
            KEY,
            message,
            cause,
            "boot Linux with `pci=assign-busses`",
        );
        return None;
    };
    if let Some(owner) = pool.function_owners.get(&address) {
        let (cause, help) = (owner.sentence(), "take another VF, or leave `vf` out");
        let message = format!("slice `{}` cannot have VF {vf} of {pf}", wish.slice.name);
        wish.wrong(pool, KEY, message, cause, help);
        return None;
    }
    if !grows(pool, wish, pf, sriov, vf) {
        return None;
    }
    fits(pool, wish, function, address, &sriov.bars, "sriov.pf")?;
    pool.function_owners
        .insert(address, Owner::slice(wish.slice, &wish.key));
    Some(assigned(pool, wish, address, Some(pf), Some(vf)))
}

/// Linux can change the number of VFs only by way of none at all, which must
/// not happen under a running cell.
fn grows(pool: &mut Pool<'_>, wish: &Wish<'_>, pf: Bdf, sriov: &Sriov, vf: u16) -> bool {
    if sriov.num_vfs == 0 || vf < sriov.num_vfs {
        return true;
    }
    let user = (0..sriov.num_vfs)
        .filter_map(|n| pool.function_owners.get(&sriov.vf(pf, n)?))
        .find_map(|owner| match owner {
            Owner::Running(name) => Some(name.clone()),
            _ => None,
        });
    let Some(user) = user else {
        return true;
    };
    let message = format!("VF {vf} of {pf} cannot be created now");
    let cause = format!(
        "{} VFs exist, and cell `{user}` uses one of them",
        sriov.num_vfs
    );
    let help = format!(
        "create all slices with one command, write a number below {}, or destroy `{user}` first",
        sriov.num_vfs
    );
    wish.wrong(pool, "sriov.vf", message, cause, help);
    false
}

/// True if the bridge above the PF forwards the VF's bus.
fn reaches(pool: &Pool<'_>, pf: Bdf, vf: Bdf) -> bool {
    let above = |f: &&Function| {
        f.address.segment == pf.segment
            && f.bridge
                .as_ref()
                .is_some_and(|b| (b.secondary..=b.subordinate).contains(&pf.bus()))
    };
    let mut bridges = pool.host.functions.iter().filter(above);
    let within = |f: &Function| f.bridge.as_ref().is_some_and(|b| vf.bus() <= b.subordinate);
    bridges.all(within) && pool.host.root_of(vf).is_some()
}

/// The first VF of `pf` that is free.
fn any_vf(pool: &mut Pool<'_>, wish: &Wish<'_>, pf: Bdf) -> Option<AssignedFunction> {
    let (_, sriov) = physical(pool, wish, pf)?;
    let free = (0..sriov.total_vfs).find(|vf| {
        let address = sriov.vf(pf, *vf);
        address.is_some_and(|a| !pool.function_owners.contains_key(&a))
    });
    let Some(free) = free else {
        let message = format!("slice `{}` cannot have a VF of {pf}", wish.slice.name);
        let cause = format!("all {} are given away", sriov.total_vfs);
        wish.wrong(
            pool,
            "sriov.pf",
            message,
            cause,
            "name another physical function",
        );
        return None;
    };
    by_number(pool, wish, pf, free)
}

/// The assignment that a wish leads to.
fn assigned(
    pool: &Pool<'_>,
    wish: &Wish<'_>,
    address: Bdf,
    pf: Option<Bdf>,
    vf: Option<u16>,
) -> AssignedFunction {
    let node = pool.host.node_of(address);
    AssignedFunction {
        address,
        pf,
        vf,
        mac: wish.pci.mac,
        vlan: wish.pci.vlan,
        namespace: wish.pci.namespace,
        namespace_size: wish.pci.namespace_size,
        isolation: wish.pci.isolation,
        node: node.or_else(|| pool.host.node_of(pf?)),
    }
}
