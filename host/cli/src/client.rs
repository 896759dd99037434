//! The coordinator's HTTP API, seen from outside: one request, one answer or one [`Fault`].

use core::time::Duration;

use manyhands_api::{IDEMPOTENCY_HEADER, Problem, RunList};
use manyhands_model::RunId;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::args::RunRef;
use crate::fault::{Exit, Fault, Result};
use crate::profile::{Access, is_loopback, shown};
use crate::screen::printable;

/// How long a coordinator may take for an answer that needs no waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How much of an answer that should be a problem document is read.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// A connection to one coordinator.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Prepares to talk; does not connect yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(access: &Access) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("manyhands/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Duration::from_secs(30))
            // A redirect would carry uploads and tokens to a place that nobody named.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&access.server) {
            builder = builder.no_proxy();
        }
        if access.server.scheme() == "http" {
            // Without TLS no certificates are needed, and a bare machine has none to load.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            Fault::new(Exit::MissingTool, format!("cannot set up HTTPS: {}", causes(&error)))
                .help("https:// needs the system's certificates; most systems have them in a package `ca-certificates`")
        })?;
        let authorization = access.token.as_ref().map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", **token))
                .map_err(|_| Fault::usage("the token has characters that no header can carry"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { http, server: access.server.clone(), authorization: authorization.transpose()? })
    }

    /// A request to `/segment/segment…`, with the token, without a time limit.
    pub fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// The coordinator's address, if what is sent there can be read on the way.
    pub fn in_clear(&self) -> Option<String> {
        (self.server.scheme() == "http" && !is_loopback(&self.server)).then(|| shown(&self.server))
    }

    /// Sends a request and returns the answer if it is a success.
    ///
    /// # Errors
    /// No connection, or the problem that the coordinator describes.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// Sends a request and reads its JSON answer.
    ///
    /// # Errors
    /// As [`Client::send`], or the answer is not what this version of the tool understands.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        let body = response.bytes().await.map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            Fault::bug(format!("{} answers in a form that this manyhands does not know: {error}", shown(&self.server)))
                .help("is it a coordinator, and of the same version?")
        })
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        self.json(self.request(Method::GET, path, query).timeout(ANSWER_WITHIN)).await
    }

    /// Posts without a body and gets JSON. Happens once, however often the network repeats it.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        let request = self.request(Method::POST, path, &[]).header(IDEMPOTENCY_HEADER, random_key()?);
        self.json(request.timeout(ANSWER_WITHIN)).await
    }

    /// The id that a person's name for a run stands for.
    ///
    /// # Errors
    /// As [`Client::json`], or there is no run yet.
    pub async fn run_id(&self, run: RunRef) -> Result<RunId> {
        match run {
            RunRef::Id(id) => Ok(id),
            RunRef::Last => {
                let list: RunList = self.get(&["v1", "runs"], &[("limit", "1".to_owned())]).await?;
                let newest = list.runs.first().map(|run| run.id);
                newest.ok_or_else(|| Fault::usage("there is no run yet; `manyhands submit` makes one"))
            }
        }
    }

    /// What an error below HTTP means.
    pub fn broken(&self, error: &reqwest::Error) -> Fault {
        let server = shown(&self.server);
        if error.is_connect() {
            Fault::new(Exit::Unreachable, format!("no coordinator answers at {server}: {}", causes(error)))
                .help("is it running (`manyhands-coordinator`)? is this the right address (--server)?")
        } else if error.is_timeout() {
            Fault::new(Exit::TimedOut, format!("{server} took too long to answer"))
        } else {
            Fault::new(Exit::Unreachable, format!("the connection to {server} broke: {}", causes(error)))
        }
    }

    async fn refused(&self, mut response: Response) -> Fault {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/problem+json"));
        let mut body = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > PROBLEM_BYTES_MAX {
                break;
            }
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem => from_problem(status, &problem),
            _ => Fault::new(exit_of(status), format!("{} answered {status}", shown(&self.server)))
                .help("it does not say why; is it a coordinator?"),
        }
    }
}

/// Shows a problem document: the occurrence first, the kind of problem below it.
fn from_problem(status: StatusCode, problem: &Problem) -> Fault {
    let (title, detail) = (printable(&problem.title), printable(&problem.detail));
    let exit = if problem.kind.ends_with("/job-failed") { Exit::JobFailed } else { exit_of(status) };
    let mut help = match problem.retry_after_seconds {
        Some(seconds) => format!("{title} ({}); try again in {seconds} s", status.as_u16()),
        None => format!("{title} ({})", status.as_u16()),
    };
    if status == StatusCode::UNAUTHORIZED {
        help.push_str("\n  give a token with --token-file, or once and for all with `manyhands login`");
    }
    let message = if detail.is_empty() { title } else { detail };
    Fault::new(exit, message).help(help)
}

/// Whose fault a status is.
fn exit_of(status: StatusCode) -> Exit {
    match status.as_u16() {
        401 | 403 => Exit::NotAllowed,
        408 | 504 => Exit::TimedOut,
        429 | 502 | 503 => Exit::Unreachable,
        300..500 => Exit::Usage,
        _ => Exit::Bug,
    }
}

/// An error with everything below it; reqwest's own text names the URL and leaves out the reason.
fn causes(error: &dyn core::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    printable(&deepest.to_string())
}

/// A new idempotency key: 128 random bits.
///
/// # Errors
/// The system gives no random bytes.
pub fn random_key() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Fault::bug(format!("the system gives no random bytes: {error}")))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Fault {
        let (title, detail) = ("A title".to_owned(), "What happened.".to_owned());
        let problem = Problem { kind: kind.to_owned(), title, status, detail, retry_after_seconds: None };
        from_problem(StatusCode::from_u16(status).expect("a status"), &problem)
    }

    #[test]
    fn a_problem_says_what_happened_and_the_exit_code_whose_fault_it_is() {
        assert_eq!(problem("/problems/no-such-run", 404).to_string(), "error: What happened.\n  A title (404)");
        for (kind, status, exit) in [
            ("/problems/job-failed", 422, Exit::JobFailed),
            ("/problems/bad-input", 422, Exit::Usage),
            ("/problems/forbidden", 403, Exit::NotAllowed),
            ("/problems/timeout", 504, Exit::TimedOut),
            ("/problems/busy", 503, Exit::Unreachable),
            ("/problems/internal", 500, Exit::Bug),
        ] {
            assert_eq!(problem(kind, status).exit, exit, "{kind}");
        }
        assert!(problem("/problems/unauthorized", 401).help.expect("help").contains("manyhands login"));
    }

    #[test]
    fn paths_are_escaped_and_keep_the_servers_own() {
        let access = Access { server: "http://127.0.0.1:9/hands".parse().expect("a URL"), token: None };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(&access).expect("a client");
        let request = client.request(Method::GET, &["v1", "a/b"], &[("q", "x y".to_owned())]).build().expect("builds");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:9/hands/v1/a%2Fb?q=x+y");
    }
}
