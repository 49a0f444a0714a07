//! Runs of a scenario, line by line.

use super::*;

fn scenario() -> Scenario {
    toml::from_str(
        r#"
        about = "test"
        lanes = ["qemu"]
        [[step]]
        name = "before"
        title = "Before"
        see = ["cpus=(?<cpus>[0-9]+)"]
        figure = "<cpus> CPUs"
        [[step]]
        name = "after"
        title = "After"
        see = ["cpus=<cpus>$"]
        never = ["lost"]
        allow = ["Kernel panic"]
        limit-s = 10
        [step.cells]
        one = ["^up$", "^down$"]
        "#,
    )
    .expect("parses")
}

fn play(lines: &[&str]) -> Verdict {
    let scenario = scenario();
    let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
    for line in lines {
        match judge.line(line, 1.0).expect("patterns") {
            Verdict::Going => {}
            end => return end,
        }
    }
    Verdict::Going
}

#[test]
fn run_passes_when_values_come_back() {
    let after = ["step: after", "[cell one] up", "cpus=4", "[cell one] down"];
    let lines = [
        &["boot", "step: before", "cpus=4"][..],
        &after,
        &["ci: pass"],
    ]
    .concat();
    assert_eq!(play(&lines), Verdict::Passed);
}

#[test]
fn run_fails_when_a_value_differs() {
    let lines = [
        "step: before",
        "cpus=4",
        "step: after",
        "cpus=3",
        "ci: pass",
    ];
    assert_eq!(
        play(&lines),
        Verdict::Failed("not seen: `cpus=4$`, `^up$` from one".into())
    );
}

#[test]
fn run_fails_when_it_ends_early_or_out_of_order() {
    let early = play(&["step: before", "cpus=4", "ci: pass"]);
    assert_eq!(early, Verdict::Failed("ended before step after".into()));
    let order = play(&["step: after"]);
    assert_eq!(
        order,
        Verdict::Failed("step after began where before was to come".into())
    );
}

#[test]
fn trouble_fails_unless_the_step_allows_it() {
    let bad = play(&["step: before", "Kernel panic - not syncing"]);
    let want = Verdict::Failed("trouble: Kernel panic - not syncing".into());
    assert_eq!(bad, want);
    let after = ["step: after", "Kernel panic", "cpus=4"];
    let cell = ["[cell one] up", "[cell one] down"];
    let lines = [
        &["step: before", "cpus=4"][..],
        &after,
        &cell,
        &["ci: pass"],
    ]
    .concat();
    assert_eq!(play(&lines), Verdict::Passed);
    let never = play(&["step: before", "cpus=4", "step: after", "lost"]);
    assert!(matches!(never, Verdict::Failed(_)));
}

#[test]
fn trouble_after_the_end_fails_as_well() {
    let scenario = scenario();
    let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
    let lines = [
        "step: before",
        "cpus=4",
        "step: after",
        "cpus=4",
        "[cell one] up",
        "[cell one] down",
    ];
    for line in lines {
        assert_eq!(judge.line(line, 1.0).expect("patterns"), Verdict::Going);
    }
    assert_eq!(
        judge.line("ci: pass", 1.0).expect("patterns"),
        Verdict::Passed
    );
    assert_eq!(judge.after("reboot: Power down"), None);
    assert_eq!(
        judge.after("irq 9: nobody cared"),
        Some("trouble after the end: irq 9: nobody cared".into())
    );
}

#[test]
fn complaints_in_the_monitors_log_are_expected_or_wrong() {
    let mut scenario = scenario();
    let quiet = "hv: iommu: units=1\nhv: cell=one started\n\
        hv: cell=one cpu=0 denied port write port=0x70 size=1\n\
        hv: cell=one cpu=0 denied msr read index=0x34 value=0x0 rip=0x1\n";
    let judged = |scenario: &Scenario, text: &str| log(scenario, text).expect("patterns");
    assert_eq!(judged(&scenario, quiet), [""; 0]);
    let line = "hv: cell=one cpu=0 denied port read port=0x604 size=2";
    let denied = format!("{quiet}{line}\n");
    let wrong = format!("the monitor's log has: {line}");
    assert_eq!(judged(&scenario, &denied), [wrong]);
    let pattern = "cell=one cpu=0 denied port read port=0x604";
    scenario.monitor = vec![pattern.into()];
    assert_eq!(judged(&scenario, &denied), [""; 0]);
    let missing = format!("the monitor's log has no line like `{pattern}`");
    assert_eq!(judged(&scenario, quiet), [missing]);
    for wrong in [
        "hv: panicked at src/run.rs:1:1: no",
        "hv: cell=root cpu=0 denied msr read index=0x34 value=0x0 rip=0x1",
        "hv: cell=one cpu=0 denied msr write index=0x34 value=0x0 rip=0x1",
    ] {
        assert_eq!(judged(&scenario, &format!("{denied}{wrong}\n")).len(), 1);
    }
}

