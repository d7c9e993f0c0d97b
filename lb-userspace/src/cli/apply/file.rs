//! The YAML of `snowshed apply`, read with the position of every value, so that a mistake is shown where it stands.

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

/// A value as it stands in the file.
pub(super) type Text = Spanned<String>;

/// A load balancer as a document of a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LbDocument {
    pub(super) name: Text,
    pub(super) description: Option<Text>,
    #[serde(default)]
    pub(super) tags: Vec<Text>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Text>,
    #[serde(default = "yes")]
    pub(super) answers_echo: bool,
    pub(super) on_closed_port: Option<Text>,
    pub(super) ips: Option<Vec<Text>>,
    pub(super) subscriber: Option<Text>,
    #[serde(default)]
    pub(super) frontends: Vec<FrontendDocument>,
    #[serde(default)]
    pub(super) backends: Vec<BackendDocument>,
    pub(super) dependents: Option<Vec<DependentDocument>>,
}

/// A dependent as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DependentDocument {
    pub(super) kind: Text,
    pub(super) name: Text,
    pub(super) webhook: Option<Text>,
    #[serde(default)]
    pub(super) finalizer: bool,
}

const fn yes() -> bool {
    true
}

/// A frontend as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontendDocument {
    pub(super) name: Text,
    pub(super) inbound_port: Text,
    pub(super) backend: Text,
    pub(super) timeout_client: Option<Text>,
    pub(super) connection_rate_limit: Option<Text>,
    pub(super) service_connection_rate_limit: Option<Text>,
    pub(super) packet_rate_limit: Option<Text>,
    pub(super) acls: Option<Vec<RuleDocument>>,
}

/// An access rule as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDocument {
    pub(super) name: Text,
    pub(super) action: Text,
    pub(super) subnets: Vec<Text>,
    #[serde(default)]
    pub(super) invert: bool,
}

/// A backend as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackendDocument {
    pub(super) name: Text,
    pub(super) protocol: Option<Text>,
    pub(super) forward_port: Text,
    pub(super) algorithm: Option<Text>,
    pub(super) sticky_sessions: Option<Text>,
    pub(super) sticky_prefix_v6: Option<Text>,
    pub(super) quic_server_id_length: Option<Text>,
    pub(super) quic_config_id: Option<Text>,
    pub(super) slow_start: Option<Text>,
    pub(super) forwarding: Option<Text>,
    pub(super) on_empty: Option<Text>,
    pub(super) timeout_server: Option<Text>,
    pub(super) timeout_connect: Option<Text>,
    pub(super) timeout_tunnel: Option<Text>,
    pub(super) max_retries: Option<Text>,
    #[serde(default)]
    pub(super) servers: Vec<ServerDocument>,
    #[serde(default)]
    pub(super) health_check: CheckDocument,
}

/// A server as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerDocument {
    pub(super) address: Text,
    pub(super) weight: Option<Text>,
    #[serde(default)]
    pub(super) backup: bool,
    #[serde(default)]
    pub(super) drain: bool,
    pub(super) drain_timeout: Option<Text>,
}

/// A health check as a file writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckDocument {
    pub(super) port: Option<Text>,
    pub(super) interval: Option<Text>,
    pub(super) timeout: Option<Text>,
    pub(super) fall: Option<Text>,
    pub(super) rise: Option<Text>,
    pub(super) transient_interval: Option<Text>,
    #[serde(default)]
    pub(super) send_proxy: bool,
    pub(super) http: Option<HttpDocument>,
    pub(super) https: Option<HttpDocument>,
    pub(super) mysql: Option<UserDocument>,
    pub(super) pgsql: Option<UserDocument>,
    pub(super) ldap: Option<NoDocument>,
    pub(super) redis: Option<NoDocument>,
}

/// A database's probe as a file writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserDocument {
    pub(super) user: Text,
}

/// `{}`: a probe without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoDocument {}

/// An HTTP probe as a file writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpDocument {
    pub(super) uri: Option<Text>,
    pub(super) method: Option<Text>,
    pub(super) code: Option<Text>,
    pub(super) host_header: Option<Text>,
    /// Of HTTPS only.
    pub(super) sni: Option<Text>,
}

/// The documents of a file; `source` is its name in messages.
///
/// # Errors
/// `source:line:column: what is wrong`.
pub(super) fn read(source: &str, text: &str) -> Result<Vec<LbDocument>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| explain(source, text, error.without_snippet()))
}

/// `source:line:column` of a value.
pub(super) fn position<T>(source: &str, value: &Spanned<T>) -> String {
    format!("{source}:{}:{}", value.referenced.line(), value.referenced.column())
}

fn explain(source: &str, text: &str, error: &Error) -> String {
    let Some(location) = error.location().filter(|location| location.line() > 0) else {
        return format!("{source}: {error}");
    };
    let what = match error {
        Error::SerdeUnknownField { field, expected, .. } => match crate::config::nearest(field, expected) {
            Some(near) => format!("unknown key `{field}`; did you mean `{near}`?"),
            None => format!("unknown key `{field}`; here there may be: {}", expected.join(", ")),
        },
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::DuplicateMappingKey { key, .. } => {
            format!("the key `{}` stands here a second time", key.as_deref().unwrap_or("?"))
        }
        other => {
            let text = other.to_string();
            text.split(" at line ").next().unwrap_or(&text).to_owned()
        }
    };
    let line = usize::try_from(location.line()).ok().and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
    format!("{source}:{}:{}: {what}\n    {}", location.line(), location.column(), line.trim())
}
