//! The worker's side of the protocol without a runner around it: it executes nothing and says what it is told to.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use manyhands_model::{Digest, Fuel, LeaseId, Outcome, RunId, Verdict, WorkerId};
use manyhands_protocol::{
    Body, Challenge, ClientMessage, Done, FRAME_BYTES_MAX, Grant, Greeting, Hello, Invitation, Lease, Receipt, Report,
    Reports, SUBPROTOCOL, ServerMessage, decode, encode,
};
use manyhands_signing::{Keypair, PublicKey, Signed, TrustList};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The coordinator said no.
    #[error("refused: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// The line broke, or never was.
    #[error("{0}")]
    Broken(String),
}

/// One unit of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its run.
    pub run: RunId,
    /// The module to be executed.
    pub module: Digest,
    /// The lease.
    pub lease: Lease,
    /// The input.
    pub input: Bytes,
}

impl Unit {
    /// The units of a grant.
    pub fn all(grant: &Grant) -> Vec<Self> {
        let terms = grant.leases.verify_any().expect("signed");
        let unit = |(lease, input): (&Lease, &Bytes)| Self {
            run: terms.run,
            module: terms.module,
            lease: lease.clone(),
            input: input.clone(),
        };
        terms.leases.iter().zip(&grant.inputs).map(unit).collect()
    }
}

/// What an honest worker answers.
fn honest(body: Body) -> impl FnOnce(&Keypair, &Challenge) -> Hello {
    move |key, challenge| {
        let greeting = Greeting { nonce: challenge.nonce, coordinator: challenge.root };
        Hello { greeting: Signed::new(key, &greeting), body, slots: 2, is_watched: false, invitation: None }
    }
}

/// A connection that was greeted as a worker.
pub struct Worker {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    key: Keypair,
    /// The coordinator's root key.
    pub root: PublicKey,
    /// Whom the coordinator says to believe.
    pub trust: Signed<TrustList>,
}

impl Worker {
    /// A key that nobody had before.
    pub fn new_key() -> Keypair {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Keypair::from_seed(&seed)
    }

