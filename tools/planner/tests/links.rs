//! Links between slices of several files, and between slices and running cells.

use cellvisor_planner::config::{self, Link, Slice};
use cellvisor_planner::draw::{self, Style};
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::{self, MemoryShare, Plan, Taken};
use cellvisor_planner::report::Report;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const SHARED: &str = "name = \"shared\"\nkind = \"window\"\nsize = \"4MiB\"\n\
                      members = [\"a\", \"b\"]\nreaders = [\"c\"]\n";

fn host() -> Host {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    Host::load(&configs.join("hosts/z8.toml")).expect("a host")
}

/// The file of a slice with these links.
fn file(name: &str, links: &[&str]) -> String {
    let links: String = links.iter().map(|l| format!("[[link]]\n{l}")).collect();
    format!(
        "version = 1\ncell.name = \"{name}\"\ncpus.count = 2\nmemory.size = \"1GiB\"\n\
         kernel.image = \"vmlinuz\"\n{links}"
    )
}

fn read(files: &[(&str, String)]) -> (Vec<Slice>, Report) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("links-{}-{number}", std::process::id());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a folder");
    let write = |(name, text): &(&str, String)| {
        let path = dir.join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("written");
        path
    };
    let paths: Vec<PathBuf> = files.iter().map(write).collect();
    let read = config::read(&paths);
    std::fs::remove_dir_all(&dir).expect("removed");
    read
}

fn planned(names: &[&str], taken: &Taken) -> Result<Plan, Report> {
    let files: Vec<_> = names.iter().map(|n| (*n, file(n, &[SHARED]))).collect();
    let (slices, report) = read(&files);
    report.unless_errors(())?;
    plan::plan(&host(), &slices, taken)
}

fn wrong(report: &Report) -> Vec<String> {
    report.findings.iter().map(|f| f.message.clone()).collect()
}

#[test]
fn slices_of_several_files_get_one_link_with_memory_of_its_own() {
    let plan = planned(&["a", "b", "c"], &Taken::default()).expect("a plan");
    assert_eq!(plan.links.len(), 1, "{:?}", plan.links);
    let new = &plan.links[0];
    let bytes: u64 = new.memory.iter().map(MemoryShare::bytes).sum();
    assert_eq!(bytes, 4 << 20);
    for cell in &plan.cells {
        assert_eq!(cell.links, std::slice::from_ref(&new.link), "{}", cell.name);
        let told = "link shared: a and b write to it and trust each other to, c only read";
        assert!(cell.why.iter().any(|why| why == told), "{:?}", cell.why);
        assert_eq!(cell.memory_bytes(), 1 << 30, "a link is no part of its RAM");
    }
    let without = planned_without();
    let left = |plan: &Plan| plan.left.iter().map(|n| n.memory).sum::<u64>();
    assert_eq!(left(&without) - left(&plan), 4 << 20, "taken once");
}

