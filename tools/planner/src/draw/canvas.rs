//! Rectangles and texts as SVG.

use super::view::Owner;
use std::fmt::Write;

/// Colours of cells, chosen so that neighbours are easily told apart.
const CELLS: [&str; 10] = [
    "#2f6db5", "#e0812b", "#3f9c53", "#c8434d", "#8a5fae", "#2a9d9d", "#c9a227", "#d4679f",
    "#80604d", "#5b7fd9",
];
/// What the root needs.
const ROOT: &str = "#475569";
/// What the root could give away.
const LEFT: &str = "#e2e8f0";
/// Lines and headings.
pub(super) const INK: &str = "#1e293b";
/// Less important words.
pub(super) const PALE: &str = "#64748b";
/// The ground under panels.
pub(super) const GROUND: &str = "#f8fafc";

/// The colour of an owner. Beyond the tenth cell, colours come from around the
/// colour circle in steps that never meet.
pub(super) fn fill(owner: Owner) -> String {
    match owner {
        Owner::Root => ROOT.to_owned(),
        Owner::Left => LEFT.to_owned(),
        Owner::Nobody => GROUND.to_owned(),
        Owner::Cell(i) => match CELLS.get(i) {
            Some(colour) => (*colour).to_owned(),
            None => format!("hsl({}, 50%, {}%)", i * 137 % 360, 38 + i % 3 * 8),
        },
    }
}

/// The colour of words on an owner's colour.
pub(super) const fn ink_on(owner: Owner) -> &'static str {
    match owner {
        Owner::Left => INK,
        Owner::Nobody => "#94a3b8",
        Owner::Cell(_) | Owner::Root => "#ffffff",
    }
}

/// Where a text is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) const fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }
}

/// Parts of an image.
#[derive(Default)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    /// A filled rectangle; `tip` is shown when the mouse rests on it.
    pub(super) fn rect(&mut self, area: Area, radius: f64, fill: &str, tip: &str) {
        self.shape(area, radius, &format!("fill=\"{fill}\""), tip);
    }

    /// A rectangle with a line around.
    pub(super) fn frame(&mut self, area: Area, radius: f64, fill: &str, line: &str) {
        self.shape(
            area,
            radius,
            &format!("fill=\"{fill}\" stroke=\"{line}\""),
            "",
        );
    }

    fn shape(&mut self, area: Area, radius: f64, paint: &str, tip: &str) {
        let Area {
            x,
            y,
            width,
            height,
        } = area;
        // Writing to a string cannot fail.
        let _ = write!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\" {paint}"
        );
        let _ = match tip {
            "" => writeln!(self.body, "/>"),
            tip => writeln!(self.body, "><title>{}</title></rect>", escape(tip)),
        };
    }

    /// A text whose baseline is at `y`.
    pub(super) fn text(
        &mut self,
        at: (f64, f64),
        size: f64,
        paint: &str,
        anchor: Anchor,
        text: &str,
    ) {
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{paint}\"{anchor}>{}</text>",
            escape(text)
        );
    }

    /// As [`Canvas::text`], in heavy letters.
    pub(super) fn heading(&mut self, at: (f64, f64), size: f64, text: &str) {
        let (x, y) = at;
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"600\" fill=\"{INK}\">{}</text>",
            escape(text)
        );
    }

    /// Puts another canvas on this one, moved down by `down`.
    pub(super) fn place(&mut self, other: &Self, right: f64, down: f64) {
        let _ = writeln!(
            self.body,
            "<g transform=\"translate({right:.1} {down:.1})\">\n{}</g>",
            other.body
        );
    }

    /// The whole image.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n\
             <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            escape(title),
            self.body
        )
    }
}

/// Width of a text, roughly.
pub(super) fn width(text: &str, size: f64) -> f64 {
    // Lossless for any text that fits a picture.
    #[expect(clippy::cast_precision_loss, reason = "texts are short")]
    let chars = text.chars().count() as f64;
    chars * size * 0.6
}

/// Text that XML takes for text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
