//! Which lines of the monitor run: a plugin notes in QEMU what is executed of its image
//! while scenarios are played, and the image's own line table says what that was.
//!
//! What was noted is kept for as long as the image is the same, so that lanes and
//! scenarios can be played one after the other and the report is about all of them.

mod lines;

use super::Options;
use super::exits::{build_plugin, place};
use crate::boot::{Screen, conclude, parts, prepare};
use crate::build::monitor;
use crate::lane::Lane;
use crate::lane::run;
use crate::paths::{Paths, make_dir, read};
use crate::report;
use crate::scenario::{self, Scenario};
use crate::ui::Ui;
use anyhow::{Context, Result, bail, ensure};
use lines::{Files, Image};
use std::path::{Path, PathBuf};

/// Plays scenarios, all of the standard test's on the lane if none is named, and prints
/// what of the monitor ran, by file, and where it never did.
///
/// # Errors
///
/// The lane has no TCG; no scenario is like that; one fails, which is told after the
/// report about all of them.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, Some(options.lane.unwrap_or(Lane::QemuVmx)))?;
    ensure!(
        matches!(lane, Lane::QemuVmx | Lane::Qemu),
        "QEMU notes what runs on the lanes qemu-vmx and qemu, not on {}",
        lane.name()
    );
    let scenarios = wanted(paths, lane, &options.scenarios)?;
    let plugin = ui.step("Builds the plugin that notes", |_| build_plugin(paths))?;
    let mut failed = Vec::new();
    for scenario in scenarios {
        let name = scenario.name.clone();
        eprintln!("Plays {name} on {}", lane.name());
        if let Err(why) = play(paths, &ui, lane, scenario, &plugin) {
            eprintln!("{name} failed: {why:#}");
            failed.push(name);
        }
    }
    show(paths, options.out.as_deref())?;
    if !failed.is_empty() {
        bail!(
            "failed: {}; what ran until then is counted",
            failed.join(", ")
        );
    }
    Ok(())
}

/// The scenarios of these names; without names those that the standard test plays there
/// and that have a monitor.
fn wanted(paths: &Paths, lane: Lane, names: &[String]) -> Result<Vec<Scenario>> {
    let all = scenario::names(paths)?;
    let all = all.iter().map(|name| scenario::load(paths, name));
    let standard = |scenario: &Scenario| {
        scenario.parts
            && scenario.not_yet.is_none()
            && !scenario.large
            && !scenario.root.debian
            && !scenario.cells.debian
    };
    let mut found = all.collect::<Result<Vec<_>>>()?;
    found.retain(|scenario| {
        scenario.plays_on(lane)
            && if names.is_empty() {
                standard(scenario)
            } else {
                names.contains(&scenario.name)
            }
    });
    let lacks = |name: &&String| !found.iter().any(|scenario| scenario.name == **name);
    if let Some(name) = names.iter().find(lacks) {
        bail!(
            "no scenario {name} is played on {}: `cargo xtask boot --list` tells which are",
            lane.name()
        );
    }
    Ok(found)
}

/// Plays one while the plugin notes what runs.
fn play(paths: &Paths, ui: &Ui, lane: Lane, mut scenario: Scenario, plugin: &Path) -> Result<()> {
    let parts = parts(paths, ui, &scenario)?;
    let folder = folder(paths)?;
    make_dir(&folder)?;
    let file = folder.join(format!("{}-{}", lane.name(), scenario.name));
    let (from, to) = place(paths)?;
    scenario.machine.plugin = Some(format!(
        "{},reached={},from={from:x},to={to:x}",
        plugin.display(),
        file.display()
    ));
    let mut screen = Screen::new(ui, false);
    let outcome = run::run(paths, lane, &scenario, &parts, false, &mut screen)?;
    screen.end(&outcome);
    conclude(&outcome)
}

/// Where notes about this very image are.
fn folder(paths: &Paths) -> Result<PathBuf> {
    let image = read(&monitor::elf(paths))?;
    // FNV-1a: two builds of one checkout are to differ, no more.
    let sum = image.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    Ok(paths.target.join("coverage").join(format!("{sum:016x}")))
}

/// Prints the report about all that was noted of this image, and writes it to a folder
/// for machines.
fn show(paths: &Paths, out: Option<&Path>) -> Result<()> {
    let folder = folder(paths)?;
    let entries = std::fs::read_dir(&folder).context("nothing was played")?;
    let mut runs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    runs.sort();
    let image = Image::load(&monitor::elf(paths), &paths.root)?;
    let (from, _) = place(paths)?;
    let mut files = Files::default();
    let notes = runs
        .iter()
        .map(|run| read(run))
        .collect::<Result<Vec<_>>>()?;
    image.count(&mut files, |address| {
        let at = usize::try_from(address.saturating_sub(from)).unwrap_or(usize::MAX);
        notes
            .iter()
            .any(|note| note.get(at).is_some_and(|byte| *byte != 0))
    })?;
    println!("{}", report::table(&files.table()));
    println!("\nnever run:\n{}", files.gaps().join("\n"));
    let names = runs.iter().filter_map(|run| run.file_name());
    let names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    println!("\nplayed: {}", names.join(" "));
    if let Some(out) = out {
        make_dir(out)?;
        let path = out.join("coverage.json");
        let text = serde_json::to_vec_pretty(&files.json(&names)).context("no JSON")?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
