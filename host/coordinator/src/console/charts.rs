//! Small pictures as SVG paths, and figures as people read them. Each picture has a table beside it.
//!
//! Paths live in a box that the page stretches: ten units for each column, a hundred upwards. What tells series apart
//! is never colour alone: one is filled, another an outline, a third a dotted one.

use std::fmt::Write as _;
use std::time::Duration;

use manyhands_model::Timestamp;

use super::Kind;
use super::history::{Period, Tally};
use super::samples::Sample;

/// Height of a picture.
const HEIGHT: f64 = 100.0;
/// Width of a column.
const COLUMN: usize = 10;
/// Columns of a histogram.
const BINS: usize = 24;

/// One line or area of a picture.
#[derive(Debug)]
pub struct Series {
    /// What it shows.
    pub name: &'static str,
    /// How it looks: a class of the stylesheet.
    pub class: &'static str,
    /// The path.
    pub path: String,
}

/// A picture.
#[derive(Debug)]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// Its width in units.
    pub width: usize,
    /// What stands at its upper edge.
    pub top: String,
    /// What it says in a sentence.
    pub words: String,
    /// What stands under its two ends.
    pub ends: (String, String),
    /// What is drawn.
    pub series: Vec<Series>,
}

fn bars(values: &[(f64, f64)], most: f64) -> String {
    let mut path = String::new();
    for (column, (base, value)) in values.iter().enumerate() {
        let (from, height) = (HEIGHT - base / most * HEIGHT, value / most * HEIGHT);
        if height > 0.0 {
            // One that is there can be seen.
            let height = height.max(1.0);
            let x = column * COLUMN + 1;
            let _written = write!(path, "M{x} {from:.0}v-{height:.0}h{}v{height:.0}z", COLUMN - 2);
        }
    }
    path
}

/// A value of a series, as the picture shows it.
type Look = fn(&Tally) -> f64;

/// One picture of the history: areas on top of each other.
fn history_chart(
    title: &'static str,
    sums: &[(u64, Option<Tally>)],
    series: &[(&'static str, &'static str, Look)],
    say: fn(f64) -> String,
) -> Chart {
    let whole = |tally: &Tally| series.iter().map(|(.., look)| look(tally)).sum();
    let most = sums.iter().filter_map(|(_, tally)| tally.as_ref().map(whole)).fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let mut base = vec![0.0; sums.len()];
    let draw = |&(name, class, look): &(&'static str, &'static str, Look)| {
        let value = |(_, tally): &(u64, Option<Tally>)| tally.as_ref().map_or(0.0, look);
        let values: Vec<(f64, f64)> = base.iter().copied().zip(sums.iter().map(value)).collect();
        base = values.iter().map(|(base, value)| base + value).collect();
        Series { name, class, path: bars(&values, scale) }
    };
    let series = series.iter().map(draw).collect();
    let words = if most > 0.0 { format!("at most {}", say(most)) } else { "nothing yet".to_owned() };
    Chart { title, width: sums.len() * COLUMN, top: say(most), words, ends: Default::default(), series }
}

/// The pictures of the history.
pub fn history(sums: &[(u64, Option<Tally>)], ends: &(String, String)) -> Vec<Chart> {
    let whole = |value: f64| short(value);
    let mean: Look = |tally| if tally.replicas == 0 { 0.0 } else { tally.report_ms as f64 / tally.replicas as f64 };
    let milliseconds = |value: f64| span(Duration::from_secs_f64(value / 1000.0));
    let charts = [
        history_chart("Units accepted", sums, &[("accepted", "area good", |tally| tally.accepted as f64)], whole),
        history_chart(
            "Trouble",
            sums,
            &[
                ("disagreements", "area bad", |tally| tally.disagreements as f64),
                ("failed machines and leases that ran out", "area hatch", |tally| tally.failures as f64),
            ],
            whole,
        ),
        history_chart(
            "Workers connected",
            sums,
            &[
                ("native", "area", |tally| f64::from(tally.native)),
                ("browser", "outline", |tally| f64::from(tally.browser)),
                ("other", "outline dotted", |tally| f64::from(tally.other)),
            ],
            whole,
        ),
        history_chart("Fuel that counted", sums, &[("fuel", "area", |tally| tally.fuel as f64)], whole),
        history_chart("Mean time to report", sums, &[("time", "area", mean)], milliseconds),
    ];
    charts.into_iter().map(|chart| Chart { ends: ends.clone(), ..chart }).collect()
}

