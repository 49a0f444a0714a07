//! A machine whose `cellctl` is a list of names.

use super::*;
use std::cell::RefCell;

/// Cells with their states, what was asked for, and the word that fails.
#[derive(Default)]
struct Fake {
    cells: RefCell<Vec<(String, String)>>,
    asked: RefCell<Vec<String>>,
    fails: Option<&'static str>,
}

impl Cellctl for &Fake {
    fn run(&self, words: &[&str], _: &Path, input: &str) -> Result<(i32, String, String)> {
        let mut cells = self.cells.borrow_mut();
        if words == ["--json", "list"] {
            let cells: Vec<_> = cells
                .iter()
                .map(|(name, state)| serde_json::json!({ "name": name, "state": state }))
                .collect();
            return Ok((0, serde_json::json!(cells).to_string(), String::new()));
        }
        self.asked.borrow_mut().push(words.join(" "));
        if self.fails.is_some_and(|word| words.contains(&word)) {
            let err = "waiting\nerror: cannot do it: no memory\n  help: take less\n";
            return Ok((1, String::new(), err.to_owned()));
        }
        match *words {
            ["create", "-"] => {
                let slice: toml::Table = toml::from_str(input).expect("a slice");
                let name = slice["cell"]["name"].as_str().expect("a name").to_owned();
                cells.push((name, "loadable".into()));
            }
            ["destroy", name] => cells.retain(|cell| cell.0 != name),
            [verb, name, ..] => {
                let to = if verb == "start" {
                    "running"
                } else {
                    "stopped"
                };
                let cell = cells.iter_mut().find(|cell| cell.0 == name);
                to.clone_into(&mut cell.expect("a cell").1);
            }
            _ => {}
        }
        Ok((0, String::new(), String::new()))
    }
}

