//! Rectangles and texts as SVG.

use super::palette;
use super::view::Owner;
use std::fmt::Write;

/// Lines and headings: a class of [`STYLE`], as all paint without a `#` is.
pub(super) const INK: &str = "ink";
/// Less important words.
pub(super) const PALE: &str = "pale";
/// The ground of panels, with a line around.
pub(super) const GROUND: &str = "panel";
/// The ground of boxes in them, with a line around.
pub(super) const BOX: &str = "box";

/// Colours on a light ground, and on a dark one where the reader likes that.
const STYLE: &str = "\
.ground{fill:#ffffff}.panel{fill:#f8fafc;stroke:#1e293b}.box{fill:#ffffff;stroke:#cbd5e1}\n\
.ink{fill:#1e293b}.pale{fill:#64748b}.root{fill:#475569}.left{fill:#e2e8f0}.nobody{fill:#f8fafc}\n\
@media (prefers-color-scheme:dark){\n\
.ground{fill:#0b1220}.panel{fill:#0f172a;stroke:#94a3b8}.box{fill:#1e293b;stroke:#475569}\n\
.ink{fill:#e2e8f0}.pale{fill:#94a3b8}.root{fill:#64748b}.left{fill:#334155}.nobody{fill:#0f172a}\n}";

/// The paint of an owner.
pub(super) fn fill(owner: Owner) -> String {
    match owner {
        Owner::Root => "root".to_owned(),
        Owner::Left => "left".to_owned(),
        Owner::Nobody => "nobody".to_owned(),
        Owner::Cell(i) => format!("#{:06x}", palette::cell(i)),
    }
}

/// The paint of words on an owner's paint.
pub(super) fn ink_on(owner: Owner) -> &'static str {
    match owner {
        Owner::Left => INK,
        Owner::Nobody => PALE,
        Owner::Cell(i) if palette::is_light(palette::cell(i)) => "#000000",
        Owner::Cell(_) | Owner::Root => "#ffffff",
    }
}

/// Paint as an attribute.
fn attribute(paint: &str) -> String {
    match paint.starts_with('#') {
        true => format!("fill=\"{paint}\""),
        false => format!("class=\"{paint}\""),
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
    pub(super) fn rect(&mut self, area: Area, radius: f64, paint: &str, tip: &str) {
        self.shape(area, radius, &attribute(paint), tip);
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
        if text.is_empty() {
            return;
        }
        let (x, y) = at;
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" {}{anchor}>{}</text>",
            attribute(paint),
            escape(text)
        );
    }

    /// As [`Canvas::text`], in heavy letters.
    pub(super) fn heading(&mut self, at: (f64, f64), size: f64, text: &str) {
        let (x, y) = at;
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"600\" class=\"{INK}\">{}</text>",
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
             <title>{}</title>\n<style>\n{STYLE}\n</style>\n\
             <rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n{}</svg>\n",
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

/// As much of a text as fits into `room` pixels; none if that tells nothing.
pub(super) fn cut(text: &str, size: f64, room: f64) -> Option<String> {
    /// Less of a name is no name.
    const LEAST: usize = 3;
    if width(text, size) <= room {
        return Some(text.to_owned());
    }
    let mut short: String = text.to_owned();
    while short.pop().is_some() {
        let shown = format!("{short}\u{2026}");
        if width(&shown, size) <= room {
            return (short.chars().count() >= LEAST).then_some(shown);
        }
    }
    None
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
