//! A small HTTP/1.1 client: one connection, one request after the other, the body is the server's name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// One request on a connection of its own; returns the body of a 200.
///
/// # Errors
/// When the connection fails, nothing comes in time, or the status is not 200.
pub fn get(target: SocketAddr, path: &str, timeout: Duration) -> Result<String> {
    let mut connection = Connection::open(target, timeout)?;
    connection.get(path, false)
}

/// A connection that requests are sent on.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    target: SocketAddr,
}

impl Connection {
    /// Connects; every later step has the same timeout.
    ///
    /// # Errors
    /// The kernel's answer: refused, timed out, unreachable.
    pub fn open(target: SocketAddr, timeout: Duration) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, target })
    }

    /// The client's end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local(&self) -> std::io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// One request; returns the body of a 200. `keep_alive` leaves the connection open for the next.
    ///
    /// # Errors
    /// When the connection breaks, nothing comes in time, or the status is not 200.
    pub fn get(&mut self, path: &str, keep_alive: bool) -> Result<String> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n\r\n", self.target);
        self.stream.write_all(request.as_bytes()).context("send the request")?;
        self.read_answer()
    }

    fn read_answer(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        loop {
            if let Some(body) = body_of(&answer)? {
                return Ok(body);
            }
            let mut chunk = [0; 2048];
            let read = self.stream.read(&mut chunk).context("read the answer")?;
            if read == 0 || answer.len() > MAX_ANSWER {
                bail!("the connection ended within the answer, after {} bytes", answer.len());
            }
            answer.extend_from_slice(&chunk[..read]);
        }
    }
}

/// The body, once it is complete; an error when the status is not 200.
fn body_of(answer: &[u8]) -> Result<Option<String>> {
    let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..head_end]);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("answered `{status}`");
    }
    let length = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("the answer has no Content-Length")?;
    let body = &answer[head_end + 4..];
    Ok((body.len() >= length).then(|| String::from_utf8_lossy(&body[..length]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::body_of;

    #[test]
    fn an_answer_is_read_only_once_it_is_complete() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nserver1";
        for cut in 0..whole.len() {
            assert_eq!(body_of(&whole[..cut]).expect("well-formed"), None, "{cut} bytes");
        }
        assert_eq!(body_of(whole).expect("well-formed").as_deref(), Some("server1"));
    }

    #[test]
    fn another_status_than_200_is_an_error() {
        assert!(body_of(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
