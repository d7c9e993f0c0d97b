//! Events: what happened on this edge, in one bounded list that every stream and every alert reads at its own pace.
//!
//! Memory is bounded by the list, whoever reads how slowly: a reader that falls behind it is told that it missed
//! something and where it goes on. Numbers grow from 1 with every start of the agent; the list's `epoch` tells two
//! starts apart, so that a reader that resumes after a restart is told as well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{LbId, ProjectId};
use crate::shares::{Share, Sharer, Shares};

mod watcher;

pub(crate) use watcher::alarms;
pub use watcher::{Watched, watch};

/// Events that are kept.
const KEPT: usize = 8192;
/// Streams that are served at once.
const MAX_STREAMS: usize = 256;
/// Streams of one tenant.
const MAX_STREAMS_OF_ONE: usize = 16;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// What a reader resumes after: epoch and number.
    pub id: String,
    /// Number in this run of the agent, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing: `operation`, `server.up`, `server.down`, `mass_failure.began`, `alarm.raised`, …
    pub kind: String,
    /// Whose it is; absent when it is the edge's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// The load balancer it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb_id: Option<LbId>,
    /// What happened, in a sentence.
    pub message: String,
    /// The same for programs.
    pub data: Value,
}

/// An event that has no number yet.
#[derive(Clone, Debug)]
pub struct News {
    /// See [`Event::kind`].
    pub kind: &'static str,
    /// Whose it is.
    pub project: Option<ProjectId>,
    /// The load balancer it is about.
    pub lb: Option<LbId>,
    /// What happened.
    pub message: String,
    /// The same for programs.
    pub data: Value,
}

/// Where a reader stands: the run of the agent and the last event it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The run.
    pub epoch: String,
    /// Number of the last event seen.
    pub number: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl std::str::FromStr for Position {
    type Err = crate::model::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.rsplit_once('-').and_then(|(epoch, number)| {
            let is_epoch = !epoch.is_empty() && epoch.len() <= 32 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_epoch.then_some(epoch).zip(number.parse().ok())
        });
        let (epoch, number) = parsed.ok_or_else(|| {
            Self::Err::format(format!("`{text}` is no id of an event: one that a stream gave, such as 5f3a9c01-17"))
        })?;
        Ok(Self { epoch: epoch.to_owned(), number })
    }
}

/// The events of this run of the agent.
#[derive(Debug)]
pub struct Events {
    epoch: String,
    kept: Mutex<VecDeque<Arc<Event>>>,
    newest: watch::Sender<u64>,
    streams: Shares,
    closed: CancellationToken,
}

/// What is read from a position on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Events after the position, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Events between the position and the first of these may be missing: they are kept no more, or were of an
    /// earlier run of the agent.
    pub missed: bool,
    /// The position after them.
    pub position: Position,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// No event yet, in a new epoch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: format!("{:08x}", rand::random::<u32>()),
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
            streams: Shares::new(MAX_STREAMS, MAX_STREAMS_OF_ONE),
            closed: CancellationToken::new(),
        }
    }

    /// Adds an event; the oldest is forgotten when there are too many.
    pub fn publish(&self, at: Timestamp, news: News) {
        let News { kind, project, lb, message, data } = news;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.newest.borrow() + 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        let (id, kind) = (format!("{}-{number}", self.epoch), kind.to_owned());
        kept.push_back(Arc::new(Event { id, number, at, kind, project_id: project, lb_id: lb, message, data }));
        self.newest.send_replace(number);
    }

    /// The position of a reader that wants what comes from now on.
    #[must_use]
    pub fn now(&self) -> Position {
        Position { epoch: self.epoch.clone(), number: *self.newest.borrow() }
    }

    /// The position of a reader that wants everything that is kept.
    #[must_use]
    pub fn oldest(&self) -> Position {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Position { epoch: self.epoch.clone(), number: kept.front().map_or(0, |event| event.number - 1) }
    }

    /// At most `limit` events after a position.
    #[must_use]
    pub fn after(&self, position: &Position, limit: usize) -> Page {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.front().map_or(1, |event| event.number);
        let newest = kept.back().map_or(0, |event| event.number);
        let is_known = position.epoch == self.epoch && position.number <= newest;
        let missed = !is_known || position.number + 1 < first;
        let from = if is_known { position.number.max(first - 1) } else { first - 1 };
        let skipped = usize::try_from(from + 1 - first).unwrap_or(usize::MAX);
        let events: Vec<_> = kept.iter().skip(skipped).take(limit).cloned().collect();
        let number = events.last().map_or(from, |event| event.number);
        Page { events, missed, position: Position { epoch: self.epoch.clone(), number } }
    }

    /// Follows the number of the newest event.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// A place for one stream of a tenant, while there is one.
    #[must_use]
    pub fn stream(&self, tenant: Sharer) -> Option<Share> {
        self.streams.try_take(tenant)
    }

    /// Ends every stream: the agent stops.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Returns when the streams are to end.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(message: &str) -> News {
        News { kind: "test", project: None, lb: None, message: message.to_owned(), data: Value::Null }
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn a_reader_resumes_after_what_it_saw_and_is_told_what_it_missed() {
        let events = Events::new();
        let start = events.now();
        for number in 1..=3 {
            events.publish(Timestamp::UNIX_EPOCH, news(&number.to_string()));
        }
        let page = events.after(&start, 2);
        assert_eq!((numbers(&page), page.missed), (vec![1, 2], false));
        let page = events.after(&page.position, 9);
        assert_eq!((numbers(&page), page.missed), (vec![3], false));
        assert!(events.after(&page.position, 9).events.is_empty());

        let other_run = Position { epoch: "00".to_owned(), number: 2 };
        assert_eq!((numbers(&events.after(&other_run, 9)), events.after(&other_run, 9).missed), (vec![1, 2, 3], true));
        let ahead = Position { number: 99, ..events.now() };
        assert!(events.after(&ahead, 9).missed, "an event that never was");
    }

    #[test]
    fn memory_is_bounded_and_a_slow_reader_goes_on_with_the_oldest_that_is_kept() {
        let events = Events::new();
        let start = events.now();
        for number in 0..KEPT + 10 {
            events.publish(Timestamp::UNIX_EPOCH, news(&number.to_string()));
        }
        assert_eq!(events.oldest().number, 10);
        let page = events.after(&start, 1);
        assert_eq!((numbers(&page), page.missed), (vec![11], true));
        assert!(!events.after(&events.oldest(), 1).missed);
        let all = events.after(&start, usize::MAX);
        assert_eq!(all.events.len(), KEPT);
    }

    #[test]
    fn an_id_of_an_event_is_read_as_it_was_written() {
        let position = Position { epoch: "5f3a9c01".to_owned(), number: 17 };
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        for wrong in ["", "17", "-17", "zz-1", "5f3a9c01-", "5f3a9c01-x"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