/// Plays with a machine that has n1 and n2, and another that has n3.
fn play(fake: &Fake, test: impl Fn(&Machine<'_, &Fake>)) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("t.toml"), "version = 1\n").expect("a template");
    let text = "version = 1\n[[machine]]\nname = \"m1\"\nlocal = true\nnodes = \"n[1-2]\"\n\
        [[machine]]\nname = \"m2\"\nssh = \"m2\"\nnodes = \"n3\"\n[[template]]\nslice = \"t.toml\"";
    let config = Config::parse(text, dir.path()).expect("a file");
    test(&Machine {
        config: &config,
        name: "m1",
        cellctl: fake,
        records: dir.path().join("records"),
    });
}

fn ask(machine: &Machine<'_, &Fake>, line: &str) -> Result<String> {
    machine.serve(&Request::parse(line)?)
}

#[test]
fn a_node_comes_is_listed_with_its_job_and_goes() {
    let fake = Fake::default();
    play(&fake, |machine| {
        assert_eq!(ask(machine, "resume n1 7 all"), Ok("n1 is started".into()));
        assert_eq!(ask(machine, "list"), Ok("n1 7 running".into()));
        assert_eq!(ask(machine, "suspend n1"), Ok("n1 is gone".into()));
        assert_eq!(ask(machine, "list"), Ok(String::new()));
        assert_eq!(ask(machine, "suspend n1"), Ok("n1 is not there".into()));
    });
    let asked = fake.asked.take();
    assert_eq!(
        asked,
        ["create -", "start n1", "stop n1 --timeout 10", "destroy n1"]
    );
}

#[test]
fn what_a_dead_job_left_is_made_anew() {
    let fake = Fake::default();
    play(&fake, |machine| {
        ask(machine, "resume n1 7 all").expect("it comes");
        ask(machine, "resume n1 8 all").expect("it comes again");
        assert_eq!(ask(machine, "list"), Ok("n1 8 running".into()));
    });
    assert_eq!(fake.cells.borrow().len(), 1);
}

#[test]
fn cells_of_others_are_left_alone() {
    let fake = Fake::default();
    fake.cells
        .borrow_mut()
        .push(("n1".into(), "running".into()));
    play(&fake, |machine| {
        for line in ["resume n1 7 all", "suspend n1"] {
            let why = ask(machine, line).expect_err("refused").why;
            assert!(why.contains("not made for Slurm"), "{why}");
        }
        assert!(ask(machine, "suspend n3").is_err(), "another machine's");
        assert!(ask(machine, "suspend web").is_err(), "nobody's");
    });
    assert!(fake.asked.borrow().is_empty());
}

#[test]
fn a_cell_that_cannot_be_made_or_started_leaves_nothing() {
    for fails in ["create", "start"] {
        let fake = Fake {
            fails: Some(fails),
            ..Fake::default()
        };
        play(&fake, |machine| {
            let error = ask(machine, "resume n1 7 all").expect_err("it fails");
            assert_eq!(error.why, "cannot do it: no memory");
            assert_eq!(error.help, "take less");
            assert_eq!(ask(machine, "list"), Ok(String::new()), "{fails}");
        });
        assert!(fake.cells.borrow().is_empty());
    }
}

#[test]
fn a_cell_that_cannot_be_destroyed_stays_noted() {
    let fake = Fake {
        fails: Some("destroy"),
        ..Fake::default()
    };
    play(&fake, |machine| {
        ask(machine, "resume n1 7 all").expect("it comes");
        ask(machine, "suspend n1").expect_err("it stays");
        assert_eq!(ask(machine, "list"), Ok("n1 7 stopped".into()));
        assert_eq!(ask(machine, "why n1"), Ok("its cell is stopped".into()));
    });
}

#[test]
fn why_a_node_failed_is_kept_until_it_comes_or_goes() {
    let failing = Fake {
        fails: Some("create"),
        ..Fake::default()
    };
    play(&failing, |machine| {
        ask(machine, "resume n1 7 all").expect_err("it fails");
        let why = "cellctl create -: cannot do it: no memory";
        assert_eq!(ask(machine, "why n1"), Ok(why.into()));
        assert_eq!(ask(machine, "why n2"), Ok("its cell is not there".into()));
        assert_eq!(ask(machine, "suspend n1"), Ok("n1 is not there".into()));
        assert_eq!(ask(machine, "why n1"), Ok("its cell is not there".into()));
    });
}

#[test]
fn a_failure_does_not_make_a_cell_of_others_slurms() {
    let fake = Fake::default();
    let cell = ("n1".to_owned(), "running".to_owned());
    fake.cells.borrow_mut().push(cell);
    play(&fake, |machine| {
        ask(machine, "resume n1 7 all").expect_err("refused");
        let why = ask(machine, "why n1").expect("a reason");
        assert!(why.contains("not made for Slurm"), "{why}");
        assert_eq!(ask(machine, "list"), Ok(String::new()));
        ask(machine, "suspend n1").expect_err("refused");
    });
    assert_eq!(fake.cells.borrow().len(), 1);
}

#[test]
fn complaints_are_lines_or_the_first_finding_of_a_report() {
    let told = |err: &str| {
        let Error { what, why, help } = complaint(&["create", "-"], err);
        assert_eq!(what, "cellctl create -");
        (why, help)
    };
    let report = "error: slice `n4` wants 64GiB of memory\n --> -:4:15\n  |\n\
        4 | memory.size = \"64GiB\"\n  |               ^^^^^^^ 7616 pages of 2MiB can be had: 14.8GiB\n\
        |\n  = help: write `size = \"14GiB\"` or less\n\nerror: another\n  | ^^ one\n";
    assert_eq!(
        told(report),
        (
            "slice `n4` wants 64GiB of memory: 7616 pages of 2MiB can be had: 14.8GiB".into(),
            "write `size = \"14GiB\"` or less".into()
        )
    );
    let (why, help) = told("error: no such cell\n\nerror: another\n  | ^^ one\n");
    assert_eq!(why, "no such cell");
    assert_eq!(help, "run it on the machine by hand");
    assert_eq!(told("killed\n").0, "killed");
    assert_eq!(told("").0, "it says nothing");
}
