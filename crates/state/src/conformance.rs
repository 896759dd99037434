//! What every engine must do, as tests to be run against it.
//!
//! [`run`] tells short stories with fixed answers, then plays seeded random histories against the
//! engine and [`MemoryStore`] side by side, with restarts in between. It panics at the first
//! difference and names the story or the seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::commit::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{Commit, CommitError, Expect, Key, MemoryStore, Op, Record, Revision, StateStore, Table};

/// An engine under test.
pub trait Subject {
    /// The engine.
    fn store(&self) -> &dyn StateStore;

    /// Closes it and opens it again on what it left behind. Does nothing where nothing is left behind.
    fn restart(&mut self);
}

impl Subject for MemoryStore {
    fn store(&self) -> &dyn StateStore {
        self
    }

    fn restart(&mut self) {}
}

/// Runs the whole suite. `fresh` makes an engine without records; `histories` random histories are
/// played, with the seeds from 0.
///
/// # Panics
/// When the engine does not conform.
pub fn run<S: Subject>(mut fresh: impl FnMut() -> S, histories: u64) {
    for story in STORIES {
        let mut subject = fresh();
        story(&mut subject);
    }
    for seed in 0..histories {
        history(&mut fresh(), seed);
    }
}

type Story = fn(&mut dyn Subject);

const STORIES: &[Story] = &[
    a_new_store_is_empty,
    a_commit_happens_whole_or_not_at_all,
    preconditions_speak_of_the_state_before,
    later_operations_see_earlier_ones,
    a_repeated_request_is_answered_with_its_first_revision,
    a_refused_commit_does_not_stop_its_batch,
    counters_count_and_know_their_limits,
    pages_join_into_the_whole_range,
    what_is_too_large_is_refused,
    everything_is_still_there_after_a_restart,
];

fn value(store: &dyn StateStore, table: Table, key: &str) -> Option<String> {
    let record = store.get(table, key.as_bytes()).expect("get");
    record.map(|record| String::from_utf8_lossy(&record.value).into_owned())
}

fn counter(store: &dyn StateStore, key: &str) -> Option<i64> {
    store.get(Table::Meta, key.as_bytes()).expect("get").and_then(|record| record.counter())
}

fn a_new_store_is_empty(subject: &mut dyn Subject) {
    let store = subject.store();
    assert_eq!(store.revision(), Revision(0));
    assert_eq!(store.get(Table::Runs, b"r1"), Ok(None));
    assert_eq!(store.scan(Table::Runs, b"", None, 10), Ok(Vec::new()));
    assert_eq!(store.commit_all(Vec::new()), Vec::new());
    assert_eq!(store.commit(Commit::new()), Ok(Revision(0)), "a commit of nothing changes nothing");
    assert_eq!(store.check().expect("check").problems, Vec::new());
    assert_eq!(store.space().expect("space").records, 0);
}

fn a_commit_happens_whole_or_not_at_all(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = store.commit(Commit::new().put((Table::Runs, "r1"), "one").put((Table::Units, "u1"), "waiting"));
    assert_eq!(first, Ok(Revision(1)));
    let refused = store.commit(
        Commit::new().put((Table::Runs, "r1"), "two").delete((Table::Units, "u1")).expect_absent((Table::Runs, "r1")),
    );
    let expect = Expect::Absent(Key::from((Table::Runs, "r1")));
    assert_eq!(refused, Err(CommitError::Conflict { expect, found: Some(Revision(1)) }));
    assert_eq!(value(store, Table::Runs, "r1").as_deref(), Some("one"));
    assert_eq!(value(store, Table::Units, "u1").as_deref(), Some("waiting"));
    assert_eq!(store.revision(), Revision(1));
}

