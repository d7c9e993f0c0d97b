//! `snowshed org` and `snowshed project`: the tenants.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::failure::Failure;
use super::output::{Column, text};
use super::session::Session;
use super::value;

const ORGANIZATIONS: &str = "/snowshed/v1/organizations";
const PROJECTS: &str = "/snowshed/v1/projects";

const ORG_COLUMNS: [Column; 3] = [
    Column::text("NAME", |org| text(org, "/name")),
    Column::text("CREATED", |org| text(org, "/created_at")),
    Column::text("ID", |org| text(org, "/id")),
];

const PROJECT_COLUMNS: [Column; 4] = [
    Column::text("NAME", |project| text(project, "/name")),
    Column::text("CREATED", |project| text(project, "/created_at")),
    Column::text("ORGANIZATION", |project| text(project, "/organization_id")),
    Column::text("ID", |project| text(project, "/id")),
];

/// Organizations: the tenants; operators make them
#[derive(Subcommand, Debug)]
pub enum OrgCommand {
    /// Make an organization
    #[command(after_help = "Example:
  snowshed org create --name acme")]
    Create {
        /// Name
        #[arg(long, value_name = "NAME", value_parser = value::name)]
        name: String,
    },
    /// Show an organization
    #[command(after_help = "Example:
  snowshed org get 11111111-1111-4111-8111-111111111111")]
    Get {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
    /// List the organizations that the token sees
    #[command(after_help = "Example:
  snowshed org list -o json")]
    List,
    /// Rename an organization
    #[command(after_help = "Example:
  snowshed org rename 11111111-1111-4111-8111-111111111111 --name acme-eu")]
    Rename {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
        /// New name
        #[arg(long, value_name = "NAME", value_parser = value::name)]
        name: String,
    },
    /// Delete an organization that has no projects; its tokens end with it
    #[command(after_help = "Example:
  snowshed org delete 11111111-1111-4111-8111-111111111111")]
    Delete {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
}

/// Projects: what owns load balancers and addresses
#[derive(Subcommand, Debug)]
pub enum ProjectCommand {
    /// Make a project
    #[command(after_help = "Example:
  snowshed project create --name shop --organization 11111111-1111-4111-8111-111111111111")]
    Create(CreateProject),
    /// Show a project
    #[command(after_help = "Example:
  snowshed project get 22222222-2222-4222-8222-222222222222")]
    Get {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
    /// List the projects that the token sees
    #[command(after_help = "Example:
  snowshed project list --organization 11111111-1111-4111-8111-111111111111")]
    List {
        /// Only those of this organization
        #[arg(long, value_name = "ID", value_parser = value::project)]
        organization: Option<Uuid>,
    },
    /// Rename a project
    #[command(after_help = "Example:
  snowshed project rename 22222222-2222-4222-8222-222222222222 --name shop-eu")]
    Rename {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
        /// New name
        #[arg(long, value_name = "NAME", value_parser = value::name)]
        name: String,
    },
    /// Delete a project that owns nothing; its tokens end with it
    #[command(after_help = "Example:
  snowshed project delete 22222222-2222-4222-8222-222222222222")]
    Delete {
        /// Id
        #[arg(value_parser = value::project)]
        id: Uuid,
    },
}

/// Arguments of `project create`.
#[derive(Args, Debug)]
pub struct CreateProject {
    /// Name
    #[arg(long, value_name = "NAME", value_parser = value::name)]
    name: String,
    /// Organization it is of; the token's own when not given
    #[arg(long, value_name = "ID", value_parser = value::project)]
    organization: Option<Uuid>,
}

impl OrgCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create { name } => {
                change(session, Method::POST, ORGANIZATIONS.to_owned(), json!({"name": name})).await
            }
            Self::Get { id } => get(session, format!("{ORGANIZATIONS}/{id}")).await,
            Self::List => {
                let found = session.client.own_list(ORGANIZATIONS, "organizations", &[]).await?;
                session.show_list(&found, &ORG_COLUMNS)
            }
            Self::Rename { id, name } => {
                change(session, Method::PATCH, format!("{ORGANIZATIONS}/{id}"), json!({"name": name})).await
            }
            Self::Delete { id } => delete(session, "org", format!("{ORGANIZATIONS}/{id}"), id).await,
        }
    }
}

impl ProjectCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(CreateProject { name, organization }) => {
                let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
                body.extend(organization.map(|id| ("organization_id".to_owned(), json!(id))));
                change(session, Method::POST, PROJECTS.to_owned(), Value::Object(body)).await
            }
            Self::Get { id } => get(session, format!("{PROJECTS}/{id}")).await,
            Self::List { organization } => {
                let filters: Vec<_> = organization.map(|id| ("organization_id", id.to_string())).into_iter().collect();
                let found = session.client.own_list(PROJECTS, "projects", &filters).await?;
                session.show_list(&found, &PROJECT_COLUMNS)
            }
            Self::Rename { id, name } => {
                change(session, Method::PATCH, format!("{PROJECTS}/{id}"), json!({"name": name})).await
            }
            Self::Delete { id } => delete(session, "project", format!("{PROJECTS}/{id}"), id).await,
        }
    }
}

async fn get(session: &mut Session<'_>, path: String) -> Result<(), Failure> {
    let found = session.client.call(Method::GET, &path, &[], None, None).await?;
    show(session, &found)
}

async fn change(session: &mut Session<'_>, method: Method, path: String, body: Value) -> Result<(), Failure> {
    let made = session.client.call(method, &path, &[], Some(&body), None).await?;
    show(session, &made)
}

async fn delete(session: &mut Session<'_>, noun: &str, path: String, id: Uuid) -> Result<(), Failure> {
    session.client.call(Method::DELETE, &path, &[], None, None).await?;
    session.terminal.note(format!("deleted {noun} {id}"))
}

fn show(session: &mut Session<'_>, found: &Value) -> Result<(), Failure> {
    let mut fields = vec![("name", text(found, "/name")), ("id", text(found, "/id"))];
    if found.get("organization_id").is_some() {
        fields.push(("organization", text(found, "/organization_id")));
    }
    fields.push(("created", text(found, "/created_at")));
    session.show(found, &fields)
}
