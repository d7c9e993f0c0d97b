//! Where output goes and answers come from: the process's terminal, or buffers in a test.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressDrawTarget;

use super::failure::{Exit, Failure};
use super::progress::Progress;

/// The streams of one run of the command line, and what is known about the device behind them.
pub struct Terminal {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    input: Box<dyn BufRead>,
    /// Somebody can be asked: input and error output are both a terminal.
    pub interactive: bool,
    /// Output may be coloured: it is a terminal, and `NO_COLOR` is not set.
    pub colour: bool,
    /// Columns; `None` when output is no terminal: nothing is wrapped or cut.
    pub width: Option<u16>,
    /// What says that something takes long.
    pub progress: Arc<Progress>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("interactive", &self.interactive)
            .field("colour", &self.colour)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

/// A stream that is kept in memory; its clones write to the same place.
#[derive(Clone, Debug, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// What was written so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A colour with one meaning everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Good.
    Green,
    /// Look at this.
    Yellow,
    /// Bad.
    Red,
    /// Headings.
    Bold,
    /// Less important.
    Dim,
}

impl Terminal {
    /// The process's own streams.
    #[must_use]
    pub fn of_process() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(io::stdin().lock()),
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            colour: is_terminal && !no_colour,
            // One that says it has no columns says nothing.
            width: comfy_table::Table::new().width().filter(|width| is_terminal && *width > 0),
            progress: if io::stderr().is_terminal() {
                Arc::new(Progress::on(ProgressDrawTarget::stderr))
            } else {
                Arc::default()
            },
        }
    }

    /// Other streams: no colours, no width, nobody to ask.
    pub fn new(out: impl Write + 'static, err: impl Write + 'static, input: impl BufRead + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            input: Box::new(input),
            interactive: false,
            colour: false,
            width: None,
            progress: Arc::default(),
        }
    }

    /// Other streams for what is shown as on this one; nobody is asked.
    #[must_use]
    pub fn onto(&self, out: impl Write + 'static, err: impl Write + 'static) -> Self {
        Self { colour: self.colour, width: self.width, ..Self::new(out, err, io::empty()) }
    }

    /// A line of the command's result.
    ///
    /// # Errors
    /// When the output is closed or full.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        let out = &mut self.out;
        self.progress.aside(|| writeln!(out, "{text}").and_then(|()| out.flush())).map_err(output_failed)
    }

    /// Bytes of the command's result, as they are.
    ///
    /// # Errors
    /// When the output is closed or full.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(output_failed)
    }

    /// Clears the screen before it is shown anew; off a terminal an empty line parts one showing from the next.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn clear(&mut self) -> Result<(), Failure> {
        let text = if self.width.is_some() { "\x1b[H\x1b[2J" } else { "\n" };
        self.out.write_all(text.as_bytes()).map_err(output_failed)
    }

    /// A line about the command, which is not part of its result.
    ///
    /// # Errors
    /// When the error output is closed or full.
    pub fn note(&mut self, text: impl Display) -> Result<(), Failure> {
        let err = &mut self.err;
        self.progress.aside(|| writeln!(err, "{text}")).map_err(output_failed)
    }

    /// Asks, and returns the line that was typed, without blanks at its ends.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn ask(&mut self, question: &str) -> Result<String, Failure> {
        let (err, input) = (&mut self.err, &mut self.input);
        let mut answer = String::new();
        self.progress.aside(|| {
            write!(err, "{question} ").and_then(|()| err.flush()).map_err(output_failed)?;
            let read = input.read_line(&mut answer);
            read.map_err(|error| Failure::error(format!("no answer could be read: {error}")))
        })?;
        Ok(answer.trim().to_owned())
    }

    /// All of the input, as `-f -` reads it; at most `limit` bytes.
    ///
    /// # Errors
    /// When it is no UTF-8, too long, or cannot be read.
    pub fn read_input(&mut self, limit: u64) -> Result<String, Failure> {
        let mut text = String::new();
        let read = (&mut self.input).take(limit + 1).read_to_string(&mut text);
        match read {
            Ok(bytes) if bytes as u64 > limit => {
                Err(Failure::usage(format!("the input is longer than {limit} bytes, the most a file may have")))
            }
            Ok(_) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Failure::usage("the input is no UTF-8 text"))
            }
            Err(error) => Err(Failure::error(format!("the input cannot be read: {error}"))),
        }
    }

    /// Reports a failure on the error output.
    pub fn report(&mut self, failure: &Failure) {
        if failure.what.is_empty() {
            return;
        }
        let mut text = format!("{} {}", self.paint(Paint::Red, "error:"), failure.what);
        for line in failure.help.lines() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        // There is nowhere left to report that the error output is closed.
        let _closed = self.note(text);
    }

    /// The text in a colour, where colours are allowed.
    #[must_use]
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Red => "31",
            Paint::Bold => "1",
            Paint::Dim => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A reader that went away (`| head`) is no failure of the command.
fn output_failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::new(Exit::Ok, "")
    } else {
        Failure::error(format!("the output cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_input_that_is_too_long_or_no_text_is_a_wrong_file() {
        let read = |input: &'static [u8]| {
            let (out, err) = (Buffer::default(), Buffer::default());
            Terminal::new(out, err, Cursor::new(input)).read_input(8)
        };
        assert_eq!(read(b"name: a").unwrap(), "name: a");
        for (input, says) in [(&b"\xff\xfe"[..], "UTF-8"), (b"123456789", "longer than 8 bytes")] {
            let failure = read(input).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.what.contains(says), "{failure:?}");
        }
    }
}
