//! Man pages: the definition of the command line with what it does not say
//! (exit status, files, examples), and slice(5) from the reference.

use crate::cli::Cli;
use crate::error::{Error, Result};
use cellvisor_planner::config;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::path::Path;

/// What the exit status means.
const STATUS: [(&str, &str); 6] = [
    ("0", "Done."),
    (
        "1",
        "Refused or failed. What was changed on the way is undone, unless the message says \
         otherwise.",
    ),
    ("2", "The command line is wrong."),
    ("3", "The driver, the monitor or the cell is not there."),
    ("4", "Time ran out before what was waited for came."),
    (
        "133",
        "The cell that run followed has ended and is to be started again, as its policy says.",
    ),
];

/// Files that commands read or write.
const FILES: [(&str, &str); 5] = [
    ("/dev/cellvisor", "The driver."),
    (
        "/usr/lib/cellvisor/cellvisor.bin",
        "The monitor's image, unless --image names another.",
    ),
    (
        "/run/cellvisor",
        "What must be remembered between calls: the monitor, each cell, and what to undo.",
    ),
    (
        "/etc/cellvisor/slices",
        "Slice files, or links to them, that `apply` takes without being told; see slice(5).",
    ),
    ("/sys/firmware/acpi/tables", "What the machine has."),
];

/// Examples by verb; those of "cellctl" itself show a slice's whole life.
const EXAMPLES: [(&str, &[&str]); 29] = [
    (
        "cellctl",
        &[
            "cellctl check",
            "cellctl create web.toml",
            "cellctl start web",
            "cellctl console web",
            "cellctl destroy web",
            "cellctl disable",
        ],
    ),
    ("enable", &["cellctl enable --log-port 0x2f8"]),
    ("disable", &["cellctl disable --force"]),
    (
        "create",
        &[
            "cellctl create web.toml db.toml",
            "cellctl create - < web.toml",
        ],
    ),
    ("start", &["cellctl start", "cellctl start web"]),
    (
        "stop",
        &["cellctl stop web", "cellctl stop web --timeout 10"],
    ),
    ("kill", &["cellctl kill web"]),
    ("nmi", &["cellctl nmi web"]),
    ("run", &["cellctl run /etc/cellvisor/slices/web.toml"]),
    ("restart", &["cellctl restart web"]),
    ("destroy", &["cellctl destroy web db"]),
    (
        "apply",
        &["cellctl apply", "cellctl apply web.toml db.toml"],
    ),
    ("diff", &["cellctl diff", "cellctl diff web.toml"]),
    (
        "autostart",
        &["cellctl autostart web", "cellctl autostart --off web"],
    ),
    ("edit", &["EDITOR=nano cellctl edit web"]),
    (
        "image",
        &[
            "cellctl image build --ssh-key ~/.ssh/id_ed25519.pub --out web.img",
            "cellctl image import debian-12-genericcloud-amd64.qcow2 --out web.img",
        ],
    ),
    (
        "build",
        &[
            "cellctl image build --ssh-key ~/.ssh/id_ed25519.pub --out web.img",
            "cellctl image build --ssh-key id.pub --namespace /dev/nvme0n2 --boot /var/lib/cells",
        ],
    ),
    (
        "import",
        &["cellctl image import debian-12-genericcloud-amd64.qcow2 --out web.img"],
    ),
    (
        "list",
        &["cellctl list", "cellctl list --json | jq '.[].state'"],
    ),
    ("status", &["cellctl status", "cellctl show web"]),
    ("stats", &["cellctl stats web --interval 1"]),
    (
        "metrics",
        &["cellctl metrics > /var/lib/prometheus/node-exporter/cellvisor.prom"],
    ),
    (
        "console",
        &[
            "cellctl console web",
            "cellctl console web --expect 'login:' --for 60",
        ],
    ),
    ("dump", &["cellctl dump web --out web.core"]),
    (
        "events",
        &["cellctl events", "cellctl events web --new --json"],
    ),
    ("log", &["cellctl log --follow"]),
    (
        "check",
        &["cellctl check", "cellctl check web.toml --host server.json"],
    ),
    (
        "plan",
        &[
            "cellctl plan web.toml db.toml --svg plan.svg",
            "cellctl plan web.toml db.toml --host rack1.json --host rack2.json",
        ],
    ),
    (
        "generate",
        &[
            "cellctl generate --policy cluster > slices.toml",
            "cellctl generate --policy cluster --boot-node --addresses 10.1.2.0/24 > slices.toml",
        ],
    ),
];

