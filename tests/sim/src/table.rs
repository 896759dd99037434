//! The figures for people, at most a hundred columns wide, and for programs.

use manyhands_sim::{Figures, Limit, Quantity, Rule, Scene};
use serde_json::{Value, json};

type Played = [(Scene, Figures)];

/// A share in as few signs as it takes; none seen is 0.
fn share(share: f64) -> String {
    if share == 0.0 { "0".to_owned() } else { format!("{share:.1e}") }
}

/// Shares of hostile workers, each once and in order.
fn shares(played: &Played) -> Vec<u32> {
    let mut shares: Vec<u32> = played.iter().map(|(scene, _)| scene.hostile_percent).collect();
    shares.dedup();
    shares
}

/// Rules, each once and in order.
fn rules<'a>(played: impl IntoIterator<Item = &'a (Scene, Figures)>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (scene, _) in played {
        if !rules.contains(&scene.rule) {
            rules.push(scene.rule);
        }
    }
    rules
}

/// As many as a hundred columns hold.
const RULES_MAX: usize = 6;
/// The same where each cell holds two figures.
const PROMISED_MAX: usize = 5;

/// What each adversary does to each rule.
pub(crate) fn compare(played: &Played) -> Vec<String> {
    let mut lines =
        vec!["Share of units whose answer is wrong when all have one @ replicas a unit, own runs included".to_owned()];
    for hostile in shares(played) {
        let here: Vec<_> = played.iter().filter(|(scene, _)| scene.hostile_percent == hostile).collect();
        let mut adversaries: Vec<_> = here.iter().map(|(scene, _)| scene.adversary).collect();
        adversaries.dedup();
        for rules in rules(here.iter().copied()).chunks(RULES_MAX) {
            let row = |name: &str, cell: &dyn Fn(Rule) -> String| {
                let cells: String = rules.iter().map(|&rule| format!(" {:>13}", cell(rule))).collect();
                format!("{name:15}{cells}")
            };
            lines.push(String::new());
            lines.push(row(&format!("{hostile} % hostile"), &|rule| rule.to_string()));
            for &adversary in &adversaries {
                let of = |rule| here.iter().find(|(scene, _)| scene.rule == rule && scene.adversary == adversary);
                let text = |(_, figures): &&(Scene, Figures)| {
                    format!("{} @ {:.2}", share(figures.wrong_share()), figures.replicas)
                };
                lines.push(row(&adversary.to_string(), &|rule| of(rule).map(text).unwrap_or_default()));
            }
            if adversaries.len() > 1 {
                let worst = |rule| {
                    let here = here.iter().filter(|(scene, _)| scene.rule == rule);
                    here.fold((0.0_f64, 0.0_f64), |worst, (_, figures)| {
                        (worst.0.max(figures.wrong_share()), worst.1.max(figures.replicas))
                    })
                };
                lines.push(row("worst", &|rule| format!("{} @ {:.2}", share(worst(rule).0), worst(rule).1)));
            }
        }
    }
    lines
}

/// What the production scheduler's rules cost, in more detail.
pub(crate) fn ours(played: &Played) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in rules(played).into_iter().filter(|rule| rule.is_ours()) {
        let of_rule: Vec<_> = played.iter().filter(|(scene, _)| scene.rule == rule).collect();
        let honest = of_rule.iter().find(|(scene, _)| scene.hostile_percent == 0).map(|(_, figures)| figures);
        lines.push(String::new());
        let rate = honest.map(|honest| format!(", {:.1} answers a second where nobody cheats", honest.throughput));
        lines.push(format!("{rule}{}", rate.unwrap_or_default()));
        lines.push(
            "                      wrong  settled   once repl. later  own  p50×  p99×  ids/w  rate  time banned"
                .to_owned(),
        );
        for (scene, figures) in &of_rule {
            let times = |of: fn(&Figures) -> f64| {
                honest.map_or_else(
                    || "-".to_owned(),
                    |honest| format!("{:.2}", of(figures) / of(honest).max(f64::MIN_POSITIVE)),
                )
            };
            let name = format!("{:>2} % {}", scene.hostile_percent, scene.adversary);
            let identities =
                figures.identities_per_wrong().map_or_else(|| "-".to_owned(), |count| format!("{count:.1}"));
            lines.push(format!(
                "{name:19} {:>7} {:>8} {:>6} {:>5.2} {:>5.2} {:>4.2} {:>5} {:>5} {identities:>6} {:>5} {:>5.2} {:>6}",
                share(figures.wrong_share()),
                share(figures.wrong_settled as f64 / figures.units as f64),
                figures.wrong_once,
                figures.replicas,
                figures.replicas_later,
                figures.own_runs,
                times(|figures| figures.latency_p50_s),
                times(|figures| figures.latency_p99_s),
                times(|figures| figures.throughput),
                figures.time_counted,
                figures.honest_banned,
            ));
        }
    }
    lines
}

