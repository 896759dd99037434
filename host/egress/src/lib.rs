//! The only way from the coordinator to the outside.
//!
//! A [`Request`] is handed over complete and goes out as it is, once: [`Egress::perform`] looks the origin's name up, refuses unless every
//! address that it has is on the public internet (or the operator allows the origin by name), dials one of exactly these addresses, looks
//! who answered, and only then sends. What comes back is data within [`Limits`], redirects included. An [`EgressError`] says whether the
//! request may have left ([`Sent`]), which is what an exactly-once journal needs to know.
//!
//! Absent on purpose: anything that makes a URL of parts, retries, redirects, proxies, caches, HTTP/2, and connections that are used
//! twice. A connection of its own for each call means that no answer can belong to somebody else's question, and that no connection which the
//! other end has just closed turns a call that was never made into one that perhaps was.
//!
//! Start at [`Egress`]; then `dial` (to whom), `exchange` (what is said) and `body` (how much is taken).

mod body;
mod dial;
mod error;
mod exchange;
mod limits;
mod meter;
mod request;
mod resolve;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use manyhands_addresses::{Host, Origin, Scheme};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use crate::meter::Progress;

pub use crate::error::{EgressError, Excess, Fault, Phase, Sent, SettingsError, Why};
pub use crate::exchange::Response;
pub use crate::limits::Limits;
pub use crate::request::{Request, RequestError};
pub use crate::resolve::{Resolve, SystemResolver};
pub use rustls::pki_types::CertificateDer;

/// What the operator says about the way out.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Origins that may be anywhere, and in clear: exactly this scheme, host and port.
    pub allowed: Vec<Origin>,
    /// Addresses at which this coordinator is reached from outside. Its loopback and private ones need not be here.
    pub own: Vec<SocketAddr>,
    /// Authorities that are trusted beside those of the operating system.
    pub roots: Vec<CertificateDer<'static>>,
}

/// The way out. Cheap to share behind an [`Arc`]; calls know nothing of each other.
pub struct Egress {
    allowed: Vec<Origin>,
    own: Vec<SocketAddr>,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

/// Longer than anybody waits, and short enough to be added to any time.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

impl Egress {
    /// With the operating system's resolver.
    ///
    /// # Errors
    /// [`SettingsError`] when a root certificate is none.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Self::with_resolver(settings, Arc::new(SystemResolver::default()))
    }

    /// With a resolver of the caller's.
    ///
    /// # Errors
    /// As [`Egress::new`].
    pub fn with_resolver(settings: Settings, resolver: Arc<dyn Resolve>) -> Result<Self, SettingsError> {
        let tls = TlsConnector::from(Arc::new(tls::config(settings.roots)?));
        Ok(Self { allowed: settings.allowed, own: settings.own, resolver, tls })
    }

    /// Sends `request`, once, and returns what comes back, whatever its status.
    ///
    /// When the future is dropped, so is the connection; the request may have left by then.
    ///
    /// # Errors
    /// [`EgressError`], which says whether the request may have left.
    pub async fn perform(&self, request: Request) -> Result<Response, EgressError> {
        let progress = Arc::new(Progress::default());
        let origin = request.origin.clone();
        let outcome = timeout(request.limits.total, self.attempt(request, &progress)).await;
        let outcome = outcome.unwrap_or(Err(Why::TooSlow(Phase::Total)));
        outcome.map_err(|why| EgressError { origin, sent: progress.sent(), why })
    }

    async fn attempt(&self, request: Request, progress: &Arc<Progress>) -> Result<Response, Why> {
        let until = Instant::now() + request.limits.connect.min(LONG);
        let connection = timeout_at(until, self.connect(&request.origin, until)).await;
        let connection = connection.unwrap_or(Err(Why::TooSlow(Phase::Connect)))?;
        exchange::exchange(connection, request, progress).await
    }

    /// A connection to whom the origin is at, on which nothing was said but what TLS needs.
    async fn connect(&self, origin: &Origin, until: Instant) -> Result<impl exchange::Stream + use<>, Why> {
        let door = dial::Door { allowed: self.allowed.contains(origin), own: &self.own };
        if origin.scheme() == Scheme::Http && !door.allowed {
            return Err(Why::Clear);
        }
        let addresses = match origin.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolver.resolve(name).await.map_err(Why::Unresolved)?,
        };
        let addresses =
            addresses.into_iter().map(|address| SocketAddr::new(address, origin.port())).collect::<Vec<_>>();
        let stream = door.dial(&addresses, until).await?;
        match origin.scheme() {
            Scheme::Http => Ok(Either::Left(stream)),
            Scheme::Https => {
                let stream = self.tls.connect(tls::server_name(origin.host())?, stream).await.map_err(Why::Tls)?;
                Ok(Either::Right(stream))
            }
        }
    }
}
