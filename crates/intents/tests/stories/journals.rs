//! One effect, however often things crash.

use manyhands_intents::journal::{Attempts, Reach, Unchanged};
use manyhands_intents::{Event, Fault, Fence, Heard, Outcome, State};
use manyhands_model::Timestamp;
use manyhands_model::verb::EffectClass;
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

fn fence(claim: u64) -> Fence {
    Fence { start: 1, claim }
}

fn answer(status: u16) -> Heard {
    if status < 300 { Heard::Answer { status, fields: [].into() } } else { Heard::Fault(Fault::Status(status)) }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, heard: answer(status) }
}

fn attempts(made: u32, reach: Reach) -> Attempts {
    Attempts { made, first_at: Timestamp(0), fence: fence(5), claimed_at: Timestamp(0), reach }
}

fn word(next: Result<State, Unchanged>) -> String {
    let fault = |heard: &Heard| match heard {
        Heard::Answer { status, .. } => status.to_string(),
        Heard::Fault(Fault::Status(status)) => format!("status {status}"),
        Heard::Fault(fault) => fault.word().to_owned(),
    };
    match next {
        Ok(State::Agreed) => "agreed".into(),
        Ok(State::Waiting { attempts, due }) => format!("waits {} {}s", attempts.made, due.0 / 1_000),
        Ok(State::Claimed { attempts }) => format!("claimed {}", attempts.made),
        Ok(State::Unknown { .. }) => "UNKNOWN".into(),
        Ok(State::Refused(fault)) => format!("refused {}", fault.word()),
        Ok(State::Heard(heard)) => format!("hears {}", fault(&heard)),
        Err(Unchanged::Over) => "-over".into(),
        Err(Unchanged::Claimed) => "-claimed".into(),
        Err(Unchanged::NotDue) => "-not due".into(),
        Err(Unchanged::Stale) => "-stale".into(),
        Err(Unchanged::Known) => "-known".into(),
        Err(Unchanged::Unknown) => "-unknown".into(),
    }
}

/// A changed rule is a changed cell.
#[test]
fn every_state_and_every_event() {
    let waiting = |made, reach| State::Waiting { attempts: attempts(made, reach), due: Timestamp(0) };
    let claimed = |made, reach| State::Claimed { attempts: attempts(made, reach) };
    let states = [
        ("agreed", State::Agreed),
        ("waiting, never sent", waiting(1, Reach::Never)),
        ("waiting, declined", waiting(2, Reach::Declined)),
        ("waiting, in doubt", waiting(2, Reach::InDoubt)),
        ("claimed first", claimed(1, Reach::Never)),
        ("claimed last", claimed(5, Reach::Never)),
        ("claimed last, in doubt", claimed(5, Reach::InDoubt)),
        ("unknown", State::Unknown { attempts: attempts(1, Reach::InDoubt), since: Timestamp(0) }),
        ("refused", State::Refused(Fault::Budget)),
        ("heard", State::Heard(answer(200))),
    ];
    let events = [
        ("claim", Event::Claim(fence(6))),
        ("claim, older", Event::Claim(fence(4))),
        ("refuse", Event::Refuse(Fault::Budget)),
        ("200", Event::Over(fence(5), answered(200))),
        ("404", Event::Over(fence(5), answered(404))),
        ("401", Event::Over(fence(5), answered(401))),
        ("409", Event::Over(fence(5), answered(409))),
        ("503", Event::Over(fence(5), answered(503))),
        ("504", Event::Over(fence(5), answered(504))),
        ("never sent", Event::Over(fence(5), Outcome::NeverSent)),
        ("refused", Event::Over(fence(5), Outcome::Refused(Fault::Refused))),
        ("perhaps sent", Event::Over(fence(5), Outcome::PerhapsSent)),
        ("200, older", Event::Over(fence(4), answered(200))),
        ("200, newer", Event::Over(Fence { start: 2, claim: 5 }, answered(200))),
        ("forgotten", Event::Forgotten { asked_at: Timestamp(0), fence: Fence { start: 2, claim: 0 } }),
        ("made", Event::Made(answer(200))),
        ("not made", Event::NotMade),
        ("let go", Event::LetGo),
    ];
    let mut table = String::new();
    for (state_word, state) in &states {
        for (event_word, event) in &events {
            let effects = [EffectClass::Safe, EffectClass::Keyed, EffectClass::AtMostOnce, EffectClass::Irreversible];
            let [safe, keyed, once, irreversible] = effects.map(|effect| word(state.next(event, effect, Timestamp(0))));
            assert_eq!(once, irreversible, "they differ before a call, not after it");
            table += &format!("{state_word:<23}{event_word:<15}{safe:<18}{keyed:<18}{once}\n");
        }
    }
    if let Some((number, (is, was))) = table.lines().zip(TABLE.lines()).enumerate().find(|(_, (is, was))| is != was) {
        panic!("line {number} is\n{is}\nand was\n{was}\n\n{table}");
    }
    assert_eq!(table.lines().count(), TABLE.lines().count(), "{table}");
}

