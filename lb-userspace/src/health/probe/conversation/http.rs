//! HTTP/1.1 (RFC 9112): a request, and the status of its answer.

use std::net::SocketAddr;

use super::{Step, unexpected};
use crate::health::ProbeOutcome;

/// Most bytes of a status line.
const MAX_STATUS_LINE_BYTES: usize = 512;

/// A request that ends the connection.
pub(super) fn request(address: SocketAddr, uri: &str, method: &str, host: &str) -> Vec<u8> {
    let address = address.to_string();
    let host = if host.is_empty() { &address } else { host };
    let text = format!(
        "{method} {uri} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: snowshed-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    text.into_bytes()
}

/// Judges an answer by its status line, such as `HTTP/1.1 200 OK` (RFC 9112 §4).
pub(super) fn judge(heard: &[u8], code: Option<u16>) -> Step {
    const START: &[u8] = b"HTTP/1.";
    match heard.iter().take(MAX_STATUS_LINE_BYTES).position(|byte| *byte == b'\n') {
        Some(end) => Step::Done(judge_line(&heard[..end], code)),
        None if heard.len() < MAX_STATUS_LINE_BYTES && START.starts_with(&heard[..heard.len().min(START.len())]) => {
            Step::More
        }
        None => Step::Done(no_http()),
    }
}

fn judge_line(line: &[u8], code: Option<u16>) -> ProbeOutcome {
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        let (version, rest) = line.trim_end_matches('\r').split_once(' ')?;
        let digits = rest.split(' ').next()?;
        let known = matches!(version, "HTTP/1.1" | "HTTP/1.0") && digits.len() == 3;
        digits.parse::<u16>().ok().filter(|status| known && (100..600).contains(status))
    });
    match (status, code) {
        (None, _) => no_http(),
        (Some(status), None) if (200..400).contains(&status) => ProbeOutcome::Passed,
        (Some(status), Some(code)) if status == code => ProbeOutcome::Passed,
        (Some(status), None) => unexpected(format!("status {status}, expected 200 to 399")),
        (Some(status), Some(code)) => unexpected(format!("status {status}, expected {code}")),
    }
}

fn no_http() -> ProbeOutcome {
    unexpected("the answer is not HTTP/1")
}
