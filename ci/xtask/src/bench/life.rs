//! Life cycles: the scenario `bench-life` makes and destroys cells and turns the
//! monitor on and off, and fails if anything is lost. Its figures are shown.

use super::Options;
use crate::boot::{Screen, conclude, parts, prepare};
use crate::lane::run;
use crate::paths::Paths;
use crate::report;
use crate::scenario;
use crate::ui::Ui;
use anyhow::{Result, ensure};

/// Plays the scenario and prints what a cycle of each kind costs.
///
/// # Errors
///
/// The scenario fails: a cycle does, or something was lost.
pub(super) fn main(paths: &Paths, options: &Options) -> Result<()> {
    let ui = Ui::new(options.verbose);
    let lane = prepare(paths, &ui, options.lane)?;
    let scenario = scenario::load(paths, "bench-life")?;
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
