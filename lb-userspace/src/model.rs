//! What Snowshed knows about: validated domain types, without any wire format.
//!
//! `Organization → Project → {Load balancer → {Frontend, Backend → Servers}, Ip}`. Every type is built by parsing:
//! a value that exists is valid in itself. What needs the rest of the state (references, quotas) is `guard`'s.

pub mod acl;
pub mod address;
pub mod backend;
pub mod dependent;
pub mod document;
pub mod frontend;
pub mod health_check;
pub mod ids;
pub mod ip;
pub mod lb;
pub mod measure;
pub mod nat_source;
pub mod organization;
pub mod person;
pub mod pools;
pub mod proxied;
pub mod purge;
pub mod quic;
pub mod server;
pub mod subscriber;
pub mod tenancy;
pub mod text;
pub mod token;

pub use acl::{Acl, AclAction};
pub use backend::{Algorithm, Backend, EmptyPool, Forwarding, PrefixV6, Protocol, StickySessions};
pub use dependent::{Dependent, DependentKind, Webhook};
pub use document::{Document, DocumentKey, Kind, Times};
pub use frontend::{Frontend, RateLimits, ports_text};
pub use health_check::{HealthCheck, Probe};
pub use ids::{
    AclId, BackendId, DependentId, FrontendId, IpId, LbId, MeasureId, NatSourceId, OperationId, OrganizationId,
    ProjectId, SubscriberId, TokenId,
};
pub use ip::Ip;
pub use lb::{Class, ClosedPort, Lb, LbType, Takedown};
pub use measure::{Action, Measure, Place, Plan, Reason, Recovered, Recovery, What};
pub use nat_source::NatSource;
pub use organization::{Organization, Project};
pub use person::{ActorId, Person};
pub use pools::{Family, Pools};
pub use proxied::Proxied;
pub use purge::Purge;
pub use quic::Quic;
pub use server::{Duty, Server, Weight};
pub use subscriber::Subscriber;
pub use tenancy::{Act, Actor, LbSet, Owner, Reach, Role, Scope};
pub use text::{Invalid, Name, Tags};
pub use token::{Digest, Token};

/// Number of an operation in the ledger; generation 0 is the empty ledger. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
