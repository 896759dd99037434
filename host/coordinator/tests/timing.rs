//! Whether it can be told by the time that a look-up takes how near a guess is: the statistic of *dudect* (Reparaz, Balasch, Verbauwhede, "Dude, is my
//! code constant time?", 2017). Measuring takes a quiet machine, so these are asked for by name: `cargo xtask bench timing`.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use manyhands_api::{NewToken, Role};
use manyhands_coordinator::auth::Tokens;
use manyhands_model::{Class, RunId, Timestamp, UnitId, WorkerId};
use manyhands_placeholder::{Form, Occurrence, Scope, Source, Token, TokenKey, UnitTokens};
use manyhands_state::MemoryStore;

/// Guesses of each kind, about.
const GUESSES: usize = 8_192;
/// How often each is measured, about.
const ROUNDS: usize = 48;
/// Times that a guess is looked up in one measurement.
const TIMES: usize = 8;
/// Beyond this, two kinds of guesses are told apart by their times; the paper's bound.
const T_MAX: f64 = 4.5;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

/// Welch's t between the times that two kinds of guesses take: of all, and of those below some percentiles, since what the machine does
/// besides only ever makes one longer. The largest, without its sign.
///
/// A guess counts once, with the shortest of its times: each has a time of its own, from its digits and its place in memory, and counted often that of
/// few guesses would pass for that of their kind. Both kinds are made and measured in an order that is drawn.
fn t<G>(make: [&dyn Fn(usize) -> G; 2], look_up: impl Fn(&G)) -> f64 {
    let kinds: Vec<usize> = (0..2 * GUESSES).map(|_| usize::from(random::<1>()[0] & 1)).collect();
    let guesses: Vec<G> = kinds.iter().enumerate().map(|(number, kind)| make[*kind](number % GUESSES)).collect();
    let mut fastest = vec![f64::INFINITY; guesses.len()];
    for _ in 0..ROUNDS * guesses.len() {
        let at = usize::from(u16::from_le_bytes(random())) % guesses.len();
        let began = Instant::now();
        for _ in 0..TIMES {
            look_up(black_box(&guesses[at]));
        }
        fastest[at] = fastest[at].min(began.elapsed().as_nanos() as f64);
    }
    let mut all = fastest.clone();
    all.sort_by(f64::total_cmp);
    let of_most = [0.5, 0.75, 0.9, 0.95, 0.99, 1.0].map(|share| {
        let most = all[((all.len() - 1) as f64 * share) as usize];
        let [(a, va, na), (b, vb, nb)] = [0, 1].map(|kind| {
            let of_kind =
                fastest.iter().zip(&kinds).filter(|(time, of)| **of == kind && **time <= most && time.is_finite());
            let kept: Vec<f64> = of_kind.map(|(time, _)| *time).collect();
            let count = kept.len() as f64;
            let mean = kept.iter().sum::<f64>() / count;
            (mean, kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0), count)
        });
        ((a - b) / (va / na + vb / nb).sqrt()).abs()
    });
    of_most.into_iter().fold(0.0, f64::max)
}

/// What stands for something with nothing of it: digits as tokens have them.
fn digits(count: usize) -> String {
    let bytes = random::<64>();
    bytes
        .iter()
        .take(count)
        .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]))
        .collect()
}

#[tokio::test]
#[ignore = "measures; see above"]
async fn attack_44_a_guess_near_a_bearer_token_takes_as_long_as_any() {
    let tokens = Tokens::open(Arc::new(MemoryStore::new())).expect("no tokens");
    let mut known = Vec::new();
    for number in 0..100 {
        let new = NewToken { name: format!("r{number}"), role: Role::Requester };
        known.push(tokens.create(new, Timestamp(0)).await.expect("a token").token);
    }
    let bearing =
        |token: String| HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"))]);
    // All but the last digits are right, or none is.
    // As many that nobody knows, so that the processor has seen either kind as often.
    let unknown: Vec<_> = known.iter().map(|_| format!("mht_{}", digits(52))).collect();
    let after = |beginnings: &[String], number: usize| {
        let beginning = &beginnings[number % beginnings.len()];
        let kept = beginning.len() - 1 - number % 8;
        bearing(format!("{}{}", &beginning[..kept], digits(beginning.len() - kept)))
    };
    let near = |number: usize| after(&known, number);
    let far = |number: usize| after(&unknown, number);
    assert!(tokens.caller(&bearing(known[0].clone())).is_ok(), "control: a right one is known");
    let sorted: BTreeSet<Vec<u8>> = known.iter().map(|known| format!("Bearer {known}").into_bytes()).collect();
    let told = t([&near, &far], |guess| {
        let _found = black_box(sorted.contains(guess[AUTHORIZATION].as_bytes()));
    });
    println!("control, tokens in a sorted list: t = {told:.2}");
    assert!(told > T_MAX, "control: what compares tokens can be told: {told:.2}");
    let t = t([&near, &far], |guess| {
        let _nobody = black_box(tokens.caller(guess));
    });
    println!("bearer tokens: t = {t:.2}");
    assert!(t < T_MAX, "{t:.2}");
}

#[test]
#[ignore = "measures; see above"]
fn attack_44_another_workers_token_takes_as_long_as_one_that_was_made_up() {
    let key = TokenKey::derive(&random(), 0);
    let unit = UnitId { run: RunId(random()), index: 0 };
    let job = "job".parse().expect("a name");
    let mint = key.mint(&Scope { tenant: "ann", job: &job, unit });
    let canonical: Vec<Token> = (0..GUESSES as u32)
        .map(|index| mint.fresh(Class::Email, Occurrence { source: Source::Input, index }))
        .collect();
    let text = canonical.iter().map(Token::to_string).collect::<Vec<_>>().join(" ").into_bytes();
    let seen = |worker: u8| UnitTokens::of([&*Form::new(&key, unit, WorkerId([worker; 32])).worker(text.clone())]);
    let back = Form::new(&key, unit, WorkerId([1; 32])).back(&UnitTokens::of([&text[..]]));
    let bobs: Vec<Token> = seen(2).iter().copied().collect();
    // Their check part is right, as anybody can make it.
    let others = TokenKey::derive(&random(), 0);
    let others = others.mint(&Scope { tenant: "ann", job: &job, unit });
    let made_up =
        |number: usize| others.fresh(Class::Email, Occurrence { source: Source::Input, index: number as u32 });
    assert!(seen(1).iter().all(|own| back.canonical_of(own).is_some()), "control: one's own are known");
    let t = t([&|number: usize| bobs[number], &made_up], |guess| {
        let _nobody = black_box(back.canonical_of(guess));
    });
    println!("another worker's tokens: t = {t:.2}");
    assert!(t < T_MAX, "{t:.2}");
}
