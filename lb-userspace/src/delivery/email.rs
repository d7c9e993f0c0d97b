//! E-mail over SMTP (RFC 5321), through the server that the configuration names.

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use std::time::Duration;

use super::{Delivery, Outcome};
use crate::model::Invalid;
use crate::observe::chain;

/// Longest time for one command of the conversation.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most characters of a subject line: it stays one line in every mail program.
const MAX_SUBJECT_CHARS: usize = 120;

/// The SMTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password, if it wants them.
    pub credentials: Option<(String, String)>,
    /// Who the letters are from.
    pub from: String,
}

/// How a connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// The connection changes to TLS before anything is said (RFC 3207); a server that cannot is not used.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None: for a server on this host.
    None,
}

/// Sends e-mail.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// A sender; `roots` is a certificate trusted beside those of the system, in PEM. Nothing is sent yet.
    ///
    /// # Errors
    /// With what is wrong about sender, server or certificates.
    pub fn new(settings: &SmtpSettings, roots: Option<&[u8]>) -> Result<Self, String> {
        let from: Mailbox = settings.from.parse().map_err(|error| format!("`{}`: {error}", settings.from))?;
        let mut tls = TlsParameters::builder(settings.host.clone());
        if let Some(pem) = roots {
            tls = tls.add_root_certificate(Certificate::from_pem(pem).map_err(|error| chain(&error))?);
        }
        let tls = || tls.build().map_err(|error| chain(&error));
        let tls = match settings.tls {
            SmtpTls::StartTls => Tls::Required(tls()?),
            SmtpTls::Tls => Tls::Wrapper(tls()?),
            SmtpTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let Some((user, password)) = &settings.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { transport: transport.build(), from })
    }

    pub(super) async fn send(&self, delivery: &Delivery, email: &str) -> Outcome {
        let message = match self.message(delivery, email) {
            Ok(message) => message,
            Err(what) => return Outcome::never(what),
        };
        match self.transport.send(message).await {
            Ok(_) => Outcome::Delivered,
            Err(error) if error.is_permanent() => {
                Outcome::never(format!("the mail server refuses it: {}", chain(&error)))
            }
            Err(error) => Outcome::later(format!("the mail server did not take it: {}", chain(&error))),
        }
    }

    fn message(&self, delivery: &Delivery, email: &str) -> Result<Message, String> {
        let letter = &delivery.letter;
        let to: Address = email.parse().map_err(|error| format!("`{email}`: {error}"))?;
        let mut subject: String =
            format!("[snowshed] {}", letter.message).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some((end, _)) = subject.char_indices().nth(MAX_SUBJECT_CHARS) {
            subject.truncate(end);
            subject.push('…');
        }
        let data = serde_json::to_string_pretty(&letter.data).map_err(|error| error.to_string())?;
        let lb = letter.lb_id.map(|lb| format!("Load balancer: {lb}\n")).unwrap_or_default();
        let text = format!(
            "{}\n\nWhat: {}\nWhen: {}\n{lb}\n{data}\n\n-- \nSnowshed, delivery {}, to {}.\n",
            letter.message, letter.kind, letter.at, delivery.id, letter.to
        );
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            // The same at every attempt: programs show it once.
            .message_id(Some(format!("<{}@snowshed.invalid>", delivery.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| chain(&error))
    }
}

/// An e-mail address without a name.
///
/// # Errors
/// [`Invalid`] when it is none.
pub fn parse_mailbox(text: &str) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::required("an e-mail address is needed, such as ops@example.org"));
    }
    match text.parse::<Address>() {
        Ok(_) if text.len() <= 254 => Ok(text.to_owned()),
        _ => Err(Invalid::format(format!("`{text}` is no e-mail address: one such as ops@example.org is expected"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_mailbox_and_cannot_carry_a_second_header() {
        assert!(parse_mailbox("ops@example.org").is_ok());
        for wrong in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "a@b\r\nBcc: c@d",
            "a@example.org, b@example.org",
            "Ops <a@example.org>",
        ] {
            assert!(parse_mailbox(wrong).is_err(), "{wrong:?}");
        }
    }
}
