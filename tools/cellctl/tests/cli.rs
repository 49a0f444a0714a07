//! The command as people and programs call it: what it prints, where, and with
//! which exit status. Nothing here needs a driver.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What takes far less than a second on a machine with nothing else to do, in an
/// unoptimized build on a busy one.
const SOON: Duration = Duration::from_secs(20);

fn cellctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cellctl"));
    command.env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    command
}

/// Runs the words of a line.
fn run(line: &str) -> Output {
    let words = line.split_whitespace();
    cellctl().args(words).output().expect("it runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn small() -> String {
    configs().join("hosts/small.toml").display().to_string()
}

const SLICE: &str = "version = 1\ncell.name = \"a\"\ncpus.count = 2\nmemory.size = \"64MiB\"\n\
                     kernel.image = \"vmlinuz\"\n";

/// `check -` of a text on the small host.
fn check_text(text: &[u8], more: &[&str]) -> Output {
    let mut child = cellctl()
        .args(["check", "-", "--host", &small()])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It may have seen enough before the end.
    let _ = child.stdin.take().expect("a pipe").write_all(text);
    child.wait_with_output().expect("it ends")
}

#[test]
fn writes_that_are_lost_are_told() {
    let host = small();
    for line in [
        format!("generate --policy partition --host {host}"),
        format!("host --host {host}"),
        "completions bash".to_owned(),
    ] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let output = cellctl()
            .args(line.split_whitespace())
            .stdout(full)
            .output()
            .expect("it runs");
        assert_eq!(code(&output), 1, "{line}");
        let told = "\
error: cannot write to standard output: No space left on device (os error 28)
  help: what was printed is not complete: make room, or write it elsewhere
";
        assert_eq!(err(&output), told, "{line}");
    }
}

#[test]
fn a_cluster_of_one_node_has_to_be_asked_for() {
    let line = format!("generate --policy cluster --host {}", small());
    let output = run(&line);
    assert_eq!(code(&output), 1);
    let told = err(&output);
    let help = "add --boot-node: this Linux keeps the boot CPU's core, and a slice gets the rest";
    assert!(told.contains(help), "{told}");
    assert!(output.stdout.is_empty());
    let output = run(&format!("{line} --boot-node"));
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert!(
        out(&output).contains("cell.name = \"node0\""),
        "{}",
        out(&output)
    );
}

#[test]
fn networks_that_join_no_cluster_are_refused() {
    let popcorn = configs().join("hosts/popcorn.toml");
    for (policy, addresses, why) in [
        ("partition", "10.1.2.0/24", "63 cells are in the link `net`"),
        ("cluster", "10.1.2.0/29", "too few addresses for 8 members"),
        ("cluster", "10.1.2.3", "--addresses"),
    ] {
        let host = popcorn.display();
        let output = run(&format!(
            "generate --policy {policy} --addresses {addresses} --host {host}"
        ));
        assert_ne!(code(&output), 0, "{policy} {addresses}");
        assert!(err(&output).contains(why), "{}", err(&output));
        assert!(output.stdout.is_empty(), "{policy} {addresses}");
    }
}

#[test]
fn readers_that_go_away_are_no_error() {
    for line in ["completions bash", "completions zsh", "--help"] {
        let mut child = cellctl()
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{line}");
    }
}

#[test]
fn shells_complete_verbs_options_and_the_cells_that_there_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("run");
    fs::create_dir_all(state.join("cells")).expect("made");
    fs::write(state.join("cells/web.json"), "{}").expect("written");
    let state = state.display().to_string();
    let complete = |words: &[&str]| {
        let output = cellctl()
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() + 2).to_string())
            .env("_CLAP_IFS", " ")
            .args(["--", "cellctl", "--state-dir", &state])
            .args(words)
            .output()
            .expect("it runs");
        out(&output)
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for verb in [
        "start", "stop", "restart", "nmi", "destroy", "status", "console",
    ] {
        assert_eq!(complete(&[verb, "w"]), ["web"], "{verb}");
    }
    assert_eq!(complete(&["stats", ""])[..2], ["web", "root"]);
    assert_eq!(complete(&["dest"]), ["destroy"]);
    assert_eq!(complete(&["create", "--log"]), ["--log-port"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&run(&format!("completions {shell}")));
        assert!(script.contains("cellctl"), "{script}");
    }
}

