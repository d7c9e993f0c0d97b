//! The chain: an operation's canonical bytes, and the hash that ties it to the one before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Attempt, ChainHash, Change, Operation, Proposal, Removed};
use crate::model::{Actor, Generation, MeasureId, OperationId, Scope};

/// What comes first in every hash: another format of the log can never give the same one.
const DOMAIN: &[u8] = b"snowshed ledger operation 1\n";

/// An operation without its place in the chain. Its JSON, fields in this order, is what is stored and hashed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) generation: Generation,
    id: OperationId,
    at: Timestamp,
    actor: Actor,
    scope: Scope,
    verb: String,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Attempt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<MeasureId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<Removed>,
    pub(super) changes: Vec<Change>,
}

impl Body {
    /// The body of the operation that a proposal becomes.
    pub(super) fn new(generation: Generation, proposal: Proposal, removed: Vec<Removed>) -> Self {
        let Proposal { expected: _, actor, scope, verb, reason, at, attempt, plan, changes } = proposal;
        Self { generation, id: OperationId::new(), at, actor, scope, verb, reason, attempt, plan, removed, changes }
    }

    /// The operation at its place in the chain.
    pub(super) fn chained(self, previous: ChainHash, hash: ChainHash) -> Operation {
        let Self { generation, id, at, actor, scope, verb, reason, attempt, plan, removed, changes } = self;
        Operation { generation, id, at, actor, scope, verb, reason, attempt, plan, removed, changes, previous, hash }
    }
}

/// Hash of an operation: over the hash before it and its stored bytes.
pub(super) fn hash(previous: ChainHash, body: &[u8]) -> ChainHash {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(previous.0);
    hasher.update(body);
    ChainHash(hasher.finalize().into())
}
