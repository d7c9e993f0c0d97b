//! Somebody, as it is remembered who did something: a token by its id, because names are not unique.

use serde::{Deserialize, Serialize};

use super::TokenId;

/// Who acts: a token, or the agent by itself. Two with the same are one; names tell nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ActorId {
    /// Whoever holds this token.
    Token(TokenId),
    /// The agent, doing what nobody asked for in a request, under this name.
    Agent(String),
}

/// `token:1111…`, `agent:breaker`. The triggers of the SQLite file make the same text.
impl std::fmt::Display for ActorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(token) => write!(f, "token:{token}"),
            Self::Agent(name) => write!(f, "agent:{name}"),
        }
    }
}

impl From<ActorId> for String {
    fn from(id: ActorId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ActorId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("token", id)) => id.parse().map(Self::Token).map_err(|invalid: super::Invalid| invalid.help),
            Some(("agent", name)) => Ok(Self::Agent(name.to_owned())),
            _ => Err(format!("`{text}` is nobody: token:ID or agent:NAME is expected")),
        }
    }
}

/// Somebody who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Who.
    pub id: ActorId,
    /// The name then, for people.
    pub name: String,
}

impl Person {
    /// The agent by itself.
    #[must_use]
    pub fn agent(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { id: ActorId::Agent(name.clone()), name }
    }
}

impl std::fmt::Display for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}
