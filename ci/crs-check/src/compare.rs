//! The firmware's root bridges beside those of a saved host.

use crate::firmware::Bridge;
use crate::resources::Resources;
use cellvisor_planner::host::{RootBus, Space, Window};
use serde::Serialize;

/// Cells have RAM and their tables below this address, so that none gets a
/// window there.
const LOW: u64 = 1 << 20;

/// What became of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Both say the same.
    Same,
    /// Both say the same, and cells' tables leave it out.
    SameButNotForCells,
    /// The same first bus. Linux does not show the last one: ours is the last
    /// that no other bridge has.
    UpperBound,
    /// The bridge's own registers, which are no window.
    OwnRegisters,
    /// Linux shows no such thing.
    OnlyFirmware,
    /// The firmware tells no such thing.
    OnlyOurs,
    /// Both know it, with different bounds.
    Differs,
    /// The firmware's word cannot be had.
    NotEvaluated,
}

impl Verdict {
    /// True if somebody has to look at it.
    pub(crate) const fn is_difference(self) -> bool {
        !matches!(
            self,
            Self::Same | Self::SameButNotForCells | Self::UpperBound | Self::OwnRegisters
        )
    }

    /// What people read.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameButNotForCells => "same; below 1 MiB, so no cell gets it",
            Self::UpperBound => "same first; Linux hides the last, ours is the most it can be",
            Self::OwnRegisters => "registers of the bridge, no window",
            Self::OnlyFirmware => "DIFFERS: only the firmware has it",
            Self::OnlyOurs => "DIFFERS: the firmware does not have it",
            Self::Differs => "DIFFERS",
            Self::NotEvaluated => "NOT EVALUATED",
        }
    }
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// The bridge: its path, or its first bus if the firmware has none.
    pub(crate) bridge: String,
    /// Buses, ports or memory.
    pub(crate) resource: &'static str,
    /// The firmware's word.
    pub(crate) crs: Option<String>,
    /// Linux's view.
    pub(crate) ours: Option<String>,
    /// What became of it.
    pub(crate) verdict: Verdict,
}

/// All rows, by bridge. What only one side has makes a row, too.
pub(crate) fn compare(firmware: &[Bridge], ours: &[RootBus]) -> Vec<Row> {
    let mut rows = Vec::new();
    let starts = starts(firmware);
    let mut left: Vec<&RootBus> = ours.iter().collect();
    for bridge in firmware {
        let resources = match &bridge.resources {
            Ok(resources) => resources,
            Err(why) => {
                let why = Some(why.clone());
                rows.push(row(
                    &bridge.path,
                    "bridge",
                    why,
                    None,
                    Verdict::NotEvaluated,
                ));
                continue;
            }
        };
        let first = resources.buses.map_or(0, |(first, _)| first);
        let same = |root: &&RootBus| (root.segment, root.first_bus) == (bridge.segment, first);
        let Some(at) = left.iter().position(same) else {
            let bus = Some(format!("{:04x}:{first:02x}", bridge.segment));
            rows.push(row(
                &bridge.path,
                "bridge",
                bus,
                None,
                Verdict::OnlyFirmware,
            ));
            continue;
        };
        let root = left.remove(at);
        rows.push(buses(&bridge.path, resources.buses, root, &starts));
        of_windows(&mut rows, &bridge.path, resources, root);
    }
    for root in left {
        let name = format!("{:04x}:{:02x}", root.segment, root.first_bus);
        rows.push(row("-", "bridge", None, Some(name), Verdict::OnlyOurs));
    }
    rows
}

fn row(
    bridge: &str,
    resource: &'static str,
    crs: Option<String>,
    ours: Option<String>,
    verdict: Verdict,
) -> Row {
    Row {
        bridge: bridge.to_owned(),
        resource,
        crs,
        ours,
        verdict,
    }
}

/// Segment and first bus of all bridges.
fn starts(firmware: &[Bridge]) -> Vec<(u16, u8)> {
    let start = |bridge: &Bridge| {
        let (first, _) = bridge.resources.as_ref().ok()?.buses?;
        Some((bridge.segment, first))
    };
    firmware.iter().filter_map(start).collect()
}