/// State, event, and what follows for calls that are safe, keyed, and at most once.
const TABLE: &str = include_str!("journal.txt");

#[test]
fn waits_grow_and_end() {
    let mut state = State::Agreed;
    let (mut now, mut waits) = (Timestamp(0), Vec::new());
    for claim in 0.. {
        state = state.next(&Event::Claim(fence(claim)), EffectClass::Keyed, now).expect("claimed");
        state = state.next(&Event::Over(fence(claim), answered(429)), EffectClass::Keyed, now).expect("over");
        let Some(due) = state.due() else { break };
        assert_eq!(
            state.next(&Event::Claim(fence(99)), EffectClass::Keyed, Timestamp(due.0 - 1)),
            Err(Unchanged::NotDue)
        );
        waits.push(due.since(now).as_secs());
        now = due;
    }
    assert_eq!(waits, [1, 4, 16, 64]);
    assert_eq!(state.heard(), Some(Heard::Fault(Fault::Status(429))));
}

#[test]
fn a_key_that_may_be_forgotten_is_not_used_again() {
    let waiting = State::Waiting { attempts: attempts(1, Reach::InDoubt), due: Timestamp(1_000) };
    let claim =
        |state: &State, effect, hours: u64| word(state.next(&Event::Claim(fence(9)), effect, Timestamp(hours * HOUR)));
    assert_eq!(claim(&waiting, EffectClass::Keyed, 22), "claimed 2");
    assert_eq!(claim(&waiting, EffectClass::Keyed, 23), "UNKNOWN");
    assert_eq!(claim(&waiting, EffectClass::Safe, 1_000), "claimed 2");
    let never = State::Waiting { attempts: attempts(1, Reach::Never), due: Timestamp(1_000) };
    assert_eq!(claim(&never, EffectClass::Keyed, 1_000), "claimed 2");
}

#[test]
fn a_state_survives_the_disk() {
    for state in [
        State::Agreed,
        State::Waiting { attempts: attempts(2, Reach::InDoubt), due: Timestamp(7) },
        State::Refused(Fault::Status(5)),
        State::Heard(answer(200)),
    ] {
        let bytes = postcard::to_allocvec(&state).expect("writes");
        assert_eq!(postcard::from_bytes::<State>(&bytes).expect("reads"), state);
    }
}

/// An API that counts what it did. It knows a key for 24 hours.
#[derive(Default)]
struct Upstream {
    done: u32,
    arrived: u32,
    key_since: Option<u64>,
}

impl Upstream {
    /// A request arrives; whether it is done, and the status with which it is answered.
    fn arrive(&mut self, keyed: bool, fate: u8, now: u64) -> u16 {
        self.arrived += 1;
        if keyed && self.key_since.is_some_and(|since| now - since < 24 * HOUR) {
            return 200;
        }
        let (done, status) = match fate % 8 {
            0 => (false, 503),
            1 => (false, 429),
            2 => (true, 504),
            3 => (false, 502),
            4 => (false, 404),
            5 => (false, 401),
            _ => (true, 200),
        };
        if done {
            self.done += 1;
            self.key_since = Some(now);
        }
        status
    }
}

