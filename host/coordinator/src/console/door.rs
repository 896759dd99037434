//! Who may look at the operator's pages: codes that open once, and the sessions that they open.
//!
//! ```text
//! operator's token ──link──▶ code (once, 10 min) ──enter──▶ session (12 h, a cookie) ──▶ leave, or the token is revoked
//! ```
//!
//! Both are 256 random bits of which only the digest is kept, in memory: a restart signs everybody out, and there is
//! nothing to steal from a disk or a log. The code travels in the fragment of a link, which no browser sends to a
//! server, and comes in as the field of a form.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use data_encoding::BASE32_NOPAD;
use manyhands_model::{Digest, Timestamp};
use zeroize::Zeroizing;

use crate::auth::{Caller, Tokens};

/// How long a link may be used.
pub const CODE_TIME: Duration = Duration::from_secs(10 * 60);
/// How long one stays signed in.
pub const SESSION_TIME: Duration = Duration::from_secs(12 * 3600);
/// Links that may be open at the same time; the oldest stops working first.
const CODES_MAX: usize = 32;
/// Sessions at the same time; the oldest ends first.
const SESSIONS_MAX: usize = 64;
/// Before every code, so that people and scanners for leaked secrets know one when they see it.
const CODE_PREFIX: &str = "mhc_";

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name of the token that let them in.
    pub name: String,
    /// Names that token.
    token: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Operator {
    fn new(caller: &Caller, now: Timestamp, time: Duration) -> Self {
        let (name, token) = (caller.name.clone(), caller.token.clone());
        Self { name, token, issued_at: now, expires_at: now.after(time) }
    }

    /// Whether they may still look: a clock that was set back lets nobody in for longer, and a revoked token nobody
    /// at all.
    pub fn may_look(&self, tokens: &Tokens, now: Timestamp) -> bool {
        (self.issued_at..self.expires_at).contains(&now) && tokens.is_operator(&self.token)
    }
}

/// Digests of secrets, and whom each of them lets in.
#[derive(Debug, Default)]
struct Book(BTreeMap<Digest, Operator>);

impl Book {
    /// Draws a secret for somebody and forgets whoever has no use of theirs any more.
    fn admit(&mut self, operator: Operator, most: usize) -> Result<Zeroizing<String>, getrandom::Error> {
        let secret = draw()?;
        self.0.retain(|_, other| other.expires_at > operator.issued_at);
        while self.0.len() >= most {
            let Some(oldest) = self.0.iter().min_by_key(|(_, other)| other.issued_at).map(|(digest, _)| *digest) else {
                break;
            };
            self.0.remove(&oldest);
        }
        self.0.insert(Digest::of(secret.as_bytes()), operator);
        Ok(secret)
    }
}

fn draw() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    let mut text = Zeroizing::new(BASE32_NOPAD.encode(&*bytes));
    text.make_ascii_lowercase();
    Ok(text)
}

/// Codes and sessions.
#[derive(Debug)]
pub struct Door {
    base: String,
    codes: Mutex<Book>,
    sessions: Mutex<Book>,
}

