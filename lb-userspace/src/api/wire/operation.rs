//! Operations of the ledger and events, as the audit shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ledger::difference::{Action, Difference};
use crate::model::{OperationId, Role, Scope, TokenId};
use crate::observe::events::Event;

/// An operation: who changed what, when and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Operation {
    /// Its number.
    pub generation: u64,
    /// Id.
    pub id: OperationId,
    /// When.
    pub at: Timestamp,
    /// Name of the token that made it.
    pub actor: String,
    /// The token; null when the agent acted by itself.
    pub token_id: Option<TokenId>,
    /// What the token may do.
    pub role: Role,
    /// Verb and noun.
    pub verb: String,
    /// Why, in the actor's words.
    pub reason: String,
    /// What it was allowed to touch.
    #[schema(value_type = Object)]
    pub scope: Scope,
    /// SHA-256 that chains it to the operation before, hexadecimal.
    pub hash: String,
    /// The documents it changed; in a list without their fields.
    pub changes: Vec<ChangedDocument>,
}

/// A document that an operation changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChangedDocument {
    /// Kind: `lb`, `ip`, …
    pub kind: String,
    /// Id.
    pub id: Uuid,
    /// What it is called, where it has a name.
    #[serde(default)]
    pub name: String,
    /// What happened to it.
    pub action: Action,
    /// The fields that are different, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Difference>,
}

/// A page of operations, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OperationList {
    /// The operations.
    pub operations: Vec<Operation>,
    /// `before` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// Events that are kept, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<Event>,
    /// Events before the first of these are not kept any more.
    pub missed: bool,
    /// Resumes after the last of them, as `Last-Event-ID` or `after`.
    pub last_event_id: String,
}
