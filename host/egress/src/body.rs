//! How much is taken: bodies become no longer than they may, while they come.
//!
//! Every call asks for bodies as they are (`Accept-Encoding: identity`). Some APIs answer with gzip whatever they are asked, so that is
//! decoded; a body in any other coding, or in two, is refused unread, since a decoder that nobody needs is a decoder that can be attacked.

use std::io::{self, ErrorKind, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header};

use crate::{Excess, Limits, Why};

/// A body that is coming.
pub(crate) struct Body {
    decoder: Decoder,
    /// Bytes that came.
    received: usize,
    decoded_max: usize,
    expansion_max: usize,
}

enum Decoder {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// A body of fewer bytes may expand as much as one of these.
const SMALL_BYTES: usize = 1 << 10;

impl Body {
    pub(crate) fn new(headers: &HeaderMap, limits: &Limits) -> Result<Self, Why> {
        let codings = |name| {
            let values =
                headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
            values.map(|coding| coding.trim_ascii().to_ascii_lowercase())
        };
        // Chunks are undone where they are read; what they may have been made of is not.
        if codings(header::TRANSFER_ENCODING).any(|coding| coding != b"chunked") {
            return Err(Why::Encoded);
        }
        let content = codings(header::CONTENT_ENCODING).filter(|coding| !matches!(&coding[..], b"" | b"identity"));
        let bounded = Bounded { bytes: Vec::new(), bytes_max: limits.decoded_bytes_max };
        let decoder = match &content.collect::<Vec<_>>()[..] {
            [] => Decoder::Identity(bounded),
            [one] if one == b"gzip" || one == b"x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(bounded))),
            _ => return Err(Why::Encoded),
        };
        Ok(Self { decoder, received: 0, decoded_max: limits.decoded_bytes_max, expansion_max: limits.expansion_max })
    }

    /// Takes what came.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), Why> {
        self.received += data.len();
        let written = match &mut self.decoder {
            Decoder::Identity(bounded) => bounded.write_all(data),
            Decoder::Gzip(decoder) => {
                let expanded = self.received.max(SMALL_BYTES).saturating_mul(self.expansion_max);
                decoder.get_mut().bytes_max = self.decoded_max.min(expanded);
                decoder.write_all(data)
            }
        };
        written.map_err(|why| self.fault(&why))
    }

    /// All of it.
    pub(crate) fn finish(mut self) -> Result<Bytes, Why> {
        let finished = match &mut self.decoder {
            // The head of an answer to HEAD speaks of a body that does not come.
            Decoder::Gzip(_) if self.received == 0 => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Identity(_) => Ok(()),
        };
        finished.map_err(|why| self.fault(&why))?;
        let bounded = match &mut self.decoder {
            Decoder::Identity(bounded) => bounded,
            Decoder::Gzip(decoder) => decoder.get_mut(),
        };
        Ok(std::mem::take(&mut bounded.bytes).into())
    }

    fn fault(&self, why: &io::Error) -> Why {
        let bytes_max = match &self.decoder {
            Decoder::Identity(bounded) => bounded.bytes_max,
            Decoder::Gzip(decoder) => decoder.get_ref().bytes_max,
        };
        match why.kind() {
            ErrorKind::FileTooLarge if bytes_max < self.decoded_max => Why::TooMuch(Excess::Expansion),
            ErrorKind::FileTooLarge => Why::TooMuch(Excess::Decoded),
            _ => Why::Corrupt,
        }
    }
}

/// Bytes that are never more than so many.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = self.bytes.len() + data.len();
        if len > self.bytes_max {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if len > self.bytes.capacity() {
            // Twice as much as there is, but never more than there may be.
            let room = (2 * len).min(self.bytes_max);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
