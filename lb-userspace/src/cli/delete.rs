//! Deleting: what would go is shown first, and more than one object goes only when its count is said.

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::session::{Noun, Session, id_of};

/// How a deletion is confirmed.
#[derive(Args, Clone, Debug)]
pub struct Confirm {
    /// Delete one object without being asked
    #[arg(short, long)]
    pub yes: bool,

    /// Number of objects that are to be deleted; needed for more than one when there is no terminal to ask on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect_count: Option<u32>,
}

/// Deletes the objects, all looked up before, after a confirmation, in the order given.
///
/// # Errors
/// When it is not confirmed or the agent refuses; what was deleted before that is said.
pub async fn delete(
    session: &mut Session<'_>,
    noun: Noun,
    objects: &[Value],
    confirm: &Confirm,
    query: &[(&str, String)],
) -> Result<(), Failure> {
    let mut unique: Vec<&Value> = Vec::new();
    for object in objects {
        if !unique.contains(&object) {
            unique.push(object);
        }
    }
    let labels: Vec<String> = unique.iter().map(|object| noun.label(object)).collect();
    confirmed(session, &labels, confirm)?;
    for (position, (object, label)) in unique.iter().zip(&labels).enumerate() {
        let path = format!("{}/{}", noun.deletion(), id_of(object)?);
        session.client.delete(&path, query).await.map_err(|mut failure| {
            failure.what = format!("{label} was not deleted: {}", failure.what);
            if position > 0 {
                failure.help = format!("{position} of {} were deleted before it\n{}", labels.len(), failure.help);
            }
            failure
        })?;
        session.terminal.note(format!("deleted {label}"))?;
    }
    session.client.wait_applied().await
}

/// Asks, unless a flag has answered.
///
/// # Errors
/// A usage error when nobody can be asked and no flag answers, or the answer is no.
pub fn confirmed(session: &mut Session<'_>, labels: &[String], confirm: &Confirm) -> Result<(), Failure> {
    let count = labels.len();
    if let Some(expected) = confirm.expect_count {
        return if expected as usize == count {
            Ok(())
        } else {
            Err(Failure::usage(format!(
                "--expect-count {expected} was said, but {count} would be deleted: nothing was"
            )))
        };
    }
    if count <= 1 && confirm.yes {
        return Ok(());
    }
    for label in labels {
        session.terminal.note(format!("  delete {label}"))?;
    }
    if !session.terminal.interactive {
        let flag = if count == 1 { "--yes".to_owned() } else { format!("--expect-count {count}") };
        return Err(Failure::usage(format!("{count} would be deleted, and nobody can be asked: nothing was"))
            .help(format!("if that is what you want, add {flag}")));
    }
    let (question, wanted) = if count == 1 {
        ("Delete it? [y/N]".to_owned(), "y".to_owned())
    } else {
        (format!("Type {count} to delete all {count}:"), count.to_string())
    };
    if session.terminal.ask(&question)?.eq_ignore_ascii_case(&wanted) {
        Ok(())
    } else {
        Err(Failure::error("nothing was deleted"))
    }
}
