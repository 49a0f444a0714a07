//! Cells with functions, made and undone on the machine for tests.

use super::*;
use crate::create::{create, destroy};
use crate::journal::Journal;
use crate::pci::Pin;
use crate::state::StateDir;
use crate::testing::lines::{alone, line};
use crate::testing::pci::{CARD, DISK, FREE, Functions, NIC, planned, record_with_vfs, vf};
use crate::testing::{Fake, record};
use cellvisor_abi::plan::Wire;
use cellvisor_planner::config::Isolation;

const GIB: u64 = 1 << 30;

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    (dir, state)
}

fn make(fake: &Fake, state: &StateDir, record: CellRecord, vfs: u16) -> Result<CellRecord> {
    let needed = [(NIC, vfs), (DISK, vfs)].into();
    create(fake.machine(), state, record, &alone(&needed))
}

fn remove(fake: &Fake, state: &StateDir, name: &str) {
    let record = state.cell(name).expect("known");
    destroy(fake.machine(), state, record).expect("destroys");
}

fn now(fake: &Fake) -> Functions {
    fake.now.borrow().functions.clone()
}

/// The record of a cell whose disk VF wants a new namespace.
fn record_with_new_namespace(name: &str, bytes: u64) -> CellRecord {
    let mut record = record_with_vfs(name, 0, 1);
    for function in &mut record.assignment.functions {
        if function.namespace.take().is_some() {
            function.namespace_size = Some(bytes);
        }
    }
    record
}

/// The record of a cell that has all of the function without VFs.
fn record_with_card(name: &str) -> CellRecord {
    let mut record = record(name);
    let function = AssignedFunction {
        address: CARD,
        pf: None,
        vf: None,
        mac: None,
        vlan: None,
        namespace: None,
        namespace_size: None,
        isolation: Isolation::Iommu,
        node: None,
    };
    record.functions = vec![planned(&function)];
    record.assignment.functions = vec![function];
    record
}

#[test]
fn whichever_step_fails_functions_are_as_before() {
    let (_dir, state) = state();
    for cell in [
        record_with_vfs("a", 0, 1),
        record_with_new_namespace("a", GIB),
        record_with_card("a"),
    ] {
        let fake = Fake::default();
        let before = fake.now.borrow().clone();
        make(&fake, &state, cell.clone(), 2).expect("creates");
        let steps = fake.changes.get();
        remove(&fake, &state, "a");
        assert_eq!(*fake.now.borrow(), before);
        for step in 1..=steps {
            fake.changes.set(0);
            fake.fail_at.set(Some(step));
            make(&fake, &state, cell.clone(), 2).expect_err("injected");
            assert_eq!(*fake.now.borrow(), before, "after step {step}");
        }
        fake.fail_at.set(None);
        for step in 1..=steps {
            fake.changes.set(0);
            fake.dead_from.set(Some(step));
            make(&fake, &state, cell.clone(), 2).expect_err("dead");
            fake.dead_from.set(None);
            if state.find_cell("a").expect("reads").is_some() {
                remove(&fake, &state, "a");
            }
            assert_eq!(*fake.now.borrow(), before, "after a crash at step {step}");
        }
    }
}

#[test]
fn failed_destroy_of_functions_goes_on_where_it_stopped() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    make(&fake, &state, record_with_vfs("a", 0, 1), 1).expect("creates");
    fake.changes.set(0);
    remove(&fake, &state, "a");
    let steps = fake.changes.get();
    for step in 1..=steps {
        make(&fake, &state, record_with_vfs("a", 0, 1), 1).expect("creates");
        fake.changes.set(0);
        fake.fail_at.set(Some(step));
        let record = state.cell("a").expect("known");
        destroy(fake.machine(), &state, record).expect_err("injected");
        fake.fail_at.set(None);
        remove(&fake, &state, "a");
        assert_eq!(*fake.now.borrow(), before, "after step {step}");
    }
}

