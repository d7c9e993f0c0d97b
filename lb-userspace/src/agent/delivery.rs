//! Outbox and postman as the configuration has them.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::{Config, SecretError, secret};
use crate::delivery::{
    Address, Backoff, Carriers, Mailer, Outbox, OutboxError, SigningKey, SmtpSettings, Targets, Webhooks, postman,
};

/// Why nothing can be delivered. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A key or a password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// What the configuration says cannot be used.
    #[error("the section [delivery] of the configuration cannot be used: {0}")]
    Settings(String),
}

/// What is delivered with.
pub(super) struct Delivering {
    pub(super) outbox: Arc<Outbox>,
    pub(super) key: SigningKey,
    pub(super) targets: Targets,
    pub(super) sends_email: bool,
    carriers: Carriers,
    backoff: Backoff,
}

impl Delivering {
    pub(super) fn open(config: &Config) -> Result<Self, DeliveryError> {
        let settings = &config.delivery;
        let webhooks = settings.alarm_webhooks.iter().map(|uri| Address::Webhook { uri: uri.clone() });
        let emails = settings.alarm_emails.iter().map(|email| Address::Email { email: email.clone() });
        let outbox = Outbox::open(&config.ledger.path.with_file_name("outbox.db"), webhooks.chain(emails).collect())?;
        let key = SigningKey::beside(&config.ledger.path)?;
        let targets = Targets { allowed: settings.allow_targets.clone() };
        let roots = settings
            .ca_file
            .as_ref()
            .map(|path| std::fs::read(path).map_err(|source| DeliveryError::Read { path: path.clone(), source }));
        let roots = roots.transpose()?;
        let webhooks = Webhooks::new(key, targets.clone(), roots.as_deref()).map_err(DeliveryError::Settings)?;
        let mailer = smtp(config)?.map(|smtp| Mailer::new(&smtp, roots.as_deref()).map_err(DeliveryError::Settings));
        let mailer = mailer.transpose()?;
        let backoff =
            Backoff { first: settings.first_retry, longest: settings.longest_retry, attempts: settings.attempts };
        let sends_email = mailer.is_some();
        let carriers = Carriers { webhooks, mailer };
        Ok(Self { outbox: Arc::new(outbox), key, targets, sends_email, carriers, backoff })
    }

    /// Delivers for ever.
    pub(super) fn run(&self) -> impl Future<Output = &'static str> + Send + use<> {
        postman::run(Arc::clone(&self.outbox), self.carriers.clone(), self.backoff, Timestamp::now)
    }
}

fn smtp(config: &Config) -> Result<Option<SmtpSettings>, SecretError> {
    let settings = &config.delivery;
    let (Some(host), Some(from)) = (&settings.smtp_host, &settings.mail_from) else { return Ok(None) };
    let credentials = match (&settings.smtp_user, &settings.smtp_password_file) {
        (Some(user), Some(path)) => Some((user.clone(), secret::password(path)?)),
        _ => None,
    };
    let (port, tls) = (settings.smtp_port, settings.smtp_tls);
    Ok(Some(SmtpSettings { host: host.clone(), port, tls, credentials, from: from.clone() }))
}
