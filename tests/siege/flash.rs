//! A crowd of ten thousand workers within a minute, beside those who work already.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_tests::Coordinator;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::attack::{Held, address, forget_peak, peak_mib};
use crate::honest::{Honest, quantile_ms};
use crate::report::{Row, write};
use crate::wire::{hear_all, introduce, message};

const CROWD: u32 = 10_000;
/// Within this time all of them come.
const WITHIN: Duration = Duration::from_secs(60);
/// Addresses they come from.
const SOURCES: u32 = 64;
/// The promise.
const LEASE_MS_MAX: f64 = 250.0;
/// Of those who are told to come back, the largest part that may come in one second.
const SHARE_IN_A_SECOND_MAX: f64 = 0.1;
/// How long one of them waits for an answer before it gives up; who is refused waits some seconds for that.
const GIVE_UP: Duration = Duration::from_secs(30);

/// What the crowd met.
#[derive(Default)]
struct Met {
    /// From asking for a unit to having it.
    leased: Vec<Duration>,
    /// When those who were refused may come again.
    told: Vec<Duration>,
    /// Refused, and never told when to come.
    untold: Vec<String>,
    /// HTTP answers that blame the coordinator.
    failed: Vec<String>,
    /// Anything else.
    lost: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and measures: `cargo xtask bench flash`"]
async fn flash() {
    let coordinator = Coordinator::start().await;
    let honest = Honest::arrive(&coordinator).await;
    // As many leases as anybody could ask for: each unit wants fifteen who agree, of sixteen, because the honest worker
    // of the harness executes nothing and is wrong about these.
    let inputs: Vec<_> = (0..2_000).map(|number| format!("[{number}]").into_bytes()).collect();
    coordinator.submit("parrot&replicas=15&replicas_max=16&priority=-100", &inputs).await.expect("submitted");
    let alone = honest.work(&coordinator, Duration::from_secs(10)).await;
    let before = Held::by(&coordinator).await;
    forget_peak(&coordinator);

    let target: SocketAddr = address(&coordinator).parse().expect("an address");
    let met = Arc::new(Mutex::new(Met::default()));
    let mut crowd = JoinSet::new();
    let coming = async {
        let mut pace = interval(WITHIN / CROWD);
        for number in 0..CROWD {
            pace.tick().await;
            crowd.spawn(come(target, number, Arc::clone(&met)));
        }
    };
    let began = Instant::now();
    let (under, ()) = tokio::join!(honest.work(&coordinator, WITHIN), coming);
    let took = began.elapsed();
    let peak = peak_mib(&coordinator);
    // Those who were let in stay until here.
    crowd.shutdown().await;
    before.again(&coordinator).await;

    let met = met.lock().expect("nobody panics");
    let lease = quantile_ms(&met.leased, 0.99);
    let mut seconds: Vec<_> = met.told.iter().map(Duration::as_secs).collect();
    seconds.sort_unstable();
    let most = seconds.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0);
    let share = most as f64 / seconds.len().max(1) as f64;
    println!(
        "{CROWD} workers within {:.0} s: {} got a lease, p50 {:.1} ms, p99 {lease:.1} ms; {} were told to come again \
         after {} to {} s, at most {:.1} % of them in the same second; {} were not told when; {} server errors; {} lost",
        took.as_secs_f64(),
        met.leased.len(),
        quantile_ms(&met.leased, 0.5),
        met.told.len(),
        seconds.first().unwrap_or(&0),
        seconds.last().unwrap_or(&0),
        share * 100.0,
        met.untold.len(),
        met.failed.len(),
        met.lost.len(),
    );
    let waits = [("invoke", &alone.invoke, &under.invoke), ("connect", &alone.connect, &under.connect)];
    let honest_rows = waits.map(|(name, alone, under)| {
        Row::new(format!("honest/{name}-p99"), quantile_ms(under, 0.99), "ms", quantile_ms(alone, 0.99))
    });
    let mut rows = vec![
        Row::new("lease-p99", lease, "ms", LEASE_MS_MAX),
        Row::new("crowd", f64::from(CROWD) / took.as_secs_f64(), "workers/s", f64::from(CROWD) / WITHIN.as_secs_f64()),
        Row::new("told-in-the-same-second", share, "of those told", SHARE_IN_A_SECOND_MAX),
        Row::new("memory-peak", peak, "MiB", 256.0),
    ];
    for (name, count) in [
        ("leased", met.leased.len()),
        ("told-when-to-come", met.told.len()),
        ("not-told", met.untold.len()),
        ("server-errors", met.failed.len()),
        ("lost", met.lost.len()),
    ] {
        rows.push(Row::alone(name, count as f64, "workers"));
    }
    rows.extend(honest_rows);
    write("flash", &rows);
    for row in &rows {
        println!("{row}");
    }
    assert!(met.failed.is_empty(), "server errors: {:?}", met.failed.first());
    assert!(met.untold.is_empty(), "not told when to come again: {:?}", met.untold.first());
    assert!(met.lost.is_empty(), "lost: {:?}", met.lost.first());
    assert!(lease <= LEASE_MS_MAX, "a lease takes {lease} ms");
    assert!(seconds.len() < 100 || share <= SHARE_IN_A_SECOND_MAX, "{share} of those told come in one second");
    assert_eq!(under.failures, 0, "honest clients: {}", under.why);
}

/// One of the crowd: greets with a key of its own, asks for a lease, and stays.
async fn come(target: SocketAddr, number: u32, met: Arc<Mutex<Met>>) {
    let note = |note: fn(&mut Met) -> &mut Vec<String>, text: String| {
        note(&mut met.lock().expect("nobody panics")).push(text);
    };
    let mut stream = match connect(target, number).await {
        Ok(stream) => stream,
        Err(error) => return note(|met| &mut met.lost, error.to_string()),
    };
    match timeout(GIVE_UP, introduce(&mut stream)).await {
        Ok(Ok(ServerMessage::Welcome(_))) => {}
        Ok(Ok(ServerMessage::Refused { retry_after: Some(after), .. })) => {
            return met.lock().expect("nobody panics").told.push(after);
        }
        Ok(Ok(other)) => return note(|met| &mut met.untold, format!("{other:?}")),
        Ok(Err(answer)) if answer.starts_with('5') => return note(|met| &mut met.failed, answer),
        Ok(Err(answer)) if answer.contains("retry-after") => return note(|met| &mut met.untold, answer),
        Ok(Err(answer)) => return note(|met| &mut met.lost, answer),
        Err(_) => return note(|met| &mut met.lost, "no welcome in time".into()),
    }
    let asked = Instant::now();
    if stream.write_all(&message(&ClientMessage::Want(1))).await.is_err() {
        return note(|met| &mut met.lost, "cut off while asking".into());
    }
    loop {
        match timeout(GIVE_UP, hear_all(&mut stream)).await {
            Ok(Ok(ServerMessage::Grant(_))) => break,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return note(|met| &mut met.lost, error),
            Err(_) => return note(|met| &mut met.lost, "no lease in time".into()),
        }
    }
    met.lock().expect("nobody panics").leased.push(asked.elapsed());
    // Alive, as its heartbeat says, until the crowd goes home.
    let mut alive = true;
    while alive {
        sleep(Duration::from_secs(15)).await;
        alive = stream.write_all(&message(&ClientMessage::Ping)).await.is_ok();
    }
    note(|met| &mut met.lost, "cut off while working".into());
}

async fn connect(target: SocketAddr, number: u32) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let source = Ipv4Addr::new(127, 0, 2, u8::try_from(number % SOURCES).unwrap_or(0) + 1);
    socket.bind((source, 0).into())?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
