//! Lines that swallow, hold, delay, cut and reset.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use manyhands_tests::{Line, Proxy, Weather};

use crate::round::Dice;
use crate::site::{BOUND, Broken, Kept, Site, promise};

const RUNNERS: usize = 3;

/// Runners, each behind a line of its own.
async fn site() -> Kept<(Site, Vec<Proxy>)> {
    let mut site = Site::start().await?;
    let mut proxies = Vec::new();
    for _ in 0..RUNNERS {
        let proxy = Proxy::start(site.address).await;
        site.add_runner(proxy.address());
        proxies.push(proxy);
    }
    Ok((site, proxies))
}

fn split(site: Kept<(Site, Vec<Proxy>)>) -> (Kept<Site>, Vec<Proxy>) {
    match site {
        Ok((site, proxies)) => (Ok(site), proxies),
        Err(broken) => (Err(broken), Vec::new()),
    }
}

/// Spoils one line for a while. Silence that nobody could notice before three heartbeats ends with the connection.
async fn spoil(site: &mut Site, proxies: &[Proxy], dice: &mut Dice) -> Kept<u64> {
    let at = dice.below(RUNNERS as u64) as usize;
    let proxy = &proxies[at];
    tokio::time::sleep(dice.moment(200)).await;
    let slow = Line::Slow(dice.moment(150));
    let good = Line::Good;
    let (weather, length, reset) = match dice.below(9) {
        0 => (Weather::both(Line::Swallowed), dice.moment(2500), true),
        1 => (Weather { up: Line::Swallowed, ..Weather::both(good) }, dice.moment(2500), true),
        2 => (Weather { down: Line::Swallowed, ..Weather::both(good) }, dice.moment(2500), true),
        3 => (Weather::both(Line::Stuck), dice.moment(2500), false),
        4 => (Weather::both(slow), dice.moment(1500), false),
        5 => (Weather { up: Line::CutInside, ..Weather::both(good) }, dice.moment(500), false),
        6 => (Weather { down: Line::CutInside, ..Weather::both(good) }, dice.moment(500), false),
        7 => (Weather { closed: true, ..Weather::both(good) }, dice.moment(1500), true),
        _ => {
            // The machine is replaced while its old connection, half open, stays at the coordinator.
            proxy.set(Weather::both(Line::Swallowed));
            site.runners[at].kill()?;
            // What it had open stays swallowed; what comes is passed on.
            tokio::time::sleep(dice.moment(300)).await;
            proxy.set(Weather::default());
            site.runners[at].start();
            return Ok(1);
        }
    };
    proxy.set(weather);
    tokio::time::sleep(length).await;
    proxy.set(Weather::default());
    if reset {
        proxy.reset();
    }
    Ok(1)
}

#[tokio::test]
async fn whatever_the_network_does_the_run_ends_right() {
    let test = "network::whatever_the_network_does_the_run_ends_right";
    let (site, proxies) = split(site().await);
    crate::campaign(test, crate::rounds(3), site, async |site, _, dice| {
        let mut faults = 0;
        for _ in 0..3 {
            faults += spoil(site, &proxies, dice).await?;
        }
        // Nobody is counted who is not there any more: three runners and the witness.
        site.client.connected(RUNNERS + 1, BOUND).await?;
        Ok(faults)
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_half_open_for_ever_is_forgotten_by_both_ends() {
    if !crate::is_long() {
        eprintln!("left out: it takes more than three heartbeats of 20 s; `cargo xtask faults run` has the time");
        return;
    }
    let test = "network::a_connection_that_is_half_open_for_ever_is_forgotten_by_both_ends";
    let (site, proxies) = split(site().await);
    crate::campaign(test, 1, site, async |site, _, _| {
        let tries: Vec<_> = proxies.iter().map(|proxy| proxy.attempts().len()).collect();
        for proxy in &proxies {
            proxy.set(Weather::both(Line::Swallowed));
        }
        site.client.connected(1, Duration::from_secs(75)).await?;
        // The runners noticed as well, and try again, still in vain.
        let since = Instant::now();
        while proxies.iter().zip(&tries).any(|(proxy, tries)| proxy.attempts().len() == *tries) {
            promise(since.elapsed() < Duration::from_secs(75), || "a runner waits for a dead line for ever".into())?;
            site.check()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for proxy in &proxies {
            proxy.set(Weather::default());
            proxy.reset();
        }
        site.client.connected(RUNNERS + 1, BOUND).await?;
        Ok(RUNNERS as u64)
    })
    .await;
}

#[tokio::test]
async fn those_who_lose_their_connection_at_once_do_not_come_back_at_once() {
    let kept = async {
        let (site, proxies) = site().await?;
        site.client.connected(RUNNERS, BOUND).await?;
        let tries = |proxy: &Proxy| proxy.attempts();
        let before: Vec<_> = proxies.iter().map(|proxy| tries(proxy).len()).collect();
        let cut = Instant::now();
        proxies.iter().for_each(Proxy::reset);
        site.client.connected(RUNNERS, BOUND).await?;
        let since = Instant::now();
        let mut waits = BTreeSet::new();
        for (proxy, before) in proxies.iter().zip(before) {
            while tries(proxy).len() <= before {
                promise(since.elapsed() < BOUND, || "a runner does not come back".into())?;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            waits.insert(tries(proxy)[before].duration_since(cut).as_millis());
        }
        let spread = waits.last().zip(waits.first()).map_or(0, |(last, first)| last - first);
        promise(spread >= 5, || format!("they came back after {waits:?} ms, all together"))
    };
    if let Err(Broken(why)) = kept.await {
        panic!("{why}");
    }
}