fn preconditions_speak_of_the_state_before(subject: &mut dyn Subject) {
    let store = subject.store();
    let key = (Table::Units, "u1");
    assert_eq!(store.commit(Commit::new().expect_absent(key).put(key, "a")), Ok(Revision(1)));
    assert_eq!(store.commit(Commit::new().put((Table::Units, "u2"), "b")), Ok(Revision(2)));
    assert_eq!(store.commit(Commit::new().expect_version(key, Revision(1)).put(key, "c")), Ok(Revision(3)));
    let stale = Commit::new().expect_version(key, Revision(1)).put(key, "d");
    let expect = stale.expects[0].clone();
    assert_eq!(store.commit(stale), Err(CommitError::Conflict { expect, found: Some(Revision(3)) }));
    assert_eq!(store.commit(Commit::new().expect_exists(key).delete(key)), Ok(Revision(4)));
    let gone = Commit::new().expect_exists(key);
    assert!(matches!(store.commit(gone), Err(CommitError::Conflict { found: None, .. })));
    let same_key_elsewhere = Commit::new().expect_absent((Table::Results, "u2"));
    assert_eq!(store.commit(same_key_elsewhere), Ok(Revision(4)), "tables do not share keys");
}

fn later_operations_see_earlier_ones(subject: &mut dyn Subject) {
    let store = subject.store();
    let key = (Table::Meta, "n");
    let commit = Commit::new().add(key, 5).delete(key).add(key, 2).add(key, 1).put((Table::Runs, "r"), "x");
    assert_eq!(store.commit(commit.delete((Table::Runs, "r"))), Ok(Revision(1)));
    assert_eq!(counter(store, "n"), Some(3));
    assert_eq!(value(store, Table::Runs, "r"), None);
}

fn a_repeated_request_is_answered_with_its_first_revision(subject: &mut dyn Subject) {
    let request = || Commit::new().add((Table::Meta, "n"), 1).idempotency("request-1");
    let first = subject.store().commit(request());
    assert_eq!(first, Ok(Revision(1)));
    assert_eq!(subject.store().commit(Commit::new().add((Table::Meta, "n"), 10)), Ok(Revision(2)));
    assert_eq!(subject.store().commit(request()), first);
    assert_eq!(subject.store().commit_all(vec![request(), request()]), vec![first.clone(), first.clone()]);
    subject.restart();
    let store = subject.store();
    assert_eq!(store.commit(request().expect_absent((Table::Meta, "n"))), first, "answered before anything is judged");
    assert_eq!(counter(store, "n"), Some(11));
    let refused = Commit::new().expect_exists((Table::Runs, "r")).idempotency("request-2");
    assert!(store.commit(refused).is_err());
    assert_eq!(store.get(Table::Idempotency, b"request-2"), Ok(None), "a refused request may be tried again");
    let forgery = Commit::new().put((Table::Idempotency, "request-3"), "");
    assert!(matches!(store.commit(forgery), Err(CommitError::Reserved(_))));
    assert_eq!(store.commit(Commit::new().delete((Table::Idempotency, "request-1"))), Ok(Revision(3)));
    assert_eq!(store.commit(request()), Ok(Revision(4)), "a forgotten request is new");
}

fn a_refused_commit_does_not_stop_its_batch(subject: &mut dyn Subject) {
    let store = subject.store();
    let take = |who: &str| Commit::new().expect_absent((Table::Units, "u1")).put((Table::Units, "u1"), who);
    let answers = store.commit_all(vec![take("w1"), take("w2"), Commit::new().add((Table::Meta, "n"), 1)]);
    assert_eq!(answers[0], Ok(Revision(1)));
    assert!(matches!(answers[1], Err(CommitError::Conflict { found: Some(Revision(1)), .. })));
    assert_eq!(answers[2], Ok(Revision(2)));
    assert_eq!(value(store, Table::Units, "u1").as_deref(), Some("w1"));
}

