//! The figures for people, at most a hundred columns wide, and for programs.

use manyhands_sim::{Figures, Rule, Scene};
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

/// Promises that are broken, each with the command that shows the worst case again.
pub(crate) fn broken(played: &Played) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in rules(played) {
        for hostile in shares(played) {
            let Some(promise) = rule.promise(hostile) else { continue };
            let mut worst = |of: fn(&Figures) -> f64, most: f64, what: &str| {
                let here = played.iter().filter(|(scene, _)| scene.rule == rule && scene.hostile_percent == hostile);
                let Some((scene, figures)) = here.max_by(|one, other| of(&one.1).total_cmp(&of(&other.1))) else {
                    return;
                };
                if of(figures) > most {
                    lines.push(format!("{what}: {:.3e} instead of {most:.3e}\n  {scene}", of(figures)));
                }
            };
            worst(Figures::wrong_share, promise.wrong_share_max, "wrong answers");
            worst(|figures| figures.replicas_later, promise.replicas_max, "replicas a unit");
        }
    }
    lines
}

/// A scene with its figures.
pub(crate) fn json(scene: &Scene, figures: &Figures) -> Value {
    json!({
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
