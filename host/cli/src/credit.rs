//! `manyhands credit`: what workers have earned and requesters have used up, and whether an export of that is what was written.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt as _;
use manyhands_api::{AccountView, CreditList, IDEMPOTENCY_HEADER, NewDeposit, Statement};
use manyhands_credit::{Account, Amount, Broken, Hour, Report, Verifier};
use manyhands_model::{Timestamp, WorkerId};
use reqwest::Method;
use serde_json::json;

use crate::args::{CreditDeposit, CreditExport, CreditStatement, CreditVerify};
use crate::client::{Client, random_key};
use crate::fault::{Fault, Result};
use crate::inputs::each_line;
use crate::remote::{Sink, ago, now};
use crate::screen::{Screen, grouped, printable, table};

/// `manyhands credit`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn list(client: &Client, screen: Screen) -> Result<()> {
    let mut accounts: Vec<AccountView> = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(next.take().map(|after| ("after", after)));
        let page: CreditList = client.get(&["v1", "credit"], &query).await?;
        accounts.extend(page.accounts);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    accounts.sort_by(|a, b| (kind(&a.account), b.balance, &a.account).cmp(&(kind(&b.account), a.balance, &b.account)));
    screen.show(&CreditList { accounts, next }, |list| {
        let row = |account: &AccountView| {
            let name = match &account.account {
                Account::Operator => String::new(),
                Account::Requester(name) => printable(name),
                Account::Worker(id) => id.short(),
            };
            [kind(&account.account).to_owned(), name, signed(account.balance)]
        };
        let rows: Vec<_> = list.accounts.iter().map(row).collect();
        table(["ACCOUNT", "NAME", "FUEL"], &rows)
    })
}

const fn kind(account: &Account) -> &'static str {
    match account {
        Account::Operator => "operator",
        Account::Requester(_) => "requester",
        Account::Worker(_) => "worker",
    }
}

/// With its digits in groups of three.
fn signed(amount: Amount) -> String {
    let digits = amount.0.unsigned_abs().to_string();
    let sign = if amount < Amount::ZERO { "-" } else { "" };
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| core::str::from_utf8(group).ok()).collect();
    format!("{sign}{}", groups.join(","))
}

/// `manyhands credit statement`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn statement(client: &Client, args: &CreditStatement, screen: Screen) -> Result<()> {
    let kind = if args.account.parse::<WorkerId>().is_ok() { "workers" } else { "requesters" };
    let path = ["v1", "credit", kind, &args.account];
    let from = args.from.unwrap_or_default().0.to_string();
    let mut whole: Statement = client.get(&path, &[("from", from.clone())]).await?;
    while let Some(after) = whole.next.take() {
        let page: Statement = client.get(&path, &[("from", from.clone()), ("after", after)]).await?;
        whole.lines.extend(page.lines);
        (whole.next, whole.balance) = (page.next, page.balance);
    }
    screen.show(&whole, |statement| {
        let row = |line: &manyhands_api::StatementLine| {
            let what = line.run.map_or_else(|| "deposit".to_owned(), |run| run.to_string());
            [date(line.hour), what, line.replicas.to_string(), signed(line.amount)]
        };
        let rows: Vec<_> = statement.lines.iter().map(row).collect();
        let balance = format!("{} fuel", signed(statement.balance));
        format!("{}\n{balance}", table(["HOUR", "FOR", "REPLICAS", "FUEL"], &rows))
    })
}

/// An hour for people, in UTC.
fn date(hour: Hour) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(hour.begin().0)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A moment as people write it in UTC, such as `2026-03-01` or `2026-03-01T15:00:00Z`.
///
/// # Errors
/// What would do, in a sentence.
pub fn moment(text: &str) -> core::result::Result<Timestamp, String> {
    let written = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
    let at = humantime::parse_rfc3339_weak(&written)
        .map_err(|_| "expected a date such as 2026-03-01, or 2026-03-01T15:00:00Z")?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| "expected a date after 1970")?;
    u64::try_from(since.as_millis()).map(Timestamp).map_err(|_| "that is too far away".to_owned())
}

