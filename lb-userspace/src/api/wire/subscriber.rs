//! Subscribers on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{OrganizationId, ProjectId, SubscriberId};

/// Somebody who is told when the state of a load balancer changes: by e-mail or by webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Subscriber {
    /// Id.
    pub id: SubscriberId,
    /// Name.
    pub name: String,
    /// Its mailbox, if it is told by e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_config: Option<EmailConfig>,
    /// Its URI, if it is told by webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_config: Option<WebhookConfig>,
    /// Owner's organization.
    pub organization_id: OrganizationId,
    /// Owner's project.
    pub project_id: ProjectId,
    /// Snowshed's own: when it was deleted; such things are shown to who asks for them only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Snowshed's own: version of the object, as in the `ETag` header; `If-Match` takes it (in quotes).
    #[serde(default)]
    pub etag: String,
}

/// A mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmailConfig {
    /// Its address.
    pub email: String,
}

/// A webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Where events are sent: http or https.
    pub uri: String,
}

/// Answer of `GET /subscribers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriberList {
    /// One page.
    pub subscribers: Vec<Subscriber>,
    /// How many there are on all pages.
    pub total_count: u64,
    /// Gives the next page as `cursor`, stable under whatever is made or deleted meanwhile; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Body of `POST /subscribers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateSubscriber {
    /// Project; the token's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Organization; deprecated by Scaleway, accepted when it is the token's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// This or `webhook_config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_config: Option<EmailConfig>,
    /// This or `email_config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_config: Option<WebhookConfig>,
}

/// Body of `PUT` and `PATCH /subscribers/{id}`. `PATCH` keeps what is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateSubscriber {
    /// Name; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// This or `webhook_config`; the address is kept when both are absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_config: Option<EmailConfig>,
    /// This or `email_config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_config: Option<WebhookConfig>,
}

/// Body of `POST /lb/{id}/subscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Subscribe {
    /// The subscriber; needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber_id: Option<String>,
}

/// Answer of `GET /snowshed/v1/subscribers/{id}/secret`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriberSecret {
    /// What verifies the signatures of its webhooks: `whsec_` and base64 (standardwebhooks.com).
    pub secret: String,
}
