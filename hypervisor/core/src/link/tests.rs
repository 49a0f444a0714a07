//! Random lives of links and cells, played on the ownership map as the monitor
//! plays them.

use super::*;
use crate::cell_state::{Event, next};
use crate::ownership::{OwnerMap, Span};
use cellvisor_abi::call::{Owner, StopReason};
use cellvisor_abi::plan::{Adapter, Class, Devices, Link, MAX_NAME, Ports, Socket};
use cellvisor_abi::wire::ListBuf;
use core::ops::Range;
use proptest::prelude::*;
use std::format;
use std::vec;
use std::vec::Vec;

const IDS: usize = 6;
const PAGES: u64 = 24;

/// A cell, or a link if it has no CPUs.
struct Life {
    is_link: bool,
    state: State,
    links: Links,
    /// Host-physical pages that it reaches, and if it writes there.
    view: Vec<(u64, bool)>,
}

struct Machine<'a> {
    owners: OwnerMap<'a>,
    lives: [Option<Life>; IDS],
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        id: usize,
        first: u64,
        count: u64,
        link: bool,
        shares: Option<(Range<u64>, Share)>,
    },
    Event(usize, Event),
    Destroy(usize),
}

fn cell(id: usize) -> CellId {
    CellId(u32::try_from(id).expect("small") + 1)
}

/// Pages of others, mostly few.
fn shares() -> impl Strategy<Value = Option<(Range<u64>, Share)>> {
    let how = prop_oneof![Just(Share::Read), Just(Share::Write)];
    let pages = (0..PAGES, 1..3u64).prop_map(|(first, count)| first..first + count);
    proptest::option::of((pages, how))
}

fn steps() -> impl Strategy<Value = Step> {
    let id = || 0..IDS;
    let event = prop_oneof![
        3 => Just(Event::Start),
        1 => Just(Event::Stop(StopReason::Root)),
        1 => Just(Event::Fail),
        1 => Just(Event::Reload),
    ];
    prop_oneof![
        3 => (id(), 0..PAGES, 1..6u64, any::<bool>(), shares())
            .prop_map(|(id, first, count, link, shares)| Step::Create { id, first, count, link, shares }),
        4 => (id(), event).prop_map(|(id, event)| Step::Event(id, event)),
        1 => id().prop_map(Step::Destroy),
    ]
}

impl Machine<'_> {
    fn play(&mut self, step: Step) {
        match step {
            Step::Create {
                id,
                first,
                count,
                link,
                shares,
            } => self.create(id, first..first + count, link, shares),
            Step::Event(id, event) => self.event(id, event),
            Step::Destroy(id) => self.destroy(id),
        }
    }

    fn create(
        &mut self,
        id: usize,
        run: Range<u64>,
        is_link: bool,
        shares: Option<(Range<u64>, Share)>,
    ) {
        let owner = Owner::Cell(cell(id));
        if self.lives[id].is_some() {
            return;
        }
        let taken = self.owners.transfer(run.start, run.end, Owner::Root, owner);
        if taken.is_err() {
            return;
        }
        let mut life = Life {
            is_link,
            state: State::Loadable,
            links: Links::new(),
            view: Vec::new(),
        };
        life.view.extend(run.clone().map(|hpa| (hpa, true)));
        if let Some((pages, share)) = shares
            && !self.share(&mut life, pages, share)
        {
            let back = self.owners.transfer(run.start, run.end, owner, Owner::Root);
            assert_eq!(back, Ok(()), "a refused cell leaves nothing");
            return;
        }
        self.lives[id] = Some(life);
    }

    fn share(&self, life: &mut Life, pages: Range<u64>, how: Share) -> bool {
        let memory = Memory {
            gpa: 0,
            hpa: pages.start * PAGE_SIZE,
            size: (pages.end - pages.start) * PAGE_SIZE,
            share: how,
        };
        let is_open = |id: CellId| {
            let life = self.lives.get(id.0 as usize - 1).and_then(Option::as_ref);
            life.is_some_and(|life| life.is_link && may_share(life.state))
        };
        let run = self.owners.run(pages.start);
        let shared = share(&mut life.links, &memory, run, is_open);
        if shared {
            life.view.extend(pages.map(|hpa| (hpa, attr(how).write)));
        }
        shared
    }

    fn is_shared(&self, id: usize) -> bool {
        is_shared(
            cell(id),
            self.lives.iter().flatten().map(|life| &life.links),
        )
    }

    fn event(&mut self, id: usize, event: Event) {
        // The monitor refuses to stop what is mapped; a link has no CPU that fails.
        let ends = matches!(event, Event::Stop(_) | Event::Fail);
        if ends && self.is_shared(id) {
            return;
        }
        if let Some(life) = &mut self.lives[id]
            && !(life.is_link && event == Event::Fail)
            && let Ok(state) = next(life.state, event)
        {
            life.state = state;
        }
    }

    fn destroy(&mut self, id: usize) {
        if self.lives[id]
            .take_if(|life| life.state != State::Running)
            .is_none()
        {
            return;
        }
        let owner = Owner::Cell(cell(id));
        let runs: Vec<_> = self.owners.owned(owner).collect();
        for run in runs {
            let back = self.owners.transfer(run.start, run.end, owner, Owner::Root);
            assert_eq!(back, Ok(()));
        }
    }

    /// Each page that anybody reaches is its own, or that of a link that it shares
    /// and that runs.
    fn check(&self) {
        for (id, life) in self.lives.iter().enumerate() {
            let Some(life) = life else { continue };
            for (page, _) in &life.view {
                let owner = self.owners.owner(*page);
                let through = |link: &CellId| owner == Owner::Cell(*link);
                let own = owner == Owner::Cell(cell(id));
                assert!(
                    own || life.links.iter().any(through),
                    "page {page}: {owner:?}"
                );
            }
            for link in &life.links {
                let there = self.lives[link.0 as usize - 1].as_ref();
                assert!(there.is_some_and(|link| link.is_link && may_share(link.state)));
            }
        }
    }
}