/// Nothing panics while one of these locks is held, and nothing awaits.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// A door at `base`, such as `https://work.example.org`.
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), codes: Mutex::default(), sessions: Mutex::default() }
    }

    /// A link that lets whoever has it in, once and soon.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn link(&self, caller: &Caller, now: Timestamp) -> Result<String, getrandom::Error> {
        let code = lock(&self.codes).admit(Operator::new(caller, now, CODE_TIME), CODES_MAX)?;
        Ok(format!("{}/operator/enter#{CODE_PREFIX}{}", self.base, *code))
    }

    /// Opens a session with a code, which is used up by that; returns the value of `Set-Cookie`. None for a code that
    /// opens nothing (any more).
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn enter(&self, code: &str, tokens: &Tokens, now: Timestamp) -> Result<Option<String>, getrandom::Error> {
        let Some(code) = code.trim().strip_prefix(CODE_PREFIX) else { return Ok(None) };
        // Taken out whatever comes of it: nobody has a second try.
        let Some(guest) = lock(&self.codes).0.remove(&Digest::of(code.as_bytes())) else { return Ok(None) };
        if !guest.may_look(tokens, now) {
            return Ok(None);
        }
        let operator = Operator { issued_at: now, expires_at: now.after(SESSION_TIME), ..guest };
        let secret = lock(&self.sessions).admit(operator, SESSIONS_MAX)?;
        Ok(Some(self.cookie(&secret, SESSION_TIME)))
    }

    /// Who asks, if they are signed in.
    pub fn look(&self, headers: &HeaderMap, tokens: &Tokens, now: Timestamp) -> Option<Operator> {
        let digest = self.presented(headers)?;
        let operator = lock(&self.sessions).0.get(&digest).cloned()?;
        operator.may_look(tokens, now).then_some(operator)
    }

    /// Whether a session that was open is.
    pub fn is_open(&self, headers: &HeaderMap, tokens: &Tokens, now: Timestamp) -> bool {
        self.look(headers, tokens, now).is_some()
    }

    /// Ends a session; returns the value of `Set-Cookie`.
    pub fn leave(&self, headers: &HeaderMap) -> String {
        if let Some(digest) = self.presented(headers) {
            lock(&self.sessions).0.remove(&digest);
        }
        self.cookie("", Duration::ZERO)
    }

    /// Whether a form was sent by one of our own pages. Browsers say where a request comes from and no page can make
    /// them lie; whoever does not say is not let in.
    pub fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        if let Some(site) = headers.get("sec-fetch-site") {
            return site == "same-origin";
        }
        let Some(origin) = headers.get(ORIGIN).and_then(text) else { return false };
        // A proxy may give the host another name, so the public address counts as well.
        let host = headers.get(HOST).and_then(text);
        let named = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        origin == self.base || (host.is_some() && named == host.as_deref())
    }

    fn is_secure(&self) -> bool {
        self.base.starts_with("https://")
    }

    /// With the prefix a browser takes it from this host only, over TLS only.
    fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-manyhands" } else { "manyhands" }
    }

    fn cookie(&self, value: &str, time: Duration) -> String {
        let (name, seconds) = (self.cookie_name(), time.as_secs());
        let secure = if self.is_secure() { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }

    fn presented(&self, headers: &HeaderMap) -> Option<Digest> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, secret) = pairs.find(|(name, _)| *name == self.cookie_name())?;
        Some(Digest::of(secret.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use manyhands_api::{NewToken, Role};
    use manyhands_state::MemoryStore;

    use super::*;

    const BASE: &str = "https://work.example.org";

    async fn operator(tokens: &Tokens, name: &str) -> Caller {
        let new = NewToken { name: name.into(), role: Role::Operator };
        let created = tokens.create(new, Timestamp(1)).await.unwrap();
        Caller { token: created.id, name: created.name, role: created.role }
    }

    async fn scene() -> (Door, Tokens, Caller) {
        let tokens = Tokens::open(Arc::new(MemoryStore::new())).unwrap();
        let caller = operator(&tokens, "ada").await;
        (Door::new(BASE), tokens, caller)
    }

    fn code(link: &str) -> &str {
        link.strip_prefix("https://work.example.org/operator/enter#").unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn bearing(cookie: &str) -> HeaderMap {
        headers(&[("cookie", &format!("theme=dark; {}", cookie.split(';').next().unwrap()))])
    }

    #[tokio::test]
    async fn a_link_opens_a_session_until_it_is_left() {
        let (door, tokens, caller) = scene().await;
        let link = door.link(&caller, Timestamp(1_000)).unwrap();
        let cookie = door.enter(code(&link), &tokens, Timestamp(2_000)).unwrap().unwrap();
        assert!(cookie.starts_with("__Host-manyhands="), "{cookie}");
        assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
        let seen = door.look(&bearing(&cookie), &tokens, Timestamp(3_000)).unwrap();
        assert_eq!(seen.name, "ada");
        assert!(!format!("{door:?} {seen:?}").contains(&cookie[17..60]), "no secret is kept");
        let after = Timestamp(2_000).after(SESSION_TIME);
        assert_eq!(door.look(&bearing(&cookie), &tokens, after), None, "it ends by itself");
        assert!(door.leave(&bearing(&cookie)).contains("Max-Age=0"));
        assert_eq!(door.look(&bearing(&cookie), &tokens, Timestamp(3_000)), None);
    }

    #[tokio::test]
    async fn attack_a_code_is_used_twice_or_too_late_or_guessed() {
        let (door, tokens, caller) = scene().await;
        let now = Timestamp(1_000_000_000);
        let used = door.link(&caller, now).unwrap();
        assert!(door.enter(code(&used), &tokens, now).unwrap().is_some());
        assert_eq!(door.enter(code(&used), &tokens, now).unwrap(), None, "used");
        let late = door.link(&caller, now).unwrap();
        assert_eq!(door.enter(code(&late), &tokens, now.after(CODE_TIME)).unwrap(), None, "expired");
        assert_eq!(door.enter(code(&late), &tokens, now).unwrap(), None, "and no second try");
        let early = door.link(&caller, now).unwrap();
        assert_eq!(door.enter(code(&early), &tokens, Timestamp(1)).unwrap(), None, "the clock was set back");
        let open = door.link(&caller, now).unwrap();
        for guess in ["", "mhc_", "mhc_aaaa", &code(&open)[4..], &code(&open)[..40], &format!("{}a", code(&open))] {
            assert_eq!(door.enter(guess, &tokens, now).unwrap(), None, "{guess}");
        }
        assert!(door.enter(code(&open), &tokens, now).unwrap().is_some(), "guesses use nobody's code up");
    }

    #[tokio::test]
    async fn attack_a_cookie_outlives_the_token_that_made_it() {
        let (door, tokens, caller) = scene().await;
        operator(&tokens, "bob").await;
        let now = Timestamp(1_000_000);
        let (entered, waiting) = (door.link(&caller, now).unwrap(), door.link(&caller, now).unwrap());
        let cookie = door.enter(code(&entered), &tokens, now).unwrap().unwrap();
        assert!(door.is_open(&bearing(&cookie), &tokens, now));
        tokens.revoke(&caller.token).await.unwrap();
        assert!(!door.is_open(&bearing(&cookie), &tokens, now));
        assert_eq!(door.enter(code(&waiting), &tokens, now).unwrap(), None);
    }

    #[tokio::test]
    async fn attack_more_sessions_than_are_kept() {
        let (door, tokens, caller) = scene().await;
        let enter = |at: u64| {
            let link = door.link(&caller, Timestamp(at)).unwrap();
            door.enter(code(&link), &tokens, Timestamp(at)).unwrap().unwrap()
        };
        let first = enter(1);
        let second = enter(2);
        let most = u64::try_from(SESSIONS_MAX).unwrap();
        (3..most + 2).for_each(|at| drop(enter(at)));
        assert!(!door.is_open(&bearing(&first), &tokens, Timestamp(100)), "the oldest goes");
        assert!(door.is_open(&bearing(&second), &tokens, Timestamp(100)));
    }

    #[test]
    fn attack_a_form_is_sent_from_elsewhere() {
        let door = Door::new(BASE);
        for (from_here, pairs) in [
            (true, &[("sec-fetch-site", "same-origin")][..]),
            (true, &[("origin", BASE), ("host", "127.0.0.1:6174")]),
            (true, &[("origin", "http://127.0.0.1:6174"), ("host", "127.0.0.1:6174")]),
            (false, &[("sec-fetch-site", "cross-site"), ("origin", BASE)]),
            (false, &[("sec-fetch-site", "same-site")]),
            (false, &[("sec-fetch-site", "none")]),
            (false, &[("origin", "https://evil.example"), ("host", "work.example.org")]),
            (false, &[("origin", "https://work.example.org.evil.example"), ("host", "work.example.org")]),
            (false, &[("origin", "null"), ("host", "null")]),
            (false, &[("host", "work.example.org")]),
            (false, &[]),
        ] {
            assert_eq!(door.is_from_here(&headers(pairs)), from_here, "{pairs:?}");
        }
    }
}
