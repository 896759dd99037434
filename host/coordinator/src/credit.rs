//! The ledger of fuel: who writes into it.
//!
//! What is earned is written in the same commit as the units that say so, and what is deposited in the same as its entry of the audit log.
//! Both go through the one [`Book`], since a line is what it was and what is added to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use manyhands_credit::{Account, Amount, Entry, Hour, Line, Place, Postings, Sealer, Subject};
use manyhands_model::{RunId, Timestamp};
use manyhands_protocol::Balance;
use manyhands_scheduler::{Input, Paid};
use manyhands_state::commit::IdempotencyKey;
use tokio::sync::Mutex;

use crate::app::{App, to_its_end};
use crate::audit::Event;
use crate::problem::Answer;
use crate::records::{BalanceRecord, RecordError, Records, Writes};

/// Lines and balances that are kept at hand; more are read again.
const AT_HAND: usize = 65_536;
/// How often workers that somebody watches are told what they have earned, and each of how many times the others are as well.
const TELL: Duration = Duration::from_secs(5);
const TELL_ALL: u64 = 12;
/// Records that are read at once.
const PAGE: usize = 1_000;

/// The right to write into the ledger. There is one; who has it holds it until what was posted is on the disk.
pub struct Book {
    records: Records,
    /// The hour into which is written. It never goes back, whatever the clock does, so that earlier ones are closed.
    hour: Option<Hour>,
    lines: BTreeMap<Place, Line>,
    balances: BTreeMap<Account, BalanceRecord>,
}

/// The book, for those who take turns with it.
pub type Shared = Arc<Mutex<Book>>;

impl Book {
    /// The book that is in these records.
    pub fn new(records: Records) -> Self {
        Self { records, hour: None, lines: BTreeMap::new(), balances: BTreeMap::new() }
    }

    /// The hour into which is written from now on. All before it are closed: what they say never changes.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn hour(&mut self, now: Timestamp) -> Result<Hour, RecordError> {
        let last = match self.hour {
            Some(hour) => hour,
            None => self.records.hour()?,
        };
        let hour = last.max(Hour::of(now));
        if hour > last {
            // Nobody writes there any more.
            self.lines.clear();
        }
        self.hour = Some(hour);
        Ok(hour)
    }

    /// Adds to the lines of accounts and to what they have. If `writes` do not become durable, [`Book::forget`] has to be told.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn post(&mut self, postings: Postings, writes: &mut Writes) -> Result<(), RecordError> {
        if postings.is_empty() {
            return Ok(());
        }
        if self.lines.len() + self.balances.len() > AT_HAND {
            self.lines.clear();
            self.balances.clear();
        }
        let mut changed = BTreeSet::new();
        for (place, more) in postings.into_lines() {
            let line = match self.lines.get_mut(&place) {
                Some(line) => line,
                None => {
                    let line = self.records.line(&place)?.unwrap_or_default();
                    self.lines.entry(place.clone()).or_insert(line)
                }
            };
            *line += more;
            writes.line(&place, line);
            writes.hour(place.hour);
            let account = place.account;
            let balance = match self.balances.get_mut(&account) {
                Some(balance) => balance,
                None => {
                    let none =
                        || BalanceRecord { account: account.clone(), balance: Amount::ZERO, has_deposited: false };
                    let balance = self.records.balance(&account)?.unwrap_or_else(none);
                    self.balances.entry(account.clone()).or_insert(balance)
                }
            };
            balance.balance += more.amount;
            balance.has_deposited |= place.subject == Subject::Deposit;
            changed.insert(account);
        }
        changed.iter().filter_map(|account| self.balances.get(account)).for_each(|balance| writes.balance(balance));
        Ok(())
    }

    /// What was posted last is not on the disk: reads again what is.
    pub fn forget(&mut self) {
        *self = Self::new(self.records.clone());
    }
}

/// Posts what is paid for a unit of a run, or taken back.
pub fn pay(postings: &mut Postings, hour: Hour, run: RunId, paid: &Paid) {
    for (worker, amount) in &paid.to {
        let line = if paid.is_taken_back {
            Line { amount: -*amount, replicas: -1 }
        } else {
            Line { amount: *amount, replicas: 1 }
        };
        let payer = paid.owner.as_ref().map_or(Account::Operator, |owner| Account::Requester(owner.to_string()));
        postings.transfer(hour, Subject::Run(run), payer, Account::Worker(*worker), line);
    }
}

