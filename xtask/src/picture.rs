//! A picture in memory, and how it becomes a file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context as _;

use crate::font;

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

/// Rows of pixels, top to bottom.
pub(crate) struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize, background: Colour) -> Self {
        Self { width, height, pixels: vec![background; width * height] }
    }

    pub(crate) const fn height(&self) -> usize {
        self.height
    }

    /// Sets a pixel; one outside the picture is nobody's.
    pub(crate) fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour;
        }
    }

    /// Draws a disc with a soft edge. Unit of place and radius: pixels.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture before")]
    pub(crate) fn disc(&mut self, (x, y): (f64, f64), radius: f64, colour: Colour) {
        let range = |middle: f64, end: usize| {
            let clamp = |edge: f64| edge.clamp(0.0, end as f64) as usize;
            clamp((middle - radius - 1.0).floor())..clamp((middle + radius + 2.0).ceil())
        };
        for row in range(y, self.height) {
            for column in range(x, self.width) {
                let distance = (column as f64 - x).hypot(row as f64 - y);
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[row * self.width + column];
                *pixel = mix(*pixel, colour, cover);
            }
        }
    }

    /// Writes `text` with its upper left corner at `x`, `y`; each dot of the font is `scale` pixels wide.
    pub(crate) fn text(&mut self, (x, y): (usize, usize), scale: usize, colour: Colour, text: &str) {
        for (column, row) in font::dots(text) {
            for dot in 0..scale * scale {
                self.set(x + column * scale + dot % scale, y + row * scale + dot / scale, colour);
            }
        }
    }

    /// Writes the picture as a PNG.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The colour `share` of the way from `from` to `to`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes is a byte")]
pub(crate) fn mix(from: Colour, to: Colour, share: f64) -> Colour {
    let blend = |channel: usize| {
        let (from, to) = (f64::from(from[channel]), f64::from(to[channel]));
        (from + (to - from) * share).round() as u8
    };
    [blend(0), blend(1), blend(2)]
}
