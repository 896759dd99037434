//! Attacks 45: what clients keep is tampered with, swapped and rolled back, and answers get lost.

use std::collections::BTreeMap;

use manyhands_held::life::{Became, Exchange, Life, Refused, Step};
use manyhands_held::seal::{NotOpened, OVERHEAD_BYTES, Place, RecordKey, Stamp};
use manyhands_model::{Digest, JobName, RunId};
use proptest::prelude::*;

fn key() -> RecordKey {
    RecordKey::derive(&[7; 32])
}

fn place(key: &RecordKey, owner: &str, job: &str, client: &str) -> Place {
    let job: JobName = job.parse().expect("a job's name");
    key.place(owner, &job, &client.parse().expect("a client's name"))
}

#[test]
fn a_record_opens_where_it_belongs_and_nowhere_else() {
    let key = key();
    let here = place(&key, "shop", "basket", "c-1");
    let record = key.seal(&here, 3, b"{\"items\":2}", [1; 24]);
    let opened = key.open(&here, &record).expect("opens");
    assert_eq!((&opened.content[..], opened.stamp), (&b"{\"items\":2}"[..], key.stamp(&here, 3, b"{\"items\":2}")));
    assert!(!record.contains("items"));
    // The parts of a place cannot be shifted against each other.
    for (owner, job, client) in
        [("shop2", "basket", "c-1"), ("shop", "basket2", "c-1"), ("shop", "basket", "c-2"), ("sho", "pbasket", "c-1")]
    {
        let elsewhere = place(&key, owner, job, client);
        assert_eq!(key.open(&elsewhere, &record), Err(NotOpened::Foreign), "{owner} {job} {client}");
    }
    assert_eq!(RecordKey::derive(&[8; 32]).open(&here, &record), Err(NotOpened::Changed));
    for text in ["", "mhr1_", "mhr1_====", "mhr2_abcd", &record[1..], &record[..60]] {
        assert_eq!(key.open(&here, text), Err(NotOpened::Unreadable), "{text}");
    }
}

#[test]
fn equal_contents_have_other_stamps_under_another_number_or_place() {
    let key = key();
    let (here, there) = (place(&key, "a", "j", "c"), place(&key, "a", "j", "d"));
    let stamp = key.stamp(&here, 1, b"x");
    assert_eq!(stamp, key.stamp(&here, 1, b"x"));
    assert_ne!(stamp.code, key.stamp(&here, 2, b"x").code);
    assert_ne!(stamp.code, key.stamp(&there, 1, b"x").code);
    assert_ne!(key.question(&here, b"x"), key.question(&there, b"x"));
    assert!(["", "a b", "é", &"a".repeat(65)].iter().all(|name| name.parse::<manyhands_held::ClientName>().is_err()));
}

proptest! {
    #[test]
    fn whatever_is_changed_in_a_record_it_does_not_open(
        content in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), flip in 1_u8..64,
    ) {
        let key = key();
        let here = place(&key, "shop", "basket", "c-1");
        let record = key.seal(&here, 9, &content, [3; 24]);
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut changed = record.clone().into_bytes();
        let at = 5 + at.index(changed.len() - 5);
        let letter = LETTERS.iter().position(|letter| *letter == changed[at]).expect("base64url");
        changed[at] = LETTERS[letter ^ usize::from(flip)];
        let changed = String::from_utf8(changed).expect("text");
        prop_assert!(matches!(key.open(&here, &changed), Err(NotOpened::Changed | NotOpened::Unreadable)));
        prop_assert!(key.open(&here, &record[..record.len() - 1]).is_err());
        prop_assert_eq!(record.len(), 5 + ((content.len() + OVERHEAD_BYTES) * 8).div_ceil(6));
    }
}

