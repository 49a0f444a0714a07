//! Curves over the number of CPUs, both axes logarithmic, in SVG.

use std::fmt::Write;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
/// From one line of text to the next.
const LINE: f64 = 12.0;

/// Colours that stay apart, for as many lines as there are.
const COLOURS: [&str; 9] = [
    "#2f6f9f", "#c2703d", "#3f8f4f", "#8a4fa0", "#555555", "#b03050", "#a08a20", "#30a0a8",
    "#d080b8",
];

/// Some lines by their names, each a list of CPUs and values.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// The values of an axis: its ends, as powers.
struct Axis {
    base: f64,
    least: f64,
    most: f64,
}

impl Axis {
    /// The axis that has all values, from one power of `base` to another.
    fn new(base: f64, values: impl Iterator<Item = f64>) -> Self {
        let powers = values.filter(|v| *v > 0.0).map(|v| v.log(base));
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for power in powers {
            // What is a power but for rounding is one.
            least = least.min((power + 1e-9).floor());
            most = most.max((power - 1e-9).ceil());
        }
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        Self {
            base,
            least,
            most: most.max(least + 1.0),
        }
    }

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value.max(f64::MIN_POSITIVE).log(self.base) - self.least) / (self.most - self.least)
    }

    /// Where a number of CPUs lies in a panel.
    fn x(&self, cpus: f64) -> f64 {
        LEFT + self.place(cpus) * (WIDTH - LEFT - RIGHT)
    }

    /// Where a value lies in a panel.
    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// Its powers.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (base, steps) = (self.base, (self.most - self.least) as u32);
        let least = self.least;
        (0..=steps).map(move |step| base.powf(least + f64::from(step)))
    }
}

/// Draws the panels side by side.
pub(super) fn draw(panels: &[Panel]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH * panels.len() as f64
    );
    for (index, panel) in panels.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<g transform=\"translate({} 0)\">",
            WIDTH * index as f64
        );
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn draw_panel(svg: &mut String, panel: &Panel) {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let across = Axis::new(2.0, points().map(|p| p.0));
    let up = Axis::new(10.0, points().map(|p| p.1));
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\">{}</text>\
         <text x=\"{}\" y=\"{}\">CPUs</text>",
        panel.title,
        WIDTH - RIGHT + 8.0,
        HEIGHT - BOTTOM + 16.0
    );
    for tick in across.ticks() {
        let at = across.x(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{tick:.0}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0
        );
    }
    for tick in up.ticks() {
        let at = up.y(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            named(tick)
        );
    }
    draw_lines(svg, panel, &across, &up);
}

/// The lines, each with its name at its end, names apart from each other.
fn draw_lines(svg: &mut String, panel: &Panel, across: &Axis, up: &Axis) {
    let mut names = Vec::new();
    for (index, (name, points)) in panel.lines.iter().enumerate() {
        let colour = COLOURS.get(index).copied().unwrap_or("black");
        let place = |(cpus, value): &(f64, f64)| (across.x(*cpus), up.y(*value));
        let places = points.iter().map(place);
        let places: Vec<String> = places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        names.extend(points.last().map(|point| (place(point), colour, name)));
    }
    names.sort_by(|((_, a), ..), ((_, b), ..)| a.total_cmp(b));
    let mut free = 0.0_f64;
    for ((x, y), colour, name) in names {
        let y = free.max(y + 4.0);
        free = y + LINE;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{name}</text>",
            x + 5.0
        );
    }
}

/// A power of ten as people write it.
fn named(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.0} G", v / 1e9),
        v if v >= 1e6 => format!("{:.0} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v if v >= 1.0 => format!("{v:.0}"),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_reach_from_power_to_power() {
        let axis = Axis::new(2.0, [2.0, 8.0].into_iter());
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [2.0, 4.0, 8.0]);
        assert_eq!([2.0, 4.0, 8.0].map(|v| axis.place(v)), [0.0, 0.5, 1.0]);
        let axis = Axis::new(10.0, [1000.0, 20_000.0].into_iter());
        assert_eq!(
            axis.ticks().map(named).collect::<Vec<_>>(),
            ["1 k", "10 k", "100 k"]
        );
        let one = Axis::new(2.0, [4.0].into_iter());
        assert_eq!(one.ticks().count(), 2, "one value has an axis as well");
        assert_eq!(Axis::new(2.0, std::iter::empty()).ticks().count(), 2);
    }

    #[test]
    fn more_instructions_are_drawn_higher() {
        let panel = Panel {
            title: "some",
            lines: vec![("enter".to_owned(), vec![(2.0, 10.0), (4.0, 1000.0)])],
        };
        let svg = draw(&[panel]);
        let (_, rest) = svg.split_once("points=\"").expect("a line");
        let (points, _) = rest.split_once('"').expect("its end");
        let points: Vec<f64> = points
            .split([',', ' '])
            .map(|n| n.parse().expect("a number"))
            .collect();
        let [x1, y1, x2, y2] = points[..] else {
            unreachable!("two points: {points:?}");
        };
        assert!(x1 < x2 && y1 > y2, "{points:?}");
        let same = || ("x".to_owned(), vec![(2.0, 5.0)]);
        let both = draw(&[Panel {
            title: "same",
            lines: vec![same(), same()],
        }]);
        let heights: Vec<&str> = both
            .lines()
            .filter(|line| line.ends_with(">x</text>"))
            .filter_map(|line| Some(line.split_once(" y=\"")?.1.split_once('"')?.0))
            .collect();
        assert!(
            heights.len() == 2 && heights[0] != heights[1],
            "{heights:?}"
        );
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">enter</text>"), "{svg}");
    }
}
