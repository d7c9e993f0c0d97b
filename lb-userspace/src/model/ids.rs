//! Identifiers: one type per kind, so that a project's id cannot stand where a load balancer's is meant.

macro_rules! id {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new random id (UUID version 4).
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default id would be a wrong id")]
            pub fn new() -> Self {
                Self(uuid::Uuid::new_v4())
            }

            /// The id as a UUID.
            #[must_use]
            pub const fn as_uuid(self) -> uuid::Uuid {
                self.0
            }

            /// An id from a UUID that is known to name this kind of thing.
            #[must_use]
            pub const fn from_uuid(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }
        }

        impl std::str::FromStr for $name {
            type Err = super::text::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match uuid::Uuid::try_parse(text) {
                    Ok(uuid) if !uuid.is_nil() => Ok(Self(uuid)),
                    _ => Err(super::text::Invalid::format(format!(
                        "`{text}` is not an id: a UUID such as 11111111-1111-4111-8111-111111111111 is expected"
                    ))),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    )+};
}

id! {
    /// An organization: the tenant who pays.
    OrganizationId;
    /// A project of an organization: the owner of resources.
    ProjectId;
    /// A flexible IP.
    IpId;
    /// A load balancer.
    LbId;
    /// A frontend.
    FrontendId;
    /// A rule of a frontend's access list.
    AclId;
    /// A backend pool.
    BackendId;
    /// A source address of translated flows.
    NatSourceId;
    /// Something registered that depends on load balancers.
    DependentId;
    /// An operation in the ledger.
    OperationId;
    /// A subscriber of load balancers.
    SubscriberId;
    /// A token.
    TokenId;
    /// A measure against harm: a freeze, a quarantine, a plan.
    MeasureId;
}
