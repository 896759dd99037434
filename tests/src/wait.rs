//! Waiting for something to become true.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take. Far more than it needs: on a busy machine a test should be slow, not wrong.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at `condition` until it yields something.
///
/// # Panics
/// When [`PATIENCE`] is over, naming `what` was awaited.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain: {what}", PATIENCE.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}