#[test]
fn files_without_end_and_large_ones_are_refused_soon() {
    let dir = tempfile::tempdir().expect("a folder");
    let large = dir.path().join("large.toml");
    File::create(&large)
        .and_then(|f| f.set_len(100 << 20))
        .expect("a file with a hole");
    let output = run("host --host /dev/zero");
    let told = "error: the file has more than 64MiB, no host file is so large\n";
    assert!(err(&output).starts_with(told), "{}", err(&output));
    for path in [Path::new("/dev/zero"), &large] {
        let path = path.display();
        let start = Instant::now();
        let output = run(&format!("check {path} --host {}", small()));
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!(code(&output), 1);
        let told = format!(
            "error: the file has more than 16MiB, no slice file is so large\n--> {path}\n = help: \
             name a TOML file that describes a slice, or `-` for standard input\n"
        );
        assert_eq!(err(&output), told);
    }
}

#[test]
fn long_lines_and_many_slices_take_no_time() {
    let words = "mem=1 ".repeat(20_000);
    let text = format!("{SLICE}kernel.cmdline = \"{words}\"\n");
    let start = Instant::now();
    let output = check_text(text.as_bytes(), &[]);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(err(&output).contains("it has 120013 bytes, and the kernel takes 2047"));
    assert!(err(&output).len() < 4000, "{} bytes", err(&output).len());

    let mut many = "version = 1\n".to_owned();
    for i in 0..2_000 {
        many += &format!(
            "[[slice]]\ncell.name = \"s{i}\"\ncpus.count = 1\nmemory.size = \"64MiB\"\n\
             kernel.image = \"vmlinuz\"\n"
        );
    }
    let start = Instant::now();
    let output = check_text(many.as_bytes(), &[]);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(err(&output).contains("slice `s1999` wants 1 CPU, "));
}

#[test]
fn slices_come_from_standard_input() {
    let output = check_text(SLICE.as_bytes(), &[]);
    let told = "\
warning: the kernel vmlinuz is not on this machine
 --> <stdin>:5:16
  |
5 | kernel.image = \"vmlinuz\"
  |                ^^^^^^^^^ so it was not looked at
  |
  = help: it must be on the machine where the slice is created
the file is good, with 1 warning
";
    assert_eq!(out(&output), told);
    assert_eq!(code(&output), 0);
}