/// The row of a bridge's buses; `starts` are those of all bridges.
fn buses(name: &str, crs: Option<(u8, u8)>, ours: &RootBus, starts: &[(u16, u8)]) -> Row {
    let text = |(first, last): (u8, u8)| format!("{:04x}:{first:02x}-{last:02x}", ours.segment);
    let mine = (ours.first_bus, ours.last_bus);
    let verdict = match crs {
        Some(theirs) if theirs == mine => Verdict::Same,
        Some((first, last)) if first == mine.0 && last < mine.1 => {
            let others = |start: &(u16, u8)| start.0 == ours.segment && start.1 > last;
            match starts.iter().any(|s| others(s) && s.1 <= mine.1) {
                true => Verdict::Differs,
                false => Verdict::UpperBound,
            }
        }
        _ => Verdict::Differs,
    };
    row(name, "buses", crs.map(text), Some(text(mine)), verdict)
}

/// The rows of the windows of a bridge that both sides have.
fn of_windows(rows: &mut Vec<Row>, name: &str, theirs: &Resources, ours: &RootBus) {
    for (space, what) in [(Space::Io, "I/O ports"), (Space::Mem, "memory")] {
        let of_space = |windows: &[Window]| -> Vec<Window> {
            windows
                .iter()
                .filter(|w| w.space == space)
                .copied()
                .collect()
        };
        for (crs, mine) in pairs(joined(of_space(&theirs.windows)), of_space(&ours.windows)) {
            let verdict = match (crs, mine) {
                (Some(_), None) => Verdict::OnlyFirmware,
                (None, _) => Verdict::OnlyOurs,
                (Some(a), Some(b)) if (a.start, a.end) != (b.start, b.end) => Verdict::Differs,
                (Some(a), Some(_)) if space == Space::Mem && a.end < LOW => {
                    Verdict::SameButNotForCells
                }
                (Some(_), Some(_)) => Verdict::Same,
            };
            rows.push(row(name, what, crs.map(range), mine.map(range), verdict));
        }
        for own in of_space(&theirs.own) {
            rows.push(row(
                name,
                what,
                Some(range(own)),
                None,
                Verdict::OwnRegisters,
            ));
        }
    }
}

fn range(window: Window) -> String {
    format!("{:#x}-{:#x}", window.start, window.end)
}

/// Windows in order; those that overlap are one, as Linux has it.
fn joined(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort();
    let mut found: Vec<Window> = Vec::new();
    for window in windows {
        match found.last_mut() {
            Some(last) if window.start <= last.end => last.end = last.end.max(window.end),
            _ => found.push(window),
        }
    }
    found
}

