//! What travels: the JSON bodies and query strings of the API, shared by the server and the command line.
//!
//! Requests are loose on purpose (texts and optional fields): turning them into model types is where a value is
//! refused, with the argument's name and what is allowed. They refuse unknown fields. Responses ignore unknown ones,
//! so that an older client reads a newer server.

pub mod acl;
pub mod backend;
pub mod delivery;
pub mod dependent;
pub mod frontend;
pub mod heal;
pub mod health_check;
pub mod ip;
pub mod lb;
pub mod list;
pub mod measure;
pub mod millis;
pub mod operation;
pub mod problem;
pub mod purge;
pub mod recovery;
pub mod stats;
pub mod status;
pub mod subscriber;
pub mod tenancy;
pub mod warning;

pub use acl::{Acl, AclAction, AclActionSpec, AclList, AclMatch, AclMatchSpec, AclSpec, SetAcls};
pub use backend::{Backend, BackendList, CreateBackend, Server, ServerSpec, Servers, UpdateBackend};
pub use delivery::{AlarmTarget, AlarmTargetList, DeliveryList};
pub use dependent::{
    CreateDependent, Dependent, DependentAdvice, DependentList, ReleaseDependent, UpdateDependent, WaitsFor,
};
pub use frontend::{CreateFrontend, Frontend, FrontendList, UpdateFrontend};
pub use heal::{HealAnswer, HealList, ResolveFindings, RetryHealing};
pub use health_check::{
    HealthCheck, HealthCheckSpec, HttpConfig, HttpConfigSpec, HttpsConfig, HttpsConfigSpec, NoConfig, UserConfig,
    UserConfigSpec,
};
pub use ip::{CreateIp, Ip, IpList, UpdateIp};
pub use lb::{
    CreateLb, Instance, InstanceStatus, Lb, LbList, LbStatus, LbTypeInfo, LbTypeList, MigrateLb, TakenDown, UpdateLb,
};
pub use list::ListQuery;
pub use measure::{Impact, PlanSubject};
pub use millis::Millis;
pub use operation::{ChangedDocument, EventList, Operation, OperationList};
pub use problem::{Detail, Problem, ProblemKind};
pub use purge::{Purge, PurgeList};
pub use recovery::{RecoveryPlan, RecoverySample, RestoreRequest, UndoRequest};
pub use status::{ServerStatus, ServiceStatus, StatusReport};
pub use subscriber::{
    CreateSubscriber, EmailConfig, Subscribe, Subscriber, SubscriberList, SubscriberSecret, UpdateSubscriber,
    WebhookConfig,
};
pub use tenancy::{CreateProject, CreateToken, Organization, OrganizationList, Project, ProjectList, Token, TokenList};
pub use warning::Warning;

/// A field that may be absent, `null` or a value: absent keeps, `null` clears.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}
