//! `/snowshed/v1/events`: what happens on this edge; kept events as JSON, or with `Accept: text/event-stream` as they
//! come (WHATWG HTML, 9.2 Server-sent events), resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use tokio::sync::watch::Receiver;

use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::{ApiError, Context, wire};
use crate::authority::Sight;
use crate::ledger::{Authorized, Snapshot};
use crate::model::{Actor, Invalid, LbId};
use crate::observe::Events;
use crate::observe::events::{Event, Position};
use crate::shares::Share;

/// Events handed to a stream at once.
const BATCH: usize = 64;
/// A comment is sent when nothing else was for this long: a connection that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The end of a token is looked for again after this long.
const LOOKS_AHEAD: Duration = Duration::from_secs(60);

/// Lists what happened, or streams it as it does.
#[utoipa::path(
    get, path = "/snowshed/v1/events",
    params(openapi::EventFilter),
    responses((status = 200, body = wire::EventList))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Response, ApiError> {
    let pairs = pairs.known(&["after", "lb_id", "kind"])?;
    let mut arguments = Arguments::default();
    let lb = pairs.one(&mut arguments, "lb_id");
    let lb = arguments.or("lb_id", lb, None, |text| id::<LbId>(text).map(Some));
    let kind = pairs.one(&mut arguments, "kind").map(str::to_owned);
    let after = pairs.one(&mut arguments, "after");
    let last_seen = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let events = &context.events;
    let is_stream = accepts_stream(&headers);
    let from = arguments.or("after", last_seen.or(after), None, |text| position(events, text).map(Some));
    let (lb, from) = arguments.build(lb.zip(from))?;
    let wanted = Wanted { actor, lb, kind };
    if is_stream {
        // Its ledger stands still: a token that is revoked meanwhile would read on.
        if !context.ledger.carries_out() {
            return Err(ApiError::no_stream_expected());
        }
        let tenant = wanted.actor.reach.organization();
        let share = events.stream(tenant).ok_or_else(|| ApiError::unavailable("too many event streams are open"))?;
        let reader = Reader {
            position: from.unwrap_or_else(|| events.now()),
            newest: events.follow(),
            events: Arc::clone(events),
            ledger: context.ledger.clone(),
            wanted,
            waiting: Vec::new(),
            snapshots: context.ledger.subscribe(),
            _share: share,
        };
        return Ok(Sse::new(reader.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let page = events.after(&from.unwrap_or_else(|| events.oldest()), usize::MAX);
    let snapshot = context.ledger.snapshot();
    let shown =
        page.events.iter().filter(|event| wanted.takes(&snapshot, event)).map(|event| Event::clone(event)).collect();
    let last_event_id = page.position.to_string();
    Ok(Json(wire::EventList { events: shown, missed: page.missed, last_event_id }).into_response())
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|text| {
        text.split(',').any(|part| part.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream"))
    })
}

/// `oldest`, `now`, or an id of an event.
fn position(events: &Events, text: &str) -> Result<Position, Invalid> {
    match text {
        "oldest" => Ok(events.oldest()),
        "now" => Ok(events.now()),
        _ => text.parse(),
    }
}

/// Which events a reader gets.
struct Wanted {
    actor: Actor,
    lb: Option<LbId>,
    kind: Option<String>,
}

impl Wanted {
    /// A token sees the events of where it reaches and those of the edge itself.
    fn takes(&self, snapshot: &Snapshot, event: &Event) -> bool {
        event.project_id.is_none_or(|project| Sight::new(snapshot, &self.actor).sees_project(project))
            && self.lb.is_none_or(|lb| event.lb_id == Some(lb))
            && self.kind.as_ref().is_none_or(|kind| event.kind == *kind || event.kind.starts_with(&format!("{kind}.")))
    }
}

/// One stream: it holds a position in the list and at most [`BATCH`] events.
struct Reader {
    events: Arc<Events>,
    ledger: Authorized,
    newest: Receiver<u64>,
    position: Position,
    wanted: Wanted,
    /// Read and not sent yet, the next one last.
    waiting: Vec<Sent>,
    /// Tells when the token is revoked.
    snapshots: Receiver<Arc<Snapshot>>,
    _share: Share,
}

impl Reader {
    fn stream(self) -> impl Stream<Item = Result<Sent, Infallible>> {
        stream::unfold(self, |mut reader| async move { reader.next().await.map(|sent| (Ok(sent), reader)) })
    }

    /// The next event; nothing when the agent stops or the token does not hold any more.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = self.waiting.pop() {
                return Some(sent);
            }
            self.newest.mark_unchanged();
            self.snapshots.mark_unchanged();
            let snapshot = self.ledger.snapshot();
            if !snapshot.tenants().holds(&self.wanted.actor, Timestamp::now()) {
                return None;
            }
            if self.read(&snapshot) {
                continue;
            }
            let left = self.is_left(&snapshot);
            tokio::select! {
                () = self.events.closed() => return None,
                changed = self.newest.changed() => changed.ok()?,
                // A token that is revoked ends its stream, also when nothing happens.
                changed = self.snapshots.changed() => changed.ok()?,
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// How long the token holds by itself, as far as one looks ahead.
    fn is_left(&self, snapshot: &Snapshot) -> Duration {
        let token = self.wanted.actor.token.and_then(|id| snapshot.tenants().token(id));
        let left = token.and_then(|token| token.expires_at).map(|end| end.duration_since(Timestamp::now()));
        left.map_or(LOOKS_AHEAD, |left| Duration::try_from(left).unwrap_or_default().min(LOOKS_AHEAD))
    }

    /// Reads on; whether there was anything.
    fn read(&mut self, snapshot: &Snapshot) -> bool {
        let page = self.events.after(&self.position, BATCH);
        let wanted = page.events.iter().rev().filter(|event| self.wanted.takes(snapshot, event));
        self.waiting.extend(wanted.map(|event| sent(event)));
        if page.missed {
            let message = "events are missing here: they are kept no more, or were of an earlier run of the agent; \
                           `snowshed ops list` has the operations";
            let text = serde_json::json!({ "kind": "gap", "message": message });
            self.waiting.push(Sent::default().event("gap").data(text.to_string()));
        }
        let is_any = page.missed || !page.events.is_empty();
        self.position = page.position;
        is_any
    }
}

fn sent(event: &Event) -> Sent {
    let sent = Sent::default().id(&event.id).event(&event.kind);
    match serde_json::to_string(event) {
        Ok(text) => sent.data(text),
        Err(error) => {
            log::error!("event {} cannot be written: {error}", event.id);
            sent.comment("this event cannot be written")
        }
    }
}