/// Windows of both sides, side by side where they have an address in common.
fn pairs(theirs: Vec<Window>, mut ours: Vec<Window>) -> Vec<(Option<Window>, Option<Window>)> {
    ours.sort();
    let mut found = Vec::new();
    for window in theirs {
        let same = |w: &Window| (w.start, w.end) == (window.start, window.end);
        let meets = |w: &Window| w.start <= window.end && window.start <= w.end;
        let at = ours
            .iter()
            .position(same)
            .or_else(|| ours.iter().position(meets));
        found.push((Some(window), at.map(|at| ours.remove(at))));
    }
    found.extend(ours.into_iter().map(|w| (None, Some(w))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::Firmware;
    use crate::hardware::Hardware;
    use cellvisor_acpi_tables as tables;

    const WINDOWS: [tables::Window; 4] = [
        tables::Window::Io {
            first: 0x1000,
            last: 0x1fff,
        },
        tables::Window::Memory {
            first: 0xa_0000,
            last: 0xb_ffff,
            prefetchable: false,
        },
        tables::Window::Memory {
            first: 0xfe00_0000,
            last: 0xfe7f_ffff,
            prefetchable: false,
        },
        tables::Window::Memory {
            first: 0x40_0000_0000,
            last: 0x47_ffff_ffff,
            prefetchable: true,
        },
    ];

    /// What a firmware with a bridge of [`WINDOWS`] tells, by way of AML.
    fn firmware() -> Vec<Bridge> {
        let bridge = tables::RootBridge {
            segment: 0,
            first_bus: 0x40,
            last_bus: 0x5f,
            express: false,
            node: None,
            windows: &WINDOWS,
            intx: &[],
        };
        let cell = tables::CellAcpi {
            bridges: &[bridge],
            ..tables::CellAcpi::new(2)
        };
        let built = tables::build(&cell).expect("builds");
        let dsdt = built.table(b"DSDT").expect("a DSDT").to_vec();
        let hardware = Hardware::none();
        let firmware = Firmware::load(&hardware, &[dsdt]).expect("loads");
        firmware.bridges().expect("bridges")
    }

    /// The same bridge as Linux shows it.
    fn ours() -> RootBus {
        let windows = WINDOWS.map(|window| match window {
            tables::Window::Io { first, last } => (Space::Io, first.into(), last.into()),
            tables::Window::Memory { first, last, .. } => (Space::Mem, first, last),
        });
        RootBus {
            segment: 0,
            first_bus: 0x40,
            last_bus: 0x5f,
            node: None,
            windows: windows
                .map(|(space, start, end)| Window {
                    space,
                    start,
                    end,
                    prefetchable: false,
                })
                .to_vec(),
        }
    }

    fn verdicts(ours: &[RootBus]) -> Vec<Verdict> {
        let rows = compare(&firmware(), ours);
        rows.iter().map(|row| row.verdict).collect()
    }

    #[test]
    fn bridge_that_both_sides_tell_alike_is_the_same() {
        use Verdict::{Same, SameButNotForCells};
        let expected = [Same, Same, SameButNotForCells, Same, Same];
        assert_eq!(verdicts(&[ours()]), expected);
    }

    #[test]
    fn wrong_windows_and_buses_are_found() {
        let mut wrong = ours();
        wrong.windows[2].end += 0x1000;
        wrong.windows.remove(0);
        wrong.last_bus = 0x4f;
        let rows = compare(&firmware(), &[wrong]);
        let bad: Vec<_> = rows
            .iter()
            .filter(|row| row.verdict.is_difference())
            .map(|row| (row.verdict, row.crs.as_deref(), row.ours.as_deref()))
            .collect();
        assert_eq!(
            bad,
            [
                (Verdict::Differs, Some("0000:40-5f"), Some("0000:40-4f")),
                (Verdict::OnlyFirmware, Some("0x1000-0x1fff"), None),
                (
                    Verdict::Differs,
                    Some("0xfe000000-0xfe7fffff"),
                    Some("0xfe000000-0xfe800fff")
                ),
            ]
        );
    }

    #[test]
    fn last_bus_may_reach_as_far_as_the_next_bridge() {
        let bridge = |first| Bridge {
            path: format!("B{first:x}"),
            segment: 0,
            resources: Ok(Resources {
                buses: Some((first, first + 1)),
                ..Resources::default()
            }),
        };
        let root = |first_bus, last_bus| RootBus {
            windows: Vec::new(),
            first_bus,
            last_bus,
            ..ours()
        };
        let verdicts = |last| {
            let roots = [root(0x40, last), root(0x60, 0x61)];
            let rows = compare(&[bridge(0x40), bridge(0x60)], &roots);
            [0, 1].map(|n| rows[n].verdict)
        };
        assert_eq!(verdicts(0x5f), [Verdict::UpperBound, Verdict::Same]);
        assert_eq!(verdicts(0x60), [Verdict::Differs, Verdict::Same]);
        assert_eq!(verdicts(0x40), [Verdict::Differs, Verdict::Same]);
    }

    #[test]
    fn bridge_that_cannot_be_evaluated_is_a_difference() {
        let bridge = Bridge {
            path: "B".into(),
            segment: 0,
            resources: Err("AML writes".into()),
        };
        let rows = compare(&[bridge], &[]);
        assert_eq!(rows[0].verdict, Verdict::NotEvaluated);
        assert!(rows[0].verdict.is_difference());
    }

    #[test]
    fn bridges_and_windows_of_one_side_alone_are_told() {
        let mut more = ours();
        more.windows.push(Window {
            space: Space::Mem,
            start: 0x9000_0000,
            end: 0x9fff_ffff,
            prefetchable: false,
        });
        let other = RootBus {
            first_bus: 0x80,
            ..ours()
        };
        let both = verdicts(&[more, other]);
        let only = both.iter().filter(|v| **v == Verdict::OnlyOurs).count();
        assert_eq!(only, 2, "{both:?}");
        assert_eq!(verdicts(&[]), [Verdict::OnlyFirmware]);
    }
}
