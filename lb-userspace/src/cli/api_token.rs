//! `snowshed token`: who may use the API.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::failure::Failure;
use super::output::{Column, text};
use super::session::Session;
use super::value;

const TOKENS: &str = "/snowshed/v1/tokens";

const COLUMNS: [Column; 7] = [
    Column::text("NAME", |token| text(token, "/name")),
    Column::text("ROLE", |token| text(token, "/role")),
    Column::text("ORGANIZATION", |token| text(token, "/organization_id")),
    Column::text("PROJECT", |token| text(token, "/project_id")),
    Column::text("LAST USED", |token| text(token, "/last_used_at")),
    Column::text("EXPIRES", |token| text(token, "/expires_at")),
    Column::text("ID", |token| text(token, "/id")),
];

/// Tokens: who may use the API, and for what
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token; its secret is shown this once
    #[command(after_help = "Examples:
  snowshed token create --name ci --role project-editor --project 22222222-2222-4222-8222-222222222222
  snowshed token create --name board --role viewer --organization 11111111-1111-4111-8111-111111111111
  snowshed token create --name night --role operator --expires-at 2027-01-01T00:00:00Z")]
    Create(Create),
    /// Show a token, without its secret
    #[command(after_help = "Example:
  snowshed token get 33333333-3333-4333-8333-333333333333")]
    Get {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
    /// List the tokens that the token sees
    #[command(after_help = "Examples:
  snowshed token list
  snowshed token list --project 22222222-2222-4222-8222-222222222222 --revoked")]
    List(List),
    /// Revoke a token: its next request is refused
    #[command(after_help = "Example:
  snowshed token revoke 33333333-3333-4333-8333-333333333333")]
    Revoke {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
}

/// Arguments of `token create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Name in the ledger and the logs
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: String,
    /// What it may do: operator, trust-safety, org-admin, project-editor or viewer
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: String,
    /// Organization it is for
    #[arg(long, value_name = "ID", value_parser = value::project)]
    organization: Option<Uuid>,
    /// Project it is for
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
    /// When it ends by itself; never when not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<String>,
}

/// Arguments of `token list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only those of this organization and its projects
    #[arg(long, value_name = "ID", value_parser = value::project)]
    organization: Option<Uuid>,
    /// Only those of this project
    #[arg(long, value_name = "ID", value_parser = value::project)]
    project: Option<Uuid>,
    /// Also revoked ones
    #[arg(long)]
    revoked: bool,
}

impl TokenCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(args) => {
                let made = session.client.call(Method::POST, TOKENS, &[], Some(&args.body()), None).await?;
                session.terminal.note("the secret is shown this once: keep it now")?;
                show(session, &made)
            }
            Self::Get { id } => {
                let token = session.client.call(Method::GET, &format!("{TOKENS}/{id}"), &[], None, None).await?;
                show(session, &token)
            }
            Self::List(List { organization, project, revoked }) => {
                let mut filters = Vec::new();
                filters.extend(organization.map(|id| ("organization_id", id.to_string())));
                filters.extend(project.map(|id| ("project_id", id.to_string())));
                filters.extend(revoked.then(|| ("revoked", "true".to_owned())));
                let found = session.client.own_list(TOKENS, "tokens", &filters).await?;
                session.show_list(&found, &COLUMNS)
            }
            Self::Revoke { id } => {
                session.client.call(Method::DELETE, &format!("{TOKENS}/{id}"), &[], None, None).await?;
                session.terminal.note(format!("revoked token {id}"))
            }
        }
    }
}

impl Create {
    fn body(self) -> Value {
        let Self { name, role, organization, project, expires_at } = self;
        let mut body = Map::from_iter([("name".to_owned(), json!(name)), ("role".to_owned(), json!(role))]);
        body.extend(organization.map(|id| ("organization_id".to_owned(), json!(id))));
        body.extend(project.map(|id| ("project_id".to_owned(), json!(id))));
        body.extend(expires_at.map(|time| ("expires_at".to_owned(), json!(time))));
        Value::Object(body)
    }
}

fn show(session: &mut Session<'_>, token: &Value) -> Result<(), Failure> {
    let mut fields = vec![("name", text(token, "/name")), ("id", text(token, "/id")), ("role", text(token, "/role"))];
    fields.push(("organization", text(token, "/organization_id")));
    fields.push(("project", text(token, "/project_id")));
    fields.push(("expires", text(token, "/expires_at")));
    fields.push(("last used", text(token, "/last_used_at")));
    if token.get("secret").is_some() {
        fields.push(("secret", text(token, "/secret")));
    }
    session.show(token, &fields)
}

fn role(text: &str) -> Result<String, String> {
    text.parse::<crate::model::Role>().map(|role| role.as_str().to_owned()).map_err(|invalid| invalid.help)
}

fn time(text: &str) -> Result<String, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(|time| time.to_string()).map_err(|_| format!("`{text}` is no time, such as 2027-01-01T00:00:00Z"))
}
