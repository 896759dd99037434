use std::time::Duration;

/// How long a call may take, and how much may come back.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the beginning to a connection on which the request can be sent: name, TCP and TLS.
    pub connect: Duration,
    /// From the request's first byte to the end of the answer's head.
    pub first_byte: Duration,
    /// All of it.
    pub total: Duration,
    /// Bytes of the names and values in the answer's head together. No more than this, or 8 KiB, is kept of a head while it comes.
    pub head_bytes_max: usize,
    /// Number of fields in the answer's head.
    pub headers_max: u16,
    /// Bytes that are read from the connection, after TLS: interim answers, heads, chunks' frames, trailers and body.
    pub wire_bytes_max: u64,
    /// Bytes of the answer's body, decoded.
    pub decoded_bytes_max: usize,
    /// How many times its length a body may become by decoding. A body of less than a kibibyte counts as one of that.
    pub expansion_max: usize,
}

impl Default for Limits {
    /// What an API that answers with some JSON needs, with much to spare.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(20),
            total: Duration::from_secs(30),
            head_bytes_max: 16 << 10,
            headers_max: 64,
            wire_bytes_max: 1 << 20,
            decoded_bytes_max: 1 << 20,
            // JSON that repeats itself becomes a twentieth by gzip, zeros a thousandth.
            expansion_max: 100,
        }
    }
}