/// A promise, and where it is kept worst.
struct Kept<'a> {
    quantity: Quantity,
    limit: Limit,
    seen: f64,
    scene: &'a Scene,
}

impl Kept<'_> {
    fn is_broken(&self) -> bool {
        self.limit.missed_by(self.seen) > 0.0
    }
}

/// Worlds by one rule with so many visitors of a hundred, and so many hostile of a hundred.
type Group = (u32, u32, Rule);

/// A rule with what is promised of it somewhere.
type Column<'a> = (Rule, Vec<Kept<'a>>);

/// All promises about the worlds of a group.
fn kept(played: &Played, group: Group) -> Vec<Kept<'_>> {
    let of_group = |scene: &Scene| (scene.visitors_percent, scene.hostile_percent, scene.rule) == group;
    let mut kept: Vec<Kept<'_>> = Vec::new();
    for (scene, figures) in played.iter().filter(|(scene, _)| of_group(scene)) {
        let control = scene.control().and_then(|control| played.iter().find(|(other, _)| *other == control));
        for (quantity, limit) in scene.promises() {
            // What cannot be told is not kept.
            let seen = quantity.of(figures, control.map(|(_, figures)| figures)).unwrap_or(f64::NAN);
            let new = Kept { quantity, limit, seen, scene };
            match kept.iter_mut().find(|kept| kept.quantity == quantity) {
                Some(worst) if worst.limit.missed_by(worst.seen) < limit.missed_by(seen) => *worst = new,
                Some(_) => {}
                None => kept.push(new),
            }
        }
    }
    kept
}

/// Shares of visitors and of hostile workers, each pair once and in order.
fn places(played: &Played) -> Vec<(u32, u32)> {
    let mut places = Vec::new();
    for (scene, _) in played {
        let place = (scene.visitors_percent, scene.hostile_percent);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.sort_unstable();
    places
}

/// What was seen where it is worst, and what is promised.
pub(crate) fn promises(played: &Played) -> Vec<String> {
    let mut lines = Vec::new();
    for (visitors, hostile) in places(played) {
        let columns: Vec<Column<'_>> = rules(played)
            .into_iter()
            .map(|rule| (rule, kept(played, (visitors, hostile, rule))))
            .filter(|(_, kept)| !kept.is_empty())
            .collect();
        for columns in columns.chunks(PROMISED_MAX) {
            let row = |name: &str, cell: &dyn Fn(&Column<'_>) -> String| {
                let cells: String = columns.iter().map(|column| format!(" {:>14}", cell(column))).collect();
                format!("{name:15}{cells}")
            };
            let title = if visitors == 0 { format!("{hostile} % hostile") } else { format!("{visitors}+{hostile} %") };
            lines.extend([String::new(), row(&title, &|(rule, _)| rule.to_string())]);
            for quantity in Quantity::ALL {
                let cell = |(_, kept): &Column<'_>| {
                    let of = kept.iter().find(|kept| kept.quantity == quantity);
                    of.map_or_else(String::new, |kept| {
                        let [seen, limit] = [kept.seen, kept.limit.amount()].map(|amount| quantity.text(amount));
                        format!("{seen}/{limit}{}", if kept.is_broken() { "!" } else { " " })
                    })
                };
                if columns.iter().any(|column| !cell(column).is_empty()) {
                    lines.push(row(&quantity.to_string(), &cell));
                }
            }
        }
    }
    if !lines.is_empty() {
        let title =
            "The worst that was seen / what is promised (! is broken; 90+0 %: visitors, and of the others hostile)";
        lines.splice(0..0, [String::new(), title.to_owned()]);
    }
    lines
}

