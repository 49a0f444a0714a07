//! Life cycles: the scenario `bench-life` makes and destroys cells and turns the
//! monitor on and off, and fails if anything is lost. Its figures are shown.

use super::Options;
use crate::boot::{Screen, conclude, parts, prepare};
use crate::lane::run;
use crate::paths::Paths;
use crate::report;
use crate::scenario::{self, Scenario};
use crate::ui::Ui;
use anyhow::{Result, ensure};

/// Seconds that an emulated machine has for a cell that comes and goes, and for the
/// monitor.
const CELL_S: u32 = 2;
const SWITCH_S: u32 = 10;

/// Plays the scenario and prints what a cycle of each kind costs.
///
/// # Errors
///
/// The scenario fails: a cycle does, or something was lost.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, options.lane)?;
    let mut scenario = scenario::load(paths, "bench-life")?;
    ask(&mut scenario, options.cells, options.times);
    let parts = parts(paths, &ui, &scenario)?;
    let mut screen = Screen::new(&ui, false);
    let outcome = run::run(paths, lane, &scenario, &parts, false, &mut screen)?;
    screen.end(&outcome);
    conclude(&outcome)?;
    let lines = outcome.records.iter().flat_map(|record| &record.lines);
    let rows: Vec<_> = lines.filter_map(|line| row(line)).collect();
    ensure!(!rows.is_empty(), "the scenario measured nothing");
    println!("{}", report::table(&rows));
    Ok(())
}

/// Tells the script how often, by words of the kernel's command line, which Linux hands
/// to its first process as variables; and gives it time for that.
fn ask(scenario: &mut Scenario, cells: u32, times: u32) {
    let words = format!(" life_cells={cells} life_times={times}");
    scenario.root.cmdline.push_str(&words);
    for step in &mut scenario.steps {
        let each = match &*step.name {
            "cells" => CELL_S.saturating_mul(cells),
            "switches" => SWITCH_S.saturating_mul(times),
            _ => 0,
        };
        step.limit_s = step.limit_s.saturating_add(each);
    }
}

/// Words of a line like `life: small cycles=1000 ms=41`.
fn row(line: &str) -> Option<Vec<String>> {
    let words = line.strip_prefix("life: ")?.split_whitespace();
    Some(words.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_are_no_rows() {
        let words = ["small", "cycles=1000", "ms=41"].map(str::to_owned);
        assert_eq!(row("life: small cycles=1000 ms=41"), Some(words.to_vec()));
        assert_eq!(row("root: cpus=4"), None);
    }
}
