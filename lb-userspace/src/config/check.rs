//! Forms of single values, and whether a configuration fits this host.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::{Config, Problem};

/// A zone: lower-case letters, digits and dashes.
pub(super) fn zone(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.len() <= 32 && text.chars().all(fits) {
        return Ok(());
    }
    Err(format!("`{text}`: 1 to 32 lower-case letters, digits and dashes are allowed, for example fr-par-1"))
}

/// A token's name: what stands in the ledger.
pub(super) fn token_name(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
        return Ok(());
    }
    Err(format!("`{text}`: 1 to 64 letters, digits and - _ . @ are allowed"))
}

/// An interface's name, as the kernel takes it.
pub(super) fn interface_name(text: &str) -> Result<(), String> {
    let fits = !text.is_empty() && text.len() <= 15 && text != "." && text != "..";
    if fits && !text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(format!("`{text}` is no interface name: 1 to 15 characters without blanks, `/` and `:`"))
}

/// A URI of a webhook.
pub(super) fn uri(text: &str) -> Result<(), String> {
    crate::delivery::parse_uri(text).map(drop).map_err(|invalid| invalid.help)
}

/// An e-mail address.
pub(super) fn mailbox(text: &str) -> Result<(), String> {
    crate::delivery::parse_mailbox(text).map(drop).map_err(|invalid| invalid.help)
}

/// A host's name or address.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    if !text.is_empty() && text.len() <= 253 && text.chars().all(fits) {
        return Ok(());
    }
    Err(format!("`{text}`: the name or the address of a host is expected, for example smtp.example.org"))
}

/// Anything on one line.
pub(super) fn line(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err("1 to 255 characters on one line are expected".to_owned())
}

/// Everything that does not fit this host.
pub(super) fn host(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    interfaces(config, &mut problems);
    for (at, token) in config.api.tokens.iter().enumerate() {
        if let (Some(_), Err(error)) = (&token.secret_file, token.digest()) {
            problems.push(Problem::of(format!("api.tokens[{at}].secret_file"), with_source(&error)));
        }
    }
    if let Some(Err(error)) = config.certificate() {
        problems.push(Problem::of("api.tls_certificate", with_source(&error)));
    }
    if let Some(path) = &config.dataplane.hash_key_file
        && let Err(error) = super::secret::hash_key(path)
    {
        problems.push(Problem::of("dataplane.hash_key_file", with_source(&error)));
    }
    for (key, path) in [
        ("delivery.ca_file", &config.delivery.ca_file),
        ("delivery.smtp_password_file", &config.delivery.smtp_password_file),
    ] {
        if let Some(Err(error)) = path.as_ref().map(std::fs::metadata) {
            problems.push(Problem::of(key, format!("cannot be read: {error}")));
        }
    }
    let beside = config.ledger.path.with_file_name("hash_key");
    if config.dataplane.hash_key.is_none()
        && config.dataplane.hash_key_file.is_none()
        && beside.exists()
        && let Err(error) = super::secret::hash_key(&beside)
    {
        problems.push(Problem::of("ledger.path", with_source(&error)));
    }
    for (key, path) in [("ledger.path", &config.ledger.path), ("api.socket", &config.api.socket)] {
        if path.is_dir() {
            problems.push(Problem::of(key, format!("{} is a directory; a file is meant", path.display())));
        } else if let Some(reason) = not_writable(path) {
            problems.push(Problem::of(key, reason));
        }
    }
    problems
}

fn interfaces(config: &Config, problems: &mut Vec<Problem>) {
    for name in &config.dataplane.interfaces {
        if nix::net::if_::if_nametoindex(name.as_str()).is_ok() {
            continue;
        }
        let known: Vec<String> = nix::net::if_::if_nameindex().map_or_else(
            |_| Vec::new(),
            |all| all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect(),
        );
        let what = format!("there is no interface `{name}` here; there are: {}", known.join(", "));
        problems.push(Problem::of("dataplane.interfaces", what));
    }
}

/// Why a file could not be made at a path: its nearest existing ancestor must be a directory that is writable.
fn not_writable(path: &Path) -> Option<String> {
    let ancestor = path.ancestors().skip(1).find(|ancestor| ancestor.exists())?;
    if !ancestor.is_dir() {
        return Some(format!("{} is no directory", ancestor.display()));
    }
    access(ancestor, AccessFlags::W_OK | AccessFlags::X_OK)
        .err()
        .map(|error| format!("{} cannot be written: {}; run as root", ancestor.display(), error.desc()))
}

/// An error and its source in one line.
fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
