//! The first tenants and tokens of a ledger: what `snowshed init` draws and what `[[api.tokens]]` of agent.toml gives.

use jiff::Timestamp;

use crate::ledger::{Change, Ledger, LedgerError, Proposal, Snapshot};
use crate::model::{
    Actor, Digest, Document, Name, Organization, OrganizationId, Owner, Project, Reach, Role, Scope, Times, Token,
    TokenId,
};

/// A token that a ledger shall know.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Name; gives the token its id, so that it is made once however often this is asked for.
    pub name: Name,
    /// What its holder may do.
    pub role: Role,
    /// Where.
    pub reach: Reach,
    /// Digest of its secret.
    pub digest: Digest,
}

impl Bootstrap {
    /// The id of a token of this name: the same in every ledger.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let namespace = uuid::Uuid::from_u128(0x5a0e_55ed_0000_5000_8000_0000_0000_0001);
        TokenId::from_uuid(uuid::Uuid::new_v5(&namespace, self.name.as_str().as_bytes()))
    }
}

/// Makes the tokens that are missing, and the organizations and projects they need. What the ledger knows it keeps: a
/// revoked token stays revoked. A known token whose secret is another one now gets that.
///
/// # Errors
/// When the ledger refuses or cannot be written.
pub fn bootstrap(ledger: &dyn Ledger, wanted: &[Bootstrap], now: Timestamp) -> Result<(), LedgerError> {
    for one in wanted {
        for (scope, change) in missing(&ledger.snapshot(), one, now) {
            ledger.append(Proposal {
                expected: ledger.snapshot().generation(),
                actor: Actor::agent("agent.toml"),
                scope,
                verb: "token.bootstrap".to_owned(),
                reason: format!("the token `{}` of the configuration", one.name),
                at: now,
                attempt: None,
                plan: None,
                changes: vec![change],
            })?;
        }
    }
    Ok(())
}

fn missing(current: &Snapshot, wanted: &Bootstrap, now: Timestamp) -> Vec<(Scope, Change)> {
    let mut made = Vec::new();
    let tenants = current.tenants();
    let organization = match wanted.reach {
        Reach::Project { owner } => Some(owner.organization),
        Reach::Organization { organization } => Some(organization),
        Reach::Fleet => None,
    };
    if let Some(id) = organization.filter(|id| tenants.organization(*id).is_none()) {
        made.push((Scope::Organization { organization: id }, create(organization_of(id, now))));
    }
    if let Reach::Project { owner } = wanted.reach
        && tenants.project(owner.project).is_none()
    {
        made.push((Scope::Organization { organization: owner.organization }, create(project_of(owner, now))));
    }
    let (id, scope) = (wanted.id(), Scope::Token { token: wanted.id() });
    match tenants.token(id) {
        None => {
            let Bootstrap { name, role, reach, digest } = wanted.clone();
            let times = Times::created(now);
            let token = Token { id, name, role, reach, digest, expires_at: None, made_by: None, times };
            made.push((scope, create(Document::Token(token))));
        }
        Some(token) if token.times.is_live() && token.digest != wanted.digest => {
            let after = Token { digest: wanted.digest, times: token.times.updated(now), ..(**token).clone() };
            let change = Change { before: Some(Document::Token((**token).clone())), after: Document::Token(after) };
            made.push((scope, change));
        }
        Some(_) => {}
    }
    made
}

fn organization_of(id: OrganizationId, now: Timestamp) -> Document {
    Document::Organization(Organization { id, name: Name::from_id(id.as_uuid()), times: Times::created(now) })
}

fn project_of(owner: Owner, now: Timestamp) -> Document {
    let name = Name::from_id(owner.project.as_uuid());
    Document::Project(Project { owner, name, times: Times::created(now) })
}

const fn create(after: Document) -> Change {
    Change { before: None, after }
}
