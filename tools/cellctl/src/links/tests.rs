//! Links on the stand-in machine: made, found, given back, whatever fails.

use super::*;
use crate::create;
use crate::functions::Needed;
use crate::testing::lines::alone;
use crate::testing::{Fake, record};
use cellvisor_abi::call::State;
use cellvisor_abi::wire;
use cellvisor_planner::config::LinkKind;
use cellvisor_planner::plan::MemoryShare;

const MIB: u64 = 1 << 20;

fn link(name: &str, members: &[&str], readers: &[&str]) -> Link {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
    Link {
        name: name.to_owned(),
        kind: LinkKind::Window,
        size: 4 * MIB,
        members: names(members),
        readers: names(readers),
        addresses: None,
        nat: false,
        doorbell: false,
    }
}

/// One whose network leads outside.
fn leading(name: &str) -> Link {
    Link {
        addresses: Some("10.1.2.0/24".parse().expect("a network")),
        nat: true,
        ..link(name, &["a", "root"], &[])
    }
}

/// A network that the monitor carries, and that the root is in.
fn carried(name: &str) -> Link {
    Link {
        kind: LinkKind::Ethernet,
        ..leading(name)
    }
}

fn new(link: &Link) -> NewLink {
    NewLink {
        link: link.clone(),
        memory: vec![MemoryShare::Pages {
            node: 0,
            bytes: link.size,
            page_size: 2 * MIB,
            fixed: true,
        }],
    }
}

fn create(fake: &Fake, state: &StateDir, name: &str, links: &[Link]) -> Result<CellRecord> {
    let mut cell = record(name);
    cell.assignment.links = links.to_vec();
    create::create(fake.machine(), state, cell, &alone(&Needed::new()))
}

#[test]
fn link_lives_as_long_as_a_cell_that_has_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let shared = link("shared", &["a", "root"], &["b"]);
    make_all(fake.machine(), &state, &[new(&shared)]).expect("makes");
    let running = |fake: &Fake| {
        let now = fake.now.borrow();
        let mut cells = now.cells.values();
        cells.any(|(name, state)| name == "shared" && *state == State::Running)
    };
    assert!(
        running(&fake),
        "out of the root's sight before a cell has it"
    );
    let links = [shared];
    let a = create(&fake, &state, "a", &links).expect("creates");
    let b = create(&fake, &state, "b", &links).expect("creates");
    let window = |cell: &CellRecord| cell.windows.first().cloned().expect("a window");
    assert!(window(&a).is_writable() && !window(&b).is_writable());
    assert_eq!(window(&a).start(), 4 << 30, "above RAM and 4 GiB");
    assert_eq!(window(&a).size(), 4 * MIB);
    let hosts = |w: Window| w.memory.iter().map(|m| m.hpa).collect::<Vec<_>>();
    assert_eq!(hosts(window(&a)), hosts(window(&b)), "the same pages");

    create::destroy(fake.machine(), &state, a).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert!(running(&fake), "b has it");
    create::destroy(fake.machine(), &state, b).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);
    assert!(state.links().expect("reads").is_empty());
}

#[test]
fn root_in_a_network_has_an_adapter_whose_queues_are_in_memory_that_no_cell_maps() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let lan = carried("lan");
    make_all(fake.machine(), &state, &[new(&lan)]).expect("makes");
    let record = state.find_link("lan").expect("reads").expect("a record");
    assert!(record.root.contains(", mac 02:"), "{}", record.root);
    let frame = frame(&record);
    let plan: CellPlan<'_> = wire::decode(wire::open(&frame).expect("a frame")).expect("a plan");
    assert!(plan.link.is_some_and(|link| link.root));
    let adapters: Vec<Adapter> = plan.adapters.iter().collect();
    let [adapter] = adapters.try_into().expect("one");
    assert_eq!(Some(adapter.mac), lan.mac_of("root"));
    assert!(adapter.link.starts_with(b"lan\0"));
    let bytes: u64 = plan.own_memory().map(|memory| memory.size).sum();
    assert_eq!(bytes, lan.size);

    let a = create(&fake, &state, "a", &[lan]).expect("creates");
    assert!(a.windows.is_empty());
    let [of_cell] = super::adapters(&a.assignment).try_into().expect("one");
    assert_eq!(of_cell.link, adapter.link);
    assert_ne!(of_cell.mac, adapter.mac);
    create::destroy(fake.machine(), &state, a).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);
}

#[test]
fn a_window_has_no_adapter_and_a_network_without_the_root_is_a_note_alone() {
    let plan = frame(&LinkRecord::new(leading("net")));
    let plan: CellPlan<'_> = wire::decode(wire::open(&plan).expect("a frame")).expect("a plan");
    assert!(plan.adapters.is_empty());

    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let lan = Link {
        members: vec!["a".to_owned(), "b".to_owned()],
        size: 0,
        nat: false,
        ..carried("lan")
    };
    let before = fake.now.borrow().clone();
    make_all(fake.machine(), &state, &[new(&lan)]).expect("makes");
    assert_eq!(*fake.now.borrow(), before);
    assert_eq!(state.links().expect("reads").len(), 1);
}

