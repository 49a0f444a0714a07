//! What must hold for every machine and every wish.

mod machines;

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, CellAssignment, MemoryShare, Plan, Taken};
use machines::{Wish, hosts, text, wishes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn slices(wishes: &[Wish]) -> Vec<Slice> {
    if wishes.is_empty() {
        return Vec::new();
    }
    config::parse(&text(wishes), Path::new("wishes.toml")).expect("wishes are well formed")
}

/// No resource is given twice, none is the root's, and none is made up.
fn owned_once(host: &Host, cells: &[CellAssignment]) {
    let mut cpus = BTreeSet::new();
    let mut functions = BTreeSet::new();
    let mut memory: BTreeMap<u32, u64> = BTreeMap::new();
    for cell in cells {
        for cpu in &cell.cpus {
            assert!(cpus.insert(cpu.linux), "CPU {} is given twice", cpu.linux);
            assert_ne!(cpu.linux, host.root.boot_cpu);
            let real = host.cpu(cpu.linux).expect("the CPU exists");
            assert_eq!((real.apic_id, real.node), (cpu.apic_id, cpu.node));
        }
        for function in &cell.functions {
            let address = function.address;
            assert!(functions.insert(address), "{address} is given twice");
            let pf = function.pf.unwrap_or(address);
            assert!(host.function(pf).is_some(), "{pf} does not exist");
        }
        for share in &cell.memory {
            if let MemoryShare::Pages {
                node,
                bytes,
                page_size,
                ..
            } = share
            {
                assert!(*bytes > 0 && bytes.is_multiple_of(*page_size));
                *memory.entry(*node).or_default() += bytes;
            }
        }
    }
    classes_are_apart(host, cells);
    for (node, bytes) in memory {
        let node = host.node(node).expect("the node exists");
        let pages: u64 = node.pages.iter().map(|p| p.size * p.free).sum();
        assert!(bytes <= node.free + pages, "node {} has less", node.id);
    }
}

/// Behind each L3 cache no two cells have a class or a way in common, and one way at
/// least is the root's.
fn classes_are_apart(host: &Host, cells: &[CellAssignment]) {
    let Some(machine) = host.classes else {
        assert!(cells.iter().all(|cell| cell.class.is_none()));
        return;
    };
    let mut behind: BTreeMap<u32, (BTreeSet<u8>, u32)> = BTreeMap::new();
    for cell in cells {
        let Some(class) = cell.class else { continue };
        let ways = class.l3_ways;
        assert!(class.number > 0 && class.number <= machine.last);
        let row = ways.checked_shr(ways.trailing_zeros()).unwrap_or(0);
        assert_eq!(row & (row + 1), 0, "{ways:#x}");
        let caches = cell.cpus.iter().map(|cpu| cpu.apic_id >> machine.l3_shift);
        for cache in caches.collect::<BTreeSet<_>>() {
            let (numbers, taken) = behind.entry(cache).or_default();
            assert!(numbers.insert(class.number), "class {} twice", class.number);
            assert_eq!(*taken & ways, 0, "ways of two cells");
            *taken |= ways;
            assert!(*taken < (1 << machine.l3_ways) - 1, "{taken:#x}");
        }
    }
}

/// The machine while these cells run.
fn with_running(host: &Host, taken: &Taken) -> Host {
    let mut host = host.clone();
    for taken in taken.cells.iter().flat_map(|c| &c.cpus) {
        let mine = host.cpus.iter_mut().find(|c| c.linux == taken.linux);
        mine.expect("the CPU exists").online = false;
    }
    for share in taken.cells.iter().flat_map(|c| &c.memory) {
        let mine = host.nodes.iter_mut().find(|n| Some(n.id) == share.node());
        let node = mine.expect("the node exists");
        node.free = node.free.checked_sub(share.bytes()).expect("it was free");
    }
    host
}

/// Each slice has what it asked for.
fn met(slices: &[Slice], plan: &Plan) {
    assert_eq!(slices.len(), plan.cells.len());
    for (slice, cell) in slices.iter().zip(&plan.cells) {
        assert_eq!(slice.name, cell.name);
        assert_eq!(slice.cpus.count, cell.cpus.len());
        assert_eq!(slice.memory.size, cell.memory_bytes());
        assert_eq!(slice.pci.len(), cell.functions.len());
        let ways = cell.class.map_or(0, |class| class.l3_ways.count_ones());
        assert_eq!(slice.l3_ways.unwrap_or(0), ways);
        let left = cell.class.map_or(100, |class| 100 - u32::from(class.delay));
        assert_eq!(slice.bandwidth.unwrap_or(100), left);
        let node = slice.cpus.numa_node;
        assert!(cell.cpus.iter().all(|c| node.is_none_or(|n| n == c.node)));
    }
}

/// Cores whose CPUs belong to more than one owner.
fn split_cores(host: &Host, cells: &[CellAssignment]) -> usize {
    let mut owner = BTreeMap::new();
    for cell in cells {
        owner.extend(cell.cpus.iter().map(|c| (c.linux, cell.name.as_str())));
    }
    let online = |c: &&u32| host.cpu(**c).is_some_and(|c| c.online);
    let owners = |cpus: Vec<u32>| {
        let owners: BTreeSet<_> = cpus.iter().filter(online).map(|c| owner.get(c)).collect();
        owners.len()
    };
    host.cores()
        .into_values()
        .filter(|cpus| owners(cpus.clone()) > 1)
        .count()
}

proptest! {
    #[test]
    fn plans_own_each_thing_once_and_meet_all_wishes((host, wishes) in hosts().prop_flat_map(with_wishes)) {
        let slices = slices(&wishes);
        if let Ok(plan) = plan::plan(&host, &slices, &Taken::default()) {
            owned_once(&host, &plan.cells);
            met(&slices, &plan);
            if slices.iter().all(|s| !s.cpus.split_siblings) {
                prop_assert_eq!(split_cores(&host, &plan.cells), 0);
            }
        }
    }

    #[test]
    fn plan_and_check_agree((host, wishes) in hosts().prop_flat_map(with_wishes)) {
        let slices = slices(&wishes);
        let report = check::check(&host, &slices, &Taken::default(), Files::Skip);
        match plan::plan(&host, &slices, &Taken::default()) {
            Ok(_) => prop_assert!(!report.has_errors(), "{}", report),
            Err(refused) => prop_assert_eq!(refused.errors(), report.errors()),
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer((host, wishes) in hosts().prop_flat_map(with_wishes)) {
        let slices = slices(&wishes);
        let ask = || plan::plan(&host, &slices, &Taken::default());
        prop_assert_eq!(ask(), ask());
    }

    #[test]
    fn a_small_slice_always_fits_an_idle_machine(host in hosts()) {
        let free = host.cpus.iter().any(|c| c.online && c.linux != 0);
        let slices = slices(&[Wish { cpus: 1, split: true, ..Wish::default() }]);
        let plan = plan::plan(&host, &slices, &Taken::default());
        prop_assert!(plan.is_ok() || !free, "{}", plan.expect_err("refused"));
    }

    #[test]
    fn a_slice_for_each_free_core_is_always_found(host in hosts()) {
        let online = |c: &u32| host.cpu(*c).is_some_and(|c| c.online);
        let free = host.cores().into_values().filter(|cpus| !cpus.contains(&0) && cpus.iter().all(online));
        let threads = host.cores().values().map(Vec::len).max().unwrap_or(1);
        let wish = Wish { cpus: u32::try_from(threads).expect("few threads"), ..Wish::default() };
        // Each takes 64 MiB, and every node has several times that for each core.
        let all = slices(&free.map(|_| wish.clone()).collect::<Vec<_>>());
        let plan = plan::plan(&host, &all, &Taken::default());
        prop_assert!(plan.is_ok(), "{}", plan.expect_err("refused"));
    }

    #[test]
    fn one_more_slice_changes_nothing_for_those_before((host, wishes) in hosts().prop_flat_map(with_wishes)) {
        // What a file names comes first, whoever names it: wishes only.
        let wishes: Vec<Wish> = wishes.into_iter().filter(|w| w.vf.is_none() && w.list.is_none()).collect();
        let all = slices(&wishes);
        let Some((_, before)) = all.split_last() else { return Ok(()) };
        let none = Taken::default();
        if let (Ok(less), Ok(more)) = (plan::plan(&host, before, &none), plan::plan(&host, &all, &none)) {
            prop_assert_eq!(&more.cells[..before.len()], &less.cells[..]);
        }
    }

    #[test]
    fn running_cells_keep_what_they_have((host, wishes) in hosts().prop_flat_map(with_wishes)) {
        let all = slices(&wishes);
        let none = Taken::default();
        let Some((last, running)) = all.split_last() else { return Ok(()) };
        let Ok(first) = plan::plan(&host, running, &none) else { return Ok(()) };
        let taken = Taken { cells: first.cells.clone() };
        let now = with_running(&host, &taken);
        if let Ok(second) = plan::plan(&now, std::slice::from_ref(last), &taken) {
            prop_assert_eq!(&second.running, &first.cells);
            let mut cells = second.cells.clone();
            cells.extend(second.running);
            owned_once(&host, &cells);
            // The last one alone must not share a core, whatever others do.
            if !last.cpus.split_siblings && running.iter().all(|s| !s.cpus.split_siblings) {
                prop_assert_eq!(split_cores(&host, &cells), 0);
            }
            if let [new] = second.cells.as_slice() && !last.cpus.split_siblings {
                let mine: BTreeSet<u32> = new.cpus.iter().map(|c| c.linux).collect();
                let cores = host.cores().into_values();
                let others: BTreeSet<u32> = taken.cells.iter().flat_map(|c| &c.cpus).map(|c| c.linux).collect();
                for core in cores.filter(|core| core.iter().any(|c| mine.contains(c))) {
                    prop_assert!(core.iter().all(|c| !others.contains(c)), "a core is shared");
                }
            }
        }
        // All of them once more, as a user does who adds a slice to the file.
        if let Ok(again) = plan::plan(&now, &all, &taken) {
            for (cell, before) in again.cells.iter().zip(&first.cells) {
                prop_assert_eq!((&cell.cpus, &cell.memory), (&before.cpus, &before.memory));
            }
        }
    }

    #[test]
    fn after_any_creates_and_destroys_everything_is_back(
        (host, wishes) in hosts().prop_flat_map(with_wishes),
        steps in prop::collection::vec((any::<bool>(), 0..8usize), 1..24),
    ) {
        let all = slices(&wishes);
        let none = Taken::default();
        let idle = plan::plan(&host, &[], &none).expect("nothing fits always");
        let mut taken = Taken::default();
        for (create, which) in steps {
            let Some(slice) = all.get(which) else { continue };
            let runs = taken.cells.iter().position(|c| c.name == slice.name);
            match (create, runs) {
                (true, None) => {
                    let now = with_running(&host, &taken);
                    if let Ok(plan) = plan::plan(&now, std::slice::from_ref(slice), &taken) {
                        taken.cells.extend(plan.cells);
                    }
                }
                (false, Some(at)) => drop(taken.cells.remove(at)),
                _ => {}
            }
            owned_once(&host, &taken.cells);
        }
        taken.cells.clear();
        prop_assert_eq!(plan::plan(&host, &[], &taken).expect("as before"), idle);
    }

    #[test]
    fn a_saved_host_is_the_same_host(host in hosts()) {
        for name in ["host.json", "host.toml"] {
            let folder = std::env::temp_dir().join(format!("cellvisor-planner-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            let path = folder.join(name);
            host.save(&path).expect("saved");
            prop_assert_eq!(&Host::load(&path).expect("loads"), &host);
            std::fs::remove_dir_all(&folder).expect("removed");
        }
    }
}

/// A host together with wishes that are about the size of it.
fn with_wishes(host: Host) -> impl Strategy<Value = (Host, Vec<Wish>)> {
    let wishes = wishes(&host);
    (Just(host), wishes)
}
