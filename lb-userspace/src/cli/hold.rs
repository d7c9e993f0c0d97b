//! `snowshed hold`: what the edge holds in its maps against the ledger, and letting it go.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::contain::{Desk, id, reason};
use super::failure::Failure;
use super::output::{Format, text};

/// Services that forward on although the ledger says they are gone: too many would have left without a plan
#[derive(Subcommand, Debug)]
pub enum HoldCommand {
    /// Show what is held, and what was released
    #[command(after_help = "Examples:
  snowshed hold list
  snowshed hold list -o json")]
    List,
    /// Let go what is meant to go; more than ten at once wait for a second person
    #[command(after_help = "If they were deleted by mistake, bring them back instead: `snowshed undo`.

Examples:
  snowshed hold release --service '192.0.2.10 80/tcp' --reason 'moved to another zone'
  snowshed hold release --count 1574 --reason 'the zone is closed'    all that are held, if they are that many")]
    Release(Release),
    /// Agree to somebody else's release
    #[command(after_help = "Examples:
  snowshed hold approve 11111111-1111-4111-8111-111111111111")]
    Approve {
        /// Id of the release, as `hold list` shows it
        #[arg(value_name = "RELEASE", value_parser = id)]
        release: Uuid,
    },
}

/// Arguments of `hold release`.
#[derive(Args, Debug)]
pub struct Release {
    #[command(flatten)]
    which: Which,
    /// Why; people will read it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Which of them: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Which {
    /// A service as `hold list` shows it, such as '192.0.2.10 80/tcp'; may be given again
    #[arg(long = "service", value_name = "SERVICE", value_parser = service)]
    services: Vec<String>,
    /// All that are held, which must be exactly this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn service(text: &str) -> Result<String, String> {
    let parsed = text.split_once(' ').and_then(|(address, rest)| {
        let (port, protocol) = rest.split_once('/')?;
        let is_port = port.parse::<u16>().is_ok();
        (address.parse::<std::net::IpAddr>().is_ok() && is_port && ["tcp", "udp"].contains(&protocol)).then_some(())
    });
    match parsed {
        Some(()) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is no service: an address, a port and a protocol such as '192.0.2.10 80/tcp'")),
    }
}

impl HoldCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, desk: Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list(desk).await,
            Self::Release(Release { which, reason }) => {
                let body = match which.count {
                    Some(count) => json!({ "count": count, "reason": reason }),
                    None => json!({ "services": which.services, "reason": reason }),
                };
                desk.change(Method::POST, "/snowshed/v1/hold/releases", Some(&body)).await
            }
            Self::Approve { release } => {
                desk.change(Method::POST, &format!("/snowshed/v1/hold/releases/{release}/approve"), None).await
            }
        }
    }
}

async fn list(mut desk: Desk<'_>) -> Result<(), Failure> {
    let hold = desk.client.call(Method::GET, "/snowshed/v1/hold", &[], None, None).await?;
    if desk.format != Format::Table {
        return desk.show(&hold);
    }
    let items = |key: &str| hold[key].as_array().into_iter().flatten();
    if items("services").next().is_none() {
        desk.terminal.line("nothing is held: what the ledger says is what the maps hold")?;
    }
    for held in items("services") {
        let why = match held.get("deleted_at").and_then(Value::as_str) {
            Some(at) => format!("deleted at {at}"),
            None => "not deleted: its address, frontend or servers are gone".to_owned(),
        };
        let name = held.get("lb_name").and_then(Value::as_str).unwrap_or("of no load balancer");
        desk.terminal.line(format!("held {} {name}: {why}", text(held, "/service")))?;
    }
    for release in items("releases") {
        let [id, by, reason] = ["/id", "/by", "/reason"].map(|key| text(release, key));
        let count = release["services"].as_array().map_or(0, Vec::len);
        let waits = release["needs_approval"] == json!(true) && release["approved_by"].is_null();
        let state = if waits { "waits for a second person: `snowshed hold approve`" } else { "in force" };
        desk.terminal.line(format!("release of {count} by {by}: {reason} ({id}), {state}"))?;
    }
    Ok(())
}
