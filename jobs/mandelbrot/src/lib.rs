//! A tile of a picture of the Mandelbrot set. Whoever asks cuts the picture into tiles, one to an input,
//! and puts the pixels together again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// Which part of which picture.
#[derive(Debug, Clone, Deserialize)]
pub struct Tile {
    /// Width of the whole picture in pixels.
    pub width: u32,
    /// Height of the whole picture in pixels.
    pub height: u32,
    /// First column of the tile.
    pub x: u32,
    /// First row of the tile.
    pub y: u32,
    /// Columns of the tile.
    pub w: u32,
    /// Rows of the tile.
    pub h: u32,
    /// Real and imaginary part of the picture's middle.
    pub center: [f64; 2],
    /// Width of the whole picture in the complex plane.
    pub scale: f64,
    /// Steps after which a point counts as one of the set.
    pub max_iterations: u32,
}

/// The pixels of a tile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pixels {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green and blue of each pixel, a byte each, row by row, in base64 (RFC 4648, padded).
    pub pixels: String,
}

/// Paints one tile.
#[manyhands::job]
pub fn mandelbrot(tile: Tile) -> Result<Pixels, String> {
    let Tile { width, height, x, y, w, h, center: [re, im], scale, max_iterations } = tile;
    let inside = |from: u32, length: u32, of: u32| length > 0 && from.checked_add(length).is_some_and(|to| to <= of);
    if !inside(x, w, width) || !inside(y, h, height) {
        return Err(format!("tile {w}x{h} at ({x}, {y}) does not lie in a picture of {width}x{height}"));
    }
    if w > 1024 || h > 1024 {
        return Err(format!("a tile of {w}x{h} is too large; at most 1024x1024"));
    }
    if scale <= 0.0 || max_iterations == 0 {
        return Err("`scale` and `max_iterations` must be above zero".to_owned());
    }
    let step = scale / f64::from(width);
    let mut pixels = Vec::with_capacity((w * h * 3) as usize);
    for row in y..y + h {
        let c_im = im - (f64::from(row) + 0.5 - f64::from(height) / 2.0) * step;
        for column in x..x + w {
            let c_re = re + (f64::from(column) + 0.5 - f64::from(width) / 2.0) * step;
            pixels.extend(colour(escape(c_re, c_im, max_iterations)));
        }
        manyhands::progress(u64::from(row - y + 1), h.into());
    }
    Ok(Pixels { x, y, width: w, height: h, pixels: BASE64.encode(pixels) })
}

/// How many steps `c` takes to leave, with a fraction that makes colours flow; `None` if it stays.
fn escape(re: f64, im: f64, max_iterations: u32) -> Option<f64> {
    // The two largest parts of the set, whose points would take all steps.
    let q = (re - 0.25).powi(2) + im * im;
    if q * (q + re - 0.25) <= 0.25 * im * im || (re + 1.0).powi(2) + im * im <= 0.0625 {
        return None;
    }
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    for steps in 0..max_iterations {
        let (xx, yy) = (x * x, y * y);
        // A radius of 16 instead of 2, so that the fraction is smooth.
        if xx + yy > 256.0 {
            return Some((f64::from(steps) + 1.0 - (xx + yy).log2().log2() + 3.0).max(0.0));
        }
        (x, y) = (xx - yy + re, 2.0 * x * y + im);
    }
    None
}

/// Black for the set; around it a wheel from night blue over white and gold and back.
fn colour(steps: Option<f64>) -> [u8; 3] {
    const WHEEL: [[f64; 3]; 5] =
        [[9.0, 12.0, 58.0], [32.0, 107.0, 203.0], [237.0, 255.0, 255.0], [255.0, 170.0, 0.0], [60.0, 12.0, 32.0]];
    let Some(steps) = steps else { return [0, 0, 0] };
    // Bands grow wider with the depth, where the steps of neighbours differ more.
    let turn = (steps.sqrt() * 0.9) % WHEEL.len() as f64;
    let (index, part) = (turn as usize, turn.fract());
    let (from, to) = (WHEEL[index % WHEEL.len()], WHEEL[(index + 1) % WHEEL.len()]);
    core::array::from_fn(|channel| (from[channel] + (to[channel] - from[channel]) * part).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole set, in a picture of 64x48.
    fn tile(x: u32, y: u32, w: u32, h: u32) -> Tile {
        Tile { width: 64, height: 48, x, y, w, h, center: [-0.75, 0.0], scale: 3.5, max_iterations: 200 }
    }

    fn painted(tile: Tile) -> Vec<u8> {
        BASE64.decode(mandelbrot(tile).expect("paints").pixels).expect("base64")
    }

    #[test]
    fn the_set_is_black_and_the_world_around_it_is_not() {
        assert_eq!(escape(0.0, 0.0, 10_000), None);
        assert_eq!(escape(-1.0, 0.0, 10_000), None);
        assert_eq!(escape(-2.0, 0.0, 10_000), None, "the tip stays, without a shortcut");
        assert!(escape(0.5, 0.5, 10_000).is_some());
        let picture = painted(tile(0, 0, 64, 48));
        let middle = (24 * 64 + 32) * 3;
        assert_eq!(picture[middle..middle + 3], [0, 0, 0]);
        assert_ne!(picture[..3], [0, 0, 0]);
    }

    #[test]
    fn the_picture_is_its_own_mirror() {
        let picture = painted(tile(0, 0, 64, 48));
        let rows: Vec<&[u8]> = picture.chunks(64 * 3).collect();
        for row in 0..24 {
            assert_eq!(rows[row], rows[47 - row], "row {row}");
        }
    }

    #[test]
    fn tiles_are_cut_from_one_picture() {
        let picture = painted(tile(0, 0, 64, 48));
        let part = painted(tile(16, 8, 32, 4));
        for (row, pixels) in part.chunks(32 * 3).enumerate() {
            let start = ((8 + row) * 64 + 16) * 3;
            assert_eq!(pixels, &picture[start..start + 32 * 3]);
        }
    }

    #[test]
    fn what_cannot_be_painted_is_said() {
        for (x, w) in [(0, 0), (60, 5), (u32::MAX, 2)] {
            let error = mandelbrot(tile(x, 0, w, 1)).expect_err("outside");
            assert!(error.contains("does not lie in a picture of 64x48"), "{error}");
        }
        assert!(mandelbrot(Tile { scale: 0.0, ..tile(0, 0, 1, 1) }).is_err());
        assert!(mandelbrot(Tile { width: 5000, w: 5000, ..tile(0, 0, 1, 1) }).is_err());
    }
}
