//! What parent and child say to each other: postcard messages, each after its length.

use std::io::{self, Read, Write};

use manyhands_model::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::engine::{Executed, Execution, Infrastructure};
use crate::sandbox::lockdown::Lockdown;

/// Longest message: the machine code of the largest module.
pub(super) const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// From the parent.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Compile this sealed module.
    Compile(Vec<u8>),
    /// Keep this machine code ready.
    Load(Digest, Vec<u8>),
    /// Execute a module that was loaded.
    Execute(Digest, Execution),
    /// Try what is forbidden, and say what happened. For tests.
    Probe,
}

/// From the child.
#[derive(Serialize, Deserialize)]
pub(super) enum Response {
    /// Locked down and ready; the engine's fingerprint.
    Ready(Lockdown, Digest),
    /// Machine code.
    Compiled(Vec<u8>),
    /// The module is ready.
    Loaded,
    /// How far the execution is, in thousandths.
    Progress(u16),
    /// What came out.
    Executed(Box<Executed>),
    /// The machine failed.
    Failed(Infrastructure),
    /// What of the forbidden was possible, and whether the child can tell which of its pages were touched.
    Probed { possible: Vec<String>, knows_pages: bool },
}

fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &bytes].concat())
}

fn length(head: [u8; 4], most: usize) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > most { Err(io::ErrorKind::InvalidData.into()) } else { Ok(length) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

pub(super) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

/// The next message; none when the parent is gone.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; length(head, MESSAGE_BYTES_MAX)?];
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

pub(super) async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?).await?;
    to.flush().await
}

/// The next message, of at most `most` bytes.
pub(super) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<T> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    // Grows with what arrives: a child that lies about the length gets nothing for it.
    let mut bytes = Vec::new();
    let expected = length(head, most)?;
    from.take(expected as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < expected {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&bytes)
}