/// A row of the table beside the history.
#[derive(Debug)]
pub struct HistoryRow {
    /// When it begins.
    pub begin: String,
    /// Its figures, in the order of the columns.
    pub figures: Vec<String>,
}

/// The columns of that table.
pub const HISTORY_COLUMNS: &[&str] = &[
    "accepted",
    "undecided",
    "replicas",
    "disagreements",
    "failures",
    "fuel",
    "mean time",
    "native",
    "browser",
    "other",
];

/// The table beside the pictures of the history, newest first.
pub fn history_rows(period: Period, sums: &[(u64, Option<Tally>)]) -> Vec<HistoryRow> {
    let row = |(number, tally): &(u64, Option<Tally>)| {
        let tally = tally.as_ref()?;
        let mean = tally.report_ms.checked_div(tally.replicas);
        let figures = vec![
            count(tally.accepted),
            count(tally.undecided),
            count(tally.replicas),
            count(tally.disagreements),
            count(tally.failures),
            short(tally.fuel as f64),
            mean.map_or("–".to_owned(), |mean| span(Duration::from_millis(mean))),
            tally.native.to_string(),
            tally.browser.to_string(),
            tally.other.to_string(),
        ];
        Some(HistoryRow { begin: moment(period.begin(*number)), figures })
    };
    sums.iter().rev().filter_map(row).collect()
}

/// A histogram, and its table.
#[derive(Debug)]
pub struct Histogram {
    /// The picture.
    pub chart: Chart,
    /// For each kind of worker: its name, its replicas, the median and what one in a hundred exceeds.
    pub kinds: Vec<(&'static str, String, String, String)>,
    /// For each column that is not empty: from, to, and the replicas of each kind.
    pub rows: Vec<(String, String, Vec<u64>)>,
}

/// A histogram of some replicas with columns of equal ratio, so that 1 to 2 is as wide as 1,000 to 2,000; none without
/// replicas. Each kind is shown as shares of its own, for there may be many more of one than of the other.
pub fn histogram(
    title: &'static str,
    samples: &[Sample],
    look: fn(&Sample) -> f64,
    say: fn(f64) -> String,
) -> Option<Histogram> {
    let value = |sample: &Sample| look(sample).max(1.0);
    let least = samples.iter().map(value).reduce(f64::min)?;
    let most = samples.iter().map(value).reduce(f64::max)?;
    let ratio = (most / least).ln();
    // All the same: one column in the middle.
    let bin = |sample: &Sample| {
        let place = if ratio > 0.0 { (value(sample) / least).ln() / ratio * BINS as f64 } else { BINS as f64 / 2.0 };
        (place as usize).min(BINS - 1)
    };
    let edge = |bin: usize| if ratio > 0.0 { least * (ratio * bin as f64 / BINS as f64).exp() } else { least };
    let (mut kinds, mut series, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, class) in [(Kind::Native, "area"), (Kind::Browser, "outline"), (Kind::Other, "outline dotted")] {
        let of_kind: Vec<&Sample> = samples.iter().filter(|sample| sample.kind == kind).collect();
        let mut counts = vec![0; BINS];
        of_kind.iter().for_each(|sample| counts[bin(sample)] += 1);
        if !of_kind.is_empty() {
            let mut values: Vec<f64> = of_kind.iter().map(|sample| look(sample)).collect();
            values.sort_by(f64::total_cmp);
            let at = |share: f64| say(values[((values.len() - 1) as f64 * share).round() as usize]);
            kinds.push((kind.word(), count(of_kind.len() as u64), at(0.5), at(0.99)));
            series.push((
                kind,
                class,
                counts.iter().map(|&count| count as f64 / of_kind.len() as f64).collect::<Vec<f64>>(),
            ));
        }
        columns.push(counts);
    }
    let top = series.iter().flat_map(|(.., shares)| shares).copied().fold(0.0, f64::max);
    let draw = |(kind, class, shares): (Kind, &'static str, Vec<f64>)| {
        let path = bars(&shares.iter().map(|share| (0.0, *share)).collect::<Vec<_>>(), top);
        Series { name: kind.word(), class, path }
    };
    let row = |bin: usize| {
        let counts: Vec<u64> = columns.iter().map(|counts| counts[bin]).collect();
        (counts.iter().sum::<u64>() > 0).then(|| (say(edge(bin)), say(edge(bin + 1)), counts))
    };
    let median = |(kind, _, median, _): &(&str, String, String, String)| format!("{kind}: half below {median}");
    let chart = Chart {
        title,
        width: BINS * COLUMN,
        top: format!("{:.0} %", top * 100.0),
        words: kinds.iter().map(median).collect::<Vec<_>>().join("; "),
        ends: (say(least), say(most)),
        series: series.into_iter().map(draw).collect(),
    };
    Some(Histogram { chart, kinds, rows: (0..BINS).filter_map(row).collect() })
}

/// A whole number with spaces: 12 345.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number in a few characters: 950, 1.2 k, 34 M.
pub fn short(number: f64) -> String {
    let mut rest = number;
    for unit in ["", "\u{202f}k", "\u{202f}M", "\u{202f}G", "\u{202f}T", "\u{202f}P"] {
        if rest < 999.5 {
            let digits = usize::from(rest < 9.95 && !unit.is_empty());
            return format!("{rest:.digits$}{unit}");
        }
        rest /= 1000.0;
    }
    format!("{number:.1e}")
}

/// A duration in a few characters: 3 ms, 1.5 s, 12 min.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.9995 => format!("{:.0}\u{202f}ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1}\u{202f}s"),
        s if s < 119.5 => format!("{s:.0}\u{202f}s"),
        s if s < 7170.0 => format!("{:.0}\u{202f}min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}\u{202f}h", s / 3600.0),
        s => format!("{:.0}\u{202f}days", s / 86_400.0),
    }
}

