//! A dependent: something of a tenant that is lost, or misled, when a load balancer is gone.

use serde::{Deserialize, Serialize};

use super::{DependentId, Invalid, LbSet, Name, Owner, Times};
use crate::delivery::{Recipient, RecipientKind};

/// A registered dependent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependent {
    /// Id.
    pub id: DependentId,
    /// Whose it is; its load balancers are of the same project.
    pub owner: Owner,
    /// What it is.
    pub kind: DependentKind,
    /// What people call it.
    pub name: Name,
    /// The load balancers it depends on.
    pub lbs: LbSet,
    /// Where it is told of what happens to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A deleted load balancer forwards on, beyond its grace, until this one has let it go.
    pub finalizer: bool,
    /// Created, updated, deleted.
    pub times: Times,
}

impl Dependent {
    /// The dependent as a recipient of letters.
    #[must_use]
    pub const fn recipient(&self) -> Recipient {
        Recipient { kind: RecipientKind::Dependent, id: self.id.as_uuid() }
    }

    /// Whether deletions wait for it.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.finalizer && self.times.is_live()
    }
}

/// What a dependent is, in a word: `kubernetes`, `database`, `iot_hub`, …
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DependentKind(String);

impl DependentKind {
    /// Most characters.
    pub const MAX_CHARS: usize = 32;

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DependentKind {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let is_word =
            text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || "_-".contains(char));
        if !is_word
            || !(1..=Self::MAX_CHARS).contains(&text.len())
            || !text.starts_with(|first: char| first.is_ascii_lowercase())
        {
            return Err(Invalid::format(format!(
                "`{text}` is no kind: a word of lower-case letters, digits, _ and -, at most {} characters, such as \
                 kubernetes, database or iot_hub",
                Self::MAX_CHARS
            )));
        }
        Ok(Self(text))
    }
}

impl From<DependentKind> for String {
    fn from(kind: DependentKind) -> Self {
        kind.0
    }
}

/// The address of a webhook: `http` or `https`, with a host, without a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Webhook(String);

impl Webhook {
    /// Most characters.
    pub const MAX_CHARS: usize = 2048;

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Webhook {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::format(format!(
                "`{text}` is no webhook: an http:// or https:// URL with a host and without a user, of at most {} \
                 characters, is expected",
                Self::MAX_CHARS
            ))
        };
        let url = reqwest::Url::parse(&text).map_err(|_| wrong())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        if text.len() > Self::MAX_CHARS
            || !["http", "https"].contains(&url.scheme())
            || url.host().is_none()
            || !is_plain
        {
            return Err(wrong());
        }
        Ok(Self(text))
    }
}

impl From<Webhook> for String {
    fn from(webhook: Webhook) -> Self {
        webhook.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_word_and_a_webhook_a_url_that_a_message_can_be_sent_to() {
        for kind in ["kubernetes", "iot_hub", "k8s-node"] {
            assert!(DependentKind::try_from(kind.to_owned()).is_ok(), "{kind}");
        }
        let long = "x".repeat(33);
        for kind in ["", " ", "Kubernetes", "8s", "a b", "*", long.as_str()] {
            assert!(DependentKind::try_from(kind.to_owned()).is_err(), "{kind}");
        }
        assert!(Webhook::try_from("https://hooks.example.com/a?b=c".to_owned()).is_ok());
        for url in
            ["", "hooks.example.com", "ftp://example.com", "https://", "https://me:pw@example.com", "file:///etc"]
        {
            assert!(Webhook::try_from(url.to_owned()).is_err(), "{url}");
        }
    }
}
