//! A letter: something that happened, for one recipient, and how far its delivery has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::{LbId, OrganizationId, ProjectId};

/// Who gets a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Recipient {
    /// What it is.
    pub kind: RecipientKind,
    /// Its id.
    pub id: Uuid,
}

/// What a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecipientKind {
    /// A subscriber of a load balancer.
    Subscriber,
    /// What depends on load balancers, and asks whether it is safe to act.
    Dependent,
    /// Whom the configuration names for the edge's own alarms.
    Alarm,
}

impl RecipientKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Subscriber, Self::Dependent, Self::Alarm];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Dependent => "dependent",
            Self::Alarm => "alarm",
        }
    }
}

impl Recipient {
    /// The recipient of alarms at an address: the same at every start.
    #[must_use]
    pub fn of_alarms(address: &Address) -> Self {
        Self { kind: RecipientKind::Alarm, id: Uuid::new_v5(&Uuid::NAMESPACE_URL, address.text().as_bytes()) }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// Where a letter goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "channel")]
pub enum Address {
    /// `POST` to a URI, signed.
    Webhook {
        /// `http` or `https`.
        uri: String,
    },
    /// A mailbox.
    Email {
        /// Its address.
        email: String,
    },
}

/// How a letter travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// HTTP.
    Webhook,
    /// SMTP.
    Email,
}

impl Channel {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Email => "email",
        }
    }
}

impl Address {
    /// The URI or the mailbox.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Webhook { uri } => uri,
            Self::Email { email } => email,
        }
    }

    /// How it is reached.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Webhook { .. } => Channel::Webhook,
            Self::Email { .. } => Channel::Email,
        }
    }
}

/// Something that is to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Letter {
    /// Who gets it.
    pub to: Recipient,
    /// Where.
    #[serde(flatten)]
    pub address: Address,
    /// Whose it is: who may read it here; the operators' when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// The organization of that project: whose share of the postman's places it is carried in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// The load balancer it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lb_id: Option<LbId>,
    /// What kind of thing happened, such as `server.down`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in a sentence.
    pub message: String,
    /// The same for programs: an object.
    pub data: Value,
}

impl Letter {
    /// The body of a webhook. The same letter gives the same bytes at every attempt.
    #[must_use]
    pub fn body(&self, id: Uuid) -> Vec<u8> {
        let Self { to: _, address: _, organization_id: _, project_id, lb_id, kind, at, message, data } = self;
        serde_json::json!({
            "id": id, "type": kind, "timestamp": at, "message": message, "project_id": project_id, "lb_id": lb_id,
            "data": data,
        })
        .to_string()
        .into_bytes()
    }
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryState)]
pub enum State {
    /// It will be tried, for the first time or again.
    Waiting,
    /// The recipient has it.
    Delivered,
    /// It was given up: a dead letter.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// A letter on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Id: the recipient sees the same one at every attempt.
    pub id: Uuid,
    /// How far it has come.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was written.
    pub posted_at: Timestamp,
    /// When it is tried next; absent unless it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<Timestamp>,
    /// What was in the way at the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What is told.
    #[serde(flatten)]
    pub letter: Letter,
}
