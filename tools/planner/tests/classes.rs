//! Shares of the L3 cache and of memory bandwidth.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config::{self, Slice};
use cellvisor_planner::draw::{self, Style};
use cellvisor_planner::host::Host;
use cellvisor_planner::inventory::Inventory;
use cellvisor_planner::plan::{self, AssignedClass, Plan, Taken};
use std::fmt::Write;
use std::path::Path;

/// CPUs of each slice, and what else it wants.
type Wishes<'a> = &'a [(&'a str, &'a str)];

/// A host, wishes, and what is said of them.
type Case<'a> = (&'a Host, Wishes<'a>, &'a [&'a str]);

/// Two packages with an L3 cache of 11 ways each: CPUs 0-11 and 12-23.
fn z8() -> Host {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/hosts");
    Host::load(&hosts.join("z8.toml")).expect("a host")
}

/// A slice for each.
fn slices(wishes: Wishes<'_>) -> Vec<Slice> {
    let mut text = "version = 1\n".to_owned();
    for (n, (cpus, wish)) in wishes.iter().enumerate() {
        write!(
            text,
            "[[slice]]\ncell.name = \"s{n}\"\ncpus.list = \"{cpus}\"\nmemory.size = \"64MiB\"\n\
             kernel.image = \"vmlinuz\"\n{wish}\n"
        )
        .expect("written");
    }
    config::parse(&text, Path::new("new.toml")).expect("well formed")
}

fn planned(host: &Host, wishes: Wishes<'_>) -> Plan {
    plan::plan(host, &slices(wishes), &Taken::default()).expect("a plan")
}

/// Number and ways of each.
fn classes(plan: &Plan) -> Vec<Option<(u8, u32)>> {
    let class = |class: AssignedClass| (class.number, class.l3_ways);
    plan.cells
        .iter()
        .map(|cell| cell.class.map(class))
        .collect()
}

fn refused(host: &Host, wishes: Wishes<'_>, taken: &Taken) -> String {
    check::check(host, &slices(wishes), taken, Files::Skip).to_string()
}

#[test]
fn slices_behind_one_cache_share_it_out_and_others_begin_anew() {
    let plan = planned(
        &z8(),
        &[
            ("1-2", "cache.l3-ways = 4"),
            ("3", ""),
            ("4", "cache.l3-ways = 2"),
            ("12", "cache.l3-ways = 10"),
            ("5", "bandwidth.percent = 30"),
        ],
    );
    let expected = [
        Some((1, 0x00f)),
        None,
        Some((2, 0x030)),
        Some((1, 0x3ff)),
        Some((3, 0)),
    ];
    assert_eq!(classes(&plan), expected);
    assert_eq!(plan.cells[4].class.map(|class| class.delay), Some(70));
    let why = plan.cells.iter().map(|cell| cell.why[1..].join("\n"));
    let why = why
        .filter(|why| !why.is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    let about = why
        .lines()
        .filter(|l| l.starts_with("cache") || l.starts_with("bandwidth"));
    let expected = "\
cache: ways 0-3 of the L3 cache's 11 for itself (class 1), ways 4-10 left for the root and others
cache: ways 4-5 of the L3 cache's 11 for itself (class 2), ways 6-10 left for the root and others
cache: ways 0-9 of the L3 cache's 11 for itself (class 1), way 10 left for the root and others
bandwidth: 30 percent of what each CPU could take (class 3)";
    assert_eq!(about.collect::<Vec<_>>().join("\n"), expected);
}

#[test]
fn the_inventory_says_which_share_each_cell_has() {
    let host = z8();
    let wishes: Wishes<'_> = &[
        ("1", "cache.l3-ways = 4"),
        ("2", "bandwidth.percent = 30"),
        ("3", ""),
        ("4", "cache.l3-ways = 2\nbandwidth.percent = 50"),
    ];
    let cells = planned(&host, wishes).cells;
    let told = Inventory::of(&host, &Taken { cells }).cells;
    let shares = told
        .iter()
        .map(|c| (c.l3_ways.to_string(), c.bandwidth_percent));
    let expected = [("0-3", 100), ("", 30), ("", 100), ("4-5", 50)];
    let expected = expected.map(|(ways, percent)| (ways.to_owned(), percent));
    assert_eq!(shares.collect::<Vec<_>>(), expected);
}

#[test]
fn pictures_show_who_has_which_way_of_each_cache() {
    let host = z8();
    let plan = planned(
        &host,
        &[
            ("1-2", "cache.l3-ways = 4"),
            ("3", "bandwidth.percent = 30"),
            ("11,13", "cache.l3-ways = 2\nbandwidth.percent = 50"),
        ],
    );
    let text = draw::text(&host, &plan, Style::Plain);
    let caches = text.lines().filter(|l| l.trim_start().starts_with("L3 "));
    let caches: Vec<_> = caches.map(str::trim_start).collect();
    let expected = ["L3      AAAACC..... 11 ways", "L3      ....CC..... 11 ways"];
    assert_eq!(caches, expected, "{text}");
    let heads = text
        .lines()
        .filter(|l| l.contains(" s") && l.contains("64MiB"));
    let heads: Vec<_> = heads.collect();
    let expected = [
        "A s0: 2 CPUs, 64MiB, L3 ways 0-3",
        "B s1: 1 CPU, 64MiB, 30 % of bandwidth",
        "C s2: 2 CPUs, 64MiB, L3 ways 4-5, 50 % of bandwidth",
    ];
    assert_eq!(heads, expected, "{text}");

    let svg = draw::svg(&host, &plan);
    for (way, owner, times) in [(3, "s0", 1), (5, "s2", 2), (10, "left to the root", 2)] {
        let tip = format!("way {way} of the L3 cache: {owner}<");
        assert_eq!(svg.matches(&tip).count(), times, "{tip}");
    }
    let without = draw::svg(&host, &planned(&host, &[("1", "bandwidth.percent = 30")]));
    assert!(!without.contains("of the L3 cache"), "nobody has ways");
}

#[test]
fn a_slice_behind_two_caches_has_the_same_ways_in_both() {
    let plan = planned(
        &z8(),
        &[
            ("1", "cache.l3-ways = 2"),
            ("12", "cache.l3-ways = 5"),
            ("11,13", "cache.l3-ways = 3"),
        ],
    );
    let expected = [Some((1, 0x003)), Some((1, 0x01f)), Some((2, 0x0e0))];
    assert_eq!(classes(&plan), expected);
}

#[test]
fn ways_between_two_cells_are_found_again() {
    let host = z8();
    let wishes = [
        ("1", "cache.l3-ways = 3"),
        ("2", "cache.l3-ways = 3"),
        ("3", "cache.l3-ways = 3"),
    ];
    let mut cells = planned(&host, &wishes).cells;
    cells.remove(1);
    let taken = Taken { cells };
    let new = |ways: &str| {
        let text = slices(&[("4", "")]);
        let text = text[0].name.replace("s0", "new");
        let file = format!(
            "version = 1\ncell.name = \"{text}\"\ncpus.list = \"4\"\nmemory.size = \"64MiB\"\n\
             kernel.image = \"vmlinuz\"\ncache.l3-ways = {ways}\n"
        );
        config::parse(&file, Path::new("new.toml")).expect("well formed")
    };
    let plan = plan::plan(&host, &new("3"), &taken).expect("a plan");
    assert_eq!(classes(&plan), [Some((2, 0x038))]);
    let report = check::check(&host, &new("4"), &taken, Files::Skip).to_string();
    let cause = "so many in a row are not free of the 11 ways behind its CPUs, of which one stays \
                 with the root: `s0` has 3 ways, `s2` has 3 ways";
    assert!(report.contains(cause), "{report}");
}

#[test]
fn what_cannot_be_had_says_why_and_what_to_do() {
    let host = z8();
    let none = Taken::default();
    let bare = Host {
        classes: None,
        ..z8()
    };
    let with = |change: fn(&mut cellvisor_planner::host::Classes)| {
        let mut host = z8();
        host.classes.iter_mut().for_each(change);
        host
    };
    let amd = with(|classes| classes.most_delay = 0);
    let used = with(|classes| classes.resctrl = true);
    let few = with(|classes| classes.last = 1);
    let cache = "cache.l3-ways = 4";
    let cases: [Case<'_>; 8] = [
        (
            &bare,
            &[("1", cache)],
            &[
                "slice `s0` cannot have a part of the L3 cache like that",
                "the CPUs of this machine cannot share out their L3 cache",
                "leave `[cache]` out",
            ],
        ),
        (
            &bare,
            &[("1", "bandwidth.percent = 50")],
            &["a limit of its memory bandwidth", "leave `[bandwidth]` out"],
        ),
        (
            &amd,
            &[("1", "bandwidth.percent = 50")],
            &["know no limit in percent", "has `mba`"],
        ),
        (
            &used,
            &[("1", cache)],
            &["resctrl is mounted", "umount /sys/fs/resctrl"],
        ),
        (
            &few,
            &[("1", cache), ("2", cache)],
            &[
                "slice `s1`",
                "classes of service besides the root's: 1, and all are taken",
                "`s0` has 4 ways",
                "take CPUs behind another L3 cache",
            ],
        ),
        (
            &host,
            &[("1", "cache.l3-ways = 11")],
            &[
                "the cache has 11 ways, and one stays with the root",
                "write `l3-ways = 10` or less",
            ],
        ),
        (
            &host,
            &[("1", "cache.l3-ways = 8"), ("2", "cache.l3-ways = 3")],
            &[
                "slice `s1`",
                "so many in a row are not free",
                "`s0` has 8 ways",
                "write fewer",
            ],
        ),
        (
            &host,
            &[("1", "bandwidth.percent = 45")],
            &[
                "cannot have that limit of the memory bandwidth",
                "in steps of 10 percent",
                "write 40 or 50",
            ],
        ),
    ];
    for (host, wishes, sentences) in cases {
        let report = refused(host, wishes, &none);
        for sentence in sentences {
            assert!(report.contains(sentence), "{sentence}\n{report}");
        }
        assert!(report.contains("help: "), "{report}");
    }
}