#[test]
fn last_cell_with_vfs_gives_them_back_whoever_made_them() {
    for order in [["a", "b"], ["b", "a"]] {
        let (_dir, state) = state();
        let fake = Fake::default();
        let before = now(&fake);
        make(&fake, &state, record_with_vfs("a", 0, 1), 2).expect("creates");
        make(&fake, &state, record_with_vfs("b", 1, 2), 2).expect("creates");
        let both = now(&fake);
        assert_eq!(both.vfs[&NIC], (2, false));
        assert_eq!(both.secondaries[&1], (true, [2, 2]));
        assert_eq!(both.secondaries[&2], (true, [2, 2]));
        assert!(both.link, "VFs need their PF");
        let port = Port {
            mac: [2, 0, 0, 0, 0, 1],
            vlan: 7,
        };
        assert_eq!(both.ports[&1], port);
        // To each its own namespace, and to no one else.
        assert_eq!(both.namespaces[&1], [1, 3, 4].into(), "3 and 4 are no VFs");
        assert_eq!(both.namespaces[&2], [2].into());
        remove(&fake, &state, order[0]);
        assert_eq!(now(&fake).vfs[&DISK], (2, false), "the other has one");
        remove(&fake, &state, order[1]);
        assert_eq!(now(&fake), before);
    }
}

#[test]
fn more_vfs_than_there_are_can_only_come_while_none_is_in_use() {
    let (_dir, state) = state();
    let fake = Fake::default();
    make(&fake, &state, record_with_vfs("a", 0, 1), 1).expect("creates");
    let before = fake.now.borrow().clone();
    let error = make(&fake, &state, record_with_vfs("b", 1, 2), 2).expect_err("too many");
    let text = error.to_string();
    assert!(text.contains("it has 1, and a cell has one"), "{text}");
    assert!(text.contains("create A.toml B.toml"), "{text}");
    assert_eq!(*fake.now.borrow(), before);
}

#[test]
fn vfs_that_were_there_stay_and_get_their_driver_back() {
    let (_dir, state) = state();
    let fake = Fake::default();
    fake.set_link(NIC, true).expect("sets");
    fake.set_vfs(NIC, 3).expect("makes");
    let before = now(&fake);
    let mut record = record_with_vfs("a", 1, 1);
    record.assignment.functions.truncate(1);
    record.functions.truncate(1);
    let needed = needed([&record.assignment].into_iter());
    create(fake.machine(), &state, record, &alone(&needed)).expect("creates");
    let held = now(&fake);
    assert_eq!(held.vfs[&NIC], (3, true));
    assert_eq!(held.bindings[&vf(NIC, 1)].driver, None);
    assert_eq!(held.bindings[&vf(NIC, 2)].driver.as_deref(), Some("vf"));
    remove(&fake, &state, "a");
    assert_eq!(now(&fake), before);
}

#[test]
fn namespace_that_somebody_uses_is_refused() {
    let (_dir, state) = state();
    let fake = Fake::default();
    fake.now.borrow_mut().functions.mounted = 1;
    let error = make(&fake, &state, record_with_vfs("a", 0, 1), 2).expect_err("mounted");
    assert!(error.to_string().contains("the root uses it"), "{error}");
    let error = make(&fake, &state, record_with_vfs("a", 0, 3), 2).expect_err("not there");
    assert!(error.to_string().contains("has namespaces 1, 2"), "{error}");
    make(&fake, &state, record_with_vfs("a", 0, 2), 2).expect("creates");
    let error = make(&fake, &state, record_with_vfs("b", 1, 2), 2).expect_err("the other's");
    assert!(error.to_string().contains("another cell has it"), "{error}");
}

#[test]
fn new_namespace_is_the_cells_alone_and_goes_with_it() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let before = now(&fake);
    make(&fake, &state, record_with_new_namespace("a", GIB + 1), 1).expect("creates");
    let held = now(&fake);
    assert_eq!(held.namespaces[&3], [1].into(), "the VF's controller");
    assert!(!held.namespaces[&1].contains(&1), "and no other");
    assert_eq!(held.sizes[&3].0, (GIB >> 9) + 1, "all bytes have a block");
    remove(&fake, &state, "a");
    assert_eq!(now(&fake), before);
}

