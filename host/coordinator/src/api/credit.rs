//! What workers have earned and requesters have used up.

use std::io;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use manyhands_api::{AccountView, CreditList, NDJSON, NewDeposit, Role, Statement, StatementLine};
use manyhands_credit::{Account, Amount, Hour, Line, Place, Subject};
use manyhands_model::{Timestamp, WorkerId};
use manyhands_state::commit::IdempotencyKey;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::Caller;
use crate::credit;
use crate::idempotency::RequestName;
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::BalanceRecord;

/// Pieces of an export that wait for a slow reader.
const AHEAD: usize = 2;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many, at most 1,000; 100 if nothing is said.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// What accounts have: a requester sees its own, an operator all.
#[utoipa::path(get, path = "/v1/credit", tag = "credit", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, body = CreditList)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Answer<Json<CreditList>> {
    if caller.role < Role::Operator {
        let own = view(balance(&app, Account::Requester(caller.name)).await?);
        return Ok(Json(CreditList { accounts: vec![own], next: None }));
    }
    let limit = query.limit.unwrap_or(100).clamp(1, 1_000);
    let after = query.after.as_deref().map(cursor).transpose()?;
    let page = app.blocking(move |records| records.balances(after.as_deref(), limit)).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|(key, _)| BASE64URL_NOPAD.encode(key));
    Ok(Json(CreditList { accounts: page.into_iter().map(|(_, balance)| view(balance)).collect(), next }))
}

fn cursor(text: &str) -> Answer<Vec<u8>> {
    let bad = |_| ApiError::new(Kind::Invalid, "`after` is no `next` of a page before");
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(bad)
}

fn view(BalanceRecord { account, balance, has_deposited }: BalanceRecord) -> AccountView {
    AccountView { account, balance, has_deposited }
}

