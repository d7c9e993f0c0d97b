//! A token: who may use the API. The ledger holds a keyed digest of its secret, never the secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Name, Reach, Role, Times, TokenId};

/// A token. Revoking it is its deletion, and holds from the next request on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Id.
    pub id: TokenId,
    /// Name in the ledger and the logs; not unique.
    pub name: Name,
    /// What its holder may do.
    pub role: Role,
    /// Where its holder may do that.
    pub reach: Reach,
    /// Digest of the secret.
    pub digest: Digest,
    /// When it ends by itself; never, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The token by which it was made; none, when the agent or `snowshed init` made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<TokenId>,
    /// Created, updated, revoked.
    pub times: Times,
}

impl Token {
    /// Whether it may be used at a time.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.times.is_live() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// SHA-256 over the fleet's token key and a secret; useless without the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a digest is 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}
