//! Who has to be told what: the state of what subscribers and dependents follow and of the edge's alarms is held against what each of
//! them was told last. The difference becomes letters, in the same breath as the note that they were written: a change that
//! happens while the agent is down is told when it is back, and none is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use super::{Address, Letter, Outbox, OutboxError, Recipient, RecipientKind, Told};
use crate::health::HealthView;
use crate::ledger::{Ledger, Snapshot};
use crate::model::{Backend, Lb, LbId, Owner, SubscriberId};
use crate::observe::chain;
use crate::observe::events::alarms;
use crate::plan::ServerRef;
use crate::reconcile::Status;

mod dependents;

/// Shortest time between two looks: what changes and changes back meanwhile is not told.
const LOOK: Duration = Duration::from_millis(50);

/// Longest time between two looks: a plan expires without anything else that changes.
const TICK: Duration = Duration::from_secs(30);

/// States of an alarm, as told.
const RAISED: &str = "raised";
const OVER: &str = "over";

/// What is watched.
#[derive(Clone)]
pub struct Watched {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// What the checkers know.
    pub health: Receiver<Arc<HealthView>>,
    /// What the reconciler last did.
    pub status: Receiver<Arc<Status>>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// Writes letters for ever; returns when one of the components has ended, with its name.
pub async fn watch(watched: Watched, outbox: Arc<Outbox>, clock: impl Fn() -> Timestamp) -> &'static str {
    let Watched { ledger, mut health, mut status } = watched;
    let mut snapshots = ledger.subscribe();
    let mut teller = Teller { outbox, known: None };
    loop {
        let (snapshot, now) = (Arc::clone(&snapshots.borrow_and_update()), clock());
        let (health_now, status_now) =
            (Arc::clone(&health.borrow_and_update()), Arc::clone(&status.borrow_and_update()));
        let asked = Arc::clone(&ledger);
        let looked = tokio::task::spawn_blocking(move || {
            let looked = teller.look(&snapshot, &health_now, &status_now, asked.trouble(), now);
            (teller, looked)
        });
        let failed = match looked.await {
            Ok((back, looked)) => {
                teller = back;
                looked.inspect_err(|error| log::error!("subscribers are told later: {}", chain(error))).is_err()
            }
            Err(error) => {
                log::error!("telling subscribers broke off: {error}");
                return "teller";
            }
        };
        tokio::time::sleep(LOOK).await;
        if failed {
            // What was not written is still the difference.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let ended = tokio::select! {
            changed = snapshots.changed() => changed.is_err().then_some("ledger"),
            changed = health.changed() => changed.is_err().then_some("health checker"),
            changed = status.changed() => changed.is_err().then_some("reconciler"),
            () = tokio::time::sleep(TICK) => None,
        };
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// What the outbox says was told, kept in memory.
struct Known {
    told: BTreeMap<(Recipient, String), String>,
    addresses: BTreeMap<SubscriberId, Address>,
}

struct Teller {
    outbox: Arc<Outbox>,
    /// Absent until it was read, and after a failure.
    known: Option<Known>,
}

impl Teller {
    fn look(
        &mut self,
        snapshot: &Snapshot,
        health: &HealthView,
        status: &Status,
        ledger_trouble: Option<String>,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let mut known = match self.known.take() {
            Some(known) => known,
            None => self.read()?,
        };
        self.follow_addresses(snapshot, &mut known)?;
        let mut stands = of_subscribers(snapshot, health);
        stands.extend(dependents::stands(snapshot, &known.told, now));
        stands.extend(of_alarms(self.outbox.alarm_targets(), health, (status, ledger_trouble), &known.told));
        let (letters, told) = differences(&stands, &known.told, now);
        self.outbox.post_and_tell(now, &letters, &told)?;
        for Told { to, subject, state } in told {
            match state {
                Some(state) => drop(known.told.insert((to, subject), state)),
                None => drop(known.told.remove(&(to, subject))),
            }
        }
        self.known = Some(known);
        Ok(())
    }

    fn read(&self) -> Result<Known, OutboxError> {
        let mut told = BTreeMap::new();
        for kind in RecipientKind::ALL {
            let rows = self.outbox.told(kind)?;
            told.extend(rows.into_iter().filter_map(|row| Some(((row.to, row.subject), row.state?))));
        }
        Ok(Known { told, addresses: BTreeMap::new() })
    }

    /// Letters go to the address that a subscriber has now, and to nobody who is no subscriber any more.
    fn follow_addresses(&self, snapshot: &Snapshot, known: &mut Known) -> Result<(), OutboxError> {
        for subscriber in snapshot.subscribers() {
            let to = subscriber.recipient();
            if !subscriber.times.is_live() {
                let is_known = known.addresses.remove(&subscriber.id).is_some();
                if is_known || known.told.keys().any(|(told, _)| *told == to) {
                    self.outbox.forget(to)?;
                    known.told.retain(|(told, _), _| *told != to);
                }
            } else if known.addresses.get(&subscriber.id) != Some(&subscriber.address) {
                self.outbox.readdress(to, &subscriber.address)?;
                known.addresses.insert(subscriber.id, subscriber.address.clone());
            }
        }
        for to in dependents::gone(snapshot, &known.told) {
            self.outbox.forget(to)?;
            known.told.retain(|(told, _), _| *told != to);
        }
        Ok(())
    }
}

/// How something stands that somebody follows.
#[derive(Clone, Debug, PartialEq)]
struct Stand {
    to: Recipient,
    address: Address,
    owner: Option<Owner>,
    lb: Option<LbId>,
    /// What it is: the same for as long as it is followed.
    subject: String,
    /// A word; absent when it is not known, then nothing is told and nothing forgotten.
    state: Option<String>,
    /// To be so from the beginning is no news.
    is_good: bool,
    /// Kind of the letter that tells it.
    kind: &'static str,
    message: String,
    data: Value,
}

/// Letters, and what is told with them.
fn differences(
    stands: &[Stand],
    told: &BTreeMap<(Recipient, String), String>,
    now: Timestamp,
) -> (Vec<Letter>, Vec<Told>) {
    let (mut letters, mut changes) = (Vec::new(), Vec::new());
    let mut followed = BTreeSet::new();
    for stand in stands {
        let key = (stand.to, stand.subject.clone());
        let before = told.get(&key);
        followed.insert(key);
        let Some(state) = &stand.state else { continue };
        if before == Some(state) {
            continue;
        }
        changes.push(Told { to: stand.to, subject: stand.subject.clone(), state: Some(state.clone()) });
        if before.is_some() || !stand.is_good {
            letters.push(Letter {
                to: stand.to,
                address: stand.address.clone(),
                project_id: stand.owner.map(|owner| owner.project),
                organization_id: stand.owner.map(|owner| owner.organization),
                lb_id: stand.lb,
                kind: stand.kind.to_owned(),
                at: now,
                message: stand.message.clone(),
                data: stand.data.clone(),
            });
        }
    }
    let over = told.keys().filter(|key| !followed.contains(*key));
    changes.extend(over.map(|(to, subject)| Told { to: *to, subject: subject.clone(), state: None }));
    (letters, changes)
}

/// Load balancers that have a subscriber, their backends and servers.
fn of_subscribers(snapshot: &Snapshot, health: &HealthView) -> Vec<Stand> {
    let mut stands = Vec::new();
    for lb in snapshot.lbs() {
        let subscriber = lb.subscriber.and_then(|id| snapshot.subscriber(id));
        let Some(subscriber) = subscriber.filter(|subscriber| subscriber.times.is_live()) else { continue };
        let about = About { to: subscriber.recipient(), address: &subscriber.address, lb };
        stands.push(about.lb(snapshot));
        if !lb.times.is_live() {
            continue;
        }
        for backend in snapshot.backends_of(lb.id).filter(|backend| backend.times.is_live()) {
            about.backend(backend, health, &mut stands);
        }
    }
    stands
}

/// A load balancer and who is told of it.
struct About<'a> {
    to: Recipient,
    address: &'a Address,
    lb: &'a Lb,
}

impl About<'_> {
    fn stand(&self, subject: String, kind: &'static str, message: String, data: Value) -> Stand {
        let (address, owner, lb) = (self.address.clone(), Some(self.lb.owner), Some(self.lb.id));
        Stand { to: self.to, address, owner, lb, subject, state: None, is_good: true, kind, message, data }
    }

