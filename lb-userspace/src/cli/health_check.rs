//! The flags of a backend's health check, and its wire form.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::text;
use super::value::{self, millis};

/// Flags of a health check.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Health check")]
pub struct HealthCheckArgs {
    /// What a probe asks: tcp connects, http makes a request
    #[arg(long, value_name = "KIND", value_enum)]
    pub check: Option<Kind>,
    /// Port that is probed, 1 to 65535; the forward port when not given
    #[arg(long, value_name = "PORT", value_parser = value::port)]
    pub check_port: Option<NonZeroU16>,
    /// Time between two probes of a server, 50ms to 1h
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub check_interval: Option<Duration>,
    /// Time a probe may take, at most the interval
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub check_timeout: Option<Duration>,
    /// Failed probes in a row that take a server out, 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(NonZeroU8))]
    pub check_fall: Option<NonZeroU8>,
    /// Passed probes in a row that bring it back, 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(NonZeroU8))]
    pub check_rise: Option<NonZeroU8>,
    /// Path that an HTTP probe asks for, beginning with /
    #[arg(long, value_name = "PATH", value_parser = uri)]
    pub check_uri: Option<String>,
    /// Method of an HTTP probe, for example GET or HEAD
    #[arg(long, value_name = "METHOD", value_parser = method)]
    pub check_method: Option<String>,
    /// Status that an HTTP probe expects, 100 to 599; 200 to 399 pass when not given
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..=599))]
    pub check_code: Option<u16>,
    /// Host header of an HTTP probe; the server's address when not given
    #[arg(long, value_name = "HOST", value_parser = host)]
    pub check_host: Option<String>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A TCP connection
    Tcp,
    /// An HTTP/1.1 request
    Http,
}

impl HealthCheckArgs {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The flags over what there is (`null` for nothing), as the API takes it.
    ///
    /// # Errors
    /// When flags of an HTTP probe are given for a TCP probe.
    pub fn body(&self, current: &Value, forward_port: u16) -> Result<Map<String, Value>, String> {
        let mut body = super::session::keep(
            current,
            &["port", "check_delay", "check_timeout", "check_max_retries", "rise", "tcp_config", "http_config"],
        );
        let was_http = body.contains_key("http_config");
        let asks_http = self.check_uri.is_some()
            || self.check_method.is_some()
            || self.check_code.is_some()
            || self.check_host.is_some();
        let http = self.check.map_or(was_http || asks_http, |kind| kind == Kind::Http);
        if asks_http && !http {
            return Err("--check-uri, --check-method, --check-code and --check-host belong to --check http".into());
        }
        let port = self.check_port.map(NonZeroU16::get);
        if port.is_some() || !body.contains_key("port") {
            body.insert("port".into(), json!(port.unwrap_or(forward_port)));
        }
        body.extend(self.check_interval.map(|time| ("check_delay".to_owned(), json!(millis(time)))));
        body.extend(self.check_timeout.map(|time| ("check_timeout".to_owned(), json!(millis(time)))));
        body.extend(self.check_fall.map(|count| ("check_max_retries".to_owned(), json!(count))));
        body.extend(self.check_rise.map(|count| ("rise".to_owned(), json!(count))));
        body.remove("tcp_config");
        let config = body.remove("http_config").unwrap_or_else(|| json!({}));
        if http {
            body.insert("http_config".into(), Value::Object(self.http_config(&config)));
        } else {
            body.insert("tcp_config".into(), json!({}));
        }
        Ok(body)
    }

    fn http_config(&self, current: &Value) -> Map<String, Value> {
        let mut http = super::session::keep(current, &["uri", "method", "code", "host_header"]);
        let uri = self.check_uri.clone().or_else(|| (!http.contains_key("uri")).then(|| "/".to_owned()));
        http.extend(uri.map(|uri| ("uri".to_owned(), json!(uri))));
        http.extend(self.check_method.clone().map(|method| ("method".to_owned(), json!(method))));
        http.extend(self.check_code.map(|code| ("code".to_owned(), json!(code))));
        http.extend(self.check_host.clone().map(|host| ("host_header".to_owned(), json!(host))));
        http
    }
}

/// A health check in one line.
#[must_use]
pub fn summary(check: &Value) -> String {
    let probe = match check.get("http_config").filter(|http| !http.is_null()) {
        Some(http) => {
            let code = text(http, "/code");
            let code = if code.is_empty() { String::new() } else { format!(" = {code}") };
            format!("http {} {}{code}", text(http, "/method"), text(http, "/uri"))
        }
        None => "tcp".to_owned(),
    };
    format!(
        "{probe} on port {}, every {} ms within {} ms, out after {}, back after {}",
        text(check, "/port"),
        text(check, "/check_delay"),
        text(check, "/check_timeout"),
        text(check, "/check_max_retries"),
        text(check, "/rise"),
    )
}

/// A path and query.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn uri(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a path: it begins with / and has no blanks, for example /healthz?full=1"))
}

/// A method.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn method(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not an HTTP method: capital letters, for example GET, HEAD or OPTIONS"))
}

/// A value of a `Host` header; empty for the server's address.
///
/// # Errors
/// What is allowed, when the text is none.
pub fn host(text: &str) -> Result<String, String> {
    if text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a host: a name or an address, with a port if need be, for example www.example.com"))
}
