//! When each token was last used. It stands beside the ledger and not in it: reading must not write the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::model::TokenId;

/// Uses, by token. At most one entry per token of the ledger.
#[derive(Debug, Default)]
pub struct LastUsed {
    uses: Mutex<BTreeMap<TokenId, Timestamp>>,
    path: Option<PathBuf>,
}

impl LastUsed {
    /// The uses of a ledger's tokens: `token_uses.json` beside it. A file that cannot be read is begun anew, as all it
    /// holds is when tokens were used.
    #[must_use]
    pub fn beside(ledger: &Path) -> Self {
        let path = ledger.with_file_name("token_uses.json");
        let read = std::fs::read(&path).map(|bytes| serde_json::from_slice(&bytes));
        let uses = match read {
            Ok(Ok(uses)) => uses,
            Ok(Err(error)) => {
                log::warn!("{} is damaged and begun anew: {error}", path.display());
                BTreeMap::new()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                log::warn!("{} cannot be read and is begun anew: {error}", path.display());
                BTreeMap::new()
            }
        };
        Self { uses: Mutex::new(uses), path: Some(path) }
    }

    /// Notes a use.
    pub fn note(&self, token: TokenId, at: Timestamp) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).insert(token, at);
    }

    /// When a token was last used.
    #[must_use]
    pub fn of(&self, token: TokenId) -> Option<Timestamp> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).get(&token).copied()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(&uses)?)?;
        std::fs::rename(draft, path)
    }
}