    fn lb(&self, snapshot: &Snapshot) -> Stand {
        let Lb { id, name, .. } = self.lb;
        let (state, kind, what) = if !self.lb.times.is_live() {
            ("to_delete", "lb.deleted", "is deleted; until it is purged it can be brought back")
        } else if snapshot.is_quarantined(self.lb) {
            ("locked", "lb.locked", "is quarantined: nothing is forwarded to its servers")
        } else {
            ("ready", "lb.ready", "is in service")
        };
        let data = json!({ "lb_id": id, "name": name.as_str(), "status": state });
        let stand = self.stand(format!("lb {id}"), kind, format!("load balancer {name} {what}"), data);
        Stand { state: Some(state.to_owned()), is_good: state == "ready", ..stand }
    }

    fn backend(&self, backend: &Backend, health: &HealthView, stands: &mut Vec<Stand>) {
        let names = format!("{}/{}", self.lb.name, backend.name);
        let (mut up, mut down) = (0_usize, 0_usize);
        for server in &backend.servers {
            let address = server.address;
            let subject = format!("server {} {} {address}", self.lb.id, backend.id);
            // Before the first probe ended nothing is known.
            let known = health.servers.get(&ServerRef { backend: backend.id, address });
            let Some((known, last)) = known.and_then(|known| Some((known, known.last.as_ref()?))) else {
                stands.push(self.stand(subject, "server.up", String::new(), Value::Null));
                continue;
            };
            *(if known.up { &mut up } else { &mut down }) += 1;
            let (state, kind) = if known.up { ("up", "server.up") } else { ("down", "server.down") };
            let why = if known.up { String::new() } else { format!(": {last}") };
            let message = format!("server {address} of {names} is {state}{why}");
            let data = json!({
                "server": address, "backend_id": backend.id, "backend": backend.name.as_str(), "state": state,
                "last_probe": last.to_string(), "since": known.since,
            });
            let stand = self.stand(subject, kind, message, data);
            stands.push(Stand { state: Some(state.to_owned()), is_good: known.up, ..stand });
        }
        let state = match (up, down) {
            (1.., _) => Some("up"),
            (0, down) if down > 0 && down == backend.servers.len() => Some("down"),
            _ => None,
        };
        let (kind, what) = match state {
            Some("down") => ("backend.down", "has no server that is up"),
            _ => ("backend.up", "has a server that is up"),
        };
        let data = json!({
            "backend_id": backend.id, "backend": backend.name.as_str(), "state": state, "servers_up": up,
            "servers": backend.servers.len(),
        });
        let subject = format!("backend {} {}", self.lb.id, backend.id);
        let stand = self.stand(subject, kind, format!("backend {names} {what}"), data);
        stands.push(Stand { state: state.map(str::to_owned), is_good: state != Some("down"), ..stand });
    }
}