/// `man`: pages for all verbs in `man1`, slice(5) in `man5`.
pub(super) fn man(dir: &Path) -> Result<()> {
    let help = "name a folder that can be written to";
    let failed = |path: &Path, e| Error::file("cannot write man pages to", path, &e, help);
    let write = |section: &str, name: &str, page: &[u8]| {
        let folder = dir.join(section);
        fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        let path = folder.join(name);
        fs::write(&path, page).map_err(|e| failed(&path, e))
    };
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    for command in verbs(&command).into_iter().chain([&command]) {
        let (name, page) = page(command);
        write("man1", &name, page.as_bytes())?;
    }
    write("man5", "slice.5", slice().as_bytes())
}

/// All verbs that people use, also those of verbs.
fn verbs(command: &Command) -> Vec<&Command> {
    let is_for_people = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    let these = command.get_subcommands().filter(is_for_people);
    these
        .flat_map(|verb| [vec![verb], verbs(verb)].concat())
        .collect()
}

/// The file name and text of a command's page.
fn page(command: &Command) -> (String, String) {
    let shown = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone()).source("cellvisor");
    let mut page = Vec::new();
    // Writing to memory cannot fail.
    let _ = man.render(&mut page);
    let mut rest = Roff::new();
    entries(&mut rest, "EXIT STATUS", &STATUS);
    entries(&mut rest, "FILES", &FILES);
    let examples = EXAMPLES
        .iter()
        .find(|(verb, _)| *verb == command.get_name());
    let default = [shown.replacen('-', " ", 1)];
    rest.control("SH", ["EXAMPLES"]);
    match examples {
        Some((_, lines)) => lines.iter().for_each(|line| example(&mut rest, line)),
        None => default.iter().for_each(|line| example(&mut rest, line)),
    }
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman("cellctl(1), slice(5)")]);
    let page = String::from_utf8_lossy(&page).into_owned() + &rest.to_roff();
    (man.get_filename(), page)
}

fn entries(roff: &mut Roff, title: &str, all: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, about) in all {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*about)]);
    }
}

fn example(roff: &mut Roff, line: &str) {
    roff.control("PP", []);
    roff.text([bold(line)]);
}

/// slice(5), from the reference of slice files.
fn slice() -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["slice", "5", "", "cellvisor"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("slice - slice files of cellctl")]);
    roff.control("SH", ["DESCRIPTION"]);
    let plain = |text: &str| text.replace('`', "");
    for line in config::reference()
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
    {
        if let Some(title) = line.strip_prefix("## ") {
            roff.control("SH", [plain(title).as_str()]);
        } else if let Some((name, about)) = entry(line) {
            let inner = line.starts_with(' ');
            if inner {
                roff.control("RS", []);
            }
            roff.control("TP", []);
            roff.text([bold(plain(name))]);
            roff.text([roman(plain(about))]);
            if inner {
                roff.control("RE", []);
            }
        } else {
            roff.text([roman(plain(line))]);
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("cellctl(1), cellctl-check(1), cellctl-plan(1)")]);
    roff.render()
}

/// A slice file for slice(5).
const EXAMPLE: &str = "\
version = 1
[cell]
name = \"web\"
[cpus]
count = 4
[memory]
size = \"8GiB\"
[kernel]
image = \"/boot/vmlinuz\"
initrd = \"/boot/initrd.img\"
cmdline = \"console=ttyS0\"
";

/// The name and the explanation of a key or a word of the reference.
fn entry(line: &str) -> Option<(&str, &str)> {
    line.trim_start().strip_prefix("- ")?.split_once(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_that_people_use_has_a_page_with_all_sections() {
        let dir = tempfile::tempdir().expect("temporary folder");
        man(dir.path()).expect("writes");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a page");
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        for verb in verbs(&command) {
            let name = verb.get_display_name().expect("a name");
            let page = read(&format!("man1/{name}.1"));
            for section in ["NAME", "SYNOPSIS", "EXIT STATUS", "FILES", "EXAMPLES"] {
                let there = page
                    .lines()
                    .any(|l| l.strip_prefix(".SH ").map(|t| t.trim_matches('"')) == Some(section));
                assert!(there, "{}: {section}", verb.get_name());
            }
        }
        assert!(read("man1/cellctl-create.1").contains("log\\-port"));
        assert!(!dir.path().join("man1/cellctl-supervise.1").exists());
        let slice = read("man5/slice.5");
        for word in ["split\\-siblings", "on\\-failure", "EXAMPLES", "[kernel]"] {
            assert!(slice.contains(word), "{word} in {slice}");
        }
    }

    #[test]
    fn all_examples_are_right() {
        for (_, lines) in EXAMPLES {
            for line in lines {
                let words = line.split(" | ").next().unwrap_or_default();
                let words = words.split(['<', '>']).next().unwrap_or_default();
                let words = words.replace('\'', "");
                let words = words.trim_start_matches("EDITOR=nano ");
                let read = Cli::command().try_get_matches_from(words.split_whitespace());
                assert!(read.is_ok(), "{line}: {:?}", read.err());
            }
        }
        config::parse(EXAMPLE, Path::new("web.toml")).expect("a slice file");
    }
}