/// The same slices without the link.
fn planned_without() -> Plan {
    let files = ["a", "b", "c"].map(|name| (name, file(name, &[])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    plan::plan(&host(), &slices, &Taken::default()).expect("a plan")
}

#[test]
fn pictures_show_links_with_their_cells() {
    let plan = planned(&["a", "b", "c"], &Taken::default()).expect("a plan");
    let text = draw::text(&host(), &plan, Style::Plain);
    assert!(
        text.contains("\nlink shared: ABC, 4MiB, a and b write"),
        "{text}"
    );
    assert!(draw::svg(&host(), &plan).contains("shared: 4MiB, a and b write"));
    assert!(!draw::svg(&host(), &planned_without()).contains("memory that cells share"));
}

#[test]
fn members_have_addresses_in_their_order() {
    let network = format!("{SHARED}addresses = \"10.1.2.0/24\"\n");
    let (slices, report) = read(&[("a", file("a", &[&network]))]);
    assert!(report.is_empty(), "{report}");
    let link = &slices[0].links[0].link;
    let told = [
        "member 1 of 2, address 10.1.2.1/24",
        "member 2 of 2, address 10.1.2.2/24",
        "",
    ];
    assert_eq!(["a", "b", "c"].map(|name| link.note(name)), told);
    let who = link.who();
    assert!(
        who.ends_with("; network: a 10.1.2.1/24, b 10.1.2.2/24"),
        "{who}"
    );
    let kept = serde_json::to_string(link).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Link>(&kept).expect("the same"),
        *link
    );
}

/// A network between two members.
fn network(name: &str, members: [&str; 2], addresses: &str) -> String {
    let [one, other] = members;
    format!(
        "name = \"{name}\"\nkind = \"window\"\nsize = \"2MiB\"\nmembers = [\"{one}\", \"{other}\"]\n\
         addresses = \"{addresses}\"\n"
    )
}

#[test]
fn pictures_show_addresses() {
    let net = network("net", ["a", "root"], "10.1.2.0/24");
    let (slices, report) = read(&[("a", file("a", &[&net]))]);
    assert!(report.is_empty(), "{report}");
    let plan = plan::plan(&host(), &slices, &Taken::default()).expect("a plan");
    let text = draw::text(&host(), &plan, Style::Plain);
    let told = "network: a 10.1.2.1/24, root 10.1.2.2/24";
    assert!(text.contains(told), "{text}");
    let svg = draw::svg(&host(), &plan);
    for member in [">a 10.1.2.1/24<", ">root 10.1.2.2/24<"] {
        assert!(svg.contains(member), "{member}");
    }
}

#[test]
fn cells_are_told_who_leads_outside() {
    let net = network("net", ["a", "root"], "10.1.2.0/24") + "nat = true\n";
    let (slices, report) = read(&[("a", file("a", &[&net]))]);
    assert!(report.is_empty(), "{report}");
    let link = &slices[0].links[0].link;
    let told = "member 1 of 2, address 10.1.2.1/24, gateway 10.1.2.2";
    assert_eq!(link.note("a"), told);
    assert_eq!(link.note("root"), "member 2 of 2, address 10.1.2.2/24");
    let who = link.who();
    assert!(
        who.ends_with("; root (10.1.2.2) forwards for the cells, under its own addresses"),
        "{who}"
    );
    let kept = serde_json::to_string(link).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Link>(&kept).expect("the same"),
        *link
    );
}