proptest! {
    #[test]
    fn no_page_is_reached_by_anybody_but_its_owner_and_the_members_of_its_link(
        steps in proptest::collection::vec(steps(), 1..60),
    ) {
        let mut storage = [Span::UNUSED; 32];
        let mut machine = Machine {
            owners: OwnerMap::new(&mut storage),
            lives: [const { None }; IDS],
        };
        for step in steps {
            machine.play(step);
            machine.check();
        }
    }
}

#[test]
fn a_link_has_memory_and_nothing_else() {
    let none = ListBuf::default();
    let cpus = ListBuf::new(&[1u32]);
    let ports = ListBuf::new(&[Ports { first: 1, count: 1 }]);
    let adapter = Adapter {
        link: [b'a'; MAX_NAME],
        mac: [2; 6],
    };
    let adapters = [0, 1, 2].map(|count| ListBuf::new(&vec![adapter; count]));
    let a_link = Some(Link { root: false });
    let the_roots = Some(Link { root: true });
    for (has_cpus, has_ports, adapter_count, link, whole) in [
        (true, true, 2, None, true),
        (false, false, 0, None, false),
        (false, false, 1, None, false),
        (false, false, 0, a_link, true),
        (true, false, 0, a_link, false),
        (false, true, 0, a_link, false),
        (false, false, 1, a_link, false),
        (false, false, 0, the_roots, true),
        (false, false, 1, the_roots, true),
        (false, false, 2, the_roots, false),
        (true, false, 1, the_roots, false),
        (false, true, 1, the_roots, false),
    ] {
        let plan = CellPlan {
            name: b"a",
            cpus: if has_cpus { cpus.list() } else { none.list() },
            memory: none.list(),
            ports: if has_ports { ports.list() } else { none.list() },
            functions: none.list(),
            adapters: adapters[adapter_count].list(),
            console: false,
            socket: None,
            devices: Devices::STANDARD,
            dump: false,
            many_nodes: false,
            class: Class::ROOT,
            link,
        };
        let what = format!("{has_cpus} {has_ports} {adapter_count} {link:?}");
        assert_eq!(is_whole(&plan), whole, "{what}");
        let console = true;
        let with_console = CellPlan { console, ..plan };
        assert_eq!(is_whole(&with_console), whole && link.is_none(), "{what}");
        let socket = Some(Socket {
            memory: 0,
            number: 0,
            members: 2,
            gsi: 5,
        });
        let with_socket = CellPlan { socket, ..plan };
        assert_eq!(is_whole(&with_socket), whole && link.is_none(), "{what}");
    }
}

#[test]
fn what_is_shared_is_all_of_one_open_link() {
    let (link, closed) = (CellId(1), CellId(2));
    let is_open = |id| id == link;
    let memory = |hpa: u64, pages: u64| Memory {
        gpa: 0,
        hpa: hpa * PAGE_SIZE,
        size: pages * PAGE_SIZE,
        share: Share::Write,
    };
    let mut links = Links::new();
    // The link has pages 4 to 7.
    let of_link = (Owner::Cell(link), 8);
    assert!(share(&mut links, &memory(4, 4), of_link, is_open));
    assert!(share(&mut links, &memory(5, 1), of_link, is_open));
    assert_eq!(links.as_slice(), [link], "noted once");
    assert!(!share(&mut links, &memory(4, 5), of_link, is_open));
    for other in [
        Owner::Root,
        Owner::Monitor,
        Owner::Device(link),
        Owner::Cell(closed),
    ] {
        assert!(!share(&mut links, &memory(4, 1), (other, 8), is_open));
    }
    assert_eq!(links.as_slice(), [link]);
    for n in 10..20 {
        let room = links.len() < MAX_LINKS;
        let of_another = (Owner::Cell(CellId(n)), 8);
        assert_eq!(share(&mut links, &memory(4, 1), of_another, |_| true), room);
    }
}

#[test]
fn shared_memory_runs_no_code_and_is_written_by_those_who_may() {
    assert_eq!(attr(Share::Own), Attr::RAM);
    let (read, write) = (attr(Share::Read), attr(Share::Write));
    assert!(read.read && !read.write && !read.execute);
    assert!(write.read && write.write && !write.execute);
    assert_eq!(read.mem_type, Attr::RAM.mem_type);
}
