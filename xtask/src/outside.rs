//! What stands for the outside world in the demo: a CRM and an office that sends letters, at the address that `jobs/crm-enrich` names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// As in the job's manifest.
const ADDRESS: &str = "127.0.0.1:6180";
/// The secrets of the two, by the names that the manifest has for them.
pub(crate) const SECRETS: [(&str, &str); 2] =
    [("crm_key", "demo-key-of-the-crm"), ("mail_key", "demo-key-of-the-office")];

/// The two of them. They end when this is dropped.
pub(crate) struct Outside {
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

/// What they saw and said.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Who was looked up, and how often.
    pub(crate) lookups: BTreeMap<String, usize>,
    /// To whom letters were sent, by the keys under which they were: a key that came twice is one letter.
    pub(crate) letters: BTreeMap<String, Vec<String>>,
    /// The text of each letter.
    pub(crate) texts: Vec<String>,
    /// The companies that were told: values that no worker may see either.
    pub(crate) companies: BTreeSet<String>,
}

impl Outside {
    /// Begins to serve.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(ADDRESS).await;
        let listener = listener.with_context(|| format!("{ADDRESS}, where the example's API is, cannot be had"))?;
        let seen = Arc::<Mutex<Seen>>::default();
        let routes = Router::new().route("/crm/accounts", get(account)).route("/mail/messages", post(send));
        let routes = routes.with_state(Arc::clone(&seen));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
        Ok(Self { seen, serving })
    }

    /// Their origin.
    pub(crate) fn origin() -> String {
        format!("http://{ADDRESS}")
    }

    /// What they saw until now.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn know(headers: &HeaderMap, (_, secret): (&str, &str)) -> Result<(), StatusCode> {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {secret}")) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

#[derive(Deserialize)]
struct By {
    email: String,
}

async fn account(
    State(seen): State<Arc<Mutex<Seen>>>,
    headers: HeaderMap,
    Query(By { email }): Query<By>,
) -> Result<Json<Value>, StatusCode> {
    know(&headers, SECRETS[0])?;
    // Everybody works for a company that is called after them.
    let (person, _) = email.split_once('@').ok_or(StatusCode::NOT_FOUND)?;
    let company = format!("{} & Daughters", person.replace('.', " "));
    let tier = if email.len().is_multiple_of(2) { "gold" } else { "basic" };
    let mut seen = lock(&seen);
    *seen.lookups.entry(email).or_default() += 1;
    seen.companies.insert(company.clone());
    let day = 1 + seen.lookups.len() % 28;
    Ok(Json(json!({
        "company": { "name": company }, "tier": tier, "contract": { "renews_on": format!("2027-03-{day:02}"), "cents": 120_000 },
    })))
}

#[derive(Deserialize)]
struct Letter {
    to: String,
    text: String,
}

async fn send(
    State(seen): State<Arc<Mutex<Seen>>>,
    headers: HeaderMap,
    Json(letter): Json<Letter>,
) -> Result<Json<Value>, StatusCode> {
    know(&headers, SECRETS[1])?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?;
    let mut seen = lock(&seen);
    let sent = seen.letters.entry(key.to_owned()).or_default();
    sent.push(letter.to);
    seen.texts.push(letter.text);
    Ok(Json(json!({ "id": format!("m-{}", seen.letters.len()) })))
}