#[test]
fn namespace_that_cannot_be_made_is_refused_before_anything_changes() {
    type Change = fn(&mut Functions);
    let cases: [(u64, Change, &str); 4] = [
        (GIB, |f| f.unallocated = None, "no command to make one"),
        (
            2 * FREE,
            |_| {},
            "only 40 GiB of the controller are in no namespace",
        ),
        (GIB, |f| f.unallocated = Some(GIB - 1), "only 1023 MiB of"),
        (GIB, |f| f.unallocated = Some(0), "no capacity besides its"),
    ];
    for (bytes, change, why) in cases {
        let (_dir, state) = state();
        let fake = Fake::default();
        change(&mut fake.now.borrow_mut().functions);
        let before = now(&fake);
        let error = make(&fake, &state, record_with_new_namespace("a", bytes), 1);
        let text = error.expect_err("refused").to_string();
        assert!(text.contains(why), "{text}");
        assert!(text.contains("the controller has 1, 2"), "{text}");
        assert_eq!(now(&fake), before);
    }
}

#[test]
fn namespace_with_the_same_number_that_others_made_stays() {
    let (_dir, state) = state();
    let fake = Fake::default();
    make(&fake, &state, record_with_new_namespace("a", GIB), 1).expect("creates");
    let size = now(&fake).sizes[&3];
    let other = (size.0, size.1 + 1);
    fake.now.borrow_mut().functions.sizes.insert(3, other);
    remove(&fake, &state, "a");
    assert_eq!(now(&fake).sizes[&3], other);
}

/// A namespace of which it is not known who made it, `cellctl` having died in
/// between, or somebody else meanwhile.
#[test]
fn namespace_of_unknown_origin_is_told_and_never_deleted() {
    let (_dir, state) = state();
    let fake = Fake::default();
    make(&fake, &state, record_with_new_namespace("a", GIB), 1).expect("creates");
    let mut record = state.cell("a").expect("known");
    let before_answer = |entry: &Entry| {
        // What was written down before the controller answered.
        let text = serde_json::to_value(entry).expect("has a form");
        let mut value = text;
        if value["step"] == "new-namespace" {
            value["fresh"]["made"] = serde_json::Value::Null;
            value["done"] = false.into();
        }
        serde_json::from_value(value).expect("is an entry")
    };
    record.steps = record.steps.iter().map(before_answer).collect();
    let error = destroy(fake.machine(), &state, record).expect_err("who knows?");
    let text = error.to_string();
    assert!(text.contains("whose namespace 3 of 0000:02:00.0"), "{text}");
    assert!(text.contains("nvme delete-ns --namespace-id=3"), "{text}");
    let left = now(&fake);
    assert!(left.namespaces.contains_key(&3));
    assert_eq!(left.vfs[&DISK], (0, true), "all else went back");
    // Once it is somebody's, nobody asks any more.
    let attach = |f: &mut Functions| f.namespaces.get_mut(&3).map(|owners| owners.insert(0));
    attach(&mut fake.now.borrow_mut().functions);
    remove(&fake, &state, "a");
    assert!(now(&fake).namespaces.contains_key(&3));
}

#[test]
fn record_knows_sizes_and_ports_of_bars() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates");
    let function = made.functions.first().expect("a function");
    assert_eq!(function.plan.bar_sizes, [14, 0, 5, 0, 0, 0]);
    let range = PortRange {
        first: 0xc000,
        count: 32,
    };
    assert_eq!(function.ports, [range]);
}