/// What may happen between two lines of whoever makes calls.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// Somebody claims, with a fence of so long ago.
    Claim { older: u64 },
    /// The claimed call is made; its request or its answer may be lost.
    Send { fate: u8, arrives: bool, answer_arrives: bool },
    /// Before a byte goes out, the connection fails.
    Fail,
    /// The process dies and starts again.
    Crash,
    /// The disk is put back to what it was once, and whoever starts on it knows that it was.
    PutBack(prop::sample::Index),
    /// An outcome that was told once is told again.
    Echo(prop::sample::Index),
    /// The budget is gone, or the approval.
    Refuse,
    /// The operator finds out, or gives up.
    Settle { lets_go: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..200_000_u64).prop_map(Step::Wait),
        1 => (0..30 * HOUR).prop_map(Step::Wait),
        6 => Just(Step::Claim { older: 0 }),
        1 => (1..4_u64).prop_map(|older| Step::Claim { older }),
        6 => (any::<u8>(), prop::bool::weighted(0.8), prop::bool::weighted(0.6))
            .prop_map(|(fate, arrives, answer_arrives)| Step::Send { fate, arrives, answer_arrives }),
        1 => Just(Step::Fail),
        2 => Just(Step::Crash),
        1 => any::<prop::sample::Index>().prop_map(Step::PutBack),
        2 => any::<prop::sample::Index>().prop_map(Step::Echo),
        1 => Just(Step::Refuse),
        1 => any::<bool>().prop_map(|lets_go| Step::Settle { lets_go }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever crashes, is lost, comes twice or late: an API that honours keys does it once, any other at most once, and what the
    /// job hears is true.
    #[test]
    fn attack_28_one_effect_however_often_things_crash(
        steps in prop::collection::vec(step(), 1..60),
        effect in prop::sample::select(vec![EffectClass::Keyed, EffectClass::AtMostOnce, EffectClass::Irreversible]),
    ) {
        let keyed = effect == EffectClass::Keyed;
        let mut upstream = Upstream::default();
        let (mut disk, mut now) = (State::Agreed, 0_u64);
        let (mut start, mut claims) = (1, 10);
        // What the process knows besides the disk: the claim that it may send under, and outcomes on their way.
        let mut holds: Option<Fence> = None;
        let mut told: Vec<Event> = Vec::new();
        let mut copies = vec![disk.clone()];
        let mut found_out = false;
        let tell = |disk: &mut State, event: &Event, now: u64| {
            disk.next(event, effect, Timestamp(now)).map(|next| *disk = next)
        };
        for step in steps {
            let settled =
                matches!(disk, State::Heard(_) | State::Refused(_)) && !matches!(step, Step::PutBack(_));
            let before = (disk.clone(), upstream.arrived);
            match step {
                Step::Wait(ms) => now += ms,
                Step::Claim { older } => {
                    claims += 1;
                    let fence = Fence { start, claim: claims - older * 2 };
                    // Only a claim that is on disk may be sent.
                    if tell(&mut disk, &Event::Claim(fence), now).is_ok() && disk.may_send(fence, Timestamp(now)) {
                        prop_assert!(holds.is_none(), "two hold it");
                        holds = Some(fence);
                    }
                }
                Step::Send { fate, arrives, answer_arrives } => {
                    let Some(fence) = holds.take() else { continue };
                    let outcome = if !disk.may_send(fence, Timestamp(now)) {
                        Outcome::NeverSent
                    } else {
                        match arrives.then(|| upstream.arrive(keyed, fate, now)) {
                            Some(status) if answer_arrives => answered(status),
                            _ => Outcome::PerhapsSent,
                        }
                    };
                    let event = Event::Over(fence, outcome);
                    prop_assert!(tell(&mut disk, &event, now).is_ok());
                    told.push(event);
                }
                Step::Fail => {
                    let Some(fence) = holds.take() else { continue };
                    let event = Event::Over(fence, Outcome::NeverSent);
                    prop_assert!(tell(&mut disk, &event, now).is_ok());
                    told.push(event);
                }
                Step::Crash => {
                    // It may have died after sending and before it could say so.
                    if holds.take().is_some_and(|fence| disk.may_send(fence, Timestamp(now))) && now % 2 == 0 {
                        upstream.arrive(keyed, (now / 2) as u8, now);
                    }
                    start += 1;
                    if let State::Claimed { attempts } = &disk {
                        let over = Event::Over(attempts.fence, Outcome::PerhapsSent);
                        prop_assert!(tell(&mut disk, &over, now).is_ok());
                    }
                }
                Step::PutBack(which) => {
                    holds = None;
                    start += 1;
                    copies.truncate(which.index(copies.len()) + 1);
                    disk = copies[copies.len() - 1].clone();
                    let event = match &disk {
                        State::Claimed { attempts } => Event::Over(attempts.fence, Outcome::PerhapsSent),
                        _ => Event::Forgotten { asked_at: Timestamp(0), fence: Fence { start, claim: 0 } },
                    };
                    let _ = tell(&mut disk, &event, now);
                }
                Step::Echo(which) => {
                    if !told.is_empty() {
                        prop_assert!(tell(&mut disk, &told[which.index(told.len())].clone(), now).is_err());
                    }
                }
                Step::Refuse => {
                    let _ = tell(&mut disk, &Event::Refuse(Fault::Budget), now);
                }
                Step::Settle { lets_go } => {
                    found_out |= matches!(disk, State::Unknown { .. }) && !lets_go;
                    let event = match upstream.done {
                        _ if lets_go => Event::LetGo,
                        0 => Event::NotMade,
                        _ => Event::Made(answer(200)),
                    };
                    let _ = tell(&mut disk, &event, now);
                }
            }
            copies.push(disk.clone());
            prop_assert!(upstream.done <= 1, "made {} times", upstream.done);
            if settled {
                prop_assert_eq!((&disk, upstream.arrived), (&before.0, before.1), "what is over changed");
            }
            match &disk {
                State::Refused(_) => prop_assert!(upstream.done == 0 && (upstream.arrived == 0 || found_out), "refused after it was sent"),
                State::Heard(Heard::Answer { .. }) => prop_assert_eq!(upstream.done, 1),
                State::Heard(Heard::Fault(Fault::Unknown)) => {}
                State::Heard(Heard::Fault(_)) => prop_assert_eq!(upstream.done, 0, "the job hears that it was not made"),
                State::Agreed | State::Waiting { .. } | State::Claimed { .. } | State::Unknown { .. } => {}
            }
            // What may not be repeated never waits for another attempt once it may have arrived.
            if let State::Waiting { attempts, .. } = &disk {
                prop_assert!(keyed || attempts.reach == Reach::Never);
            }
        }
        // Once nothing fails any more, it ends, if need be with the operator's help.
        for _ in 0..20 {
            if let Some(due) = disk.due() {
                now = now.max(due.0);
                claims += 1;
                let _ = tell(&mut disk, &Event::Claim(Fence { start, claim: claims }), now);
            }
            if let State::Claimed { attempts } = &disk {
                let fence = attempts.fence;
                let outcome =
                    if disk.may_send(fence, Timestamp(now)) { answered(upstream.arrive(keyed, 7, now)) } else { Outcome::NeverSent };
                let _ = tell(&mut disk, &Event::Over(fence, outcome), now);
            }
            if matches!(disk, State::Unknown { .. }) {
                let event = if upstream.done == 0 { Event::NotMade } else { Event::Made(answer(200)) };
                let _ = tell(&mut disk, &event, now);
            }
        }
        prop_assert!(disk.heard().is_some(), "{disk:?}");
        prop_assert!(upstream.done <= 1);
    }
}