/// Deposits something for a requester, or takes something back where the amount is negative. Repeated under the same key, it happens once.
///
/// # Errors
/// Problems with the disk.
pub async fn deposit(
    app: &App,
    requester: String,
    amount: Amount,
    by: String,
    key: Option<IdempotencyKey>,
) -> Answer<Amount> {
    let app = app.clone();
    to_its_end(async move {
        let mut book = Arc::clone(&app.book).lock_owned().await;
        let (now, account) = (app.clock.now(), Account::Requester(requester.clone()));
        let (known, mut writes) = (key.clone(), Writes::default());
        let (mut book, staged) = app
            .blocking(move |records| {
                if let Some(key) = &known
                    && records.has_happened(key)?
                {
                    return Ok((book, None));
                }
                let mut postings = Postings::default();
                let line = Line { amount, replicas: 0 };
                postings.transfer(book.hour(now)?, Subject::Deposit, Account::Operator, account, line);
                if let Err(error) = book.post(postings, &mut writes) {
                    book.forget();
                    return Err(error);
                }
                Ok((book, Some(writes)))
            })
            .await?;
        if let Some(mut staged) = staged {
            staged.0.idempotency = key;
            let event = Event::Deposited { requester: requester.clone(), amount: amount.to_string(), by };
            if let Err(error) = app.calls.decide(event, move |writes| *writes = staged).await {
                book.forget();
                return Err(error.into());
            }
            tracing::info!(%requester, %amount, "a budget was changed");
            // Whoever waits for the mind must not be waited for by the hand, which needs the book.
            drop(book);
            app.core.tell(Input::Deposited { owner: requester.clone(), amount }).await?;
        }
        let account = Account::Requester(requester);
        let balance = app.blocking(move |records| records.balance(&account)).await?;
        Ok(balance.map_or(Amount::ZERO, |balance| balance.balance))
    })
    .await
}

/// Closes the hours before the present one, and says which that is.
///
/// # Errors
/// Problems with the disk.
pub async fn close(app: &App) -> Answer<Hour> {
    // Whoever posts holds it until that is on the disk.
    let mut book = Arc::clone(&app.book).lock_owned().await;
    let now = app.clock.now();
    app.blocking(move |_| book.hour(now)).await
}

/// Writes the lines of these hours, in order, and a seal behind them; ends early where nobody reads any more.
///
/// # Errors
/// Any [`RecordError`].
pub fn export(
    records: &Records,
    (from, to): (Hour, Hour),
    mut write: impl FnMut(Vec<u8>) -> bool,
) -> Result<Option<Sealer>, RecordError> {
    let mut accounts = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = records.balances(after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        accounts.extend(page.into_iter().map(|(_, balance)| balance.account));
    }
    accounts.sort_unstable();
    let mut sealer = Sealer::default();
    let mut text = Vec::new();
    for account in accounts {
        let mut after = None;
        loop {
            let page = records.lines(&account, from, after, PAGE)?;
            let is_last = page.len() < PAGE || page.last().is_some_and(|(place, _)| place.hour >= to);
            after = page.last().map(|(place, _)| (place.hour, place.subject));
            for line in page.into_iter().filter(|(place, _)| place.hour < to) {
                let line = Entry::from(line).line();
                sealer.line(&line);
                text.extend(line);
                text.push(b'\n');
            }
            if text.len() > 64 << 10 && !write(std::mem::take(&mut text)) {
                return Ok(None);
            }
            if is_last {
                break;
            }
        }
    }
    Ok(write(text).then_some(sealer))
}