fn counters_count_and_know_their_limits(subject: &mut dyn Subject) {
    let store = subject.store();
    assert_eq!(store.commit(Commit::new().add((Table::Meta, "n"), -7)), Ok(Revision(1)));
    assert_eq!(store.commit(Commit::new().add((Table::Meta, "n"), i64::MAX)), Ok(Revision(2)));
    let over = store.commit(Commit::new().add((Table::Meta, "n"), 8).put((Table::Runs, "r"), "x"));
    assert!(matches!(over, Err(CommitError::Counter { amount: 8, .. })), "{over:?}");
    assert_eq!(counter(store, "n"), Some(i64::MAX - 7));
    assert_eq!(store.commit(Commit::new().put((Table::Runs, "r"), "text")), Ok(Revision(3)));
    assert!(matches!(store.commit(Commit::new().add((Table::Runs, "r"), 1)), Err(CommitError::Counter { .. })));
    assert_eq!(value(store, Table::Runs, "r").as_deref(), Some("text"));
}

fn pages_join_into_the_whole_range(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut commit = Commit::new();
    for number in 0..25_u8 {
        commit = commit.put((Table::Units, [b"a".as_slice(), &[number]].concat()), vec![number]);
    }
    // Neighbours in key order on both sides, and the awkward last prefix.
    commit = commit.put((Table::Runs, [0xff; 3]), "").put((Table::Units, "b"), "").put((Table::Inputs, ""), "");
    assert_eq!(store.commit(commit.put((Table::Units, [0xff, 0xff]), "last")), Ok(Revision(1)));

    let mut seen = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(Table::Units, b"a", after.as_deref(), 10).expect("scan");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page.into_iter().map(|(_, record)| record.value));
    }
    assert_eq!(seen, (0..25_u8).map(|number| vec![number]).collect::<Vec<_>>());
    assert_eq!(store.scan(Table::Units, b"a", None, 0), Ok(Vec::new()));
    assert_eq!(store.scan(Table::Units, b"", None, 100).expect("scan").len(), 27);
    assert_eq!(store.scan(Table::Units, &[0xff], None, 9).expect("scan").len(), 1);
    assert_eq!(store.scan(Table::Units, b"b", Some(b"a"), 9).expect("scan").len(), 1, "a mark before the prefix");
    assert_eq!(store.scan(Table::Units, b"a", Some(b"zz"), 9), Ok(Vec::new()), "a mark behind it");
}

fn what_is_too_large_is_refused(subject: &mut dyn Subject) {
    let store = subject.store();
    let put = |key: usize, value: usize| Commit::new().put((Table::Inputs, vec![1; key]), vec![2; value]);
    assert_eq!(store.commit(put(KEY_BYTES_MAX, VALUE_BYTES_MAX)), Ok(Revision(1)));
    let refused = [
        put(KEY_BYTES_MAX + 1, 0),
        put(1, VALUE_BYTES_MAX + 1),
        Commit::new().idempotency(vec![0; KEY_BYTES_MAX + 1]),
        (0..200_u8).fold(Commit::new(), |commit, key| commit.put((Table::Inputs, [key]), vec![0; VALUE_BYTES_MAX])),
    ];
    for commit in refused {
        assert!(matches!(store.commit(commit), Err(CommitError::TooLarge { .. })));
    }
    assert_eq!(store.revision(), Revision(1));
    assert_eq!(store.get(Table::Inputs, &[1; KEY_BYTES_MAX + 1]), Ok(None));
}

fn everything_is_still_there_after_a_restart(subject: &mut dyn Subject) {
    let commits = (0..100_u32).map(|n| Commit::new().put((Table::Results, n.to_be_bytes()), n.to_be_bytes()));
    assert!(subject.store().commit_all(commits.collect()).iter().all(Result::is_ok));
    assert_eq!(subject.store().commit(Commit::new().delete((Table::Results, 7_u32.to_be_bytes()))), Ok(Revision(101)));
    let before = everything(subject.store());
    subject.restart();
    assert_eq!(everything(subject.store()), before);
    assert_eq!(subject.store().revision(), Revision(101));
    assert_eq!(subject.store().check().expect("check").problems, Vec::new());
}

