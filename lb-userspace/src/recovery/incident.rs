//! The incident report: what happened between two moments, out of the ledger and the events. Pure.
//!
//! In 2021 the post-mortem had to be put together by hand. Here every line of it stands in the log already: who did what, what was
//! automatic, whom it hit, and how long it took. What is not known is said.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::{Operation, Snapshot};
use crate::model::{Document, LbId, OrganizationId, What};
use crate::observe::events::Event;

mod text;

pub use text::markdown;

/// Entries of a timeline.
const MOST: usize = 1000;
/// Events that a timeline tells of beside the operations.
const TOLD: [&str; 6] =
    ["alarm.raised", "alarm.cleared", "mass_failure.began", "mass_failure.ended", "heal.queued", "heal.healed"];

/// What a report is made of.
pub struct Facts<'a> {
    /// Operations of the time, oldest first.
    pub operations: &'a [Operation],
    /// Events that are kept; those outside the time are left out.
    pub events: &'a [Event],
    /// Events may be missing: they are kept no more, or were of an earlier run of the agent.
    pub events_missed: bool,
    /// The newest snapshot.
    pub current: &'a Snapshot,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Packets that were dropped, by reason, since the program was loaded; or why they are not known.
    pub dropped: Result<BTreeMap<String, u64>, String>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = IncidentReport)]
pub struct Report {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What happened, oldest first, at most 1000 entries: what did harm or contained it (how that began and ended), and the
    /// newest of the rest.
    pub timeline: Vec<Entry>,
    /// Entries that were left off.
    pub left_off: usize,
    /// Whom it hit.
    pub impact: Impact,
    /// When it began and ended.
    pub durations: Durations,
    /// Packets that the program dropped, by reason, since it was loaded: not only in this time.
    pub packets_dropped: BTreeMap<String, u64>,
    /// What this report cannot say.
    pub unknown: Vec<String>,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = IncidentEntry)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The operation; absent for an event.
    pub operation: Option<u64>,
    /// Verb of the operation, or kind of the event.
    pub kind: String,
    /// Who: the token's name, or the part of the agent.
    pub by: String,
    /// Nobody asked for it: the agent acted by itself.
    pub automatic: bool,
    /// What happened, in a sentence.
    pub what: String,
}

/// Whom an incident hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = IncidentImpact)]
pub struct Impact {
    /// Load balancers that were deleted or quarantined within the time.
    pub load_balancers: usize,
    /// Of these, deleted ones.
    pub deleted: usize,
    /// Of these, quarantined ones.
    pub quarantined: usize,
    /// Of the deleted ones, those that live again now.
    pub back: usize,
    /// Load balancers hit, by organization.
    pub organizations: BTreeMap<OrganizationId, usize>,
    /// Registered dependents of them, by kind.
    pub dependents: BTreeMap<String, u64>,
    /// Operations of people.
    pub by_people: usize,
    /// Operations of the agent itself.
    pub automatic: usize,
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = IncidentDurations)]
pub struct Durations {
    /// The first load balancer was deleted or quarantined.
    pub began_at: Option<Timestamp>,
    /// The first freeze after that.
    pub contained_at: Option<Timestamp>,
    /// The last deleted one that lives again came back.
    pub back_at: Option<Timestamp>,
}

impl Durations {
    /// Seconds from the first harm to containment, and to the last return.
    #[must_use]
    pub fn seconds(&self) -> (Option<f64>, Option<f64>) {
        let since = |at: Timestamp| self.began_at.map(|began| at.duration_since(began).as_secs_f64());
        (self.contained_at.and_then(since), self.back_at.and_then(since))
    }
}

/// The report of these facts.
#[must_use]
pub fn report(facts: &Facts<'_>) -> Report {
    let mut tally = Tally::default();
    let mut timeline: Vec<(bool, Entry)> = Vec::new();
    for operation in facts.operations {
        let harm = tally.take(operation);
        timeline.push((harm.is_some(), entry(operation, &harm)));
    }
    let is_in = |event: &&Event| event.at >= facts.since && event.at <= facts.until;
    let told = facts.events.iter().filter(|event| TOLD.contains(&event.kind.as_str())).filter(is_in);
    timeline.extend(told.map(|event| {
        let (operation, kind, what) = (None, event.kind.clone(), event.message.clone());
        (true, Entry { at: event.at, operation, kind, by: "agent".to_owned(), automatic: true, what })
    }));
    timeline.sort_by_key(|(_, entry)| (entry.at, entry.operation));
    let (timeline, left_off) = shortened(timeline);
    let mut unknown = vec![
        "packets lost by time: the kernel's counters are sums since the program was loaded".to_owned(),
        "what clients and servers saw: this edge knows its own drops only".to_owned(),
    ];
    if facts.events_missed {
        unknown.push("alarms before this run of the agent, or older than the events that it keeps".to_owned());
    }
    let packets_dropped = match &facts.dropped {
        Ok(dropped) => dropped.clone(),
        Err(error) => {
            unknown.push(format!("packets dropped: the counters cannot be read: {error}"));
            BTreeMap::new()
        }
    };
    let (impact, durations) = tally.sum(facts);
    Report { since: facts.since, until: facts.until, timeline, left_off, impact, durations, packets_dropped, unknown }
}

