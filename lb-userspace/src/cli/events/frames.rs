//! Server-sent events out of bytes as they arrive (WHATWG HTML, 9.2.6).

/// Most bytes of an event that is not complete.
const MAX_BYTES: usize = 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// What resumes after it.
    pub(super) id: Option<String>,
    /// Its content.
    pub(super) data: String,
}

/// Collects bytes until an event is complete.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pending: Vec<u8>,
    id: Option<String>,
    data: Vec<String>,
}

impl Frames {
    /// The events that are complete with these bytes.
    ///
    /// # Errors
    /// When it is no text, or an event does not end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, String> {
        self.pending.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = std::str::from_utf8(&line).map_err(|_| "the stream is no UTF-8 text".to_owned())?;
            frames.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        let size = self.pending.len() + self.data.iter().map(String::len).sum::<usize>();
        if size > MAX_BYTES { Err(format!("an event is longer than {MAX_BYTES} bytes")) } else { Ok(frames) }
    }

    /// Takes a line; an empty one ends an event.
    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let (id, data) = (self.id.take(), std::mem::take(&mut self.data));
            return (!data.is_empty()).then(|| Frame { id, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => self.data.push(value.to_owned()),
            // Comments keep the connection alive; the kind stands in the data too.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: Option<&str>, data: &str) -> Frame {
        Frame { id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = ": alive\n\nid: a-1\nevent: x\ndata: {\"a\":\ndata: 1}\n\ndata:\u{e9}\r\n\r\nid: a-3\ndata: cut";
        let wanted = [frame(Some("a-1"), "{\"a\":\n1}"), frame(None, "\u{e9}")];
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let found: Vec<Frame> = text.as_bytes().chunks(size).flat_map(|part| frames.take(part).unwrap()).collect();
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_an_error_and_not_memory() {
        let mut frames = Frames::default();
        let mut taken = 0;
        while frames.take(b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n").is_ok() {
            taken += 1;
            assert!(taken < 100_000);
        }
    }
}
