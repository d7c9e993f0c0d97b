//! `snowshed delivery`: webhooks and e-mails that wait, were given up, or arrived.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use super::failure::Failure;
use super::output::{Column, text};
use super::session::Session;
use super::value;

const PATH: &str = "/snowshed/v1/deliveries";

const COLUMNS: [Column; 8] = [
    Column::text("WHEN", |delivery| text(delivery, "/posted_at")),
    Column::text("WHAT", |delivery| text(delivery, "/type")),
    Column::text("TO", address),
    Column::text("STATE", |delivery| text(delivery, "/state")),
    Column::number("ATTEMPTS", |delivery| text(delivery, "/attempts")),
    Column::wide("NEXT", |delivery| text(delivery, "/next_attempt_at")),
    Column::text("ERROR", |delivery| text(delivery, "/last_error")),
    Column::text("ID", |delivery| text(delivery, "/id")),
];

const ALARM_COLUMNS: [Column; 3] = [
    Column::text("TO", address),
    Column::text("SECRET", |target| text(target, "/secret")),
    Column::wide("ID", |target| text(target, "/id")),
];

/// Deliveries: webhooks and e-mails that wait, were given up, or arrived lately
#[derive(Subcommand, Debug)]
pub enum DeliveryCommand {
    /// List deliveries, the oldest first
    #[command(after_help = "Examples:
  snowshed delivery list --state dead
  snowshed delivery list --recipient 11111111-1111-4111-8111-111111111111 -o wide")]
    List(List),
    /// Show a delivery with all that it tells, and what was in the way
    #[command(after_help = "Example:
  snowshed delivery get 11111111-1111-4111-8111-111111111111")]
    Get {
        /// Its id
        #[arg(value_name = "ID", value_parser = value::project)]
        delivery: Uuid,
    },
    /// Send dead letters again, under their old ids
    #[command(after_help = "Examples:
  snowshed delivery redeliver 11111111-1111-4111-8111-111111111111
  snowshed delivery list --state dead -o name | xargs snowshed delivery redeliver")]
    Redeliver {
        /// Their ids
        #[arg(required = true, value_name = "ID", value_parser = value::project)]
        deliveries: Vec<Uuid>,
    },
    /// List who is told of the edge's own alarms, with the secrets that verify their webhooks
    #[command(after_help = "They stand in agent.toml: `alarm_webhooks` and `alarm_emails` of [delivery].

Example:
  snowshed delivery alarm-targets")]
    AlarmTargets,
}

/// Arguments of `delivery list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those that have come so far
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only those to this subscriber or dependent
    #[arg(long, value_name = "ID", value_parser = value::project)]
    recipient: Option<Uuid>,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// It will be tried, for the first time or again
    Waiting,
    /// The recipient has it
    Delivered,
    /// It was given up
    Dead,
}

impl DeliveryCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(args) => args.run(session).await,
            Self::Get { delivery } => {
                let delivery = session.client.call(Method::GET, &format!("{PATH}/{delivery}"), &[], None, None).await?;
                show(session, &delivery)
            }
            Self::Redeliver { deliveries } => {
                for id in deliveries {
                    let path = format!("{PATH}/{id}/redeliver");
                    let delivery = session.client.call(Method::POST, &path, &[], None, None).await?;
                    session.terminal.note(format!("delivery {id} to {} waits again", address(&delivery)))?;
                }
                Ok(())
            }
            Self::AlarmTargets => {
                let path = "/snowshed/v1/alarm-targets";
                let answer = session.client.call(Method::GET, path, &[], None, None).await?;
                let targets = answer.get("alarm_targets").and_then(Value::as_array).cloned().unwrap_or_default();
                session.show_list(&targets, &ALARM_COLUMNS)
            }
        }
    }
}

impl List {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let state = self.state.and_then(|state| state.to_possible_value()).map(|value| value.get_name().to_owned());
        let filters = [("state", state), ("recipient_id", self.recipient.map(|id| id.to_string()))];
        let filters: Vec<(&str, String)> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let deliveries = session.client.own_list(PATH, "deliveries", &filters).await?;
        session.show_list(&deliveries, &COLUMNS)
    }
}

fn show(session: &mut Session<'_>, delivery: &Value) -> Result<(), Failure> {
    let recipient = format!("{} {}", text(delivery, "/to/kind"), text(delivery, "/to/id"));
    session.show(
        delivery,
        &[
            ("id", text(delivery, "/id")),
            ("state", text(delivery, "/state")),
            ("what", text(delivery, "/type")),
            ("message", text(delivery, "/message")),
            ("to", address(delivery)),
            ("recipient", recipient),
            ("lb", text(delivery, "/lb_id")),
            ("happened", text(delivery, "/at")),
            ("attempts", text(delivery, "/attempts")),
            ("last attempt", text(delivery, "/last_attempt_at")),
            ("next attempt", text(delivery, "/next_attempt_at")),
            ("error", text(delivery, "/last_error")),
        ],
    )
}

fn address(delivery: &Value) -> String {
    let uri = text(delivery, "/uri");
    if uri.is_empty() { text(delivery, "/email") } else { uri }
}