/// Every record of every table: the value of two stores' equality.
pub fn everything(store: &dyn StateStore) -> Vec<(Table, Vec<u8>, Record)> {
    let table = |table: Table| {
        let rows = store.scan(table, b"", None, usize::MAX).expect("scan");
        rows.into_iter().map(move |(key, record)| (table, key, record))
    };
    Table::ALL.iter().copied().flat_map(table).collect()
}

/// Plays one random history against the engine and the model: same answers, same reads, same end.
fn history(subject: &mut dyn Subject, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let model = MemoryStore::new();
    for step in 0..60 {
        let place = || format!("seed {seed}, step {step}");
        let batch: Vec<Commit> = (0..1 + below(&mut rng, 8)).map(|_| random_commit(&mut rng, &model)).collect();
        assert_eq!(subject.store().commit_all(batch.clone()), model.commit_all(batch), "{}", place());
        let (table, key) = random_key(&mut rng);
        assert_eq!(subject.store().get(table, &key), model.get(table, &key), "{}", place());
        let prefix = &key[..below(&mut rng, key.len() as u64 + 1) as usize];
        let after = (below(&mut rng, 2) == 0).then(|| random_key(&mut rng).1);
        let limit = below(&mut rng, 6) as usize;
        let page = |store: &dyn StateStore| store.scan(table, prefix, after.as_deref(), limit);
        assert_eq!(page(subject.store()), page(&model), "{}", place());
        if below(&mut rng, 20) == 0 {
            subject.restart();
        }
    }
    subject.restart();
    assert_eq!(everything(subject.store()), everything(&model), "seed {seed}");
    assert_eq!(subject.store().revision(), model.revision(), "seed {seed}");
    assert_eq!(subject.store().check().expect("check").problems, Vec::new(), "seed {seed}");
    let (found, expected) = (subject.store().space().expect("space"), model.space().expect("space"));
    assert_eq!((found.records, found.live_bytes), (expected.records, expected.live_bytes), "seed {seed}");
}

fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// Few keys, so that commits meet each other.
fn random_key(rng: &mut ChaCha8Rng) -> (Table, Vec<u8>) {
    let table = [Table::Runs, Table::Units, Table::Meta][below(rng, 3) as usize];
    let key = (0..1 + below(rng, 2)).map(|_| b'a' + below(rng, 4) as u8).collect();
    (table, key)
}

fn random_commit(rng: &mut ChaCha8Rng, model: &MemoryStore) -> Commit {
    let mut commit = Commit::new();
    for _ in 0..below(rng, 3) {
        let (table, bytes) = random_key(rng);
        let found = model.get(table, &bytes).expect("get");
        let key = Key::from((table, bytes));
        // Mostly what is true before the batch; the batch itself makes some of it false.
        let expect = match (found, below(rng, 8)) {
            (_, 0) => Expect::Exists(key),
            (None, _) => Expect::Absent(key),
            (Some(record), 1) => Expect::Version(key, record.version.next()),
            (Some(record), _) => Expect::Version(key, record.version),
        };
        commit.expects.push(expect);
    }
    for _ in 0..below(rng, 5) {
        let key = Key::from(random_key(rng));
        commit.ops.push(match below(rng, 8) {
            0 | 1 => Op::Delete(key),
            2 => Op::Add(key, below(rng, 100) as i64 - 50),
            3 => Op::Put(key, 0_i64.to_be_bytes().to_vec()),
            _ => {
                let bytes = below(rng, 40);
                Op::Put(key, (0..bytes).map(|_| rng.next_u32() as u8).collect())
            }
        });
    }
    if below(rng, 4) == 0 {
        commit = commit.idempotency([b'k', below(rng, 12) as u8]);
    }
    commit
}
