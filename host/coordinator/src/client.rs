//! Talks to the running coordinator with the operator's token, both found in the data directory.

use std::io;
use std::path::PathBuf;

use manyhands_api::{IDEMPOTENCY_HEADER, Problem};
use manyhands_coordinator::settings::Settings;
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::Exit;

/// Why there is no answer to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// It never ran here.
    #[error("{}: cannot be read ({error}); is this the data directory of a running coordinator? Name it with --data-dir", path.display())]
    NoFile { path: PathBuf, error: io::Error },
    /// It does not run.
    #[error("{base} does not answer; start the coordinator first")]
    NoAnswer { base: String },
    /// Its answer broke off.
    #[error("the coordinator's answer broke off: {0}")]
    Broken(#[from] reqwest::Error),
    /// It says no.
    #[error("{detail}")]
    Refused { status: StatusCode, detail: String },
    /// Nothing can be sent.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl ClientError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoFile { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            Self::NoFile { .. } | Self::NoAnswer { .. } | Self::Broken(_) | Self::Random(_) => Exit::Unavailable,
            Self::Refused { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotPermitted,
                StatusCode::NOT_FOUND => Exit::NoInput,
                StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => Exit::TryAgain,
                StatusCode::INSUFFICIENT_STORAGE => Exit::Io,
                StatusCode::SERVICE_UNAVAILABLE => Exit::Unavailable,
                status if status.is_client_error() => Exit::Usage,
                _ => Exit::Software,
            },
        }
    }
}

/// The way to the running coordinator.
pub(crate) struct Client {
    pub(crate) base: String,
    token: String,
    pub(crate) http: reqwest::Client,
}

impl Client {
    /// Finds address and token.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ClientError> {
        // A second call only says that the provider is there already.
        let _there = rustls::crypto::ring::default_provider().install_default();
        let read = |name: &str| {
            let path = settings.data_dir.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(text.trim_end().to_owned()),
                Err(error) => Err(ClientError::NoFile { path, error }),
            }
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base: read("address")?, token: read("operator.token")?, http })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Ok(self.send(self.http.get(format!("{}{path}", self.base))).await?.json().await?)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header(IDEMPOTENCY_HEADER, data_encoding::HEXLOWER.encode(&key));
        let request = if let Some(body) = body { request.json(body) } else { request };
        Ok(self.send(request).await?.json().await?)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.http.delete(format!("{}{path}", self.base))).await.map(drop)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = match request.bearer_auth(&self.token).send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_timeout() => {
                return Err(ClientError::NoAnswer { base: self.base.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let detail = match response.json::<Problem>().await {
            Ok(problem) => problem.detail,
            Err(_) => format!("the coordinator answered {status}"),
        };
        Err(ClientError::Refused { status, detail })
    }
}
