//! `/snowshed/v1/incident`: what happened between two moments, as far as the token may see it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;

use super::recovery::{At, when};
use crate::api::change::run;
use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::{ApiError, Context};
use crate::authority::Sight;
use crate::ledger::Operation;
use crate::model::{Actor, Generation, Invalid, Reach};
use crate::observe::events::Event;
use crate::recovery::incident::{self, Facts, Report};

/// Operations read at a time.
const PAGE: usize = 256;
/// Most operations of a report.
const MOST: usize = 100_000;
/// Reasons of drops that an incident makes.
const DROPS: [&str; 5] = ["empty_pool", "rejected", "next_hop_unresolved", "quarantined", "nat_ports_exhausted"];

/// Reports what happened between two moments.
#[utoipa::path(
    get, path = "/snowshed/v1/incident",
    params(openapi::IncidentQuery),
    responses((status = 200, body = Report))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<Report>, ApiError> {
    let pairs = pairs.known(&["since", "until"])?;
    let mut arguments = Arguments::default();
    let since = pairs.one(&mut arguments, "since").map(str::to_owned);
    let help = "a time such as 2026-04-07T16:30:00Z, or the number of the first operation";
    let since = arguments.needed("since", since, help, when);
    let until = pairs.one(&mut arguments, "until").map(str::to_owned);
    let until = arguments.or("until", until, None, |text| when(text).map(Some));
    let (since, until) = arguments.build(since.zip(until))?;
    run(&context, move |context| {
        let now = (context.clock)();
        let operations = operations(context, &actor, since, until)?;
        let first = operations.first().map_or(now, |operation| operation.at);
        let last = operations.last().map_or(now, |operation| operation.at);
        let since = match since {
            At::Time(time) => time,
            At::Generation(_) => first,
        };
        let until = match until {
            None => now,
            Some(At::Time(time)) => time,
            Some(At::Generation(_)) => last,
        };
        if until < since {
            return Err(ApiError::argument("until", &Invalid::constraint(format!("{until} is before {since}"))));
        }
        let (events, events_missed) = events(context, &actor, since);
        let dropped = (context.traffic)().map(|traffic| {
            let verdicts = traffic.verdicts.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
            verdicts
                .filter(|(reason, count)| DROPS.contains(&reason.as_str()) && *count > 0)
                .collect::<BTreeMap<_, _>>()
        });
        let current = context.ledger.snapshot();
        let facts =
            Facts { operations: &operations, events: &events, events_missed, current: &current, since, until, dropped };
        Ok(Json(incident::report(&facts)))
    })
    .await
}

/// The operations of the time that the actor sees, oldest first.
fn operations(context: &Context, actor: &Actor, since: At, until: Option<At>) -> Result<Vec<Operation>, ApiError> {
    let snapshot = context.ledger.snapshot();
    let sight = Sight::new(&snapshot, actor);
    let is_begun = |operation: &Operation| match since {
        At::Time(time) => operation.at >= time,
        At::Generation(generation) => operation.generation >= generation,
    };
    let is_over = |operation: &Operation| match until {
        None => false,
        Some(At::Time(time)) => operation.at > time,
        Some(At::Generation(generation)) => operation.generation > generation,
    };
    let mut found = Vec::new();
    let mut after = match since {
        At::Generation(generation) => Generation(generation.0.saturating_sub(1)),
        At::Time(_) => Generation(0),
    };
    loop {
        let page = context.ledger.operations(after, PAGE)?;
        let is_last = page.len() < PAGE;
        for operation in page {
            after = operation.generation;
            if is_over(&operation) {
                return Ok(found);
            }
            if is_begun(&operation) {
                found.extend(sight.part_of(operation));
            }
            if found.len() > MOST {
                let help = format!("more than {MOST} operations: ask for a shorter time");
                return Err(ApiError::argument("since", &Invalid::constraint(help)));
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// Events that are kept and that the actor sees, and whether some may be missing.
fn events(context: &Context, actor: &Actor, since: Timestamp) -> (Vec<Event>, bool) {
    let page = context.events.after(&context.events.oldest(), usize::MAX);
    let is_whole = page.events.first().is_some_and(|event| event.number == 1 && event.at <= since);
    let snapshot = context.ledger.snapshot();
    let sight = Sight::new(&snapshot, actor);
    let is_seen = |event: &Event| match event.project_id {
        Some(project) => sight.sees_project(project),
        None => matches!(actor.reach, Reach::Fleet),
    };
    (page.events.iter().filter(|event| is_seen(event)).map(|event| Event::clone(event)).collect(), !is_whole)
}