/// Tells workers what they have earned, and those that were found wrong how often: those that somebody watches soon, others once in a while.
pub async fn tell_workers(app: App) {
    let mut every = tokio::time::interval(TELL);
    for turn in 0_u64.. {
        if app.stop.run_until_cancelled(every.tick()).await.is_none() {
            return;
        }
        let mut sessions = app.hub.workers();
        if turn % TELL_ALL != 0 {
            sessions.retain(|_, session| session.is_watched());
        }
        if sessions.is_empty() {
            continue;
        }
        let trust = app.settings.verification.trust();
        let told = app.blocking(move |records| {
            for (id, session) in sessions {
                let earned = records.balance(&Account::Worker(id))?.map_or(0, |record| record.balance.0.max(0));
                let fuel = u64::try_from(earned).unwrap_or(u64::MAX);
                let record = records.worker(id)?.unwrap_or_default();
                let contradicted = if record.is_in_doubt(&trust) { record.dissents } else { 0 };
                session.tell_balance(Balance { fuel, contradicted, settled: record.agreed + record.dissents });
            }
            Ok(())
        });
        if let Err(error) = told.await {
            tracing::warn!(%error, "workers cannot be told what they have earned");
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_credit::{Balanced, Verifier};
    use manyhands_model::WorkerId;
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;
    use crate::metrics::Metrics;
    use crate::records::line_place;

    const HOUR: u64 = 3_600_000;

    fn paid(worker: u8, amount: i128, is_taken_back: bool) -> Paid {
        Paid { owner: Some("ann".into()), to: vec![(WorkerId([worker; 32]), Amount(amount))], is_taken_back }
    }

    fn run(number: u8) -> RunId {
        RunId([number; 16])
    }

    struct World {
        _dir: tempfile::TempDir,
        records: Records,
        book: Book,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
            Self { book: Book::new(records.clone()), _dir: dir, records }
        }

        fn post(&mut self, at: u64, of: u8, all: &[Paid]) -> Writes {
            let (mut postings, mut writes) = (Postings::default(), Writes::default());
            let hour = self.book.hour(Timestamp(at)).unwrap();
            all.iter().for_each(|paid| pay(&mut postings, hour, run(of), paid));
            self.book.post(postings, &mut writes).unwrap();
            writes
        }

        fn balance(&self, account: Account) -> i128 {
            self.records.balance(&account).unwrap().map_or(0, |balance| balance.balance.0)
        }

        fn worker(&self, number: u8) -> i128 {
            self.balance(Account::Worker(WorkerId([number; 32])))
        }

        /// Whether the book as it lies there is balanced, and its balances are the sums of its lines.
        fn check(&self) {
            let (mut balanced, mut sums) = (Balanced::default(), BTreeMap::new());
            for (_, BalanceRecord { account, balance, .. }) in self.records.balances(None, usize::MAX).unwrap() {
                let lines = self.records.lines(&account, Hour(0), None, usize::MAX).unwrap();
                lines.iter().for_each(|(place, line)| balanced.note(place.hour, place.subject, line.amount));
                sums.insert(account, (balance, lines.iter().map(|(_, line)| line.amount).sum::<Amount>()));
            }
            assert!(sums.values().all(|(balance, sum)| balance == sum), "{sums:?}");
            assert_eq!(balanced.first_off(), None);
        }
    }

    #[test]
    fn the_book_is_balanced_after_each_commit_and_a_failed_one_leaves_no_trace() {
        let mut world = World::new();
        let first = world.post(0, 1, &[paid(1, 500, false), paid(2, 300, false)]);
        world.records.commit(first).unwrap();
        world.check();
        let _lost = world.post(1, 1, &[paid(1, 10_000, false)]);
        world.book.forget();
        let second = world.post(2, 1, &[paid(1, 500, true), paid(3, 500, false)]);
        world.records.commit(second).unwrap();
        world.check();
        assert_eq!((world.worker(1), world.worker(2), world.worker(3)), (0, 300, 500));
        assert_eq!(world.balance(Account::Requester("ann".into())), -800);
    }

    #[test]
    fn an_hour_that_is_over_stays_as_it_was_also_if_the_clock_goes_back() {
        let mut world = World::new();
        let first = world.post(7 * HOUR, 1, &[paid(1, 5, false)]);
        world.records.commit(first).unwrap();
        let account = Account::Worker(WorkerId([1; 32]));
        for (at, restarted) in [(8 * HOUR, false), (7 * HOUR, false), (6 * HOUR, true)] {
            if restarted {
                world.book = Book::new(world.records.clone());
            }
            let writes = world.post(at, 1, &[paid(1, 1, false)]);
            world.records.commit(writes).unwrap();
        }
        let lines = world.records.lines(&account, Hour(0), None, 9).unwrap();
        let told: Vec<_> = lines.iter().map(|(place, line)| (place.hour.0, line.amount.0, line.replicas)).collect();
        assert_eq!(told, [(7, 5, 1), (8, 3, 3)]);
        assert_eq!(world.records.lines(&account, Hour(8), None, 9).unwrap().len(), 1);
        let after = Some((Hour(7), Subject::Run(run(1))));
        assert_eq!(world.records.lines(&account, Hour(0), after, 9).unwrap().len(), 1);
        world.check();
    }

    #[test]
    fn keys_tell_what_a_line_is_for() {
        let mut world = World::new();
        let mut postings = Postings::default();
        let line = Line { amount: Amount(9), replicas: 0 };
        let ann = Account::Requester("ann".into());
        postings.transfer(Hour(3), Subject::Deposit, Account::Operator, ann.clone(), line);
        let mut writes = Writes::default();
        world.book.post(postings, &mut writes).unwrap();
        world.records.commit(writes).unwrap();
        assert!(world.records.balance(&ann).unwrap().unwrap().has_deposited);
        let place = world.records.lines(&ann, Hour(0), None, 1).unwrap().remove(0).0;
        assert_eq!((place.hour, place.subject), (Hour(3), Subject::Deposit));
        assert_eq!(line_place(b"credit-line"), None);
    }

    #[test]
    fn an_export_has_the_lines_of_its_hours_in_order() {
        let mut world = World::new();
        for hour in 0..4 {
            let all: Vec<Paid> = (0..20).map(|worker| paid(worker, 7, false)).collect();
            let writes = world.post(hour * HOUR, hour as u8, &all);
            world.records.commit(writes).unwrap();
        }
        let mut text = Vec::new();
        let write = |part: Vec<u8>| {
            text.extend(part);
            true
        };
        let sealer = export(&world.records, (Hour(1), Hour(3)), write).unwrap();
        assert_eq!(sealer.unwrap().seal(Hour(1), Hour(3), Timestamp(0)).lines, 2 * 21);
        let mut verifier = Verifier::new(None);
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| verifier.line(line).unwrap());
        assert!(export(&world.records, (Hour(0), Hour(9)), |_| false).unwrap().is_none());
    }
}
