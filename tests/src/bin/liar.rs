//! A worker that lies: it takes leases, executes nothing, and signs answers that look right and are not.
//!
//! `liar JOIN_LINK`. It speaks the real protocol with a real key, so whoever catches it has its signature
//! under the lie. It ends when the coordinator will not have it any more.

use std::process::ExitCode;
use std::time::Duration;

use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_signing::Keypair;
use manyhands_tests::{Lost, Unit, Worker};

/// How many units it asks for at a time.
const APPETITE: u16 = 2;
/// Says that it is there when it has nothing else to say.
const HEARTBEAT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(join) = std::env::args().nth(1) else {
        eprintln!("usage: liar JOIN_LINK");
        return ExitCode::from(2);
    };
    let seed = *Worker::new_key().seed();
    loop {
        match lie(&join, Keypair::from_seed(&seed)).await {
            Lost::Refused { reason, retry_after: None } => {
                eprintln!("found out: {reason}");
                return ExitCode::SUCCESS;
            }
            Lost::Refused { retry_after: Some(after), .. } => tokio::time::sleep(after).await,
            Lost::Broken(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn lie(join: &str, key: Keypair) -> Lost {
    let mut worker = match Worker::connect(join, key).await {
        Ok(worker) => worker,
        Err(lost) => return lost,
    };
    eprintln!("{} is connected", worker.id());
    match talk(&mut worker).await {
        Ok(never) => match never {},
        Err(lost) => lost,
    }
}

async fn talk(worker: &mut Worker) -> Result<std::convert::Infallible, Lost> {
    worker.send(&ClientMessage::Want(APPETITE)).await?;
    loop {
        match tokio::time::timeout(HEARTBEAT, worker.receive()).await {
            Ok(Ok(ServerMessage::Grant(grant))) => {
                for unit in Unit::all(&grant) {
                    answer(worker, &unit).await?;
                }
                worker.send(&ClientMessage::Want(APPETITE)).await?;
            }
            Ok(message) => drop(message?),
            Err(_) => worker.send(&ClientMessage::Ping).await?,
        }
    }
}

/// Signs something of the right shape: the input with one character changed, and a likely amount of fuel.
async fn answer(worker: &mut Worker, unit: &Unit) -> Result<(), Lost> {
    let mut output: Vec<u8> = unit.input.iter().copied().take(1000).collect();
    match output.iter_mut().find(|byte| byte.is_ascii_digit()) {
        Some(digit) => *digit = if *digit == b'9' { b'0' } else { *digit + 1 },
        None => output.push(b'0'),
    }
    let fuel = 1_000_000 + output.len() as u64;
    worker.send(&ClientMessage::Done(worker.done([(unit, output)], fuel))).await
}
