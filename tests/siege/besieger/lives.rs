//! What one socket of each attack does from its opening to its end.

use std::future::pending;
use std::time::Duration;

use manyhands_protocol::ClientMessage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep};

use crate::Siege;
use crate::wire::{BINARY, CONTINUATION, PING, answer, frame, greet, head, hear, message, upgrade};

macro_rules! lives {
    ($( $(#[$about:meta])* $life:ident = $name:literal; )*) => {
        /// An attack, as one of its sockets lives it.
        #[derive(Clone, Copy)]
        pub(crate) enum Life { $( $(#[$about])* $life, )* }

        impl Life {
            /// What the attacks are called.
            pub(crate) const NAMES: &[&str] = &[$( $name ),*];

            /// The attack of that name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$life), )* _ => None }
            }
        }
    };
}

lives! {
    /// A request head, a byte a second.
    SlowHeads = "slow-heads";
    /// A body, a byte a second, of somebody who may send one.
    SlowBodies = "slow-bodies";
    /// A frame before the hello, a byte a second.
    SlowFrames = "slow-frames";
    /// A worker's frame, a byte a second.
    SlowWorkers = "slow-workers";
    /// One request, and then nothing.
    Idle = "idle";
    /// Random bytes, and messages that break off, at each stage.
    Noise = "noise";
    /// Bodies that are too long, declared and chunked.
    Oversized = "oversized";
    /// Small messages that ask for much memory.
    Bombs = "bombs";
    /// Almost all of the longest body, and then nothing.
    HoardedBodies = "hoarded-bodies";
    /// Almost all of the longest frame before the hello, and then nothing.
    HoardedFrames = "hoarded-frames";
    /// Almost all of a worker's longest frame, and then nothing.
    HoardedWorkers = "hoarded-workers";
    /// Fragments of a message that never ends.
    Fragments = "fragments";
    /// A long message from which a byte comes now and then.
    Drips = "drips";
    /// WebSocket pings and the protocol's own, as fast as they are taken.
    Pings = "pings";
    /// Workers that ask for leases and vanish or keep them.
    Lessees = "lessees";
    /// Readers of results and events who read nothing.
    Deaf = "deaf";
    /// Requests to every path.
    Flood = "flood";
    /// Guessed tokens.
    Guess = "guess";
}

/// What a life ends with that nobody answers.
type Met = Option<String>;

/// Pace of those who do something a second.
const SECOND: Duration = Duration::from_secs(1);
/// Pace of one socket of a flood; all of them together are far over what one client needs.
const FLOOD: Duration = Duration::from_millis(20);
const LONGEST: usize = 16 << 20;
/// So much is sent at a time. Unit: bytes.
const PIECE: usize = 64 << 10;

impl Life {
    /// Lives until the coordinator ends it. Returns what was met.
    pub(crate) async fn live(self, siege: &Siege, mut stream: TcpStream, number: usize, round: usize) -> Met {
        let token = &siege.token;
        match self {
            Self::SlowHeads => {
                write(&mut stream, b"GET /livez HTTP/1.1\r\nhost: besieged\r\nx: ").await?;
                Some(dribble(&mut stream).await)
            }
            Self::SlowBodies => {
                let more = "content-length: 100000\r\ncontent-type: application/x-ndjson\r\n";
                write(&mut stream, head("POST", "/v1/runs?job=parrot", token, more).as_bytes()).await?;
                Some(dribble(&mut stream).await)
            }
            Self::SlowFrames => match upgrade(&mut stream).await {
                Ok(()) => Some(dribble_frame(&mut stream).await),
                Err(met) => Some(met),
            },
            Self::SlowWorkers => match greet(&mut stream).await {
                Ok(()) => Some(dribble_frame(&mut stream).await),
                Err(met) => Some(met),
            },
            Self::Idle => {
                write(&mut stream, head("GET", "/livez", "", "").as_bytes()).await?;
                let first = answer(&mut stream).await;
                if first != "200" {
                    return Some(first);
                }
                Some(format!("200, then {}", answer(&mut stream).await))
            }
            Self::Noise => noise(stream, number + round * 7).await,
            Self::Oversized => oversized(siege, stream, number + round).await,
            Self::Bombs => bombs(siege, stream, number + round).await,
            Self::HoardedBodies => {
                let more = format!("content-length: {LONGEST}\r\ncontent-type: application/json\r\n");
                write(&mut stream, head("POST", "/v1/jobs/parrot/invoke", token, &more).as_bytes()).await?;
                Some(hoard(&mut stream).await)
            }
            Self::HoardedFrames => match upgrade(&mut stream).await {
                Ok(()) => {
                    write(&mut stream, &frame(true, BINARY, LONGEST, &[])).await?;
                    hoard_frame(&mut stream).await
                }
                Err(met) => Some(met),
            },
            Self::HoardedWorkers => match greet(&mut stream).await {
                Ok(()) => {
                    write(&mut stream, &frame(true, BINARY, LONGEST, &[])).await?;
                    hoard_frame(&mut stream).await
                }
                Err(met) => Some(met),
            },
            Self::Fragments => {
                if let Err(met) = greet(&mut stream).await {
                    return Some(met);
                }
                write(&mut stream, &frame(false, BINARY, 1024, &[0; 1024])).await?;
                let part = frame(false, CONTINUATION, 1024, &[0; 1024]);
                let (mut reading, mut writing) = stream.split();
                let mut heard = Vec::new();
                tokio::select! {
                    () = async { while writing.write_all(&part).await.is_ok() { sleep(Duration::from_millis(1)).await } } => {}
                    _ = reading.read_to_end(&mut heard) => {}
                }
                Some("closed".into())
            }
            Self::Drips => match greet(&mut stream).await {
                Ok(()) => {
                    write(&mut stream, &frame(true, BINARY, 1 << 20, &[0; 9 << 10])).await?;
                    Some(drip(&mut stream, Duration::from_millis(30)).await)
                }
                Err(met) => Some(met),
            },
            Self::Pings => {
                if let Err(met) = greet(&mut stream).await {
                    return Some(met);
                }
                let mut burst = Vec::new();
                for _ in 0..8 {
                    burst.extend(frame(true, PING, 8, &[0; 8]));
                    burst.extend(message(&ClientMessage::Ping));
                    burst.extend(message(&ClientMessage::Want(0)));
                }
                let (mut reading, mut writing) = stream.split();
                let mut pace = interval(FLOOD);
                let flood = async {
                    while writing.write_all(&burst).await.is_ok() {
                        pace.tick().await;
                    }
                };
                // Read and thrown away: a sender who does not listen would only stop itself.
                let listen = async {
                    let mut heard = [0; 4096];
                    while let Ok(1..) = reading.read(&mut heard).await {}
                };
                tokio::select! {
                    () = flood => {}
                    () = listen => {}
                }
                Some("closed".into())
            }
            Self::Lessees => {
                if let Err(met) = greet(&mut stream).await {
                    return Some(met);
                }
                write(&mut stream, &message(&ClientMessage::Want(4))).await?;
                if number.is_multiple_of(2) {
                    // Takes what it gets, and vanishes.
                    return match hear(&mut stream).await {
                        Ok(_) => Some("vanished with leases".into()),
                        Err(met) => Some(met),
                    };
                }
                loop {
                    tokio::select! {
                        heard = hear(&mut stream) => if let Err(met) = heard { return Some(met) },
                        () = sleep(10 * SECOND) => write(&mut stream, &message(&ClientMessage::Ping)).await?,
                    }
                }
            }
            Self::Deaf => {
                let format = if number.is_multiple_of(2) { "frames" } else { "ndjson" };
                let path = format!("/v1/runs/{}/results?which=inputs&format={format}", siege.run);
                write(&mut stream, head("GET", &path, token, "").as_bytes()).await?;
                // Waiting for a socket to become unreadable never ends; its writable half tells of a reset.
                loop {
                    sleep(SECOND).await;
                    let gone = stream.take_error().ok().flatten().is_some();
                    if gone || stream.try_write(b"").is_err() {
                        return Some("cut off".into());
                    }
                }
            }
            Self::Flood => {
                const PATHS: &[(&str, &str)] = &[
                    ("GET", "/livez"),
                    ("GET", "/readyz"),
                    ("GET", "/metrics"),
                    ("GET", "/openapi.json"),
                    ("GET", "/join"),
                    ("GET", "/v1/jobs"),
                    ("GET", "/v1/runs"),
                    ("GET", "/v1/workers"),
                    ("GET", "/v1/tokens"),
                    ("GET", "/v1/keys"),
                    ("GET", "/v1/nothing"),
                    ("DELETE", "/v1/runs"),
                    ("GET", "/v1/worker"),
                    ("GET", "/v1/modules/sha256_0000000000000000000000000000000000000000000000000000000000000000"),
                ];
                let mut pace = interval(FLOOD);
                for step in number.. {
                    pace.tick().await;
                    let (method, path) = PATHS[step % PATHS.len()];
                    write(&mut stream, head(method, path, "", "").as_bytes()).await?;
                    let met = answer(&mut stream).await;
                    let over = met.starts_with("closed") || met.starts_with("an answer") || met.starts_with("429");
                    siege.meet(met);
                    if over {
                        return None;
                    }
                }
                None
            }
            Self::Guess => {
                let mut pace = interval(FLOOD);
                loop {
                    pace.tick().await;
                    let mut guess = [0; 52];
                    random(&mut guess);
                    let letters = b"abcdefghijklmnopqrstuvwxyz234567";
                    let guess: String = guess.iter().map(|byte| char::from(letters[usize::from(byte % 32)])).collect();
                    write(&mut stream, head("GET", "/v1/tokens", &format!("mht_{guess}"), "").as_bytes()).await?;
                    let met = answer(&mut stream).await;
                    let over = !met.starts_with("401");
                    siege.meet(met);
                    if over {
                        return None;
                    }
                }
            }
        }
    }
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// Sends, or ends the life: a socket that takes nothing was cut.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    // In pieces: within one call of the operating system nobody else may get the processor, whatever our priority.
    for piece in bytes.chunks(PIECE) {
        stream.write_all(piece).await.ok()?;
    }
    Some(())
}

/// A byte a second until somebody answers.
async fn dribble(stream: &mut TcpStream) -> String {
    let mut first = [0];
    loop {
        tokio::select! {
            () = sleep(SECOND) => if stream.write_all(b" ").await.is_err() { return "reset".into() },
            _ = stream.peek(&mut first) => return answer(stream).await,
        }
    }
}

/// A frame of a mebibyte, a byte a second.
async fn dribble_frame(stream: &mut TcpStream) -> String {
    if write(stream, &frame(true, BINARY, 1 << 20, &[])).await.is_none() {
        return "reset".into();
    }
    drip(stream, SECOND).await
}

/// A byte now and then, until it is cut off.
async fn drip(stream: &mut TcpStream, pause: Duration) -> String {
    let mut first = [0];
    loop {
        tokio::select! {
            () = sleep(pause) => if stream.write_all(b" ").await.is_err() { return "reset".into() },
            _ = stream.peek(&mut first) => if let Err(met) = hear(stream).await { return met },
        }
    }
}

/// Almost all of the longest body, then nothing. Stops sending as soon as there is an answer.
async fn hoard(stream: &mut TcpStream) -> String {
    let (mut reading, mut writing) = stream.split();
    let send = async {
        let piece = [b' '; PIECE];
        for _ in 0..LONGEST / PIECE - 1 {
            // Whoever is answered may be cut off while it sends; the answer is there to be read nevertheless.
            if writing.write_all(&piece).await.is_err() {
                return;
            }
        }
        pending().await
    };
    let mut first = [0];
    tokio::select! {
        biased;
        _ = reading.peek(&mut first) => {}
        () = send => {}
    }
    answer(stream).await
}

async fn hoard_frame(stream: &mut TcpStream) -> Met {
    let chunk = [0; PIECE];
    for _ in 0..LONGEST / chunk.len() - 1 {
        if stream.write_all(&chunk).await.is_err() {
            return Some("reset".into());
        }
    }
    loop {
        if let Err(met) = hear(stream).await {
            return Some(met);
        }
    }
}

/// Nonsense at one of the stages of a connection.
async fn noise(mut stream: TcpStream, turn: usize) -> Met {
    let mut bytes = [0; 512];
    random(&mut bytes);
    let length = usize::from(bytes[0]) + 1;
    let whole = head("POST", "/v1/runs?job=parrot", "", "content-length: 400\r\n");
    match turn % 8 {
        0 => write(&mut stream, &bytes[..length]).await?,
        1 => write(&mut stream, &[&bytes[..length], b"\r\n\r\n"].concat()).await?,
        2 => write(&mut stream, &whole.as_bytes()[..length.min(whole.len() - 1)]).await?,
        3 => {
            write(&mut stream, head("GET", "/livez", "", &format!("x: {}\r\n", "y".repeat(60_000))).as_bytes()).await?
        }
        4 => write(&mut stream, format!("GET /{} HTTP/1.1\r\n\r\n", "z".repeat(70_000)).as_bytes()).await?,
        5 => write(&mut stream, &[whole.as_bytes(), &bytes[..length]].concat()).await?,
        stage => {
            let begun = if stage == 6 { upgrade(&mut stream).await } else { greet(&mut stream).await };
            if let Err(met) = begun {
                return Some(met);
            }
            // A frame of noise, a frame that breaks off, noise without a frame.
            match turn / 8 % 3 {
                0 => write(&mut stream, &frame(true, BINARY, length, &bytes[..length])).await?,
                1 => write(&mut stream, &frame(true, BINARY, 512, &bytes[..length])).await?,
                _ => write(&mut stream, &bytes).await?,
            }
            stream.shutdown().await.ok()?;
            loop {
                if let Err(met) = hear(&mut stream).await {
                    return Some(met);
                }
            }
        }
    }
    stream.shutdown().await.ok()?;
    Some(answer(&mut stream).await)
}

/// A body that is longer than its path takes.
async fn oversized(siege: &Siege, mut stream: TcpStream, turn: usize) -> Met {
    const PATHS: &[&str] = &["/v1/runs?job=parrot", "/v1/jobs/parrot/invoke", "/v1/jobs", "/v1/tokens"];
    let path = PATHS[turn % PATHS.len()];
    let kind = if path == "/v1/tokens" { "application/json" } else { "application/x-ndjson" };
    let chunked = (turn / PATHS.len()).is_multiple_of(2);
    let length =
        if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {}", 1u64 << 40) };
    let more = format!("{length}\r\ncontent-type: {kind}\r\n");
    write(&mut stream, head("POST", path, &siege.token, &more).as_bytes()).await?;
    let piece = [b'7'; PIECE];
    let piece =
        if chunked { [format!("{PIECE:x}\r\n").as_bytes(), &piece[..], b"\r\n"].concat() } else { piece.to_vec() };
    let (mut reading, mut writing) = stream.split();
    let mut first = [0];
    // Until it is refused; whoever has begun to read the answer sends nothing more.
    tokio::select! {
        biased;
        _ = reading.peek(&mut first) => {}
        () = async { while writing.write_all(&piece).await.is_ok() {} } => {}
    }
    Some(answer(&mut stream).await)
}

/// A small message that claims or means something large.
async fn bombs(siege: &Siege, mut stream: TcpStream, turn: usize) -> Met {
    let post = |path: &str, more: &str, body: &[u8]| {
        let more = format!("content-length: {}\r\n{more}", body.len());
        [head("POST", path, &siege.token, &more).as_bytes(), body].concat()
    };
    let deep = [vec![b'['; 60_000], vec![b']'; 60_000]].concat();
    let json = "content-type: application/json\r\n";
    let request = match turn % 5 {
        0 => post("/v1/jobs/parrot/invoke?timeout_ms=1", json, &deep),
        1 => post("/v1/tokens", json, &deep[..60_000]),
        2 => post("/v1/runs?job=parrot", "content-type: application/x-ndjson\r\n", &vec![b'1'; 17 << 20]),
        3 => {
            // A publication whose name claims 2^60 bytes.
            let more = "content-type: application/wasm\r\nmanyhands-publication: gICAgICAgICAEA==\r\n";
            post("/v1/jobs", more, b"\0asm\x01\0\0\0")
        }
        _ => {
            if let Err(met) = greet(&mut stream).await {
                return Some(met);
            }
            // Variant 5 gives leases back: 2^60 of them.
            let lie = [5, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0];
            write(&mut stream, &frame(true, BINARY, lie.len(), &lie)).await?;
            loop {
                if let Err(met) = hear(&mut stream).await {
                    return Some(met);
                }
            }
        }
    };
    write(&mut stream, &request).await;
    Some(answer(&mut stream).await)
}
