//! Colours of cells.

/// Colours that are easily told apart: each was the one farthest from those
/// before it (in the OKLab colour space), and from what pictures have besides,
/// on a light ground and on a dark one.
const CELLS: [u32; 64] = [
    0x2f6db5, 0xe0812b, 0x3f9c53, 0xc8434d, 0x8a5fae, 0x2a9d9d, 0xc9a227, 0xd4679f, 0x80604d,
    0x00f000, 0x0000ff, 0xd200ff, 0x96a5ff, 0x0fe1c3, 0x6900b4, 0x006900, 0x960069, 0xff87ff,
    0xffa5a5, 0x694bff, 0xb4e169, 0x960f00, 0xff0fc3, 0x69c32d, 0x3c87ff, 0xc300a5, 0x1e3cb4,
    0x00c3f0, 0xa569ff, 0xffc35a, 0x96875a, 0xff0069, 0x007869, 0x960fe1, 0x87b496, 0xc3c3f0,
    0xc396b4, 0xff4b1e, 0x693c87, 0x7887b4, 0x697800, 0x78e1ff, 0x783c4b, 0x694b00, 0xff7887,
    0xe15af0, 0xc3d2a5, 0x9600a5, 0x005af0, 0xb45a00, 0x5a4bc3, 0xc30069, 0xa56978, 0x4b00e1,
    0xff69c3, 0xffb4f0, 0x00c387, 0xc387f0, 0x3cf087, 0x2d5a3c, 0x0096d2, 0xb44bd2, 0x969600,
    0x008700,
];

/// The colour of the cell with this index, as 0xrrggbb. Beyond the table they
/// come again: names tell such cells apart.
pub(super) fn cell(index: usize) -> u32 {
    let index = index % CELLS.len();
    CELLS.get(index).copied().unwrap_or_default()
}

/// True if dark words are easier to read on this colour than light ones.
pub(super) fn is_light(colour: u32) -> bool {
    let [_, red, green, blue] = colour.to_be_bytes().map(u32::from);
    // How bright the eye takes each for, in thousandths (ITU-R BT.601).
    red * 299 + green * 587 + blue * 114 > 110_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lightness and two hues, in which distances are what the eye sees.
    /// After Ottosson, "A perceptual color space for image processing".
    fn oklab(colour: u32) -> [f64; 3] {
        let [_, r, g, b] = colour.to_be_bytes().map(|c| {
            let c = f64::from(c) / 255.0;
            match c <= 0.04045 {
                true => c / 12.92,
                false => ((c + 0.055) / 1.055).powf(2.4),
            }
        });
        let l = (0.412_221 * r + 0.536_333 * g + 0.051_446 * b).cbrt();
        let m = (0.211_903 * r + 0.680_700 * g + 0.107_397 * b).cbrt();
        let s = (0.088_302 * r + 0.281_719 * g + 0.629_979 * b).cbrt();
        [
            0.210_454 * l + 0.793_618 * m - 0.004_072 * s,
            1.977_998 * l - 2.428_592 * m + 0.450_594 * s,
            0.025_904 * l + 0.782_772 * m - 0.808_676 * s,
        ]
    }

    fn distance(a: u32, b: u32) -> f64 {
        let (a, b) = (oklab(a), oklab(b));
        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn sixty_cells_have_colours_that_stay_apart() {
        // A difference of 0.02 is just seen.
        for a in 0..60 {
            for b in 0..a {
                let apart = distance(cell(a), cell(b));
                assert!(apart > 0.08, "{a} and {b}: {apart}");
            }
        }
    }

    #[test]
    fn words_are_readable_on_every_colour() {
        for i in 0..64 {
            let ink = if is_light(cell(i)) { 0 } else { 0x00ff_ffff };
            let contrast = (oklab(cell(i))[0] - oklab(ink)[0]).abs();
            assert!(contrast > 0.3, "{i}: {contrast}");
        }
    }
}