#[test]
fn who_writes_to_a_window_with_a_doorbell_is_told_of_it() {
    let bell = SHARED.to_owned() + "doorbell = true\n";
    let files = ["a", "b", "c"].map(|name| (name, file(name, &[&bell])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    let link = &slices[0].links[0].link;
    let mac = link.mac_of("a").expect("an address");
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(link.note("a"), format!("member 1 of 2, doorbell {mac}"));
    assert_eq!(link.note("c"), "");
    assert_eq!(link.adapter_of("c"), None);
    let told = "a and b write to it and trust each other to, c only read; doorbell: a and b ring \
                each other";
    assert_eq!(link.who(), told);
    let kept = serde_json::to_string(link).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Link>(&kept).expect("the same"),
        *link
    );
    // Without one nothing is kept of it: files of before are read.
    let (slices, _) = read_of(SHARED);
    let kept = serde_json::to_string(&slices[0].links[0].link).expect("JSON");
    assert!(!kept.contains("doorbell"), "{kept}");
}

#[test]
fn doorbells_that_ring_nobody_are_refused() {
    let refused = |link: &str| wrong(&read_of(link).1);
    let window = |who: &str| {
        format!("name = \"bell\"\nkind = \"window\"\nsize = \"2MiB\"\n{who}\ndoorbell = true\n")
    };
    assert_eq!(
        refused(&window("members = [\"a\", \"root\"]")),
        ["this Linux cannot be rung, and the others would sleep over what it writes"]
    );
    assert_eq!(
        refused(&window("members = [\"a\"]\nreaders = [\"b\"]")),
        ["who only reads is not rung, and nobody else is there"]
    );
    assert_eq!(
        refused(&(LAN.to_owned() + "doorbell = true\n")),
        ["what comes by a network interrupts by itself"]
    );
    assert_eq!(refused(&window("members = [\"a\", \"b\"]")), [""; 0]);
}

/// What is read of the file of a slice `a` with this link.
fn read_of(link: &str) -> (Vec<Slice>, Report) {
    read(&[("a", file("a", &[link]))])
}

#[test]
fn nobody_is_in_two_networks_that_overlap() {
    let near = network("near", ["a", "root"], "10.1.2.0/24");
    let far = network("far", ["b", "root"], "10.1.0.0/16");
    let files = [("a", file("a", &[&near])), ("b", file("b", &[&far]))];
    let (slices, report) = read(&files);
    let told = ["`root` is in two networks that overlap, `far` and `near`"];
    assert_eq!(wrong(&report), told);
    // The same when the first of them runs already.
    let first = plan::plan(&host(), &slices[..1], &Taken::default()).expect("a plan");
    let taken = Taken { cells: first.cells };
    let report = plan::plan(&host(), &slices[1..], &taken).expect_err("they overlap");
    let told = ["`root` is in two networks that overlap, `near` and `far`"];
    assert_eq!(wrong(&report), told);
    assert!(report.to_string().contains("cell `a` has it"), "{report}");
    // Apart, or with nobody in both, they are fine.
    for other in [
        network("far", ["b", "root"], "10.1.3.0/24"),
        network("far", ["b", "c"], "10.1.2.0/24"),
    ] {
        let files = [("a", file("a", &[&near])), ("b", file("b", &[&other]))];
        let (slices, report) = read(&files);
        assert!(report.is_empty(), "{report}");
        plan::plan(&host(), &slices[1..], &taken).expect("a plan");
    }
}

#[test]
fn a_member_must_want_the_link_itself() {
    let (_, report) = read(&[("a", file("a", &[SHARED])), ("b", file("b", &[]))]);
    assert_eq!(
        wrong(&report),
        ["slice `b` does not name the link `shared`"]
    );
    let text = report.to_string();
    assert!(text.contains("both sides must want a link"), "{text}");
    // Who is in none of the files is no matter of theirs.
    let (_, report) = read(&[("a", file("a", &[SHARED]))]);
    assert!(report.is_empty(), "{report}");
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let other = SHARED.replace("4MiB", "8MiB");
    let files = [("a", file("a", &[SHARED])), ("b", file("b", &[&other]))];
    let (_, report) = read(&files);
    assert_eq!(
        wrong(&report),
        ["two files say different things of link `shared`"]
    );
}

#[test]
fn a_later_cell_joins_the_link_of_a_running_one() {
    let first = planned(&["a"], &Taken::default()).expect("a plan");
    let taken = Taken { cells: first.cells };
    let second = planned(&["b"], &taken).expect("a plan");
    assert!(second.links.is_empty(), "it exists: {:?}", second.links);
    assert_eq!(second.cells[0].links, taken.cells[0].links);
}

#[test]
fn a_running_cell_gets_no_link_and_none_changes_under_it() {
    let mut cells = planned(&["a"], &Taken::default()).expect("a plan").cells;
    cells[0].links[0].size = 8 << 20;
    let report = planned(
        &["b"],
        &Taken {
            cells: cells.clone(),
        },
    )
    .expect_err("another size");
    assert_eq!(wrong(&report), ["link `shared` is another one already"]);
    cells[0].links.clear();
    let report = planned(
        &["b"],
        &Taken {
            cells: cells.clone(),
        },
    )
    .expect_err("no link");
    let told = ["link `shared` names cell `a`, which runs without it"];
    assert_eq!(wrong(&report), told);
    cells[0].name = "shared".to_owned();
    let report = planned(&["b"], &Taken { cells }).expect_err("its name");
    assert_eq!(wrong(&report), ["a cell and a link are called `shared`"]);
}

const LAN: &str = "name = \"lan\"\nkind = \"ethernet\"\nmembers = [\"a\", \"b\"]\n\
                   addresses = \"10.1.4.0/24\"\n";

#[test]
fn a_network_takes_no_memory_and_gives_each_member_an_address() {
    let files = ["a", "b"].map(|name| (name, file(name, &[LAN])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    let plan = plan::plan(&host(), &slices, &Taken::default()).expect("a plan");
    let new = &plan.links[0];
    assert!(new.memory.is_empty() && new.link.is_ethernet());
    let told = "link lan: a and b reach each other and need not trust each other; \
                network: a 10.1.4.1/24, b 10.1.4.2/24";
    for cell in &plan.cells {
        assert!(cell.why.iter().any(|why| why == told), "{:?}", cell.why);
    }
    let [a, b] = ["a", "b"].map(|name| new.link.mac_of(name).expect("an address"));
    assert!(
        a != b && a[0] == 2,
        "locally administered, of one: {a:x?} {b:x?}"
    );
    let other = Link {
        name: "other".to_owned(),
        ..new.link.clone()
    };
    assert_ne!(other.mac_of("a"), Some(a));
    assert_eq!(new.link.mac_of("stranger"), None);
}

/// What is told of links in the plan of the first of two cells in a link, each with
/// `more` in its file.
fn told_of(host: &Host, link: &str, more: &str) -> Vec<String> {
    let files = ["a", "b"].map(|name| (name, more.to_owned() + &file(name, &[link])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    let plan = plan::plan(host, &slices, &Taken::default()).expect("a plan");
    let told = plan.cells[0].why.iter().filter(|w| w.starts_with("link "));
    told.cloned().collect()
}

#[test]
fn virtual_functions_of_one_card_are_the_first_choice_for_packets() {
    let first = "link lan: the first choice for packets are virtual functions of 0000:99:00.0: \
                 the card switches between them, and no CPU copies";
    let mut host = host();
    assert_eq!(
        told_of(&host, LAN, "").last().map(String::as_str),
        Some(first)
    );
    let over_a_window = LAN.replace("ethernet", "window") + "size = \"2MiB\"\n";
    assert_eq!(told_of(&host, &over_a_window, "").len(), 2);
    // The other port has those that the cells are given.
    let given = "pci = [{ sriov = { pf = \"0000:99:00.1\" } }]\n";
    let told = told_of(&host, LAN, given);
    let last = told.last().expect("it is told");
    assert!(
        last.contains("functions of 0000:99:00.1, of which it has one,"),
        "{last}"
    );
    let no_packets = over_a_window.replace("addresses = \"10.1.4.0/24\"\n", "");
    assert_eq!(told_of(&host, &no_packets, "").len(), 1);
    // A card that has not enough of them is no choice.
    for card in &mut host.functions {
        if let Some(sriov) = &mut card.sriov {
            sriov.total_vfs = 1;
        }
    }
    assert_eq!(told_of(&host, LAN, "").len(), 1);
}

#[test]
fn the_root_in_a_network_takes_memory_for_its_frames_and_an_address_of_its_own() {
    let lan = LAN.replace("[\"a\"", "[\"root\", \"a\"") + "nat = true\n";
    let files = ["a", "b"].map(|name| (name, file(name, &[&lan])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    let plan = plan::plan(&host(), &slices, &Taken::default()).expect("a plan");
    let new = &plan.links[0];
    let bytes: u64 = new.memory.iter().map(MemoryShare::bytes).sum();
    assert_eq!(bytes, 4 << 20);
    let told = "link lan: root, a and b reach each other and need not trust each other; \
                network: root 10.1.4.1/24, a 10.1.4.2/24, b 10.1.4.3/24; \
                root (10.1.4.1) forwards for the cells, under its own addresses";
    assert_eq!(format!("link lan: {}", new.link.who()), told);
    for cell in &plan.cells {
        assert!(cell.why.iter().any(|why| why == told), "{:?}", cell.why);
    }
    let [root, a] = ["root", "a"].map(|name| new.link.mac_of(name).expect("an address"));
    assert_ne!(root, a);
    let mac = root.map(|byte| format!("{byte:02x}")).join(":");
    let note = format!("member 1 of 3, address 10.1.4.1/24, mac {mac}");
    assert_eq!(new.link.note("root"), note);
}

#[test]
fn what_makes_no_sense_of_a_network_or_a_window_is_refused() {
    let with = |line: &str| format!("{LAN}{line}\n");
    let no_size = LAN.replace("ethernet", "window");
    for (link, expected) in [
        (
            with("size = \"2MiB\""),
            "nobody chooses how much memory a network takes",
        ),
        (
            with("readers = [\"c\"]"),
            "nobody only reads what is sent on a network",
        ),
        (no_size, "nothing says how large the window `lan` is"),
    ] {
        let (_, report) = read(&[("a", file("a", &[&link]))]);
        let wrong = wrong(&report);
        assert!(wrong.iter().any(|message| message == expected), "{wrong:?}");
    }
}

const WIRE: &str = "name = \"wire\"\nkind = \"extended-socket\"\nmembers = [\"a\", \"b\", \"c\"]\n";

#[test]
fn an_extended_socket_has_memory_for_each_pair_of_its_members() {
    let files = ["a", "b", "c"].map(|name| (name, file(name, &[WIRE])));
    let (slices, report) = read(&files);
    assert!(report.is_empty(), "{report}");
    let plan = plan::plan(&host(), &slices, &Taken::default()).expect("a plan");
    let new = &plan.links[0];
    let bytes: u64 = new.memory.iter().map(MemoryShare::bytes).sum();
    // Six buffers of 2049 pages.
    assert_eq!((bytes, new.link.size), (50 << 20, 50 << 20));
    assert!(new.link.is_socket() && new.link.adapter_of("a").is_none());
    let told = "link wire: a, b and c reach each other and must trust each other: their kernels \
                do not check what the others write";
    for cell in &plan.cells {
        assert!(cell.why.iter().any(|why| why == told), "{:?}", cell.why);
    }
    let text = draw::text(&host(), &plan, Style::Plain);
    assert!(
        text.contains("Extended Socket, 50MiB, a, b and c"),
        "{text}"
    );
    // Virtual functions of a card are better here, too.
    assert_eq!(told_of(&host(), &WIRE.replace(", \"c\"", ""), "").len(), 2);
}

#[test]
fn what_an_extended_socket_cannot_be_is_refused() {
    let with = |line: &str| format!("{WIRE}{line}\n");
    let members = |names: &str| WIRE.replace("\"a\", \"b\", \"c\"", names);
    for (link, expected) in [
        (
            with("size = \"2MiB\""),
            "the memory of an Extended Socket follows from its members",
        ),
        (
            with("readers = [\"d\"]"),
            "nobody only reads what is sent on a network",
        ),
        (
            with("addresses = \"10.1.2.0/24\""),
            "nobody is told addresses on an Extended Socket",
        ),
        (
            with("doorbell = true"),
            "what comes by a network interrupts by itself",
        ),
        (
            members("\"a\", \"root\""),
            "this Linux has no Extended Socket: its own firmware would have to describe one",
        ),
        (
            members("\"a\", \"b\", \"c\", \"d\", \"e\""),
            "5 cells are in an Extended Socket, and its drivers take 16 MiB for each other one",
        ),
    ] {
        assert_eq!(wrong(&read_of(&link).1), [expected]);
    }
    assert!(wrong(&read_of(&members("\"a\", \"b\", \"c\", \"d\"")).1).is_empty());
    let second = WIRE.replace("wire", "other");
    let (_, report) = read(&[("a", file("a", &[WIRE, &second]))]);
    assert_eq!(
        wrong(&report),
        ["slice `a` is in two Extended Sockets, `wire` and `other`, and its driver knows one"]
    );
}
