//! Every broken example gets just the message that stands beside it.
//!
//! `NAME.toml` starts with the host that it is checked on (`# host: z8`), and
//! with `# files: look` if kernel and initrd matter. `NAME.txt` is the report.
//! After a change that is meant, `UPDATE=1 cargo test` writes the reports anew.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config;
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::Taken;
use std::fs;
use std::path::{Path, PathBuf};

/// Folder of all configurations.
fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// The value after `# key:` in the comments at the top.
fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let comments = text.lines().take_while(|l| l.starts_with('#'));
    let values = comments.filter_map(|l| l.strip_prefix("# ")?.strip_prefix(key));
    values.map(str::trim).next()
}

/// What is said about an example.
fn report(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("an example");
    let name = file.file_name().expect("a name");
    let (slices, mut report) = config::examine(&text, Path::new(name));
    let host = header(&text, "host:").expect("every example names its host");
    let host = configs().join(format!("hosts/{host}.toml"));
    let host = Host::load(&host).expect("a host");
    let files = match header(&text, "files:") {
        Some("look") => Files::Look,
        Some("elsewhere") => Files::Elsewhere,
        _ => Files::Skip,
    };
    report.extend(check::check(&host, &slices, &Taken::default(), files));
    report.in_order_of(&[name.into()]);
    report.to_string()
}

#[test]
fn every_broken_example_gets_its_message() {
    let mut files: Vec<PathBuf> = fs::read_dir(configs().join("broken"))
        .expect("the folder is there")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} examples", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let report = report(&file) + "\n";
        let expected = file.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &report).expect("written");
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(&report) {
            wrong.push(format!("{}:\n{report}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_names_its_line_and_a_remedy() {
    for entry in fs::read_dir(configs().join("broken")).expect("the folder is there") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|e| e == "txt") {
            let text = fs::read_to_string(&file).expect("a report");
            assert!(
                text.contains("help: "),
                "{} names no remedy",
                file.display()
            );
            assert!(text.contains("--> "), "{} names no place", file.display());
        }
    }
}