#[test]
fn a_lenient_run_goes_on_and_tells_all_that_was_wrong() {
    let mut scenario = scenario();
    scenario.lenient = true;
    let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
    let lines = ["step: before", "ci: wrong: first", "step: after", "lost"];
    for line in lines {
        assert_eq!(judge.line(line, 1.0).expect("patterns"), Verdict::Going);
    }
    let wrong = [
        "first",
        "not seen: `cpus=(?<cpus>[0-9]+)`",
        "seen, but must not be: `lost` in: lost",
    ];
    assert_eq!(judge.wrong(), wrong);
    let end = judge.line("ci: failed: no more", 1.0).expect("patterns");
    assert_eq!(end, Verdict::Failed("no more".into()));
}

#[test]
fn a_lenient_run_tells_all_of_a_step_that_nobody_said() {
    let wrong = |lenient| {
        let mut scenario = scenario();
        scenario.lenient = lenient;
        scenario.steps[0]
            .see
            .extend(["second".into(), "third".into()]);
        let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
        for line in ["step: before", "second"] {
            judge.line(line, 1.0).expect("patterns");
        }
        judge.missing()
    };
    assert_eq!(wrong(false), Some("`cpus=(?<cpus>[0-9]+)`".into()));
    let all = "`cpus=(?<cpus>[0-9]+)`, `third`";
    assert_eq!(wrong(true), Some(all.into()));
}

#[test]
fn limits_run_from_the_begin_of_a_step() {
    let scenario = scenario();
    let mut judge = Judge::new(&scenario, 2, &[]).expect("patterns");
    assert_eq!(judge.overdue(179.0), None);
    judge.line("step: before", 100.0).expect("patterns");
    judge.line("cpus=4", 101.0).expect("patterns");
    judge.line("step: after", 102.0).expect("patterns");
    assert_eq!(judge.overdue(122.0), None);
    assert_eq!(
        judge.overdue(122.5),
        Some("not seen within 20 s: `cpus=4$`, `^up$` from one".into())
    );
}

#[test]
fn figure_takes_what_was_seen() {
    let scenario = scenario();
    let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
    for line in ["step: before", "cpus=4", "step: after"] {
        judge.line(line, 3.0).expect("patterns");
    }
    assert_eq!(judge.records[0].figure, "4 CPUs");
}

#[test]
fn a_second_machine_has_patterns_of_its_own_and_gives_up_for_both() {
    let scenario: Scenario = toml::from_str(
        r#"
        about = "test"
        [[step]]
        name = "both"
        title = "Both"
        see = ["^here$"]
        twin = ["^there$"]
        cells = { one = ["^up$"] }
        "#,
    )
    .expect("parses");
    let verdict = |lines: &[String]| {
        let mut judge = Judge::new(&scenario, 1, &[]).expect("patterns");
        let mut last = Verdict::Going;
        for line in lines {
            last = judge.line(line, 1.0).expect("patterns");
        }
        last
    };
    let own = |line: &str| line.to_owned();
    let lines = |twins: &str| {
        let [begin, here, end] = ["step: both", "here", "ci: pass"].map(own);
        [begin, here, of_twin(twins), of_twin("[cell one] up"), end]
    };
    assert_eq!(verdict(&lines("there")), Verdict::Passed);
    assert_eq!(
        verdict(&lines("elsewhere")),
        Verdict::Failed("not seen: `^there$` from the twin".to_owned())
    );
    // Steps and the end are the first machine's.
    for line in ["step: both", "ci: pass"] {
        assert_eq!(of_twin(line), format!("[twin] {line}"));
    }
    assert_eq!(
        verdict(&[of_twin("ci: failed: no way")]),
        Verdict::Failed("the twin: no way".to_owned())
    );
    assert!(matches!(
        verdict(&[of_twin("BUG: a bad one")]),
        Verdict::Failed(_)
    ));
}