#[test]
fn each_refusal_says_why() {
    let stamp = |number: u64, letter: &str| Stamp { number, code: Digest::of(letter.as_bytes()) };
    let exchange =
        |run: u8, question: &str| Exchange { run: RunId([run; 16]), question: Digest::of(question.as_bytes()) };
    let question = |text: &str| Some(Digest::of(text.as_bytes()));
    let settled = Life::settled(Some(stamp(3, "c")));
    let answered = Life::Answered { newest: stamp(3, "c"), before: Some(stamp(2, "b")), exchange: exchange(1, "q") };
    let asked = Life::asked(Some(stamp(3, "c")), exchange(1, "q"));
    let first = Life::Answered { newest: stamp(1, "a"), before: None, exchange: exchange(1, "q") };
    use Became::{Answer, Nothing, Pending};
    use Refused::{Ahead, Busy, Missing, Older, OtherLine, Superseded};
    let of = |run: u8| RunId([run; 16]);
    let asks = |text: &str, received| Ok(Step::Begin { question: Digest::of(text.as_bytes()), received });
    let begin = |received| asks("q", received);
    let acknowledged = |received| Ok(Step::Acknowledged { received });
    let table = [
        (&Life::NEW, None, question("q"), Nothing, begin(None)),
        (&Life::NEW, None, None, Nothing, acknowledged(None)),
        (&Life::NEW, Some(stamp(1, "a")), question("q"), Nothing, Err(Ahead { shown: 1 })),
        (&settled, Some(stamp(3, "c")), question("q"), Nothing, begin(None)),
        (&settled, Some(stamp(3, "x")), question("q"), Nothing, Err(OtherLine { number: 3 })),
        (&settled, Some(stamp(2, "b")), question("q"), Nothing, Err(Older { shown: 2, newest: 3 })),
        (&settled, Some(stamp(2, "b")), None, Nothing, Err(Older { shown: 2, newest: 3 })),
        (&settled, Some(stamp(4, "d")), question("q"), Nothing, Err(Ahead { shown: 4 })),
        (&settled, None, question("q"), Nothing, Err(Missing { newest: 3 })),
        (&asked, Some(stamp(3, "c")), question("q"), Pending, Ok(Step::Answer(of(1)))),
        (&asked, Some(stamp(3, "c")), question("q"), Answer, Ok(Step::Answer(of(1)))),
        (&asked, Some(stamp(3, "c")), None, Answer, Ok(Step::Answer(of(1)))),
        (&asked, Some(stamp(3, "c")), question("r"), Pending, Err(Busy)),
        (&asked, Some(stamp(3, "c")), question("r"), Answer, Err(Busy)),
        (&asked, Some(stamp(3, "c")), question("r"), Nothing, asks("r", None)),
        (&asked, Some(stamp(3, "c")), None, Nothing, acknowledged(None)),
        (&asked, Some(stamp(2, "b")), question("q"), Pending, Err(Older { shown: 2, newest: 3 })),
        (&answered, Some(stamp(3, "c")), question("r"), Nothing, asks("r", Some(of(1)))),
        (&answered, Some(stamp(3, "c")), None, Nothing, acknowledged(Some(of(1)))),
        (&answered, Some(stamp(2, "b")), question("q"), Nothing, Ok(Step::Answer(of(1)))),
        (&answered, Some(stamp(2, "b")), None, Nothing, Ok(Step::Answer(of(1)))),
        (&answered, Some(stamp(2, "b")), question("r"), Nothing, Err(Superseded { newest: 3 })),
        (&answered, Some(stamp(2, "x")), question("q"), Nothing, Err(Older { shown: 2, newest: 3 })),
        (&answered, Some(stamp(1, "a")), question("q"), Nothing, Err(Older { shown: 1, newest: 3 })),
        (&first, None, question("q"), Nothing, Ok(Step::Answer(of(1)))),
        (&first, None, question("r"), Nothing, Err(Superseded { newest: 1 })),
    ];
    for (life, shown, asks, became, expected) in table {
        assert_eq!(
            life.meet(shown.as_ref(), asks, became, false),
            expected,
            "{life:?} meets {shown:?} {asks:?} {became:?}"
        );
    }
    let restored = settled.meet(Some(&stamp(7, "g")), question("q"), Nothing, true);
    assert_eq!(restored, begin(None), "data that was put back believes what it has forgotten");
    assert_eq!(settled.meet(Some(&stamp(2, "b")), question("q"), Nothing, true), Err(Older { shown: 2, newest: 3 }));
}

#[test]
fn an_answer_that_changed_takes_the_place_of_the_one_that_nobody_has_shown() {
    let run = RunId([1; 16]);
    let exchange = Exchange { run, question: Digest::of(b"q") };
    let stamp = |letter: &str, number: u64| Stamp { number, code: Digest::of(format!("{letter}{number}").as_bytes()) };
    let before = Some(stamp("b", 2));
    let life = Life::asked(before, exchange).answered(run, |number| stamp("c", number)).expect("answered");
    assert_eq!(life.answered(run, |number| stamp("c", number)), Some(life.clone()), "the same again changes nothing");
    let other = life.answered(run, |number| stamp("d", number)).expect("answered");
    assert_eq!(other, Life::Answered { newest: stamp("d", 4), before, exchange });
    let meets = |shown: Option<Stamp>| other.meet(shown.as_ref(), None, Became::Nothing, false);
    assert_eq!(meets(before), Ok(Step::Answer(run)), "whoever lost the answer gets on");
    assert_eq!(meets(Some(stamp("c", 3))), Err(Refused::Older { shown: 3, newest: 4 }));
    assert_eq!(meets(Some(stamp("d", 4))), Ok(Step::Acknowledged { received: Some(run) }));
    // Nothing is put in the place of what was shown.
    assert_eq!(Life::settled(Some(stamp("c", 3))).answered(run, |number| stamp("d", number)), None);
    assert_eq!(life.answered(RunId([2; 16]), |number| stamp("c", number)), None);
}

