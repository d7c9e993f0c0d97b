//! The token that says who asks: from a flag, the environment, or a file in the user's configuration.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::global::Global;

/// Longest token, bytes.
const MAX_BYTES: usize = 4096;

/// The token: `--token`, `--token-file`, `SNOWSHED_TOKEN`, `SNOWSHED_TOKEN_FILE`, the context's file,
/// `~/.config/snowshed/token`, the first that is there; `None` when none is.
///
/// # Errors
/// When a named file cannot be read, or what was found is no token.
pub fn find(global: &Global) -> Result<Option<String>, Failure> {
    if let Some(token) = &global.token {
        return checked(token, "--token").map(Some);
    }
    if let Some(path) = &global.token_file {
        return from_file(path).map(Some);
    }
    if let Ok(token) = std::env::var("SNOWSHED_TOKEN")
        && !token.is_empty()
    {
        return checked(&token, "SNOWSHED_TOKEN").map(Some);
    }
    if let Some(path) = std::env::var_os("SNOWSHED_TOKEN_FILE").filter(|path| !path.is_empty()) {
        return from_file(Path::new(&path)).map(Some);
    }
    if let Some(path) = &global.context_token_file {
        return from_file(path).map(Some);
    }
    match user_file() {
        Some(path) if path.exists() => from_file(&path).map(Some),
        _ => Ok(None),
    }
}

/// Where a user's token is looked for last.
pub(super) fn user_file() -> Option<PathBuf> {
    let config = match std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(config.join("snowshed/token"))
}

fn from_file(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("the token file {} cannot be read: {error}", path.display()))
            .help("the file holds the token and nothing else; --token-file names another one")
    })?;
    checked(&text, &path.display().to_string())
}

fn checked(text: &str, source: &str) -> Result<String, Failure> {
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!(
            "{source} holds no token: 1 to {MAX_BYTES} printable ASCII characters without blanks are expected"
        )));
    }
    Ok(token.to_owned())
}
