//! What decoys hear of the calls that they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manyhands_decoys::answers::{CALLS_MIN, Over, adopt, draw};
use manyhands_intents::{Fault, Field, Heard};
use manyhands_model::{Class, Name, RunId, UnitId};
use manyhands_placeholder::{Mint, Occurrence, Scope, Source, Token, TokenKey};

const RUN: RunId = RunId([1; 16]);
const ASKED: Source = Source::Answer { step: 1, call: 2 };

fn seed(number: u32) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    seed
}

fn mint(index: u32) -> Mint {
    let unit = UnitId { run: RUN, index };
    TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "ann", job: &"job".parse().expect("a name"), unit })
}

fn token(unit: u32, class: Class, source: Source, index: u32) -> Token {
    mint(unit).fresh(class, Occurrence { source, index })
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn answer(fields: impl IntoIterator<Item = (&'static str, Field)>) -> Heard {
    Heard::Answer { status: 200, fields: fields.into_iter().map(|(at, field)| (name(at), field)).collect() }
}

fn over(unit: u32, heard: Heard, took_ms: u64) -> Over {
    Over { unit: UnitId { run: RUN, index: unit }, step: 1, heard, took: Duration::from_millis(took_ms) }
}

/// Of a hundred calls, five were refused by a budget, ten had no answer in time, fifteen met no customer, and of the rest one in ten was withheld.
fn calls() -> Vec<Over> {
    let call = |unit: u32| {
        let (heard, took) = match unit {
            0..5 => (Heard::Fault(Fault::Budget), 1),
            5..15 => (Heard::Fault(Fault::TimedOut), 30_000),
            15..30 => (Heard::Fault(Fault::Status(404)), 40),
            _ if unit.is_multiple_of(10) => (Heard::Fault(Fault::Withheld), 60),
            _ => {
                let company = Field::Token(token(unit, Class::Name, ASKED, 0));
                let tier = Field::Plain(if unit.is_multiple_of(4) { "gold" } else { "basic" }.into());
                let orders = Field::Integer(i64::from(unit));
                (answer([("company", company), ("tier", tier), ("orders", orders)]), 100 + u64::from(unit))
            }
        };
        over(unit, heard, took)
    };
    (0..100).map(call).collect()
}

#[test]
fn faults_come_as_often_as_they_do_and_take_as_long() {
    let calls = calls();
    let mut heard: BTreeMap<&str, Vec<Over>> = BTreeMap::new();
    for number in 0..10_000 {
        let drawn = draw(&calls, seed(number)).expect("enough are over");
        let word = if let Heard::Fault(fault) = &drawn.heard { fault.word() } else { "answer" };
        heard.entry(word).or_default().push(drawn);
    }
    for (word, expected, took) in [
        ("budget", 500, 1..2),
        ("timed_out", 1_000, 30_000..30_001),
        ("status", 1_500, 40..41),
        ("withheld", 700, 60..61),
        ("answer", 6_300, 131..200),
    ] {
        let drawn = &heard[word];
        assert!(drawn.len().abs_diff(expected) < 200, "{word}: {} instead of {expected}", drawn.len());
        for Over { took: after, .. } in drawn {
            assert!(took.contains(&(after.as_millis() as u64)), "{word} after {after:?}");
        }
    }
    let times: BTreeSet<Duration> = heard["answer"].iter().map(|over| over.took).collect();
    assert_eq!(times.len(), 63, "each of their times comes");
    assert!(heard["status"].iter().all(|over| over.heard == Heard::Fault(Fault::Status(404))));
}

#[test]
fn values_are_as_frequent_as_they_are_and_hang_together_no_more() {
    let calls = calls();
    let (mut answers, mut gold, mut kept, mut orders) = (0, 0, 0, BTreeSet::new());
    for number in 0..10_000 {
        let drawn = draw(&calls, seed(number)).expect("enough are over");
        assert_eq!(draw(&calls, seed(number)).as_ref(), Some(&drawn), "the same seed, the same answer");
        let Heard::Answer { status: 200, fields } = drawn.heard else { continue };
        let [Field::Token(_), Field::Integer(count), Field::Plain(tier)] =
            [&fields[&name("company")], &fields[&name("orders")], &fields[&name("tier")]]
        else {
            panic!("{fields:?}")
        };
        answers += 1;
        gold += u32::from(tier == "gold");
        kept += u32::from((count % 4 == 0) == (tier == "gold"));
        orders.insert(*count);
    }
    // Of the 63 answers, 14 are gold, those with a number that four divides.
    let share = |of: u32| f64::from(of) / f64::from(answers);
    assert!((share(gold) - 14.0 / 63.0).abs() < 0.02, "{}", share(gold));
    let independent = (14.0 / 63.0_f64).powi(2) + (49.0 / 63.0_f64).powi(2);
    assert!((share(kept) - independent).abs() < 0.03, "{}", share(kept));
    assert_eq!(orders.len(), 63, "each of their values comes");
}

#[test]
fn nothing_is_drawn_of_too_few_calls() {
    let few: Vec<Over> = calls().into_iter().take(CALLS_MIN).collect();
    assert!(draw(&few, seed(1)).is_some());
    assert_eq!(draw(&few[1..], seed(1)), None);
    assert_eq!(draw(&[], seed(1)), None);
}

#[test]
fn no_token_is_another_units() {
    let calls = calls();
    let theirs: BTreeSet<Token> = (0..100).map(|unit| token(unit, Class::Name, ASKED, 0)).collect();
    let mut fresh = BTreeSet::new();
    for number in 0..300 {
        let index = UnitId::FIRST_DECOY + number;
        let mut heard = draw(&calls, seed(number)).expect("enough are over").heard;
        adopt(&mut heard, &[b"{}"], &[b"{}"], &mint(index), ASKED);
        let Heard::Answer { fields, .. } = heard else { continue };
        let Field::Token(token) = fields[&name("company")] else { panic!("{fields:?}") };
        assert_eq!(token.class(), Class::Name);
        assert!(!theirs.contains(&token) && fresh.insert(token), "{token}");
    }
    assert!(fresh.len() > 100);
}

#[test]
fn what_a_unit_knew_before_is_what_the_decoy_has_in_its_place() {
    let of = |unit| {
        let input = |index| token(unit, Class::Email, Source::Input, index);
        let company = token(unit, Class::Name, Source::Answer { step: 0, call: 0 }, 0);
        (input(0), input(1), company)
    };
    let texts = |unit, more: usize| {
        let (email, other, company) = of(unit);
        let others = vec![format!("\"{other}\""); more].join(",");
        // Blanks and order are each input's own.
        let input = if unit == 3 {
            format!("{{ \"email\" : {{\"token\":\"{email}\",\"domain\":\"a\"}}, \"others\": [{others}] }}")
        } else {
            format!("{{\"others\":[{others}],\"email\":{{\"domain\":\"b\",\"token\":\"{email}\"}}}}")
        };
        let answers = format!("[{{\"status\":200,\"answer\":{{\"company\":\"{company}\"}}}}]");
        [input.into_bytes(), answers.into_bytes()]
    };
    fn slices(texts: &[Vec<u8>; 2]) -> [&[u8]; 2] {
        [&texts[0], &texts[1]]
    }
    let ((email, other, company), decoy) = (of(3), UnitId::FIRST_DECOY);
    let new = token(3, Class::Name, ASKED, 0);
    let fields = || {
        answer([
            ("a_email", Field::Token(email)),
            ("b_other", Field::Token(other)),
            ("c_company", Field::Token(company)),
            ("d_new", Field::Token(new)),
            ("e_same", Field::Token(new)),
        ])
    };
    let adopted = |own: &[&[u8]]| -> Vec<Token> {
        let mut heard = fields();
        adopt(&mut heard, &slices(&texts(3, 1)), own, &mint(decoy), ASKED);
        let Heard::Answer { fields, .. } = heard else { panic!("{heard:?}") };
        let token = |field: &Field| if let Field::Token(token) = field { *token } else { panic!("{field:?}") };
        fields.values().map(token).collect()
    };
    let fresh = |class, index| token(decoy, class, ASKED, index);
    let (own_email, own_other, own_company) = of(decoy);
    let (same, last) = (fresh(Class::Name, 0), fresh(Class::Name, 0));
    assert_eq!(adopted(&slices(&texts(decoy, 2))), [own_email, own_other, own_company, same, last]);
    // Where it has none, it is fresh.
    let (same, last) = (fresh(Class::Name, 1), fresh(Class::Name, 1));
    assert_eq!(adopted(&slices(&texts(decoy, 0))), [own_email, fresh(Class::Email, 0), own_company, same, last]);
    // A token of another class is none that could stand there; and what is no JSON has no places.
    let company = format!("{{\"email\":{{\"token\":\"{own_company}\"}}}}");
    for own in [&[&b"{\"email\":"[..]][..], &[company.as_bytes()]] {
        let tokens: BTreeSet<Token> = adopted(own).into_iter().collect();
        assert_eq!(tokens.len(), 4);
        assert!(tokens.is_disjoint(&[email, other, new, own_email, own_other, own_company].into()));
    }
}

#[test]
fn what_is_kept_for_decoys_is_read_as_it_was_written() {
    for call in calls() {
        let bytes = postcard::to_allocvec(&call).expect("it can be written");
        assert_eq!(postcard::from_bytes::<Over>(&bytes).expect("it can be read"), call);
    }
}