/// `manyhands credit deposit`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn deposit(client: &Client, args: &CreditDeposit, screen: Screen) -> Result<()> {
    let request = client
        .request(Method::POST, &["v1", "credit", "requesters", &args.requester], &[])
        .header(IDEMPOTENCY_HEADER, random_key()?)
        .json(&NewDeposit { amount: args.fuel.to_string() });
    let account: AccountView = client.json(request).await?;
    screen.show(&account, |account| format!("{} has {} fuel", printable(&args.requester), signed(account.balance)))
}

/// `manyhands credit export`
///
/// # Errors
/// Any [`Client`] fault, a file that cannot be written, or an export that is not right; then the file is there all the same.
pub async fn export(client: &Client, args: &CreditExport, screen: Screen) -> Result<()> {
    let query: Vec<_> = [("from", args.from), ("to", args.to)]
        .into_iter()
        .filter_map(|(name, at)| Some((name, at?.0.to_string())))
        .collect();
    let answer = client.send(client.request(Method::GET, &["v1", "credit", "export"], &query)).await?;
    let mut sink = Sink::open(Some(&args.file), screen)?;
    let (mut parts, mut verifier, mut broken) = (answer.bytes_stream(), Verifier::new(None), Ok(()));
    let mut rest: Vec<u8> = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| client.broken(&error))?;
        sink.write(&part)?;
        rest.extend(&part);
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = rest.drain(..end).collect();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if broken.is_ok() {
                broken = verifier.line(line);
            }
        }
    }
    sink.finish("the export is")?;
    let report = broken.and_then(|()| verifier.end());
    tell(&report.map_err(|broken| fault(&args.file, &broken))?, screen)
}

/// `manyhands credit verify`
///
/// # Errors
/// A file that cannot be read, or where the export is not what was written.
pub fn verify(args: &CreditVerify, screen: Screen) -> Result<()> {
    let mut verifier = Verifier::new(args.root);
    each_line(&args.file, |line| verifier.line(line).map_err(|broken| fault(&args.file, &broken)))?;
    tell(&verifier.end().map_err(|broken| fault(&args.file, &broken))?, screen)?;
    if args.root.is_none() {
        screen.note("whose export it is, you have to see: compare the key with the join link, or name it with --root");
    }
    Ok(())
}

fn fault(file: &Path, broken: &Broken) -> Fault {
    Fault::usage(format!("`{}` is not the export that was written: {broken}", file.display()))
}

fn tell(Report { from, to, lines, root, signed_at, totals }: &Report, screen: Screen) -> Result<()> {
    if screen.json {
        let total = |(account, line): (&Account, &manyhands_credit::Line)| json!({ "account": account, "amount": line.amount, "replicas": line.replicas });
        let totals: Vec<_> = totals.iter().map(total).collect();
        return screen.json(&json!({
            "from": from, "to": to, "lines": lines, "root": root, "signed_at": signed_at, "totals": totals,
        }));
    }
    let workers = totals.iter().filter(|(account, _)| matches!(account, Account::Worker(_)));
    let earned: Amount = workers.map(|(_, line)| line.amount).sum();
    let (from, to, when) = (date(*from), date(*to), ago(*signed_at, now()));
    screen.line(format_args!(
        "{} lines from {from} to {to}, balanced: workers earned {} fuel; signed {when} under the root key {root}",
        grouped(*lines),
        signed(earned)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_any_size_are_readable() {
        let said = [0, -1, 999, -1_000, i128::MAX].map(|amount| signed(Amount(amount)));
        assert_eq!(said[..4], ["0", "-1", "999", "-1,000"]);
        assert_eq!(said[4].len(), 39 + 12);
    }

    #[test]
    fn moments_are_dates_in_utc() {
        assert_eq!(moment("1970-01-02"), Ok(Timestamp(86_400_000)));
        assert_eq!(moment("1970-01-01T15:00:00Z").map(Hour::of), Ok(Hour(15)));
        for bad in ["", "yesterday", "1969-12-31", "2026-13-01", "éééééé"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