/// Promises that are broken, each with the command that shows the worst case again.
pub(crate) fn broken(played: &Played) -> Vec<String> {
    let line = |Kept { quantity, limit, seen, scene }: Kept<'_>| {
        format!("{quantity}: {seen:.3e} instead of {:.3e}\n  {scene}", limit.amount())
    };
    let groups = rules(played)
        .into_iter()
        .flat_map(|rule| places(played).into_iter().map(move |(visitors, hostile)| (visitors, hostile, rule)));
    groups.flat_map(|group| kept(played, group)).filter(Kept::is_broken).map(line).collect()
}

/// A scene with its figures, and whether it is one of those in the tables.
pub(crate) fn json((scene, figures): &(Scene, Figures), is_in_tables: bool) -> Value {
    json!({
        "is_in_tables": is_in_tables,
        "replay": scene.to_string(),
        "rule": scene.rule,
        "adversary": scene.adversary.to_string(),
        "hostile_percent": scene.hostile_percent,
        "visitors_percent": scene.visitors_percent,
        "assumed_percent": scene.assumed_percent,
        "workers": scene.workers,
        "seed": scene.seed,
        "wrong_share": figures.wrong_share(),
        "wrong_share_at_most": figures.wrong_share_at_most(),
        "figures": figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(adversary: &str, hostile_percent: u32) -> Scene {
        Scene {
            seed: 7,
            workers: 20,
            units: 80,
            hostile_percent,
            adversary: adversary.parse().expect("an adversary"),
            visitors_percent: 0,
            assumed_percent: 30,
            long_runs: 0,
            restarts: 0,
            decoys_permille: 0,
            calls: false,
            rule: "full:1e-6".parse().expect("a rule"),
        }
    }

    #[test]
    fn what_is_broken_is_shown_where_it_is_worst_with_the_command_that_shows_it_again() {
        let honest = scene("none", 0);
        let played = honest.play(&|_| ());
        let kept = Figures { replicas_later: 5.0, own_runs: 0.05, throughput: 10.0, in_vain_max: 20, ..played };
        let with = |adversary, figures| (scene(adversary, 30), figures);
        let all = vec![
            (honest, kept.clone()),
            with("mute", Figures { in_vain_max: 21, throughput: 5.0, ..kept.clone() }),
            with("late", Figures { in_vain_max: 23, throughput: 6.0, ..kept.clone() }),
            // Whoever is right at times may have more, and takes what it likes.
            with("sleeper:10", Figures { in_vain_max: 99, throughput: 1.0, ..kept.clone() }),
        ];
        let command = |adversary: &str| {
            format!(
                "cargo xtask sim --seed 7 --adversary {adversary} --hostile 30 --rule full:1e-6 --workers 20 --units 80 --visitors 0 --assumed 30 --decoys 0"
            )
        };
        assert_eq!(
            broken(&all),
            [
                format!("leases in vain: 2.300e1 instead of 2.000e1\n  {}", command("late")),
                format!("answers left: 5.000e-1 instead of 6.000e-1\n  {}", command("mute")),
            ]
        );
        let table = promises(&all).join("\n");
        assert!(table.contains("23/20!") && table.contains("0.50/0.60!") && table.contains("5.00/5.00 "), "{table}");
        assert!(broken(&all[1..]).iter().any(|line| line.starts_with("answers left: NaN")), "nothing to compare with");
    }
}
