//! Nobody purges on request: only the agent does, what it announced a day before, and the ledger checks it once more.

use super::{Case, Refusal, Sink};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for change in case.changes().filter(|change| change.purges()) {
        let what = format!("{} would be purged: only the agent does that, when its retention is over", change.key());
        refuse(change.key(), Refusal::OutOfScope { what });
    }
}