    /// Connects to the coordinator of a join link and introduces itself.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn connect(join: &str, key: Keypair) -> Result<Self, Lost> {
        Self::connect_from(join, key, None).await
    }

    /// The same through a proxy that says where it is.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn connect_from(join: &str, key: Keypair, address: Option<&str>) -> Result<Self, Lost> {
        let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-tests".into() };
        Self::greet(join, key, address, honest(body)).await
    }

    /// The same with whatever it says it is.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn connect_as(join: &str, key: Keypair, body: Body) -> Result<Self, Lost> {
        Self::connect_with(join, key, honest(body)).await
    }

    /// The same with whatever it answers to the challenge.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn connect_with(
        join: &str,
        key: Keypair,
        hello: impl FnOnce(&Keypair, &Challenge) -> Hello,
    ) -> Result<Self, Lost> {
        Self::greet(join, key, None, hello).await
    }

    /// The same from an address, with an invitation.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn connect_invited(
        join: &str,
        key: Keypair,
        address: &str,
        invitation: Option<Invitation>,
    ) -> Result<Self, Lost> {
        let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-tests".into() };
        let hello = |key: &Keypair, challenge: &Challenge| Hello { invitation, ..honest(body)(key, challenge) };
        Self::greet(join, key, Some(address), hello).await
    }

    async fn greet(
        join: &str,
        key: Keypair,
        address: Option<&str>,
        hello: impl FnOnce(&Keypair, &Challenge) -> Hello,
    ) -> Result<Self, Lost> {
        let broken = |error: &dyn std::fmt::Display| Lost::Broken(error.to_string());
        let base = join.split("/join#").next().unwrap_or_default().replacen("http", "ws", 1);
        let uri = format!("{base}/v1/worker").parse().map_err(|error| broken(&error))?;
        let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
        if let Some(address) = address {
            request = request.with_header("x-forwarded-for", address);
        }
        let config =
            WebSocketConfig::default().max_frame_size(Some(FRAME_BYTES_MAX)).max_message_size(Some(FRAME_BYTES_MAX));
        let connected = connect_async_with_config(request, Some(config), true).await;
        let (mut socket, _) = connected.map_err(|error| broken(&error))?;
        let ServerMessage::Challenge(challenge) = receive(&mut socket).await? else {
            return Err(Lost::Broken("expected a challenge first".into()));
        };
        let hello = hello(&key, &challenge);
        let mut worker = Self { socket, key, root: challenge.root, trust: challenge.trust };
        worker.send(&ClientMessage::Hello(hello)).await?;
        match worker.receive().await? {
            ServerMessage::Welcome(_) => Ok(worker),
            other => Err(Lost::Broken(format!("expected a welcome, got {other:?}"))),
        }
    }

    /// Its name.
    pub fn id(&self) -> WorkerId {
        self.key.public().into()
    }

    /// Its key.
    pub const fn key(&self) -> &Keypair {
        &self.key
    }

    /// Says something.
    ///
    /// # Errors
    /// [`Lost::Broken`].
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), Lost> {
        self.send_bytes(encode(message)).await
    }

    /// Says anything at all.
    ///
    /// # Errors
    /// [`Lost::Broken`].
    pub async fn send_bytes(&mut self, frame: Vec<u8>) -> Result<(), Lost> {
        let sent = self.socket.send(Message::Binary(Bytes::from(frame))).await;
        sent.map_err(|error| Lost::Broken(error.to_string()))
    }

    /// Hears the next message.
    ///
    /// # Errors
    /// [`Lost`]; a refusal is one.
    pub async fn receive(&mut self) -> Result<ServerMessage, Lost> {
        receive(&mut self.socket).await
    }

    /// Asks for `count` units and waits for the first grant.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn grant(&mut self, count: u16) -> Result<Grant, Lost> {
        self.send(&ClientMessage::Want(count)).await?;
        loop {
            if let ServerMessage::Grant(grant) = self.receive().await? {
                return Ok(grant);
            }
        }
    }

    /// Asks for `count` units and waits for the first that are granted.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn units(&mut self, count: u16) -> Result<Vec<Unit>, Lost> {
        Ok(Unit::all(&self.grant(count).await?))
    }

    /// Signed reports that these units of one run gave these outputs, whether they did or not.
    pub fn done<'a>(&self, units: impl IntoIterator<Item = (&'a Unit, Vec<u8>)>, fuel: u64) -> Done {
        let ok = |output: Digest, output_bytes| Verdict::Ok { output, output_bytes };
        self.said(units.into_iter().map(|(unit, output)| (unit, output, ok)), fuel)
    }

    /// The same of a unit that asks for calls.
    pub fn asked(&self, unit: &Unit, calls: Vec<u8>, fuel: u64) -> Done {
        self.said([(unit, calls, |calls, calls_bytes| Verdict::Called { calls, calls_bytes })], fuel)
    }

    fn said<'a, V: Fn(Digest, u64) -> Verdict>(
        &self,
        units: impl IntoIterator<Item = (&'a Unit, Vec<u8>, V)>,
        fuel: u64,
    ) -> Done {
        let (mut reports, mut outputs) = (Vec::new(), Vec::new());
        let mut about = (RunId([0; 16]), Digest([0; 32]));
        for (unit, output, verdict) in units {
            about = (unit.run, unit.module);
            let verdict = verdict(Digest::of(&output), output.len() as u64);
            let outcome = Outcome { verdict, fuel: Fuel(fuel) };
            reports.push(Report { lease: unit.lease.clone(), outcome });
            outputs.push(output.into());
        }
        let reports = Reports { run: about.0, module: about.1, reports };
        Done { reports: Signed::new(&self.key, &reports), outputs }
    }

    /// Sends a report and returns what became of it.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn report(&mut self, unit: &Unit, output: &[u8], fuel: u64) -> Result<Receipt, Lost> {
        let done = self.done([(unit, output.to_vec())], fuel);
        self.send(&ClientMessage::Done(done)).await?;
        self.receipt(unit.lease.id).await
    }

    /// Waits for the receipt of what was reported under a lease.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn receipt(&mut self, lease: LeaseId) -> Result<Receipt, Lost> {
        loop {
            if let ServerMessage::Receipts(receipts) = self.receive().await?
                && let Some((_, receipt)) = receipts.into_iter().find(|(of, _)| *of == lease)
            {
                return Ok(receipt);
            }
        }
    }
}

async fn receive(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<ServerMessage, Lost> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(frame))) => {
                return match decode(&frame).map_err(|error| Lost::Broken(error.to_string()))? {
                    ServerMessage::Refused { reason, retry_after } => Err(Lost::Refused { reason, retry_after }),
                    message => Ok(message),
                };
            }
            Some(Ok(Message::Close(_))) | None => return Err(Lost::Broken("the coordinator closed the line".into())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Lost::Broken(error.to_string())),
        }
    }
}