/// What can happen, in any order.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody shows record `number` of all that were ever sealed, or none, and asks something or nothing.
    Show { number: usize, question: Option<u8> },
    /// The run that is under way ends.
    End { with_answer: bool },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let show = (0_usize..40, prop::option::of(0_u8..3)).prop_map(|(number, question)| Event::Show { number, question });
    let newest = prop::option::of(0_u8..3).prop_map(|question| Event::Show { number: usize::MAX, question });
    let before = prop::option::of(0_u8..3).prop_map(|question| Event::Show { number: usize::MAX - 1, question });
    let end = any::<bool>().prop_map(|with_answer| Event::End { with_answer });
    prop::collection::vec(prop_oneof![1 => show, 3 => newest, 2 => before, 3 => end], 1..60)
}

proptest! {
    /// Whoever keeps every record that there ever was, and shows them in whatever order, from however many tabs, whatever gets lost:
    /// there is one line of records, each made of the one before it, and no question is executed twice on the same record.
    #[test]
    fn there_is_one_line_of_records_and_nobody_is_stranded(events in events()) {
        let mut life = Life::NEW;
        // The content of each record, in the order of their numbers; and what was handed out.
        let mut line: Vec<Option<Stamp>> = vec![None];
        let mut runs: BTreeMap<u8, Option<bool>> = BTreeMap::new();
        let mut next = 0_u8;
        let stamp = |number: u64, run: RunId| Stamp { number, code: Digest::of(&[&number.to_le_bytes()[..], &run.0].concat()) };
        let became = |life: &Life, runs: &BTreeMap<u8, Option<bool>>| match life.run_in_doubt().map(|run| runs[&run.0[0]]) {
            Some(None) => Became::Pending,
            Some(Some(true)) => Became::Answer,
            Some(Some(false)) | None => Became::Nothing,
        };
        for event in events {
            match event {
                Event::End { with_answer } => {
                    if let Some(run) = life.run_in_doubt() {
                        let ended = runs.get_mut(&run.0[0]).expect("a run");
                        ended.get_or_insert(with_answer);
                    }
                }
                Event::Show { number, question } => {
                    let at = match number {
                        usize::MAX => line.len() - 1,
                        number if number == usize::MAX - 1 => line.len().saturating_sub(2),
                        number => number % line.len(),
                    };
                    let question = question.map(|question| Digest::of(&[question]));
                    let shown = line[at];
                    let now = became(&life, &runs);
                    match life.meet(shown.as_ref(), question, now, false) {
                        Ok(Step::Begin { question, .. }) => {
                            prop_assert_eq!(at, line.len() - 1, "only the newest is worked on");
                            prop_assert!(runs.values().all(Option::is_some), "two at once");
                            runs.insert(next, None);
                            let run = RunId([next; 16]);
                            life = Life::asked(shown, Exchange { run, question });
                            next += 1;
                        }
                        Ok(Step::Answer(run)) => {
                            prop_assert!(at + 2 >= line.len(), "at most one step back");
                            if runs[&run.0[0]] == Some(true) {
                                let answered = life.answered(run, |number| stamp(number, run)).expect("it is the one");
                                if let Life::Asked { .. } = life {
                                    line.push(answered.newest().copied());
                                }
                                prop_assert_eq!(answered.newest(), line.last().expect("one").as_ref(), "told another answer");
                                life = answered;
                            }
                        }
                        Ok(Step::Acknowledged { .. }) => {
                            prop_assert_eq!(at, line.len() - 1);
                            life = Life::settled(shown);
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        // Whoever has the newest record, or only the one before it, gets on.
        if let Some(run) = life.run_in_doubt() {
            runs.get_mut(&run.0[0]).expect("a run").get_or_insert(true);
        }
        let newest = life.newest().copied();
        let step = life.meet(newest.as_ref(), None, became(&life, &runs), false).expect("not refused");
        if let Step::Answer(run) = step {
            life = life.answered(run, |number| stamp(number, run)).expect("it is the one");
        }
        if let Life::Answered { before, exchange, .. } = life {
            prop_assert_eq!(life.meet(before.as_ref(), None, Became::Nothing, false), Ok(Step::Answer(exchange.run)));
        }
        let newest = life.newest().copied();
        let again = life.meet(newest.as_ref(), Some(Digest::of(b"more")), Became::Nothing, false);
        prop_assert!(matches!(again, Ok(Step::Begin { .. })), "{:?}", again);
    }
}