/// A moment: 2026-11-22 03:40 UTC.
pub fn moment(at: Timestamp) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(at.0));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string()).unwrap_or_default();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::Fuel;

    use super::*;

    fn sample(kind: Kind, fuel: u64) -> Sample {
        Sample { kind, fuel: Fuel(fuel), took: Duration::from_millis(fuel) }
    }

    #[test]
    fn figures_are_short_and_say_their_unit() {
        assert_eq!(
            [0, 7, 999, 1_000, 12_345, 1_234_567].map(count).map(|text| text.replace('\u{202f}', " ")),
            ["0", "7", "999", "1 000", "12 345", "1 234 567"]
        );
        let numbers = [0.0, 7.0, 950.0, 999.6, 1_234.0, 34_000_000.0, 1e25];
        assert_eq!(
            numbers.map(|number| short(number).replace('\u{202f}', " ")),
            ["0", "7", "950", "1.0 k", "1.2 k", "34 M", "1.0e25"]
        );
        let spans = [3, 1_500, 30_000, 720_000, 36_000_000, 400_000_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(
            spans.map(|text| text.replace('\u{202f}', " ")),
            ["3 ms", "1.5 s", "30 s", "12 min", "10 h", "5 days"]
        );
        assert_eq!(moment(Timestamp(1_795_318_800_000)), "2026-11-22 03:40");
    }

    #[test]
    fn the_history_is_drawn_to_the_largest_sum() {
        let tally = |disagreements, failures| Some(Tally { disagreements, failures, ..Tally::default() });
        let sums = [(0, tally(1, 3)), (1, None), (2, tally(0, 2))];
        let charts = history(&sums, &Default::default());
        let trouble = charts.iter().find(|chart| chart.title == "Trouble").unwrap();
        assert_eq!((&*trouble.top, trouble.width), ("4", 30));
        assert_eq!(trouble.series[0].path, "M1 100v-25h8v25z");
        assert_eq!(trouble.series[1].path, "M1 75v-75h8v75zM21 100v-50h8v50z");
        assert_eq!(history_rows(Period::Hour, &sums).len(), 2);
    }

    #[test]
    fn kinds_lie_over_each_other_and_equal_values_are_one_column() {
        let look = |sample: &Sample| sample.fuel.0 as f64;
        assert!(histogram("Fuel", &[], look, short).is_none());
        let same = [sample(Kind::Native, 500), sample(Kind::Native, 500), sample(Kind::Browser, 500)];
        let same = histogram("Fuel", &same, look, short).unwrap();
        assert_eq!(same.chart.series[0].path, same.chart.series[1].path, "the same fuel everywhere, as shares");
        assert_eq!(same.rows.len(), 1);
        assert_eq!(same.rows[0].2, [2, 1, 0]);
        let spread: Vec<Sample> = (0..=10).map(|power| sample(Kind::Native, 1 << power)).collect();
        let spread = histogram("Fuel", &spread, look, short).unwrap();
        assert_eq!(spread.rows.len(), 11, "each power has a column of its own");
        assert_eq!(spread.kinds, [("native", "11".into(), "32".into(), "1.0\u{202f}k".into())]);
    }
}