/// At most [`MOST`] entries, and how many are left off: first to stay is what did harm or contained it, of that how it
/// began and how it ended; then the newest.
fn shortened(timeline: Vec<(bool, Entry)>) -> (Vec<Entry>, usize) {
    let count = timeline.len();
    let important: Vec<usize> = (0..count).filter(|position| timeline[*position].0).collect();
    let others = (0..count).rev().filter(|position| !timeline[*position].0);
    let kept: BTreeSet<usize> = if important.len() > MOST {
        important[..MOST / 2].iter().chain(&important[important.len() - MOST / 2..]).copied().collect()
    } else {
        important.iter().copied().chain(others).take(MOST).collect()
    };
    let entries = timeline.into_iter().enumerate().filter(|(position, _)| kept.contains(position));
    (entries.map(|(_, (_, entry))| entry).collect(), count - kept.len())
}

/// What an operation did to load balancers.
#[derive(Default)]
struct Harm {
    deleted: usize,
    back: usize,
    measures: Vec<&'static str>,
}

impl Harm {
    /// Whether it did anything that a timeline must tell.
    fn is_some(&self) -> bool {
        self.deleted + self.back > 0 || !self.measures.is_empty()
    }
}

#[derive(Default)]
struct Tally {
    deleted: BTreeSet<LbId>,
    quarantined: BTreeSet<LbId>,
    /// Places that were quarantined.
    places: Vec<crate::model::Place>,
    durations: Durations,
    by_people: usize,
    automatic: usize,
}

impl Tally {
    fn take(&mut self, operation: &Operation) -> Harm {
        let mut harm = Harm::default();
        if operation.actor.token.is_some() {
            self.by_people += 1;
        } else {
            self.automatic += 1;
        }
        for change in &operation.changes {
            let was_live = change.before.as_ref().is_some_and(|before| before.times().is_live());
            let is_live = change.after.times().is_live();
            match &change.after {
                Document::Lb(lb) if was_live && !is_live => {
                    self.deleted.insert(lb.id);
                    harm.deleted += 1;
                }
                Document::Lb(lb)
                    if change.before.is_some() && !was_live && is_live && self.deleted.contains(&lb.id) =>
                {
                    harm.back += 1;
                }
                Document::Measure(measure) if change.before.is_none() => {
                    harm.measures.push(measure.what.word());
                    match &measure.what {
                        What::Quarantine { place } => self.places.push(place.clone()),
                        What::Freeze { .. } if self.durations.began_at.is_some() => {
                            self.durations.contained_at.get_or_insert(operation.at);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if harm.deleted > 0 || harm.measures.contains(&"quarantine") {
            self.durations.began_at.get_or_insert(operation.at);
        }
        if harm.back > 0 {
            self.durations.back_at = Some(operation.at);
        }
        harm
    }

    fn sum(mut self, facts: &Facts<'_>) -> (Impact, Durations) {
        for place in &self.places {
            self.quarantined.extend(facts.current.lbs_at(place).map(|lb| lb.id));
        }
        let hit: BTreeSet<LbId> = self.deleted.union(&self.quarantined).copied().collect();
        let mut organizations = BTreeMap::new();
        for lb in hit.iter().filter_map(|lb| facts.current.lb(*lb)) {
            *organizations.entry(lb.owner.organization).or_default() += 1;
        }
        let is_back = |lb: &&LbId| facts.current.lb(**lb).is_some_and(|lb| lb.times.is_live());
        let impact = Impact {
            load_balancers: hit.len(),
            deleted: self.deleted.len(),
            quarantined: self.quarantined.len(),
            back: self.deleted.iter().filter(is_back).count(),
            organizations,
            dependents: facts.current.dependents_by_kind(&hit),
            by_people: self.by_people,
            automatic: self.automatic,
        };
        (impact, self.durations)
    }
}

fn entry(operation: &Operation, harm: &Harm) -> Entry {
    let mut what = format!("{} documents changed", operation.changes.len());
    if harm.deleted > 0 {
        what.push_str(&format!(", {} load balancers deleted", harm.deleted));
    }
    if harm.back > 0 {
        what.push_str(&format!(", {} load balancers back", harm.back));
    }
    for measure in &harm.measures {
        what.push_str(&format!(", {measure} in force"));
    }
    if !operation.reason.is_empty() {
        what.push_str(&format!(": {}", operation.reason));
    }
    Entry {
        at: operation.at,
        operation: Some(operation.generation.0),
        kind: operation.verb.clone(),
        by: operation.actor.name.clone(),
        automatic: operation.actor.token.is_none(),
        what,
    }
}
