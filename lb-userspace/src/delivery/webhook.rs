//! Webhooks: a signed `POST` of JSON, to the address that was looked at and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode};

use super::target::refusal;
use super::{Delivery, Outcome, SigningKey, Targets};
use crate::observe::chain;

/// Longest time to the answer's first line.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends webhooks.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    key: SigningKey,
    targets: Targets,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("targets", &self.targets).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// A sender; `roots` are certificates trusted beside those of the system, in PEM.
    ///
    /// # Errors
    /// With what is wrong about the certificates.
    pub fn new(key: SigningKey, targets: Targets, roots: Option<&[u8]>) -> Result<Self, String> {
        provide_tls();
        let own =
            roots.map(Certificate::from_pem_bundle).transpose().map_err(|error| chain(&error))?.unwrap_or_default();
        let builder = || {
            Client::builder()
                .timeout(PATIENCE)
                .connect_timeout(CONNECT)
                .redirect(Policy::none())
                .no_proxy()
                .pool_max_idle_per_host(0)
                .user_agent(concat!("snowshed/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(Checked(targets.clone())))
        };
        let client = builder().tls_certs_merge(own.clone()).build().or_else(|error| {
            // An edge that trusts nobody on the Web forwards and checks health all the same.
            log::warn!(
                "this machine has no certificates to know other hosts by ({}): webhooks over https are delivered only \
                 where `delivery.ca_file` is enough; on Debian install ca-certificates and start the agent again",
                chain(&error)
            );
            builder().tls_certs_only(own).build()
        });
        Ok(Self { client: client.map_err(|error| chain(&error))?, key, targets })
    }

    pub(super) async fn send(&self, delivery: &Delivery, uri: &str, now: Timestamp) -> Outcome {
        // A name is looked at by the resolver; an address in the URI is not resolved.
        if let Err(refused) = self.targets.parse(uri) {
            return Outcome::never(refused.help);
        }
        let body = delivery.letter.body(delivery.id);
        let seconds = now.as_second();
        let signature = self.key.secret_of(delivery.letter.to).sign(delivery.id, seconds, &body);
        let request = self
            .client
            .post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", delivery.id.to_string())
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(answer) => {
                of_answer(answer.status(), answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()))
            }
            Err(error) => match refused(&error) {
                Some(refused) => Outcome::never(refused.to_string()),
                None => Outcome::later(chain(&error.without_url())),
            },
        }
    }
}

/// What an answer means. Its body is not read: it would be shown to a tenant, whoever wrote it.
fn of_answer(status: StatusCode, retry_after: Option<&str>) -> Outcome {
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status == StatusCode::GONE {
        return Outcome::never("the recipient answered 410 Gone: it wants no more");
    }
    let redirected = if status.is_redirection() { "; redirects are not followed" } else { "" };
    let pause = retry_after.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    Outcome::Later { what: format!("the recipient answered {status}{redirected}"), pause }
}

/// Resolves names, and leaves out addresses that may not be asked.
struct Checked(Targets);

/// A name stands for nothing but addresses that may not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (permitted, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(|at| targets.permits(at.ip()));
            match refused.first() {
                Some(at) if permitted.is_empty() => Err(Refused(refusal(at.ip())).into()),
                _ => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}

fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        source = error.source();
    }
    None
}

/// The one cryptography of the process, for whoever does not name it.
pub(crate) fn provide_tls() {
    // The second call finds the first one's.
    let _: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_delivered_gone_is_never_and_all_else_is_later() {
        assert_eq!(of_answer(StatusCode::NO_CONTENT, None), Outcome::Delivered);
        assert!(matches!(of_answer(StatusCode::GONE, Some("5")), Outcome::Never { .. }));
        let pause = |status, asked| match of_answer(status, asked) {
            Outcome::Later { pause, .. } => pause,
            other => panic!("{other:?}"),
        };
        assert_eq!(pause(StatusCode::SERVICE_UNAVAILABLE, Some("120")), Some(Duration::from_secs(120)));
        assert_eq!(pause(StatusCode::SERVICE_UNAVAILABLE, Some("-1")), None);
        for status in [StatusCode::FOUND, StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED, StatusCode::BAD_GATEWAY] {
            assert_eq!(pause(status, None), None);
        }
    }
}
