//! Deleting: what would go is shown first, and more than one object goes only when its count is said.

use std::collections::BTreeSet;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::failure::{Exit, Failure};
use super::output::text;
use super::session::{Noun, Session, id_of};

const PLANS: &str = "/snowshed/v1/plans";

/// How a deletion is confirmed.
#[derive(Args, Clone, Debug)]
pub struct Confirm {
    /// Go on with one object without being asked
    #[arg(short, long)]
    pub yes: bool,

    /// Number of objects that are meant; needed for more than one when there is no terminal to ask on
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
    wait_for(session, noun, &unique).await
}

/// Deletes or brings back several load balancers as one operation: what would be done is planned and shown, and the plan is
/// carried out when the number of load balancers was said. `action` is `delete` or `undelete`; what has live traffic is
/// deleted only `with_traffic`.
///
/// # Errors
/// When it is not confirmed, the agent refuses, or anything of it changed meanwhile; then nothing was done.
pub async fn plan_and_apply(
    session: &mut Session<'_>,
    action: &str,
    lbs: &[Value],
    confirm: &Confirm,
    with_traffic: bool,
) -> Result<(), Failure> {
    let mut ids = BTreeSet::new();
    let lbs: Vec<&Value> = lbs.iter().filter(|lb| ids.insert(text(lb, "/id"))).collect();
    let labels: Vec<String> = lbs.iter().map(|lb| Noun::Lb.label(lb)).collect();
    let mut body = json!({
        "action": action, "parent": parent(&lbs)?, "filter": { "lb_ids": ids }, "validate_only": true,
        "reason": format!("snowshed lb {action}"),
    });
    let shown = session.client.call(Method::POST, PLANS, &[], Some(&body), None).await?;
    let [packets, connections] = ["packets_per_second", "connections_per_second"]
        .map(|key| shown.get(key).and_then(Value::as_f64).unwrap_or_default());
    let pass = format!("they pass {packets} packets and {connections} new connections per second");
    let cuts = action == "delete";
    let what = if cuts { format!(": {pass}") } else { String::new() };
    session.terminal.note(format!("{action} {} load balancers{what}", lbs.len()))?;
    if cuts && packets + connections > 0.0 && !with_traffic {
        return Err(Failure::new(Exit::Refused, format!("{pass}: nothing was deleted"))
            .help("drain their servers first, or add --with-traffic"));
    }
    confirmed_as(session, action, &labels, confirm)?;
    body["validate_only"] = json!(false);
    let plan = session.client.call(Method::POST, PLANS, &[], Some(&body), None).await?;
    let id = text(&plan, "/id");
    if text(&plan, "/digest") != text(&shown, "/digest") {
        return Err(Failure::new(Exit::Refused, "the load balancers changed while you were asked: nothing was done")
            .help("run the command again and look at it"));
    }
    if plan.get("needs_approval").and_then(Value::as_bool) == Some(true) {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} load balancers need a second person: nothing was done", lbs.len()),
        )
        .help(format!("somebody with another token: snowshed ts approve {id}\nthen you: snowshed ts apply {id}")));
    }
    session.client.call(Method::POST, &format!("{PLANS}/{id}/apply"), &[], None, None).await?;
    for label in labels {
        session.terminal.note(format!("{action}d {label}"))?;
    }
    wait_for(session, Noun::Lb, &lbs).await
}

async fn wait_for(session: &Session<'_>, noun: Noun, objects: &[&Value]) -> Result<(), Failure> {
    let lbs: BTreeSet<Uuid> = objects.iter().filter_map(|object| noun.lb_of(object)).collect();
    session.client.wait_for(&lbs.into_iter().collect::<Vec<_>>()).await
}

/// The smallest place that all of them lie in: a plan stays within one organization.
fn parent(lbs: &[&Value]) -> Result<String, Failure> {
    let of = |key: &str| lbs.iter().map(|lb| text(lb, key)).collect::<BTreeSet<_>>();
    for (key, word) in [("/project_id", "project"), ("/organization_id", "organization")] {
        if let [one] = of(key).into_iter().collect::<Vec<_>>().as_slice() {
            return Ok(format!("{word}:{one}"));
        }
    }
    Err(Failure::usage("they belong to several organizations: one command stays within one"))
}

/// Asks, unless a flag has answered.
///
/// # Errors
/// A usage error when nobody can be asked and no flag answers, or the answer is no.
pub fn confirmed(session: &mut Session<'_>, labels: &[String], confirm: &Confirm) -> Result<(), Failure> {
    confirmed_as(session, "delete", labels, confirm)
}

fn confirmed_as(session: &mut Session<'_>, verb: &str, labels: &[String], confirm: &Confirm) -> Result<(), Failure> {
    let count = labels.len();
    if let Some(expected) = confirm.expect_count {
        return if expected as usize == count {
            Ok(())
        } else {
            Err(Failure::usage(format!(
                "--expect-count {expected} was said, but {count} would be {verb}d: nothing was"
            )))
        };
    }
    if count <= 1 && confirm.yes {
        return Ok(());
    }
    for label in labels {
        session.terminal.note(format!("  {verb} {label}"))?;
    }
    if !session.terminal.interactive {
        let flag = if count == 1 { "--yes".to_owned() } else { format!("--expect-count {count}") };
        return Err(Failure::usage(format!("{count} would be {verb}d, and nobody can be asked: nothing was"))
            .help(format!("if that is what you want, add {flag}")));
    }
    let (question, wanted) = if count == 1 {
        (format!("{}{} it? [y/N]", verb[..1].to_uppercase(), &verb[1..]), "y".to_owned())
    } else {
        (format!("Type {count} to {verb} all {count}:"), count.to_string())
    };
    if session.terminal.ask(&question)?.eq_ignore_ascii_case(&wanted) {
        Ok(())
    } else {
        Err(Failure::error(format!("nothing was {verb}d")))
    }
}
