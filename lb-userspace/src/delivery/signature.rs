//! Signatures of webhooks, as the Standard Webhooks specification has them (standardwebhooks.com, version 1.0.0): any of
//! its libraries verifies them.
//!
//! `webhook-id`, `webhook-timestamp` (seconds since 1970) and the body are signed together, joined by dots, with
//! HMAC-SHA256 (RFC 2104); `webhook-signature` is `v1,` and the base64 of that. A recipient refuses what is older than some
//! minutes, and what it has seen the id of.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::Recipient;
use crate::config::{SecretError, secret};

/// What comes first when a secret is derived: no other use of the key can give the same one.
const DOMAIN: &[u8] = b"snowshed webhook 1\n";

/// The key that the recipients' secrets are derived from. It stands in a file beside the ledger, never in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of a ledger: `webhook_key` beside it, drawn when there is none.
    ///
    /// # Errors
    /// [`SecretError`] when the file cannot be read or made, is damaged, or can be read by everybody.
    pub fn beside(ledger: &Path) -> Result<Self, SecretError> {
        secret::key_or_new(&ledger.with_file_name("webhook_key"), "webhook key").map(Self)
    }

    /// The secret that a recipient shares with this edge.
    #[must_use]
    pub fn secret_of(&self, recipient: Recipient) -> WebhookSecret {
        let kind = recipient.kind.as_str().as_bytes();
        WebhookSecret(mac(&self.0, &[DOMAIN, kind, b"\n", recipient.id.as_bytes()]))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// What a recipient verifies signatures with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// As recipients configure it: `whsec_` and base64.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: Uuid, seconds: i64, body: &[u8]) -> String {
        let (id, seconds) = (id.to_string(), seconds.to_string());
        let parts = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
        format!("v1,{}", STANDARD.encode(mac(&self.0, &parts)))
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key that is shorter than the block is filled up with zeros (RFC 2104, section 2).
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::RecipientKind;

    /// RFC 4231, test case 2, with the key filled up with zeros to the block as HMAC does itself.
    #[test]
    fn the_code_is_that_of_the_rfc() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let code = mac(&key, &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(secret::to_hex(&code), expected);
    }

    #[test]
    fn every_part_of_a_request_and_of_a_recipient_counts() {
        let id = Uuid::from_u128(1);
        let of = |kind, id| SigningKey::new([7; 32]).secret_of(Recipient { kind, id });
        let secret = of(RecipientKind::Subscriber, id);
        let good = secret.sign(id, 5, b"body");
        assert!(good.starts_with("v1,") && secret.reveal().starts_with("whsec_"));
        let others = [
            secret.sign(Uuid::from_u128(2), 5, b"body"),
            secret.sign(id, 6, b"body"),
            secret.sign(id, 5, b"bodi"),
            of(RecipientKind::Dependent, id).sign(id, 5, b"body"),
            of(RecipientKind::Subscriber, Uuid::from_u128(2)).sign(id, 5, b"body"),
            SigningKey::new([8; 32]).secret_of(Recipient { kind: RecipientKind::Subscriber, id }).sign(id, 5, b"body"),
        ];
        for other in others {
            assert_ne!(good, other);
        }
    }
}
