//! Waiting for a condition, with a deadline and a name for the error message.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks at a condition until it holds.
///
/// # Errors
/// After `limit`, naming `what`.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_some(what, limit, || Ok(condition().then_some(())))
}

/// Looks until there is a value; an error of `look` ends the wait.
///
/// # Errors
/// What `look` said, or after `limit`, naming `what`.
pub fn until_some<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
