//! `snowshed capture`: packets with the verdicts on them, into a file that Wireshark opens.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::failure::Failure;
use super::output::{self, Format};
use super::terminal::Terminal;
use super::value;
use crate::observe::capture::parse;

mod blocks;

use blocks::Blocks;

/// The path of captures.
pub(super) const PATH: &str = "/snowshed/v1/capture";

/// Which packets.
#[derive(Args, Debug)]
pub struct Filter {
    /// Only packets of clients of this address or prefix, and what is answered to them
    #[arg(long, value_name = "ADDRESS|PREFIX", value_parser = net)]
    client: Option<String>,
    /// Only packets of this service: ADDRESS:PORT, ADDRESS, PREFIX or :PORT
    #[arg(long, value_name = "SERVICE", value_parser = end)]
    service: Option<String>,
    /// Only this protocol: tcp, udp, icmp, icmpv6 or a number
    #[arg(long, value_parser = protocol)]
    protocol: Option<String>,
    /// Only packets that left for this reason, for example acl_denied; may be repeated
    #[arg(long, value_parser = reason)]
    reason: Vec<String>,
    /// End after so many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long, at most 1h
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = lasts)]
    lasts: Duration,
}

impl Filter {
    /// The API's query, of so many packets a second.
    pub(super) fn query(&self, rate: u32) -> Vec<(&'static str, String)> {
        let mut query = vec![("seconds", self.lasts.as_secs().to_string()), ("rate", rate.to_string())];
        query.extend(self.client.clone().map(|client| ("client", client)));
        query.extend(self.service.clone().map(|service| ("service", service)));
        query.extend(self.protocol.clone().map(|protocol| ("protocol", protocol)));
        query.extend(self.reason.iter().map(|reason| ("reason", reason.clone())));
        query.extend(self.count.map(|count| ("count", count.to_string())));
        query
    }

    /// How long it may go on.
    pub(super) const fn lasts(&self) -> Duration {
        self.lasts
    }
}

/// Arguments of `capture`.
#[derive(Args, Debug)]
pub struct Capture {
    #[command(flatten)]
    filter: Filter,
    /// The file, which must not exist yet; - is the output, for a pipe into tshark or wireshark
    #[arg(short, long, value_name = "FILE", value_parser = clap::builder::PathBufValueParser::new())]
    write: PathBuf,
    /// Packets a second at most; those above are counted as lost
    #[arg(long, value_name = "N", default_value = "1000", value_parser = rate)]
    rate: u32,
    /// Bytes of each packet that are kept, 64 to 2047
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = snap)]
    snap: u32,
}

impl Capture {
    /// Captures until there is enough, the time is over, or Ctrl-C.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses, or the file cannot be written.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let to_output = self.write == Path::new("-");
        if !to_output && self.write.exists() {
            return Err(Failure::usage(format!("{} exists: name another file", self.write.display())));
        }
        let mut query = self.filter.query(self.rate);
        query.push(("snap", self.snap.to_string()));
        let mut answer = client.download(PATH, &query, self.filter.lasts).await?;
        let mut file = if to_output { None } else { Some(create(&self.write)?) };
        if format.is_table() {
            terminal.note(format!("capturing to {}; Ctrl-C ends it", self.write.display()))?;
        }
        let mut blocks = Blocks::default();
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let chunk = tokio::select! {
                chunk = answer.chunk() => chunk.map_err(|error| Failure::error(format!("the capture broke off: {error}")))?,
                _ = &mut interrupted => None,
            };
            let Some(chunk) = chunk else { break };
            let whole = blocks.take(&chunk).map_err(Failure::error)?;
            match &mut file {
                Some(file) => file.write_all(&whole).map_err(|error| cannot_write(&self.write, &error))?,
                None => terminal.bytes(&whole)?,
            }
        }
        let lost = blocks.lost.unwrap_or(0);
        if to_output || format.is_table() {
            let more = if lost > 0 {
                format!("; {lost} more were lost: raise --rate or narrow the filter")
            } else {
                String::new()
            };
            return terminal.note(format!("{} packets captured{more}", blocks.packets));
        }
        let outcome = serde_json::json!({ "file": self.write, "captured": blocks.packets, "lost": lost });
        output::value(terminal, format, &outcome)
    }
}

/// What clients sent is nobody else's to read.
fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::error(format!("{} cannot be written: {error}", path.display()))
}

fn net(text: &str) -> Result<String, String> {
    parse::net(text).map(|_| text.to_owned()).map_err(|invalid| invalid.to_string())
}

fn end(text: &str) -> Result<String, String> {
    parse::end(text).map(|_| text.to_owned()).map_err(|invalid| invalid.to_string())
}

fn protocol(text: &str) -> Result<String, String> {
    parse::protocol(text).map(|_| text.to_owned()).map_err(|invalid| invalid.to_string())
}

fn reason(text: &str) -> Result<String, String> {
    parse::reason(text).map(|_| text.to_owned()).map_err(|invalid| invalid.to_string())
}

/// A rate, in packets a second.
pub(super) fn rate(text: &str) -> Result<u32, String> {
    small(text, &parse::RATE)
}

fn snap(text: &str) -> Result<u32, String> {
    small(text, &parse::SNAP)
}

fn small(text: &str, range: &std::ops::RangeInclusive<u64>) -> Result<u32, String> {
    let number = parse::number(text, range).map_err(|invalid| invalid.to_string())?;
    u32::try_from(number).map_err(|_| format!("`{text}` is too large"))
}

fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = value::duration(text)?;
    if lasts.subsec_nanos() != 0 || !parse::SECONDS.contains(&lasts.as_secs()) {
        return Err(format!("`{text}`: whole seconds are expected, from 1s to 1h"));
    }
    Ok(lasts)
}
