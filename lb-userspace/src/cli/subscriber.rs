//! `snowshed subscriber`: who is told when the state of a load balancer changes.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::delete::{self, Confirm};
use super::failure::Failure;
use super::output::{Column, text};
use super::session::{Noun, Session, id_of, keep};
use super::value::{self, Reference};

const COLUMNS: [Column; 5] = [
    Column::text("NAME", |subscriber| text(subscriber, "/name")),
    Column::text("WEBHOOK", |subscriber| text(subscriber, "/webhook_config/uri")),
    Column::text("EMAIL", |subscriber| text(subscriber, "/email_config/email")),
    Column::wide("PROJECT", |subscriber| text(subscriber, "/project_id")),
    Column::text("ID", |subscriber| text(subscriber, "/id")),
];

/// Subscribers: who is told, by webhook or e-mail, when the state of a load balancer changes
#[derive(Subcommand, Debug)]
pub enum SubscriberCommand {
    /// Make a subscriber
    #[command(after_help = "Examples:
  snowshed subscriber create --name ops --webhook https://example.org/hook
  snowshed subscriber create --name ops --email ops@example.org
  snowshed subscriber subscribe web --subscriber ops      and tell it of a load balancer")]
    Create(Create),
    /// Show a subscriber
    #[command(after_help = "Example:
  snowshed subscriber get ops")]
    Get {
        /// Name or id
        subscriber: Reference,
    },
    /// List subscribers
    #[command(after_help = "Example:
  snowshed subscriber list -o wide")]
    List,
    /// Change a subscriber's name or address; what waits for it goes to the new address
    #[command(after_help = "Example:
  snowshed subscriber update ops --webhook https://example.org/new")]
    Update(Update),
    /// Delete subscribers that no load balancer names; what waits for them is dropped
    #[command(after_help = "Example:
  snowshed subscriber delete ops")]
    Delete(Delete),
    /// Tell a subscriber of a load balancer, instead of the one that was told before
    #[command(
        after_help = "It is told of the load balancer's state, and of backends and servers that go down or come up.

Example:
  snowshed subscriber subscribe web --subscriber ops"
    )]
    Subscribe {
        /// Load balancer: name or id
        lb: Reference,
        /// Subscriber: name or id
        #[arg(long, value_name = "SUBSCRIBER")]
        subscriber: Reference,
    },
    /// Tell nobody of a load balancer any more
    #[command(after_help = "Example:
  snowshed subscriber unsubscribe web")]
    Unsubscribe {
        /// Load balancer: name or id
        lb: Reference,
    },
    /// Show the secret that verifies the signatures of a subscriber's webhooks
    #[command(
        after_help = "Webhooks are signed as standardwebhooks.com says: any of its libraries verifies them with this secret.

Example:
  snowshed subscriber secret ops"
    )]
    Secret {
        /// Name or id
        subscriber: Reference,
    },
}

/// Arguments of `subscriber create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Name
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: String,
    /// URI that is sent what happens, signed: http or https
    #[arg(long, value_name = "URI", value_parser = value::webhook, required_unless_present = "email", conflicts_with = "email")]
    webhook: Option<String>,
    /// Mailbox that is told
    #[arg(long, value_name = "ADDRESS", value_parser = value::mailbox)]
    email: Option<String>,
    /// Project that will own it; the token's own when not given
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
}

/// Arguments of `subscriber update`.
#[derive(Args, Debug)]
#[group(id = "changes", required = true, multiple = true, args = ["name", "webhook", "email"])]
pub struct Update {
    /// Name or id
    subscriber: Reference,
    /// New name
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: Option<String>,
    /// New URI: it is told by webhook from now on
    #[arg(long, value_name = "URI", value_parser = value::webhook)]
    webhook: Option<String>,
    /// New mailbox: it is told by e-mail from now on
    #[arg(long, value_name = "ADDRESS", value_parser = value::mailbox, conflicts_with = "webhook")]
    email: Option<String>,
}

/// Arguments of `subscriber delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Names or ids
    #[arg(required = true, value_name = "SUBSCRIBER")]
    subscribers: Vec<Reference>,
    #[command(flatten)]
    confirm: Confirm,
}

impl SubscriberCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(Create { name, webhook, email, project }) => {
                let mut body = address(webhook, email);
                body.insert("name".into(), json!(name));
                body.extend(project.map(|project| ("project_id".to_owned(), json!(project))));
                let made = session.change(Noun::Subscriber, Method::POST, "subscribers", body).await?;
                show(session, &made)
            }
            Self::Get { subscriber } => {
                let found = session.find(Noun::Subscriber, &subscriber, None).await?;
                show(session, &found)
            }
            Self::List => {
                let found = session.client.list("subscribers", "subscribers", &[]).await?;
                session.show_list(&found, &COLUMNS)
            }
            Self::Update(args) => args.run(session).await,
            Self::Delete(args) => {
                let found = session.find_all(Noun::Subscriber, &args.subscribers, None).await?;
                delete::delete(session, Noun::Subscriber, &found, &args.confirm, &[]).await
            }
            Self::Subscribe { lb, subscriber } => {
                let path = format!("lb/{}/subscribe", session.lb_id(&lb).await?);
                let found = session.find(Noun::Subscriber, &subscriber, None).await?;
                let body = Map::from_iter([("subscriber_id".to_owned(), json!(id_of(&found)?))]);
                let lb = session.change(Noun::Lb, Method::POST, &path, body).await?;
                let what = format!("{} is told of {}", text(&found, "/name"), Noun::Lb.label(&lb));
                session.terminal.note(what)
            }
            Self::Unsubscribe { lb } => {
                let path = format!("lb/{}/unsubscribe", session.lb_id(&lb).await?);
                session.client.delete(&path, &[]).await?;
                session.terminal.note(format!("nobody is told of load balancer {lb} any more"))
            }
            Self::Secret { subscriber } => {
                let found = session.find(Noun::Subscriber, &subscriber, None).await?;
                let path = format!("/snowshed/v1/subscribers/{}/secret", id_of(&found)?);
                let answer = session.client.call(Method::GET, &path, &[], None, None).await?;
                session.show(&answer, &[("secret", text(&answer, "/secret"))])
            }
        }
    }
}

impl Update {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let found = session.find(Noun::Subscriber, &self.subscriber, None).await?;
        let changed = session
            .replace(Noun::Subscriber, &found, Method::PUT, "", |found| {
                let mut body = keep(found, &["name"]);
                body.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
                body.extend(address(self.webhook.clone(), self.email.clone()));
                Ok(body)
            })
            .await?;
        show(session, &changed)
    }
}

fn address(webhook: Option<String>, email: Option<String>) -> Map<String, Value> {
    let webhook = webhook.map(|uri| ("webhook_config".to_owned(), json!({ "uri": uri })));
    let email = email.map(|email| ("email_config".to_owned(), json!({ "email": email })));
    webhook.into_iter().chain(email).collect()
}

fn show(session: &mut Session<'_>, subscriber: &Value) -> Result<(), Failure> {
    session.show(
        subscriber,
        &[
            ("name", text(subscriber, "/name")),
            ("id", text(subscriber, "/id")),
            ("webhook", text(subscriber, "/webhook_config/uri")),
            ("email", text(subscriber, "/email_config/email")),
            ("project", text(subscriber, "/project_id")),
        ],
    )
}
