//! What a sandboxed child and its parent say to each other.
//!
//! `most | bytes on the pipe`, where `most` is the limit that the reader sets, in units of 256 bytes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use manyhands_model::{Digest, Fuel, Limits, Outcome, Verdict};
use manyhands_protocol::Entry;
// The runner's file in `wire` looks for it here.
use manyhands_runner::sandbox::lockdown;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::{Executed, Execution, Infrastructure, LogLine};
use crate::promise;
use lockdown::{Lockdown, Wall};
use wire::{Request, Response};

// The file itself, so that nothing in the runner need be public for this.
#[path = "../../../host/runner/src/sandbox/wire.rs"]
#[expect(dead_code, reason = "the runner uses the rest")]
mod wire;

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [most, pipe @ ..] = bytes else { return false };
    let most = usize::from(*most) * 256;
    // Either side may lie to the other, so either message may stand here.
    let (request, response) = (message::<Request>(pipe, most), message::<Response>(pipe, most));
    request || response
}

/// One of each message.
pub fn seeds() -> Vec<Vec<u8>> {
    let execution =
        Execution { entry: Entry::Reduce, step: 0, input: b"in"[..].into(), seed: [1; 32], limits: Limits::default() };
    let executed = Executed {
        outcome: Outcome { verdict: Verdict::Aborted { code: 2, message: "src/lib.rs:1:1: no".into() }, fuel: Fuel(9) },
        output: Vec::new(),
        logs: vec![LogLine { level: 2, text: "half way".into() }],
        wall_us: 1_000,
    };
    let lockdown = Lockdown { landlock: Wall::Missing("old kernel".into()), seccomp: Wall::Partial };
    let digest = Digest::of(b"module");
    [
        seed(&Request::Compile(b"\0asm".to_vec())),
        seed(&Request::Load(digest, b"code".to_vec())),
        seed(&Request::Execute(digest, execution)),
        seed(&Request::Probe),
        seed(&Response::Ready(lockdown, digest)),
        seed(&Response::Compiled(b"code".to_vec())),
        seed(&Response::Loaded),
        seed(&Response::Progress(500)),
        seed(&Response::Executed(Box::new(executed))),
        seed(&Response::Failed(Infrastructure("killed".into()))),
        seed(&Response::Probed { possible: vec!["a file was opened".into()], knows_pages: true }),
    ]
    .into()
}

fn seed<T: Serialize>(message: &T) -> Vec<u8> {
    [vec![4], written(message)].concat()
}

fn written<T: Serialize>(message: &T) -> Vec<u8> {
    let mut pipe = Vec::new();
    wire::write(&mut pipe, message).unwrap();
    pipe
}

/// Whether a message comes out of this pipe, and the same one for both kinds of readers.
fn message<T: Serialize + DeserializeOwned>(pipe: &[u8], most: usize) -> bool {
    let mut rest = pipe;
    let received = promise::bounded(pipe.len(), || at_once(wire::receive::<T>(&mut rest, most)));
    let used = pipe.len() - rest.len();
    assert!(used <= most + 4, "{used} bytes are read where {most} are allowed");
    let received = received.ok().map(|message| written(&message));
    if let Some(received) = &received {
        let again = at_once(wire::receive::<T>(&mut &**received, received.len())).map(|message| written(&message));
        assert_eq!(again.ok().as_ref(), Some(received), "another message came back");
    }
    // The other reader has a limit of its own, and believes the parent about the length.
    if pipe.first_chunk().is_some_and(|length| u32::from_le_bytes(*length) as usize <= most) {
        let read = wire::read::<T>(&mut &*pipe).ok().flatten().map(|message| written(&message));
        assert_eq!(read, received, "the readers differ");
    }
    received.is_some()
}

/// What `future` comes to, which reads from memory and so never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("memory is always ready"),
    }
}
