//! Server-sent events (WHATWG HTML, 9.2.6), as far as a coordinator sends them: `event` and `data`.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind; empty for the default kind.
    pub kind: String,
    /// Its data.
    pub data: String,
}

/// A line longer than this does not come from a coordinator.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

/// Puts events together from pieces as the network delivers them.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes a piece of the stream and returns the events that it completes.
    ///
    /// # Errors
    /// [`LineTooLong`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, LineTooLong> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() > LINE_BYTES_MAX {
                return Err(LineTooLong);
            }
            if self.line.ends_with(b"\n") {
                let line = core::mem::take(&mut self.line);
                events.extend(self.end_of_line(&line));
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\n').trim_end_matches('\r');
        if line.is_empty() {
            let event = core::mem::take(&mut self.event);
            let is_complete = core::mem::take(&mut self.has_data) || !event.kind.is_empty();
            return is_complete.then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; `id` and `retry` are not needed here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: progress\ndata: {\"a\":1}\n\n: still there\n\nid: 7\ndata: x\r\ndata:y\r\n\r\nevent: end\n\n";

    #[test]
    fn events_are_the_same_however_the_network_cuts_them() {
        let event = |kind: &str, data: &str| Event { kind: kind.to_owned(), data: data.to_owned() };
        let expected = [event("progress", "{\"a\":1}"), event("", "x\ny"), event("end", "")];
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let events: Vec<Event> = pieces.flat_map(|piece| parser.feed(piece).expect("short lines")).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&vec![b'x'; LINE_BYTES_MAX + 1]), Err(LineTooLong));
    }
}
