//! Takes a submission's body apart into inputs while it arrives.
//!
//! Sans-IO: chunks in, inputs out, and never more than one input is held back.

use bytes::{Buf as _, Bytes, BytesMut};

/// How inputs follow each other in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One a line; empty lines are passed over.
    Lines,
    /// Each after its length, a little-endian `u32`.
    Frames,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// An input is too long.
    #[error("input {number} is longer than {most} bytes")]
    TooLong {
        /// Which, from 1.
        number: u64,
        /// The most that is accepted.
        most: usize,
    },
    /// The body ends inside an input.
    #[error("input {number} is cut off: the body ends before it does")]
    CutOff {
        /// Which, from 1.
        number: u64,
    },
}

/// Takes one body apart.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    input_bytes_max: usize,
    rest: BytesMut,
    /// Bytes of `rest` in which there is no line break.
    searched: usize,
    inputs: u64,
}

impl Splitter {
    /// For a body framed so, with inputs of at most that many bytes.
    pub fn new(framing: Framing, input_bytes_max: usize) -> Self {
        Self { framing, input_bytes_max, rest: BytesMut::new(), searched: 0, inputs: 0 }
    }

    /// Adds what arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
    }

    /// The next whole input, if it has arrived.
    ///
    /// # Errors
    /// [`BadBody::TooLong`], as soon as that is clear.
    pub fn next_input(&mut self) -> Result<Option<Bytes>, BadBody> {
        match self.framing {
            Framing::Lines => self.next_line(),
            Framing::Frames => self.next_frame(),
        }
    }

    /// The last input, once the body has ended and [`Splitter::next_input`] gives no more.
    ///
    /// # Errors
    /// [`BadBody::CutOff`].
    pub fn finish(mut self) -> Result<Option<Bytes>, BadBody> {
        match self.framing {
            // The last line needs no line break.
            Framing::Lines => {
                self.within_line(self.rest.len())?;
                let line = trimmed(self.rest.split().freeze());
                Ok((!line.is_empty()).then_some(line))
            }
            Framing::Frames if self.rest.is_empty() => Ok(None),
            Framing::Frames => Err(BadBody::CutOff { number: self.inputs + 1 }),
        }
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, BadBody> {
        while let Some(at) = memchr::memchr(b'\n', &self.rest[self.searched..]) {
            let length = self.searched + at;
            self.within_line(length)?;
            let line = trimmed(self.rest.split_to(length + 1).freeze());
            self.searched = 0;
            if !line.is_empty() {
                return self.whole(line);
            }
        }
        self.searched = self.rest.len();
        self.within_line(self.searched)?;
        Ok(None)
    }

    /// A line is as long as it came, but for its end: however the body is cut into chunks, and whatever is trimmed.
    fn within_line(&self, length: usize) -> Result<(), BadBody> {
        self.within(length - usize::from(self.rest[..length].ends_with(b"\r")))
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, BadBody> {
        let Some(length) = self.rest.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize) else {
            return Ok(None);
        };
        self.within(length)?;
        if self.rest.len() < 4 + length {
            return Ok(None);
        }
        self.rest.advance(4);
        let input = self.rest.split_to(length).freeze();
        self.whole(input)
    }

    fn whole(&mut self, input: Bytes) -> Result<Option<Bytes>, BadBody> {
        self.within(input.len())?;
        self.inputs += 1;
        Ok(Some(input))
    }

    fn within(&self, length: usize) -> Result<(), BadBody> {
        let most = self.input_bytes_max;
        if length > most { Err(BadBody::TooLong { number: self.inputs + 1, most }) } else { Ok(()) }
    }
}

fn trimmed(line: Bytes) -> Bytes {
    let text = line.trim_ascii();
    line.slice_ref(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a body in chunks of `step` bytes.
    fn split(framing: Framing, body: &[u8], step: usize) -> Result<Vec<Vec<u8>>, BadBody> {
        let mut splitter = Splitter::new(framing, 8);
        let mut inputs = Vec::new();
        for chunk in body.chunks(step) {
            splitter.push(chunk);
            while let Some(input) = splitter.next_input()? {
                inputs.push(input.to_vec());
            }
        }
        inputs.extend(splitter.finish()?.map(|input| input.to_vec()));
        Ok(inputs)
    }

    #[test]
    fn lines_and_frames_come_out_whole_however_they_arrive() {
        let frames = [&3u32.to_le_bytes()[..], b"one", &0u32.to_le_bytes(), &2u32.to_le_bytes(), b"\n\n"].concat();
        for step in 1..12 {
            let lines = split(Framing::Lines, b"one\r\n\n  two  \nthree", step).expect("splits");
            assert_eq!(lines, [&b"one"[..], b"two", b"three"], "step {step}");
            let frames = split(Framing::Frames, &frames, step).expect("splits");
            assert_eq!(frames, [&b"one"[..], b"", b"\n\n"], "step {step}");
        }
    }

    #[test]
    fn a_long_input_and_a_cut_one_are_named() {
        for step in 1..12 {
            let long = Err(BadBody::TooLong { number: 2, most: 8 });
            assert_eq!(split(Framing::Lines, b"ok\n123456789", step), long);
            assert_eq!(split(Framing::Lines, b"ok\n12345   \n", step), Ok(vec![b"ok".to_vec(), b"12345".to_vec()]));
            assert_eq!(split(Framing::Lines, b"ok\n12345    \n", step), long, "as long as it came");
            assert_eq!(split(Framing::Lines, b"ok\n12345678\r\n", step).expect("fits").len(), 2);
        }
        assert_eq!(split(Framing::Frames, &u32::MAX.to_le_bytes(), 1), Err(BadBody::TooLong { number: 1, most: 8 }));
        assert_eq!(split(Framing::Frames, &[3, 0, 0, 0, b'a'], 1), Err(BadBody::CutOff { number: 1 }));
    }
}
