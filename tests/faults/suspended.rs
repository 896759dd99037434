//! Machines that are suspended and go on as if nothing had been.

use std::time::Duration;

use crate::round::Dice;
use crate::site::{BOUND, Kept, Site};

const RUNNERS: usize = 3;

async fn site() -> Kept<Site> {
    let mut site = Site::start().await?;
    site.add_runners(RUNNERS);
    Ok(site)
}

/// Suspends some machines, for longer than a lease lives or not.
async fn suspend(site: &mut Site, dice: &mut Dice, length: Duration) -> Kept<u64> {
    tokio::time::sleep(dice.moment(300)).await;
    // Any of them, at least one; the last is the coordinator.
    let chosen = 1 + dice.below((1 << (RUNNERS + 1)) - 1);
    let machines = site.runners.iter().chain([&site.coordinator]).enumerate();
    let chosen: Vec<_> = machines.filter(|(bit, _)| chosen >> bit & 1 == 1).map(|(_, machine)| machine).collect();
    for machine in &chosen {
        machine.process().suspend();
    }
    tokio::time::sleep(length).await;
    for machine in &chosen {
        machine.process().resume();
    }
    Ok(chosen.len() as u64)
}

#[tokio::test]
async fn whoever_is_suspended_the_run_ends_right() {
    let test = "suspended::whoever_is_suspended_the_run_ends_right";
    crate::campaign(test, crate::rounds(2), site().await, async |site, _, dice| {
        // A lease lives for twice a second of the job's and two of the setting's.
        let lengths = [Duration::from_millis(50), Duration::from_millis(700), Duration::from_secs(5)];
        let length = lengths[dice.below(lengths.len() as u64) as usize];
        suspend(site, dice, length).await
    })
    .await;
}

#[tokio::test]
async fn whoever_slept_through_all_heartbeats_comes_back() {
    if !crate::is_long() {
        eprintln!("left out: it takes more than three heartbeats of 20 s; `cargo xtask faults run` has the time");
        return;
    }
    let test = "suspended::whoever_slept_through_all_heartbeats_comes_back";
    crate::campaign(test, 1, site().await, async |site, _, dice| {
        for runner in &site.runners {
            runner.process().suspend();
        }
        tokio::time::sleep(dice.moment(1000) + Duration::from_secs(65)).await;
        // The witness is still there.
        site.client.connected(1, Duration::from_secs(30)).await?;
        for runner in &site.runners {
            runner.process().resume();
        }
        site.client.connected(RUNNERS + 1, BOUND).await?;
        Ok(RUNNERS as u64)
    })
    .await;
}
