//! Secrets of tokens, and the key that makes their digests worthless to whoever steals a ledger.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::config::SecretError;
use crate::config::secret;
use crate::model::Digest;

/// What comes first in every digest: no other use of the key can give the same one.
const DOMAIN: &[u8] = b"snowshed token 1\n";

/// The key of the tokens' digests; the same on every edge that shares a ledger. It stands in a file beside the ledger,
/// never in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of a ledger: `token_key` beside it, drawn when there is none.
    ///
    /// # Errors
    /// [`SecretError`] when the file cannot be read or made, is damaged, or can be read by everybody.
    pub fn beside(ledger: &Path) -> Result<Self, SecretError> {
        secret::key_or_new(&ledger.with_file_name("token_key"), "token key").map(Self)
    }

    /// The digest that the ledger keeps of a secret.
    #[must_use]
    pub fn digest(&self, secret: &str) -> Digest {
        self.digest_of(Sha256::digest(secret).into())
    }

    /// The same of a secret whose SHA-256 is known.
    #[must_use]
    pub fn digest_of(&self, sha256: [u8; 32]) -> Digest {
        // Parts of fixed length: nothing can be appended, and the key cannot run into what follows.
        Digest(Sha256::new().chain_update(DOMAIN).chain_update(self.0).chain_update(sha256).finalize().into())
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// A new secret: 128 random bits, written like a UUID because Scaleway's SDKs take nothing else. It is shown once.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Draws one from the operating system's generator.
    #[must_use]
    pub fn draw() -> Self {
        let bytes: [u8; 16] = rand::random();
        Self(uuid::Uuid::from_bytes(bytes).to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