#[test]
fn saved_hosts_come_from_standard_input_in_either_form() {
    let dir = tempfile::tempdir().expect("a folder");
    let slice = dir.path().join("slice.toml");
    fs::write(&slice, SLICE).expect("written");
    let json = run(&format!("host --json --host {}", small())).stdout;
    let toml = fs::read(small()).expect("a host");
    for host in [json, toml] {
        let mut child = cellctl()
            .arg("check")
            .arg(&slice)
            .args(["--host", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(&host).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let told = out(&output);
        assert!(
            told.ends_with("the file is good, with 1 warning\n"),
            "{told}"
        );
    }
    let output = run("check - --host -");
    let told = "error: cannot read standard input twice: two files are named `-`\n";
    assert!(err(&output).starts_with(told), "{}", err(&output));
}

#[test]
fn pictures_replace_nothing_but_pictures() {
    let dir = tempfile::tempdir().expect("a folder");
    let slice = dir.path().join("slice.toml");
    fs::write(&slice, SLICE).expect("written");
    let (path, host) = (slice.display().to_string(), small());
    let output = run(&format!("plan {path} --host {host} --svg {path}"));
    let told = format!(
        "error: cannot draw into {path}: there is a file of that name that is no SVG picture\n  \
         help: name a new file: --svg PICTURE.svg\n"
    );
    assert_eq!(err(&output), told);
    assert_eq!(fs::read_to_string(&slice).expect("it is there"), SLICE);
    let picture = dir.path().join("plan.svg").display().to_string();
    for _ in 0..2 {
        let output = run(&format!("plan {path} --host {host} --svg {picture}"));
        assert_eq!((code(&output), err(&output).as_str()), (0, ""));
        let told = "a: CPUs 1,5, 64 MiB of memory, 0 PCI functions\n";
        assert!(out(&output).starts_with(told), "{}", out(&output));
    }
}

/// Another of the hosts in `configs`.
fn host(name: &str) -> String {
    let path = configs().join(format!("hosts/{name}.toml"));
    path.display().to_string()
}

#[test]
fn several_machines_are_planned_together() {
    let dir = tempfile::tempdir().expect("a folder");
    let slice = dir.path().join("slice.toml");
    fs::write(&slice, SLICE).expect("written");
    let hosts = format!("--host {} --host {}", small(), host("z240"));
    let slice = slice.display();
    let output = run(&format!("plan {slice} {hosts}"));
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let told = out(&output);
    let expected = "SLICE  MACHINE        CPUS  MEMORY  FUNCTIONS\n\
                    a      small desktop  2     64 MiB  0\n";
    assert!(told.starts_with(expected), "{told}");

    let large = dir.path().join("large.toml");
    fs::write(&large, SLICE.replace("64MiB", "900GiB")).expect("written");
    let output = run(&format!("plan {} {hosts}", large.display()));
    assert_eq!(code(&output), 1);
    let told = err(&output);
    assert!(
        told.starts_with("error: no machine takes slice `a`: each has a reason\n  small desktop: "),
        "{told}"
    );
    assert!(told.contains("\n  help: ask for less"), "{told}");

    let output = run(&format!("plan {slice} {hosts} --text"));
    assert!(err(&output).starts_with("error: cannot draw several machines: a picture shows one"));
}

#[test]
fn inventories_are_json() {
    let output = run(&format!("host --inventory --host {}", host("z8")));
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["version"], &told["sockets"]), (&1.into(), &2.into()));
    assert_eq!(told["nodes"][1]["cpus"], "12-23");
}

#[test]
fn programs_get_failures_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().display();
    let verbs = [
        "enable",
        "disable",
        "create /none",
        "start a",
        "stop a",
        "restart a",
        "nmi a",
        "destroy a",
        "list",
        "status a",
        "show a",
        "stats",
        "console a",
        "log",
        "plan /none",
        "check /none",
        "acpi /none --out /none",
        "host --host /none",
        "generate --policy cluster --host /none",
        "man /proc/none",
    ];
    for verb in verbs {
        let output = run(&format!("{verb} --json --device /none --state-dir {dir}"));
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|e| {
            unreachable!("{verb}: {e}: {}", err(&output));
        });
        let told = &error["error"];
        assert_eq!(told["exit-code"], code(&output), "{verb}: {error}");
        let some = told["what"].is_string() || told["findings"].is_array();
        assert!(some && told["kind"].is_string(), "{verb}: {error}");
    }
    let output = run("strat a --json");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(code(&output), 2);
    assert_eq!(error["error"]["why"], "unrecognized subcommand 'strat'");
}

#[test]
fn names_are_no_paths() {
    for verb in [
        "start", "stop", "restart", "nmi", "destroy", "status", "stats", "console",
    ] {
        let output = run(&format!("{verb} ../x"));
        assert_eq!(code(&output), 2, "{verb}");
        let told = "no cell is called so: use 1 to 31 of a-z, 0-9, - and _, a letter or digit \
                    first";
        assert!(err(&output).contains(told), "{verb}: {}", err(&output));
    }
}

#[test]
fn hosts_list_their_functions() {
    let host = configs().join("hosts/qemu.toml");
    let output = run(&format!("host --functions --host {}", host.display()));
    let text = out(&output);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    assert!(head.starts_with("ADDRESS       ID         KIND"), "{head}");
    assert!(lines.clone().count() > 5, "{text}");
    assert!(text.contains("VFs at most"), "{text}");
}

#[test]
fn reports_are_coloured_on_terminals_alone() {
    let output = check_text(b"version = 2\n", &[]);
    assert!(!err(&output).contains('\x1b'));
    let forced = cellctl()
        .args(["check", "/none", "--host", &small()])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .expect("it runs");
    assert!(err(&forced).contains("\x1b["), "{}", err(&forced));
}
