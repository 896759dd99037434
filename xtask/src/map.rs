//! The US, each postal code coloured by the distance to its nearest airport.

use crate::font;
use crate::picture::{Colour, Picture, mix};

/// A postal code on the map.
pub(crate) struct Place {
    /// Unit: degrees north.
    pub(crate) latitude: f64,
    /// Unit: degrees east.
    pub(crate) longitude: f64,
    /// Unit: kilometres.
    pub(crate) distance_km: f64,
}

const BACKGROUND: Colour = [13, 17, 32];
const INK: Colour = [226, 230, 240];
const FAINT: Colour = [140, 148, 170];
/// From near to far: the colour map `plasma` of Matplotlib at eight places, without its darkest, which
/// would drown in the background.
const RAMP: &[Colour] = &[
    [84, 39, 203],
    [126, 3, 168],
    [168, 34, 150],
    [204, 71, 120],
    [229, 107, 93],
    [248, 149, 64],
    [253, 195, 40],
    [240, 249, 33],
];
/// Where the ramp ends. Unit: kilometres.
const FAR_KM: f64 = 100.0;
const TICKS_KM: &[u32] = &[0, 5, 10, 20, 50, 100];

/// A part of the map: an Albers equal-area conic projection (Snyder, *Map Projections*, 14) on a place of
/// the picture. Angles in degrees.
struct Frame {
    latitudes: [f64; 2],
    longitudes: [f64; 2],
    parallels: [f64; 2],
    origin: [f64; 2],
    /// Pixels for the radius of the earth.
    scale: f64,
    /// The origin's place in the picture.
    middle: [f64; 2],
}

const FRAMES: &[Frame] = &[
    Frame {
        latitudes: [24.0, 50.0],
        longitudes: [-125.5, -66.0],
        parallels: [29.5, 45.5],
        origin: [38.5, -96.0],
        scale: 1970.0,
        middle: [800.0, 555.0],
    },
    // Alaska at a third of the scale, and Hawaii, where atlases put them.
    Frame {
        latitudes: [50.0, 72.0],
        longitudes: [-180.0, -129.0],
        parallels: [55.0, 65.0],
        origin: [63.0, -154.0],
        scale: 640.0,
        middle: [175.0, 890.0],
    },
    Frame {
        latitudes: [18.0, 23.0],
        longitudes: [-161.0, -154.0],
        parallels: [8.0, 18.0],
        origin: [20.5, -157.5],
        scale: 1970.0,
        middle: [460.0, 945.0],
    },
];

impl Frame {
    fn place(&self, place: &Place) -> Option<(f64, f64)> {
        let within = |value: f64, [from, to]: [f64; 2]| (from..to).contains(&value);
        if !within(place.latitude, self.latitudes) || !within(place.longitude, self.longitudes) {
            return None;
        }
        let [first, second] = self.parallels.map(f64::to_radians);
        let [latitude, longitude] = self.origin.map(f64::to_radians);
        let cone = f64::midpoint(first.sin(), second.sin());
        let constant = first.cos().powi(2) + 2.0 * cone * first.sin();
        let radius = |latitude: f64| (constant - 2.0 * cone * latitude.sin()).sqrt() / cone;
        let angle = cone * (place.longitude.to_radians() - longitude);
        let here = radius(place.latitude.to_radians());
        let (x, y) = (here * angle.sin(), here * angle.cos() - radius(latitude));
        Some((self.middle[0] + self.scale * x, self.middle[1] + self.scale * y))
    }
}

/// Where on the ramp a distance is: logarithmic, because most people live near an airport.
fn share(distance_km: f64) -> f64 {
    let knee_km = 10.0;
    ((1.0 + distance_km / knee_km).ln() / (1.0 + FAR_KM / knee_km).ln()).clamp(0.0, 1.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a handful")]
fn colour(share: f64) -> Colour {
    let place = share * (RAMP.len() - 1) as f64;
    let below = (place.floor() as usize).min(RAMP.len() - 2);
    mix(RAMP[below], RAMP[below + 1], place - below as f64)
}

/// Draws the map.
pub(crate) fn draw(places: &[Place]) -> Picture {
    let mut picture = Picture::new(1600, 1040, BACKGROUND);
    // Far ones last, so that a lonely place is not hidden by its neighbours.
    let mut places: Vec<_> = places.iter().collect();
    places.sort_by(|a, b| a.distance_km.total_cmp(&b.distance_km));
    for place in places {
        if let Some(at) = FRAMES.iter().find_map(|frame| frame.place(place)) {
            picture.disc(at, 2.2, colour(share(place.distance_km)));
        }
    }
    picture.text((40, 30), 4, INK, "Distance to the nearest airport");
    picture.text((40, 70), 2, FAINT, "US postal codes, computed and verified by many hands");
    legend(&mut picture);
    picture
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the legend")]
fn legend(picture: &mut Picture) {
    let (width, height, left, top) = (360, 16, 800, picture.height() - 80);
    for x in 0..width {
        let colour = colour(x as f64 / (width - 1) as f64);
        (0..height).for_each(|y| picture.set(left + x, top + y, colour));
    }
    for &tick in TICKS_KM {
        let x = left + (share(f64::from(tick)) * (width - 1) as f64) as usize;
        (0..6).for_each(|y| picture.set(x, top + height + y, FAINT));
        let label = match f64::from(tick) < FAR_KM {
            true => tick.to_string(),
            false => format!("{tick}+ km"),
        };
        let number = tick.to_string().len();
        picture.text((x - number * font::ADVANCE, top + height + 12), 2, INK, &label);
    }
}