#[test]
fn bars_that_cannot_be_given_away_are_refused() {
    let bar = |space, start, size| Bar {
        index: 1,
        space,
        start,
        size,
        prefetchable: false,
        wide: false,
    };
    for (start, size, why) in [
        (0xfe00_0000, 0x800, "shares a page"),
        (0xfe00_0800, 0x1000, "shares a page"),
        (0, 0x1000, "has no address"),
        (0xfe00_0000, 0x3000, "no size that a BAR"),
    ] {
        let error = bar_sizes(CARD, &[bar(Space::Mem, start, size)]).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(ports(CARD, &[bar(Space::Io, 0x1_0000, 8)]).is_err());
}

/// The wire of the function without VFs.
fn wire(gsi: u8) -> Option<Wire> {
    Some(Wire {
        io_apic: 0xfec0_0000,
        pin: 18,
        gsi,
    })
}

#[test]
fn function_without_messages_gets_its_line() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let before = now(&fake);
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates");
    let function = made.functions.first().expect("a function");
    assert_eq!((function.plan.wire, &function.silent), (wire(16), &None));
    assert_eq!(function.plan.pin(), Some(1));
    assert!(now(&fake).enabled.contains(&CARD));
    remove(&fake, &state, "a");
    assert_eq!(now(&fake), before);
    let vfs = make(&fake, &state, record_with_vfs("a", 0, 1), 1).expect("creates");
    assert!(vfs.functions.iter().all(|f| f.plan.wire.is_none()));
}

#[test]
fn function_on_a_shared_line_comes_without_interrupt_and_says_so() {
    let (_dir, state) = state();
    let fake = Fake::default();
    fake.now.borrow_mut().functions.line = Some(line(&["uhci_hcd:usb2"]));
    let before = now(&fake);
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates all the same");
    let function = made.functions.first().expect("a function");
    assert_eq!(function.plan.wire, None);
    let why = function.silent.as_deref().expect("told");
    assert!(why.contains("shared with uhci_hcd:usb2"), "{why}");
    let known = state.cell("a").expect("known");
    assert_eq!(known.functions, made.functions, "status tells it, too");
    remove(&fake, &state, "a");
    assert_eq!(now(&fake), before);
    fake.now.borrow_mut().functions.line = None;
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates");
    let why = made.functions[0].silent.as_deref().expect("told");
    assert!(why.contains("not routed"), "{why}");
}

#[test]
fn function_with_messages_needs_its_line_less() {
    let (_dir, state) = state();
    let fake = Fake::default();
    fake.now.borrow_mut().functions.pin = Some(Pin::BesideMsi);
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates");
    assert_eq!(made.functions[0].plan.wire, wire(16));
    remove(&fake, &state, "a");
    fake.now.borrow_mut().functions.line = Some(line(&["uhci_hcd:usb2"]));
    let made = make(&fake, &state, record_with_card("a"), 0).expect("creates");
    let function = &made.functions[0];
    assert_eq!((function.plan.wire, &function.silent), (None, &None));
}

#[test]
fn functions_at_one_pin_share_it_within_a_cell_and_not_between_cells() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let mut both = record_with_card("a");
    // The same card stands for a second one at the same pin.
    both.functions.push(both.functions[0].clone());
    let function = both.assignment.functions[0].clone();
    both.assignment.functions.push(function);
    let made = make(&fake, &state, both, 0).expect("creates");
    let wires: Vec<_> = made.functions.iter().map(|f| f.plan.wire).collect();
    assert_eq!(wires, [wire(16), wire(16)]);

    let mut second = record_with_card("b");
    let mut journal = Journal::new(fake.machine(), &state, &mut second);
    let (vfs, others) = (Needed::new(), [made]);
    let around = alone(&vfs);
    intx::take(&mut journal, &others, &around).expect("goes on");
    let why = second.functions[0].silent.as_deref().expect("told");
    assert_eq!(why, "cell \"a\" has its line");
}

#[test]
fn controller_whose_disk_this_linux_uses_stays_with_it() {
    let (_dir, state) = state();
    let fake = Fake::default();
    let volume = Some("sda1 is part of vg0-home".to_owned());
    fake.now.borrow_mut().functions.user = volume;
    let before = fake.now.borrow().clone();
    let error = make(&fake, &state, record_with_card("a"), 0).expect_err("it is in use");
    let text = error.to_string();
    assert!(text.contains("sda1 is part of vg0-home"), "{text}");
    assert_eq!(*fake.now.borrow(), before);
}
