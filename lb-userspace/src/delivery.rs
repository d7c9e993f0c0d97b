//! Delivery: what has to be told to somebody outside, by webhook or e-mail, is kept until it was or until it is given up.
//!
//! Whoever has something to tell writes letters into the [`Outbox`], which is durable when that returns: `kill -9` loses
//! nothing, and a letter is delivered at least once, always under the same id. The [`postman`] carries them: one at a time
//! for each recipient, again and again with longer pauses; what is given up is a dead letter, which can be read and sent
//! again.

mod backoff;
mod email;
mod letter;
mod outbox;
pub mod postman;
mod signature;
mod store;
mod target;
pub mod watch;
mod webhook;

pub use backoff::Backoff;
pub use email::{Mailer, SmtpSettings, SmtpTls, parse_mailbox};
pub use letter::{Address, Channel, Delivery, Letter, Recipient, RecipientKind, State};
pub use outbox::{Counts, Filter, Outbox, OutboxError};
pub use signature::{SigningKey, WebhookSecret};
pub use store::Told;
pub use target::{Targets, parse_uri};
pub use webhook::Webhooks;

/// How an attempt to deliver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The recipient has it.
    Delivered,
    /// Not now: it is tried again, not before the time that the recipient asked for.
    Later {
        /// What was in the way.
        what: String,
        /// Shortest pause the recipient asked for (`Retry-After`).
        pause: Option<std::time::Duration>,
    },
    /// Trying again would end the same.
    Never {
        /// What is in the way.
        what: String,
    },
}

impl Outcome {
    fn later(what: impl Into<String>) -> Self {
        Self::Later { what: what.into(), pause: None }
    }

    fn never(what: impl Into<String>) -> Self {
        Self::Never { what: what.into() }
    }
}

/// Carries a letter to its address.
#[derive(Clone, Debug)]
pub struct Carriers {
    /// Webhooks.
    pub webhooks: Webhooks,
    /// E-mail; absent where no SMTP server is configured.
    pub mailer: Option<Mailer>,
}

impl Carriers {
    async fn carry(&self, delivery: &Delivery, now: jiff::Timestamp) -> Outcome {
        match &delivery.letter.address {
            Address::Webhook { uri } => self.webhooks.send(delivery, uri, now).await,
            Address::Email { email } => match &self.mailer {
                Some(mailer) => mailer.send(delivery, email).await,
                None => Outcome::never("this edge sends no e-mail: `delivery.smtp_host` of agent.toml names no server"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
