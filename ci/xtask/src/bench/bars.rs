//! Pairs of ratios as bars, in SVG.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 110.0;
const ROW: f64 = 34.0;
const BAR: f64 = 12.0;
const TOP: f64 = 44.0;

/// The ratio at the right edge: longer bars are cut, their figures are not.
const MOST: f64 = 4.0;

/// Colours of the first and of the second of a pair.
const COLORS: [&str; 2] = ["#c2703d", "#2f6f9f"];

/// Draws a row for each name with its two ratios, which are of these kinds.
pub(super) fn draw(title: &str, kinds: [&str; 2], rows: &[(String, f64, f64)]) -> String {
    let height = TOP + ROW * rows.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{title}</text>\n"
    );
    for (number, (kind, color)) in kinds.iter().zip(COLORS).enumerate() {
        let x = WIDTH - 220.0 + 110.0 * number as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"9\" width=\"10\" height=\"10\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"18\">{kind}</text>",
            x + 14.0
        );
    }
    for (index, (name, first, second)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            y + 16.0
        );
        for (number, (ratio, color)) in [first, second].into_iter().zip(COLORS).enumerate() {
            bar(&mut svg, y + (BAR + 1.0) * number as f64, *ratio, color);
        }
    }
    let one = LEFT + scale(1.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{one}\" x2=\"{one}\" y1=\"{}\" y2=\"{height}\" stroke=\"black\"/>\n</svg>",
        TOP - 8.0
    );
    svg
}

fn bar(svg: &mut String, y: f64, ratio: f64, color: &str) {
    let width = scale(ratio);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
         <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{ratio:.2}</text>",
        LEFT + width + 4.0,
        y + 10.0
    );
}

fn scale(ratio: f64) -> f64 {
    ratio.clamp(0.0, MOST) / MOST * (WIDTH - LEFT - 50.0)
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn bars_grow_with_their_ratios_and_end_at_the_edge() {
        let rows = [("futex".to_owned(), 2.0, 1.0), ("far".to_owned(), 9.0, 1.0)];
        let svg = draw("Ratios", ["left", "right"], &rows);
        let width = |ratio: &str| {
            let line = svg
                .lines()
                .find(|line| line.ends_with(&format!(">{ratio}</text>")))?;
            let (_, rest) = line.split_once("width=\"")?;
            rest.split_once('"')?.0.parse::<f64>().ok()
        };
        let (one, two, nine) = (width("1.00"), width("2.00"), width("9.00"));
        assert_eq!((one, two, nine), (Some(140.0), Some(280.0), Some(560.0)));
        assert!(
            [">futex<", ">Ratios<", ">left<", ">right<"]
                .iter()
                .all(|word| svg.contains(word))
                && svg.ends_with("</svg>\n")
        );
    }
}