#[test]
fn who_writes_to_a_window_with_a_doorbell_has_an_adapter_for_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let bell = Link {
        doorbell: true,
        ..link("bell", &["a", "b"], &["c"])
    };
    make_all(fake.machine(), &state, &[new(&bell)]).expect("makes");
    let record = state.find_link("bell").expect("reads").expect("a record");
    let plan = frame(&record);
    let plan: CellPlan<'_> = wire::decode(wire::open(&plan).expect("a frame")).expect("a plan");
    assert!(plan.adapters.is_empty(), "the root is no member");
    let of = |name| {
        let cell = create(&fake, &state, name, std::slice::from_ref(&bell)).expect("creates");
        assert_eq!(cell.windows.len(), 1, "and sees the memory");
        (super::adapters(&cell.assignment), cell)
    };
    let [(a, cell_a), (b, cell_b), (c, cell_c)] = ["a", "b", "c"].map(of);
    let ([a], [b]): ([Adapter; 1], [Adapter; 1]) =
        (a.try_into().expect("one"), b.try_into().expect("one"));
    assert_eq!(a.link, b.link);
    assert_eq!(
        (Some(a.mac), Some(b.mac)),
        (bell.mac_of("a"), bell.mac_of("b"))
    );
    assert!(c.is_empty(), "who only reads is not rung, and rings nobody");
    for cell in [cell_a, cell_b, cell_c] {
        create::destroy(fake.machine(), &state, cell).expect("destroys");
    }
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);
}

#[test]
fn member_of_an_extended_socket_is_told_its_number_and_sees_no_window() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let socket = Link {
        kind: LinkKind::ExtendedSocket,
        size: 18 * MIB,
        ..link("wire", &["a", "b"], &[])
    };
    make_all(fake.machine(), &state, &[new(&socket)]).expect("makes");
    let record = state.find_link("wire").expect("reads").expect("a record");
    let plan = frame(&record);
    let plan: CellPlan<'_> = wire::decode(wire::open(&plan).expect("a frame")).expect("a plan");
    let bytes: u64 = plan.own_memory().map(|memory| memory.size).sum();
    assert!(bytes >= Socket::size(2), "{bytes}");
    let b = create(&fake, &state, "b", std::slice::from_ref(&socket)).expect("creates");
    assert!(b.windows.is_empty());
    let expected = Socket {
        memory: record.memory[0].start,
        number: 1,
        members: 2,
        gsi: SOCKET_GSI,
    };
    let told = super::socket(&state, &b.assignment).expect("is there");
    assert_eq!(told, Some(expected));
    create::destroy(fake.machine(), &state, b).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);
    let gone = create(&fake, &state, "a", &[socket]).expect_err("no link");
    let text = gone.to_string();
    assert!(
        text.contains("cannot give link \"wire\" to cell \"a\""),
        "{text}"
    );
}

#[test]
fn whichever_step_fails_all_is_as_before() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let links = [new(&link("one", &["a", "b"], &[])), new(&carried("two"))];
    make_all(fake.machine(), &state, &links).expect("makes");
    let steps = fake.changes.get();
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);
    assert!(steps >= 10, "pool, map, pin, create, start, twice: {steps}");
    for step in 1..=steps {
        fake.changes.set(0);
        fake.fail_at.set(Some(step));
        let error = make_all(fake.machine(), &state, &links).expect_err("injected");
        assert!(error.to_string().contains("injected"), "{error}");
        assert_eq!(*fake.now.borrow(), before, "after step {step}");
        assert!(
            state.links().expect("reads").is_empty(),
            "after step {step}"
        );
    }
}

#[test]
fn what_a_crash_leaves_is_given_back_before_anything_new_is_made() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let links = [new(&leading("one"))];
    make_all(fake.machine(), &state, &links).expect("makes");
    let steps = fake.changes.get();
    swept(fake.machine(), &state).expect("sweeps");
    for step in 1..=steps {
        fake.changes.set(0);
        fake.dead_from.set(Some(step));
        make_all(fake.machine(), &state, &links).expect_err("dead");
        fake.dead_from.set(None);
        make_all(fake.machine(), &state, &links).expect("makes");
        swept(fake.machine(), &state).expect("sweeps");
        assert_eq!(*fake.now.borrow(), before, "after a crash at step {step}");
    }
}

#[test]
fn linux_forwards_as_long_as_a_link_leads_outside() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let links = ["one", "two"].map(leading);
    make_all(fake.machine(), &state, &links.each_ref().map(new)).expect("makes");
    let a = create(&fake, &state, "a", &links[..1]).expect("creates");
    let b = create(&fake, &state, "b", &links[1..]).expect("creates");
    let now = |fake: &Fake| {
        let now = fake.now.borrow();
        (now.forwards, now.tables.iter().cloned().collect::<Vec<_>>())
    };
    assert_eq!(now(&fake), (true, vec!["one".to_owned(), "two".to_owned()]));
    // The first that wanted it goes first.
    create::destroy(fake.machine(), &state, a).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(now(&fake), (true, vec!["two".to_owned()]));
    create::destroy(fake.machine(), &state, b).expect("destroys");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(*fake.now.borrow(), before);

    // What forwarded before goes on.
    fake.now.borrow_mut().forwards = true;
    make_all(fake.machine(), &state, &[new(&links[0])]).expect("makes");
    swept(fake.machine(), &state).expect("sweeps");
    assert_eq!(now(&fake), (true, Vec::new()));
}

#[test]
fn cell_without_its_link_is_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let state = StateDir::new(dir.path());
    let fake = Fake::default();
    let before = fake.now.borrow().clone();
    let links = [link("gone", &["a", "b"], &[])];
    let error = create(&fake, &state, "a", &links).expect_err("no link");
    assert!(
        error
            .to_string()
            .contains("cannot give link \"gone\" to cell \"a\""),
        "{error}"
    );
    assert_eq!(*fake.now.borrow(), before);
}
