//! `snowshed purge`: what was deleted long ago and will be gone for good, and when.

use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use super::contain::{Desk, id};
use super::failure::Failure;
use super::output::{Format, text};

/// What is deleted for longer than `deletion.retention`, and will be purged
#[derive(Subcommand, Debug)]
pub enum PurgeCommand {
    /// Show what will be purged, and when
    #[command(
        after_help = "A purge is announced a day before it is carried out. What it names can be brought back until then
with `snowshed lb undelete`, which calls it off; a freeze of the verb purge.apply stops all of them.

Examples:
  snowshed purge list
  snowshed purge list -o json
  snowshed freeze zone --verb purge.apply --for 30d --reason 'an inquiry'"
    )]
    List,
    /// Show one, also when it was carried out or called off
    #[command(after_help = "Examples:
  snowshed purge show 11111111-1111-4111-8111-111111111111")]
    Show {
        /// Id of the purge, as `purge list` and `ops` show it
        #[arg(value_name = "PURGE", value_parser = id)]
        purge: Uuid,
    },
}

impl PurgeCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn run(self, mut desk: Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list(desk).await,
            Self::Show { purge } => {
                let path = format!("/snowshed/v1/purges/{purge}");
                let answer = desk.client.call(Method::GET, &path, &[], None, None).await?;
                desk.show(&answer)
            }
        }
    }
}

async fn list(mut desk: Desk<'_>) -> Result<(), Failure> {
    let list = desk.client.call(Method::GET, "/snowshed/v1/purges", &[], None, None).await?;
    if desk.format != Format::Table {
        return desk.show(&list);
    }
    let purges = list["purges"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if purges.is_empty() {
        return desk.terminal.line("nothing is going to be purged within a day");
    }
    for purge in purges {
        let [id, project, not_before] = ["/id", "/project_id", "/not_before"].map(|key| text(purge, key));
        let documents = purge["documents"].as_object().into_iter().flatten();
        let documents: Vec<String> = documents.map(|(kind, count)| format!("{count} {kind}")).collect();
        let stale = purge.get("stale").and_then(Value::as_str).map(|why| format!("; will be called off: {why}"));
        desk.terminal.line(format!(
            "{id} of project {project}: {} after {not_before}{}",
            documents.join(", "),
            stale.unwrap_or_default()
        ))?;
    }
    Ok(())
}
