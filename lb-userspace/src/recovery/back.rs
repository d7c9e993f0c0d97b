//! Bringing documents back to what they were: the one step that undo and restore share.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::{Change, Operation};
use crate::model::{Document, DocumentKey, Generation, Times};

/// The changes that bring documents back, and what is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reversal {
    /// Each document at most once, in the order of their keys.
    pub changes: Vec<Change>,
    /// Documents that somebody changed since: they are kept as they are.
    pub conflicts: Vec<Conflict>,
    /// Documents that are already as they were.
    pub unchanged: usize,
}

/// A document that is not brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Conflict {
    /// The document.
    #[schema(value_type = Object)]
    pub key: DocumentKey,
    /// Why it is kept, and who changed it.
    pub why: String,
}

/// The newest operation that changed each document, out of a part of the log.
#[derive(Clone, Debug, Default)]
pub struct Touches(BTreeMap<DocumentKey, Touch>);

#[derive(Clone, Debug)]
struct Touch {
    generation: Generation,
    verb: String,
    by: String,
}

impl Touches {
    /// Notes an operation; they come oldest first.
    pub fn note(&mut self, operation: &Operation) {
        for change in &operation.changes {
            let (generation, verb, by) = (operation.generation, operation.verb.clone(), operation.actor.name.clone());
            self.0.insert(change.key(), Touch { generation, verb, by });
        }
    }

    /// Who changed a document last, as a sentence.
    pub(super) fn sentence(&self, key: DocumentKey) -> String {
        match self.0.get(&key) {
            Some(Touch { generation, verb, by }) => {
                format!("changed since by {by} (operation {generation}, {verb})")
            }
            None => "changed since".to_owned(),
        }
    }
}

impl Reversal {
    /// Brings one document back to what it was; `wanted` is `None` when it was not there.
    ///
    /// A live document comes back byte for byte. One that was deleted or not there becomes a tombstone made `now`:
    /// with its old time it could be past its grace and stop forwarding at once.
    pub(super) fn bring_back(&mut self, current: &Document, wanted: Option<&Document>, now: Timestamp) {
        let after = match wanted {
            Some(wanted) if wanted == current => None,
            Some(wanted) if wanted.times().is_live() => Some(wanted.clone()),
            Some(_) | None if !current.times().is_live() => None,
            Some(wanted) => Some(deleted(wanted.clone(), now)),
            None => Some(deleted(current.clone(), now)),
        };
        match after {
            Some(after) => self.changes.push(Change { before: Some(current.clone()), after }),
            None => self.unchanged += 1,
        }
    }

    /// Names what the reversal does, whenever it is done.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::ledger::difference::digest(&self.changes)
    }
}

fn deleted(mut document: Document, now: Timestamp) -> Document {
    let times: &mut Times = document.times_mut();
    *times = times.deleted(now);
    document
}
