//! A subscriber: who is told when the state of a load balancer changes.

use serde::{Deserialize, Serialize};

use super::{Name, Owner, SubscriberId, Times};
use crate::delivery::{Address, Recipient, RecipientKind};

/// Somebody who is told, by webhook or e-mail. Load balancers of its project name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Id.
    pub id: SubscriberId,
    /// Owner.
    pub owner: Owner,
    /// Name; not unique.
    pub name: Name,
    /// Where it is told.
    pub address: Address,
    /// Created, updated, deleted.
    pub times: Times,
}

impl Subscriber {
    /// Who its letters go to.
    #[must_use]
    pub const fn recipient(&self) -> Recipient {
        Recipient { kind: RecipientKind::Subscriber, id: self.id.as_uuid() }
    }
}
