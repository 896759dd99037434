//! `kill -9`, at any moment.

use std::time::Duration;

use crate::round::{Dice, Ledger};
use crate::site::{Kept, Site};

/// Kills of one round, at least.
const KILLS: u64 = 5;
const RUNNERS: usize = 3;

async fn site() -> Kept<Site> {
    let mut site = Site::start().await?;
    site.add_runners(RUNNERS);
    Ok(site)
}

#[tokio::test]
async fn whatever_is_killed_the_run_ends_right() {
    let test = "kills::whatever_is_killed_the_run_ends_right";
    crate::campaign(test, crate::rounds(2), site().await, async |site, ledger, dice| {
        let mut kills = 0;
        while kills < KILLS {
            kills += strike(site, ledger, dice).await?;
        }
        Ok(kills)
    })
    .await;
}

/// Kills something and starts it again; returns how many kills that took.
async fn strike(site: &mut Site, ledger: &Ledger, dice: &mut Dice) -> Kept<u64> {
    let (kind, moment, pause) = (dice.below(20), dice.moment(400), dice.moment(100));
    match kind {
        0..7 => {
            tokio::time::sleep(moment).await;
            site.coordinator.kill()?;
            tokio::time::sleep(pause).await;
            site.coordinator.start();
            Ok(1)
        }
        7..10 => {
            ledger.acknowledgement().await;
            site.coordinator.kill()?;
            site.coordinator.start();
            Ok(1)
        }
        // Twice, the second time while it starts.
        10..13 => {
            tokio::time::sleep(moment).await;
            site.coordinator.kill()?;
            site.coordinator.start();
            tokio::time::sleep(dice.moment(60)).await;
            site.coordinator.kill()?;
            site.coordinator.start();
            Ok(2)
        }
        13..15 => {
            let runner = dice.below(RUNNERS as u64) as usize;
            tokio::time::sleep(moment).await;
            // Both at once, as when the power of a house fails.
            site.runners[runner].kill()?;
            site.coordinator.kill()?;
            tokio::time::sleep(pause).await;
            site.coordinator.start();
            site.runners[runner].start();
            Ok(2)
        }
        _ => {
            let runner = dice.below(RUNNERS as u64) as usize;
            tokio::time::sleep(moment).await;
            site.runners[runner].kill()?;
            tokio::time::sleep(pause).await;
            site.runners[runner].start();
            // Long enough to have work again, mostly.
            tokio::time::sleep(dice.moment(200).min(Duration::from_millis(200))).await;
            Ok(1)
        }
    }
}
