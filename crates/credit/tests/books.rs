//! Whatever is posted, in whatever order: books stay balanced, and an export says what stands in them.

use std::collections::BTreeMap;

use manyhands_credit::{
    Account, Amount, Balanced, Broken, Entry, Hour, Line, Place, Postings, Sealer, SignedSeal, Subject, Verifier,
};
use manyhands_model::{RunId, Timestamp, WorkerId};
use manyhands_signing::{Keypair, Signed, TrustList, TrustedKey, Validity};
use proptest::prelude::*;

/// A book as a store keeps it.
#[derive(Default)]
struct Book(BTreeMap<Place, Line>);

impl Book {
    fn post(&mut self, postings: Postings) {
        for (place, line) in postings.into_lines() {
            *self.0.entry(place).or_default() += line;
        }
    }

    fn is_balanced(&self) -> bool {
        let mut balanced = Balanced::default();
        self.0.iter().for_each(|(place, line)| balanced.note(place.hour, place.subject, line.amount));
        balanced.first_off().is_none()
    }

    fn balance(&self, account: &Account) -> Amount {
        let own = self.0.iter().filter(|(place, _)| place.account == *account);
        own.map(|(_, line)| line.amount).sum()
    }
}

fn worker(number: u8) -> Account {
    Account::Worker(WorkerId([number; 32]))
}

fn requester(number: u8) -> Account {
    Account::Requester(format!("requester {number}"))
}

/// One transfer: hour, run or deposit, requester, worker, amount.
type Move = (u32, Option<u8>, u8, u8, i64);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec((0_u32..3, prop::option::of(0_u8..3), 0_u8..3, 0_u8..4, any::<i64>()), 0..40)
}

fn post(postings: &mut Postings, (hour, run, owner, by, amount): Move) {
    let line = Line { amount: Amount(amount.into()), replicas: amount.signum() };
    match run {
        Some(run) => {
            let subject = Subject::Run(RunId([run; 16]));
            postings.transfer(Hour(hour), subject, requester(owner), worker(by), line);
        }
        None => postings.transfer(Hour(hour), Subject::Deposit, Account::Operator, requester(owner), line),
    }
}

proptest! {
    #[test]
    fn a_book_is_balanced_after_each_step(moves in moves(), steps in 1_usize..5) {
        let (mut book, mut at_once) = (Book::default(), Postings::default());
        for some in moves.chunks(steps) {
            let mut postings = Postings::default();
            some.iter().for_each(|one| post(&mut postings, *one));
            book.post(postings);
            prop_assert!(book.is_balanced());
        }
        moves.iter().for_each(|one| post(&mut at_once, *one));
        let mut other = Book::default();
        other.post(at_once);
        prop_assert_eq!(&book.0, &other.0, "in one step or in many");
        for number in 0..4 {
            let got = moves.iter().filter(|(_, run, _, by, _)| run.is_some() && *by == number);
            let earned = got.map(|(.., amount)| Amount((*amount).into())).sum::<Amount>();
            prop_assert_eq!(book.balance(&worker(number)), earned);
        }
    }

    #[test]
    fn what_is_taken_back_leaves_nothing(moves in moves()) {
        let mut book = Book::default();
        for (hour, run, owner, by, amount) in moves {
            let mut postings = Postings::default();
            let amount = amount.max(-i64::MAX);
            post(&mut postings, (hour, run, owner, by, amount));
            post(&mut postings, (hour, run, owner, by, -amount));
            book.post(postings);
        }
        prop_assert!(book.0.values().all(|line| *line == Line::default()));
    }

    #[test]
    fn every_changed_byte_of_an_export_is_found(moves in moves(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut postings = Postings::default();
        moves.iter().for_each(|one| post(&mut postings, *one));
        let mut text = export(postings, 3);
        prop_assert!(verify(&text).is_ok());
        let place = at.index(text.len());
        text[place] ^= 1 << bit;
        // A last line break does not matter.
        if place + 1 < text.len() {
            prop_assert!(verify(&text).is_err());
        }
    }
}

const NOW: Timestamp = Timestamp(5 * 3_600_000);

fn sign(seal: manyhands_credit::Seal) -> SignedSeal {
    let (root, key) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
    let validity = Validity { issued_at: Timestamp(0), expires_at: Timestamp(u64::MAX) };
    let trust = TrustList {
        version: 1,
        validity,
        keys: vec![TrustedKey { key: key.public(), revoked: false }],
        floors: Vec::new(),
        revoked_modules: Vec::new(),
    };
    SignedSeal::new(root.public(), Signed::new(&root, &trust), Signed::new(&key, &seal)).expect("signed")
}

fn export(postings: Postings, to: u32) -> Vec<u8> {
    let (mut text, mut sealer) = (Vec::new(), Sealer::default());
    for entry in postings.into_lines().map(Entry::from) {
        sealer.line(&entry.line());
        text.extend(entry.line());
        text.push(b'\n');
    }
    text.extend(sign(sealer.seal(Hour(0), Hour(to), NOW)).line());
    text.push(b'\n');
    text
}

fn verify(text: &[u8]) -> Result<manyhands_credit::Report, Broken> {
    let mut verifier = Verifier::new(None);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        verifier.line(line)?;
    }
    verifier.end()
}

