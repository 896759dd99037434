//! A web site of a test's own: another origin than the coordinator's, and whoever the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Asked = Arc<Mutex<Vec<String>>>;

/// A page with a policy.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What stands between the page's beginning and its end.
    pub html: String,
    /// Its Content-Security-Policy, if it has one.
    pub policy: Option<String>,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "text/html; charset=utf-8".parse().expect("a header"));
        if let Some(policy) = self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy.parse().expect("a header"));
        }
        let html = format!("<!doctype html><html lang=en><meta charset=utf-8><title>A test</title>{}", self.html);
        (headers, html).into_response()
    }
}

/// A server on this computer. It ends when this is dropped.
pub struct Site {
    address: SocketAddr,
    asked: Asked,
    serving: JoinHandle<()>,
}

impl Site {
    /// Serves what `routes` have at a free port, and notes who asks for what.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Asked::default();
        let routes = routes.layer(from_fn_with_state(Arc::clone(&asked), note));
        let serving = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
        Self { address, asked, serving }
    }

    /// Serves one page at `/`.
    pub async fn of(page: Page) -> Self {
        Self::start(Router::new().route("/", get(async || page))).await
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The paths that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn note(State(asked): State<Asked>, request: Request, next: Next) -> Response {
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.uri().path().to_owned());
    next.run(request).await
}
