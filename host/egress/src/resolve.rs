use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// Finds out at which addresses a name is. What it says is not trusted.
pub trait Resolve: Send + Sync {
    /// All addresses of `name`, best first. It is asked once for each call, and never for an address.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's: its hosts file, its name servers, its order.
pub struct SystemResolver {
    turns: Arc<Semaphore>,
}

/// Look-ups at a time. The operating system's cannot be broken off, so a name server that is silent keeps threads that others need.
const LOOKUPS_MAX: usize = 32;

impl Default for SystemResolver {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
            let name = name.to_owned();
            let found = tokio::task::spawn_blocking(move || {
                // The thread's, and not the caller's, who may have given up.
                let _turn = turn;
                (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect())
            });
            found.await.map_err(io::Error::other)?
        })
    }
}