fn few() -> Postings {
    let mut postings = Postings::default();
    [(0, Some(1), 1, 1, 500), (1, Some(1), 1, 2, 500), (1, None, 1, 0, 7_000)]
        .into_iter()
        .for_each(|one| post(&mut postings, one));
    postings
}

#[test]
fn an_export_says_what_each_account_got() {
    let report = verify(&export(few(), 2)).expect("whole");
    assert_eq!((report.from, report.to, report.lines), (Hour(0), Hour(2), 6));
    let total = |account: &Account| report.totals[account].amount.0;
    assert_eq!(
        [requester(1), worker(1), worker(2), Account::Operator].each_ref().map(total),
        [6_000, 500, 500, -7_000]
    );
}

#[test]
fn whoever_cuts_adds_or_swaps_is_found() {
    let text = export(few(), 2);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let without = |index: usize| [&lines[..index], &lines[index + 1..]].concat().concat();
    assert_eq!(verify(&without(6)), Err(Broken::Unsealed));
    assert_eq!(verify(&without(2)), Err(Broken::NotWhatWasSigned));
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert_eq!(verify(&swapped.concat()), Err(Broken::OutOfTurn { line: 3 }));
    assert_eq!(verify(&[&text, lines[0]].concat()), Err(Broken::BehindTheSeal { line: 8 }));
    let twice = [lines[0], &text].concat();
    assert_eq!(verify(&twice), Err(Broken::OutOfTurn { line: 2 }));
    assert_eq!(verify(&export(few(), 1)), Err(Broken::OtherHours));
}

#[test]
fn an_export_that_was_signed_and_is_not_balanced_is_the_coordinators_fault() {
    let mut one_sided: Vec<Entry> = few().into_lines().map(Entry::from).collect();
    one_sided.pop();
    let (mut text, mut sealer) = (Vec::new(), Sealer::default());
    for entry in one_sided {
        sealer.line(&entry.line());
        text.extend([entry.line(), b"\n".to_vec()].concat());
    }
    text.extend(sign(sealer.seal(Hour(0), Hour(2), NOW)).line());
    let off = verify(&text).expect_err("unbalanced");
    assert!(matches!(off, Broken::Unbalanced { hour: Hour(1), off: Amount(-500), .. }), "{off:?}");
}

#[test]
fn amounts_are_whole_numbers_within_bounds() {
    for good in ["0", "-1", "1000000", "79228162514264337593543950336"] {
        assert_eq!(good.parse::<Amount>().map(|amount| amount.to_string()), Ok(good.to_owned()));
    }
    for bad in ["", "1.5", "1e6", " 1", "79228162514264337593543950337", "-79228162514264337593543950337", "ten"] {
        assert!(bad.parse::<Amount>().is_err(), "{bad}");
    }
}
