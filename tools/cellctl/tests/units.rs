//! The units for systemd, by systemd's own word.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_finds_no_mistake_in_the_units() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("SKIPPED: systemd-analyze is not here");
        return;
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/systemd");
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut names = Vec::new();
    for unit in fs::read_dir(units).expect("the folder").flatten() {
        let text = fs::read_to_string(unit.path()).expect("a unit");
        // It looks for the programs, of which one is there.
        let text = text.replace("/usr/bin/cellctl", env!("CARGO_BIN_EXE_cellctl"));
        let text = text.replace("/usr/bin/cellnet", env!("CARGO_BIN_EXE_cellctl"));
        let path = dir.path().join(unit.file_name());
        fs::write(&path, text).expect("writes");
        names.push(unit.file_name().to_string_lossy().replace("@.", "@web."));
    }
    assert_eq!(names.len(), 5, "{names:?}");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(names.iter().map(|name| dir.path().join(name)))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
}
