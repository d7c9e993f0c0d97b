//! `snowshed explain`: which server a client's packets go to, why, and what they become, from the live maps.

use std::net::SocketAddr;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::{self, Format, text};
use super::terminal::{Paint, Terminal};
use super::value::{self, ServiceArg};
use crate::explain::ConnectionId;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// Address and port of the client, for example 198.51.100.7:40000 or [2001:db8::7]:40000
    #[arg(value_name = "CLIENT", value_parser = value::endpoint)]
    client: SocketAddr,
    /// Address, port and protocol of the service, for example 192.0.2.10:80 or [2001:db8::10]:53/udp
    #[arg(value_name = "SERVICE")]
    service: ServiceArg,
    /// A QUIC connection id as hexadecimal digits: explains packets of that open connection, and not those that open one
    #[arg(long, value_name = "HEX")]
    connection_id: Option<ConnectionId>,
}

impl Explain {
    /// Asks and shows the answer.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, client: &Client, terminal: &mut Terminal, format: Format) -> Result<(), Failure> {
        let mut query = vec![
            ("client", self.client.to_string()),
            ("service", self.service.address.to_string()),
            ("protocol", self.service.protocol.as_str().to_owned()),
        ];
        query.extend(self.connection_id.map(|id| ("connection_id", id.to_string())));
        let answer = client.call(Method::GET, "/snowshed/v1/explain", &query, None, None).await?;
        if !format.is_table() {
            return output::value(terminal, format, &answer);
        }
        show(terminal, &answer)
    }
}

fn show(terminal: &mut Terminal, answer: &Value) -> Result<(), Failure> {
    for step in answer.get("steps").and_then(Value::as_array).into_iter().flatten() {
        terminal.line(format!("{:<9} {}", text(step, "/stage"), text(step, "/what")))?;
    }
    let verdict = terminal.paint(Paint::Bold, &text(answer, "/verdict"));
    terminal.line(verdict)?;
    let remedy = text(answer, "/opening/remedy");
    if !remedy.is_empty() {
        terminal.line(format!("  {remedy}"))?;
    }
    for (outcome, of) in [
        ("/opening", "what leaves"),
        ("/established", "what leaves of an established connection"),
        ("/answer", "what leaves of the server's answer"),
    ] {
        let headers = answer.pointer(&format!("{outcome}/headers")).and_then(Value::as_array);
        let Some(headers) = headers.filter(|headers| !headers.is_empty()) else { continue };
        terminal.line(format!("\n{of}, were the packet the smallest there is (`..`: decided when it is sent):"))?;
        for header in headers {
            terminal.line(format!("{:<9} {}", text(header, "/layer"), text(header, "/hex")))?;
            terminal.line(format!("{:<9} {}", "", text(header, "/says")))?;
        }
    }
    Ok(())
}