async fn balance(app: &App, account: Account) -> Answer<BalanceRecord> {
    let none = BalanceRecord { account: account.clone(), balance: Amount::ZERO, has_deposited: false };
    Ok(app.blocking(move |records| records.balance(&account)).await?.unwrap_or(none))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementQuery {
    /// From the hour on in which this moment is: milliseconds since 1970; from the first on if nothing is said.
    #[serde(default)]
    #[param(value_type = u64)]
    from: Timestamp,
    /// How many lines, at most 10,000; 1,000 if nothing is said.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// What a worker has earned, hour by hour and run by run.
#[utoipa::path(get, path = "/v1/credit/workers/{id}", tag = "credit", security(("bearer" = [])),
    params(("id" = String, Path), StatementQuery),
    responses((status = 200, body = Statement), (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn worker(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<StatementQuery>,
) -> Answer<Json<Statement>> {
    caller.need(Role::Operator)?;
    let id: WorkerId = id.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    statement(&app, Account::Worker(id), query).await
}

/// What was deposited for a requester and what its runs have used up, hour by hour; for itself and for operators.
#[utoipa::path(get, path = "/v1/credit/requesters/{name}", tag = "credit", security(("bearer" = [])),
    params(("name" = String, Path), StatementQuery),
    responses((status = 200, body = Statement), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn requester(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<StatementQuery>,
) -> Answer<Json<Statement>> {
    // Names of others are not to be tried out.
    if !caller.sees(&name) {
        return Err(ApiError::not_found("account of yours named", name));
    }
    statement(&app, Account::Requester(name), query).await
}

async fn statement(app: &App, account: Account, query: StatementQuery) -> Answer<Json<Statement>> {
    let limit = query.limit.unwrap_or(1_000).clamp(1, 10_000);
    let (from, of) = (Hour::of(query.from), account.clone());
    let after = query.after.as_deref().map(place).transpose()?;
    let lines = app.blocking(move |records| records.lines(&of, from, after, limit)).await?;
    let next = lines.last().filter(|_| lines.len() == limit).map(|(place, _)| written(place));
    let line = |(Place { hour, subject, .. }, Line { amount, replicas }): (Place, Line)| StatementLine {
        hour,
        run: match subject {
            Subject::Run(run) => Some(run),
            Subject::Deposit => None,
        },
        amount,
        replicas,
    };
    let AccountView { account, balance, has_deposited } = view(balance(app, account).await?);
    let lines = lines.into_iter().map(line).collect();
    Ok(Json(Statement { account, balance, has_deposited, lines, next }))
}

/// Where a page of a statement ends.
fn written(place: &Place) -> String {
    match place.subject {
        Subject::Deposit => place.hour.0.to_string(),
        Subject::Run(run) => format!("{}.{run}", place.hour.0),
    }
}

fn place(text: &str) -> Answer<(Hour, Subject)> {
    let (hour, run) = text.split_once('.').map_or((text, None), |(hour, run)| (hour, Some(run)));
    let subject = run.map_or(Some(Subject::Deposit), |run| run.parse().ok().map(Subject::Run));
    let hour = hour.parse().ok().map(Hour);
    hour.zip(subject).ok_or_else(|| ApiError::new(Kind::Invalid, "`after` is no `next` of a page before"))
}

/// Deposits fuel for a requester, or takes some back where the amount is negative. From the first deposit on its runs stop when nothing is left.
#[utoipa::path(post, path = "/v1/credit/requesters/{name}", tag = "credit", security(("bearer" = [])),
    params(("name" = String, Path), ("idempotency-key" = Option<String>, Header)), request_body = NewDeposit,
    responses((status = 200, body = AccountView), (status = 404, body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn deposit(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    request: Option<Extension<RequestName>>,
    Json(new): Json<NewDeposit>,
) -> Answer<Json<AccountView>> {
    caller.need(Role::Operator)?;
    let amount: Amount = new.amount.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    if amount == Amount::ZERO {
        return Err(ApiError::new(Kind::Invalid, "`amount` is 0: nothing would be deposited"));
    }
    let account = Account::Requester(name.clone());
    let of = account.clone();
    // Who made a mistake in a name would wonder where the deposit is.
    let is_known = app.tokens.list().tokens.iter().any(|token| token.name == name)
        || app.blocking(move |records| records.balance(&of)).await?.is_some();
    if !is_known {
        return Err(ApiError::not_found("token named", name));
    }
    let key = request.map(|Extension(RequestName(name))| IdempotencyKey(name.as_bytes().to_vec()));
    credit::deposit(&app, name, amount, caller.name, key).await?;
    Ok(Json(view(balance(&app, account).await?)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    /// From the hour on in which this moment is: milliseconds since 1970; from the first on if nothing is said.
    #[serde(default)]
    #[param(value_type = u64)]
    from: Timestamp,
    /// Up to the hour in which this moment is, which is left out: milliseconds since 1970; up to the present one, which is
    /// the most, if nothing is said.
    #[param(value_type = Option<u64>)]
    to: Option<Timestamp>,
}

/// All lines of hours that are over, in order, a line of JSON for each, and a signed seal behind them; to settle from.
#[utoipa::path(get, path = "/v1/credit/export", tag = "credit", security(("bearer" = [])), params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Answer<Response> {
    caller.need(Role::Operator)?;
    let present = credit::close(&app).await?;
    let (from, to) = (Hour::of(query.from), query.to.map_or(present, Hour::of));
    if to > present || from > to {
        let detail =
            "an export is of hours that are over: `from` must not be after `to`, nor `to` after the present hour";
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    tokio::task::spawn_blocking(move || {
        let write = |part: Vec<u8>| sender.blocking_send(Ok(part.into())).is_ok();
        let end = match credit::export(&app.records, (from, to), write) {
            Ok(None) => return,
            Ok(Some(sealer)) => app.authority.attest(&sealer.seal(from, to, app.clock.now())).map(|seal| seal.line()),
            Err(error) => Err(error.into()),
        };
        // An error breaks the response off visibly.
        let end = end.map(|mut line| {
            line.push(b'\n');
            line.into()
        });
        let _gone = sender.blocking_send(end.map_err(|error| io::Error::other(error.to_string())));
    });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(ReceiverStream::new(receiver))).into_response())
}
