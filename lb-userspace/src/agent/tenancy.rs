//! The tokens of a ledger at start, and when they were used while the agent runs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::AgentError;
use crate::authority::{Bootstrap, LastUsed, TokenKey, bootstrap};
use crate::config::{self, Config};
use crate::ledger::Ledger;
use crate::model::Name;

/// How often the uses of tokens are written.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Reads or draws the token key, and gives the ledger the configuration's tokens that it does not know.
pub(super) fn prepare(config: &Config, ledger: &dyn Ledger) -> Result<TokenKey, AgentError> {
    let key = TokenKey::beside(&config.ledger.path)?;
    let wanted: Result<Vec<Bootstrap>, AgentError> =
        config.api.tokens.iter().map(|token| wanted(&key, token)).collect();
    bootstrap(ledger, &wanted?, Timestamp::now())?;
    if !ledger.snapshot().tenants().tokens().any(|token| token.is_valid(Timestamp::now())) {
        log::warn!(
            "there is no token, so nobody can use the API: stop the agent, and run `snowshed init --token-only`"
        );
    }
    Ok(key)
}

fn wanted(key: &TokenKey, token: &config::Token) -> Result<Bootstrap, AgentError> {
    let wrong = |what: String| AgentError::Token { name: token.name.clone(), what };
    Ok(Bootstrap {
        name: Name::try_from(token.name.clone()).map_err(|invalid| wrong(invalid.help))?,
        role: token.role,
        reach: token.reach().map_err(wrong)?,
        digest: key.digest_of(token.digest()?),
    })
}

/// Writes the uses from time to time; never ends.
pub(super) async fn save_uses(last_used: Arc<LastUsed>) -> &'static str {
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let last_used = Arc::clone(&last_used);
        if tokio::task::spawn_blocking(move || save(&last_used)).await.is_err() {
            return "writer of the tokens' uses";
        }
    }
}

/// Writes the uses once; a failure is told and changes nothing else.
pub(super) fn save(last_used: &LastUsed) {
    if let Err(error) = last_used.save() {
        log::warn!("when tokens were last used cannot be written: {error}");
    }
}