/// The edge's alarms, for everybody who is told of them: those that are raised, and those that were told and are over.
fn of_alarms(
    targets: &[Address],
    health: &HealthView,
    (status, ledger_trouble): (&Status, Option<String>),
    told: &BTreeMap<(Recipient, String), String>,
) -> Vec<Stand> {
    let mut raised: BTreeMap<String, (&'static str, String)> = alarms(status, ledger_trouble)
        .into_iter()
        .map(|((alarm, of), what)| (format!("{alarm} {of}"), (alarm, what)))
        .collect();
    if let Some(failure) = &health.mass_failure {
        let what = format!(
            "{} of {} checked servers look down at once: the checker is suspected, servers keep their last good state",
            failure.down, failure.checked
        );
        raised.insert("mass_failure ".to_owned(), ("mass_failure", what));
    }
    let mut stands = Vec::new();
    for address in targets {
        let to = Recipient::of_alarms(address);
        let stand = |subject: &str, state: Option<&str>, kind, alarm: &str, message: String| Stand {
            to,
            address: address.clone(),
            owner: None,
            lb: None,
            subject: subject.to_owned(),
            state: state.map(str::to_owned),
            is_good: kind == "alarm.cleared",
            kind,
            message,
            data: json!({ "alarm": alarm, "subject": subject.strip_prefix(alarm).map(str::trim) }),
        };
        for (subject, (alarm, message)) in &raised {
            stands.push(stand(subject, Some(RAISED), "alarm.raised", alarm, message.clone()));
        }
        let over =
            told.iter().filter(|((of, subject), state)| *of == to && *state == RAISED && !raised.contains_key(subject));
        for ((_, subject), _) in over {
            let alarm = subject.split(' ').next().unwrap_or_default();
            // Before the first activation nothing is known; and what was repaired is never over.
            let state = status.applied_at.is_some().then_some(OVER);
            if state.is_none() || alarm != "repaired" {
                stands.push(stand(subject, state, "alarm.cleared", alarm, format!("over: {subject}")));
            }
        }
    }
    stands
}

#[cfg(test)]
mod tests;
