//! For each of some postal codes the nearest airport by great-circle distance.
//!
//! The airports are part of the module (`data/airports.csv`, see `data/NOTICE`); the input is an array of
//! postal codes. A few hundred to an input is a good measure: each execution first reads all airports.

use serde::{Deserialize, Serialize};

/// Mean radius of the earth (IUGG), km.
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A postal code and where it is, in degrees (WGS84).
#[derive(Debug, Clone, Deserialize)]
pub struct PostalCode {
    /// Five digits, some of them leading zeros.
    pub zip_code: String,
    /// From -90 to 90.
    pub latitude: f64,
    /// From -180 to 180.
    pub longitude: f64,
}

/// The airport nearest to a postal code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// As in the input.
    pub zip_code: String,
    /// The airport's code. Of two that are equally near, the first in the alphabet.
    pub iata: &'static str,
    /// Distance, rounded to metres.
    pub distance_km: f64,
}

/// Finds the nearest airport for each postal code, in the order of the input.
#[manyhands::job]
pub fn nearest_airport(postal_codes: Vec<PostalCode>) -> Result<Vec<Nearest>, String> {
    let airports = airports()?;
    let mut answer = Vec::with_capacity(postal_codes.len());
    let total = postal_codes.len() as u64;
    for PostalCode { zip_code, latitude, longitude } in postal_codes {
        let here = Place::new(latitude, longitude).map_err(|error| format!("postal code {zip_code}: {error}"))?;
        // The order of chords is that of arcs; only the winner's arc is computed.
        let mut nearest = &airports[0];
        let mut least = f64::INFINITY;
        for airport in &airports {
            let chord = here.squared_chord(&airport.1);
            if chord < least {
                (nearest, least) = (airport, chord);
            }
        }
        let distance_km = (here.arc_km(&nearest.1) * 1000.0).round() / 1000.0;
        answer.push(Nearest { zip_code, iata: nearest.0, distance_km });
        manyhands::progress(answer.len() as u64, total);
    }
    Ok(answer)
}

/// Code and place of every airport, in the order of codes.
fn airports() -> Result<Vec<(&'static str, Place)>, String> {
    let read = |line: &'static str| {
        // Names in the middle may hold quoted commas; code and coordinates at the ends do not.
        let (iata, rest) = line.split_once(',')?;
        let mut from_the_end = rest.rsplit(',');
        let longitude = from_the_end.next()?.parse().ok()?;
        let latitude = from_the_end.next()?.parse().ok()?;
        Some((iata, Place::new(latitude, longitude).ok()?))
    };
    let lines = include_str!("../data/airports.csv").lines().skip(1);
    let airports: Option<Vec<_>> = lines.map(read).collect();
    let mut airports = airports.filter(|airports| !airports.is_empty()).ok_or("data/airports.csv is damaged")?;
    airports.sort_unstable_by_key(|(iata, _)| *iata);
    Ok(airports)
}

/// A place on a sphere: in radians, and as a vector of length 1.
struct Place {
    latitude: f64,
    longitude: f64,
    vector: [f64; 3],
}

impl Place {
    fn new(latitude: f64, longitude: f64) -> Result<Self, String> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return Err(format!("({latitude}, {longitude}) is no latitude and longitude in degrees"));
        }
        let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
        let ((z, around), (y, x)) = (latitude.sin_cos(), longitude.sin_cos());
        Ok(Self { latitude, longitude, vector: [around * x, around * y, z] })
    }

    /// Square of the straight distance through the sphere.
    fn squared_chord(&self, other: &Self) -> f64 {
        let [x, y, z] = core::array::from_fn(|axis| self.vector[axis] - other.vector[axis]);
        x * x + y * y + z * z
    }

    /// Distance on the surface by the haversine formula, which is exact for near places too.
    fn arc_km(&self, other: &Self) -> f64 {
        let half_sine_squared = |angle: f64| (angle / 2.0).sin().powi(2);
        let haversine = half_sine_squared(self.latitude - other.latitude)
            + self.latitude.cos() * other.latitude.cos() * half_sine_squared(self.longitude - other.longitude);
        2.0 * EARTH_RADIUS_KM * haversine.sqrt().min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTAL_CODES: &str = include_str!("../data/zipcodes.csv");

    fn postal_codes() -> impl Iterator<Item = PostalCode> {
        POSTAL_CODES.lines().skip(1).map(|line| {
            let mut fields = line.split(',');
            let mut next = || fields.next().expect("a field");
            let zip_code = next().to_owned();
            let mut degrees = || next().parse().expect("a number");
            PostalCode { zip_code, latitude: degrees(), longitude: degrees() }
        })
    }

    fn nearest(zip_code: &str) -> (&'static str, f64) {
        let postal_code = postal_codes().find(|code| code.zip_code == zip_code).expect("is there");
        let answer = nearest_airport(vec![postal_code]).expect("finds");
        (answer[0].iata, answer[0].distance_km)
    }

    /// Expected values were computed by another program, from the same files.
    #[test]
    fn well_known_places_are_near_their_airports() {
        assert_eq!(nearest("10001"), ("JRA", 1.015)); // Manhattan: the heliport at West 30th Street.
        assert_eq!(nearest("00501"), ("FOK", 8.759)); // Holtsville, with leading zeros.
        assert_eq!(nearest("02134"), ("BOS", 8.866)); // Allston, Boston.
        assert_eq!(nearest("60606"), ("MDW", 6.12)); // Chicago: Midway before O'Hare.
        assert_eq!(nearest("94105"), ("OAK", 17.151)); // San Francisco: Oakland is nearer than its own.
        assert_eq!(nearest("96701"), ("HNL", 8.021)); // Aiea, Hawaii.
        assert_eq!(nearest("96913"), ("SPN", 194.623)); // Guam, whose own airport is not in the file.
    }

    #[test]
    fn chords_and_arcs_agree_on_what_is_nearest() {
        let airports = airports().expect("reads");
        assert_eq!(airports.len(), 3376);
        let sample: Vec<PostalCode> = postal_codes().step_by(500).collect();
        let answers = nearest_airport(sample.clone()).expect("finds");
        for (code, answer) in sample.iter().zip(answers) {
            let here = Place::new(code.latitude, code.longitude).expect("on earth");
            let least = airports.iter().map(|airport| here.arc_km(&airport.1)).min_by(f64::total_cmp).expect("some");
            assert!((least - answer.distance_km).abs() <= 0.0005, "{answer:?}: {least}");
        }
    }

    #[test]
    fn all_postal_codes_are_on_earth() {
        assert_eq!(postal_codes().count(), 42_049);
        assert!(postal_codes().all(|code| Place::new(code.latitude, code.longitude).is_ok()));
    }

    #[test]
    fn a_place_off_the_earth_is_named() {
        let nowhere = PostalCode { zip_code: "00000".to_owned(), latitude: 91.0, longitude: 0.0 };
        let error = nearest_airport(vec![nowhere]).expect_err("nowhere");
        assert_eq!(error, "postal code 00000: (91, 0) is no latitude and longitude in degrees");
    }

    #[test]
    fn of_two_at_the_same_place_the_first_in_the_alphabet_wins() {
        let twin = |code| (code, Place::new(10.0, 20.0).expect("on earth"));
        let here = Place::new(11.0, 21.0).expect("on earth");
        let twins = [twin("AAA"), twin("BBB")];
        assert_eq!(here.squared_chord(&twins[0].1), here.squared_chord(&twins[1].1));
        assert!(airports().expect("reads").is_sorted_by_key(|(iata, _)| *iata), "the loop keeps the first of equals");
    }
}
