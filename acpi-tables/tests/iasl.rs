//! ACPICA's own compiler and interpreter judge the tables. Without `iasl` and
//! `acpiexec` (Debian package `acpica-tools`) these tests say so and pass; they fail
//! where `CELLVISOR_REQUIRE_TOOLS` is set, as `cargo xtask test` does.

mod cells;

use cellvisor_acpi_tables::{CellAcpi, Tables, build};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Standard output and error of a command; `None`, with a word to the reader, if
/// the program is not there.
fn run(program: &str, args: &[&str], dir: &Path) -> Option<(bool, String)> {
    match Command::new(program).args(args).current_dir(dir).output() {
        Ok(out) => {
            let text = [out.stdout, out.stderr].concat();
            Some((
                out.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            ))
        }
        Err(error) => {
            let demanded = std::env::var_os("CELLVISOR_REQUIRE_TOOLS").is_some();
            assert!(
                !demanded,
                "{program} cannot be run ({error}): install acpica-tools"
            );
            println!("SKIPPED: {program} cannot be run ({error}): install acpica-tools");
            None
        }
    }
}

/// A fresh folder of this test, with one file for each table.
fn unpack(test: &str, tables: &Tables) -> (PathBuf, Vec<String>) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("folder");
    let mut names = Vec::new();
    for entry in tables.entries.iter().filter(|e| e.signature != *b"RSD ") {
        let name = String::from_utf8_lossy(&entry.signature).to_lowercase();
        let bytes = &tables.bytes[entry.offset..entry.offset + entry.len];
        fs::write(dir.join(format!("{name}.aml")), bytes).expect("file");
        names.push(name);
    }
    (dir, names)
}

/// Every table goes to source and back, to the same bytes, and neither way has
/// the compiler anything to say.
fn survives_iasl(test: &str, cell: &CellAcpi<'_>) {
    let tables = build(cell).expect("tables");
    let (dir, names) = unpack(test, &tables);
    for name in names {
        let (aml, dsl) = (format!("{name}.aml"), format!("{name}.dsl"));
        let Some((good, said)) = run("iasl", &["-d", &aml], &dir) else {
            return;
        };
        assert!(good, "{said}");
        for word in ["Warning", "Error", "checksum", "Invalid", "unknown"] {
            assert!(!said.contains(word), "{name}, disassembled: {said}");
        }
        let before = fs::read(dir.join(&aml)).expect("table");
        let (good, said) = run("iasl", &["-we", &dsl], &dir).expect("iasl ran before");
        assert!(good, "{name}, compiled: {said}");
        if name == "dsdt" {
            assert!(said.contains("0 Errors, 0 Warnings, 0 Remarks"), "{said}");
        }
        let after = fs::read(dir.join(&aml)).expect("table");
        // The compiler writes its own name into the header and sums again.
        assert_eq!(before[36..], after[36..], "{name} changed on its way");
    }
}

#[test]
fn smallest_cell_survives_iasl() {
    survives_iasl("smallest", &CellAcpi::new(1));
}

#[test]
fn server_survives_iasl() {
    survives_iasl("server", &cells::server());
}

/// What the interpreter prints when it runs `command` on the server's DSDT.
fn evaluate(test: &str, command: &str) -> Option<String> {
    let (dir, _) = unpack(test, &build(&cells::server()).expect("tables"));
    let batch = format!("{command}; quit");
    let (good, said) = run("acpiexec", &["-b", &batch, "dsdt.aml"], &dir)?;
    assert!(good, "{said}");
    Some(said)
}

#[test]
fn soft_off_names_the_sleep_type_that_the_monitor_waits_for() {
    let Some(said) = evaluate("s5", "evaluate \\_S5") else {
        return;
    };
    assert!(said.contains("[Package] Contains 4 Elements"), "{said}");
    assert!(said.contains("[Integer] = 0000000000000005"), "{said}");
}

#[test]
fn resources_of_a_bridge_evaluate() {
    let Some(said) = evaluate("crs", "resources \\_SB.P000") else {
        return;
    };
    for part in [
        "6000",
        "7FFF",
        "AB000000",
        "0000388000000000",
        "000038BFFFFFFFFF",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// `_OSC` with this revision and request: status word and granted bits.
fn osc(test: &str, uuid: &str, revision: u8, request: u8) -> Option<(String, String)> {
    let buffer = format!("(00 00 00 00 1F 00 00 00 {request:02X} 03 00 00)");
    let said = evaluate(
        test,
        &format!("execute \\_SB.P000._OSC {uuid} {revision} 3 {buffer}"),
    )?;
    let line = said
        .lines()
        .find(|l| l.contains("0000: "))
        .expect("a buffer")
        .to_owned();
    let words: Vec<_> = line
        .split("0000: ")
        .nth(1)
        .expect("bytes")
        .split_whitespace()
        .collect();
    Some((words[0..4].concat(), words[8..12].concat()))
}

const PCI_BRIDGE: &str = "(5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66)";

#[test]
fn osc_grants_what_the_kernel_may_own_and_masks_the_rest() {
    let Some((status, control)) = osc("osc", PCI_BRIDGE, 1, 0xff) else {
        return;
    };
    // Bit 6 and bits 8 and 9 are not granted, so "capabilities masked" is set.
    assert_eq!((&*status, &*control), ("10000000", "BF000000"));
}

#[test]
fn osc_refuses_unknown_revision_and_unknown_uuid() {
    let Some((status, _)) = osc("osc-revision", PCI_BRIDGE, 2, 0x1f) else {
        return;
    };
    assert_eq!(status, "18000000", "unknown revision, masked");
    let other = PCI_BRIDGE.replace("5B", "5C");
    let (status, control) = osc("osc-uuid", &other, 1, 0x1f).expect("acpiexec ran before");
    assert_eq!(
        (&*status, &*control),
        ("04000000", "1F030000"),
        "nothing is granted"
    );
}
