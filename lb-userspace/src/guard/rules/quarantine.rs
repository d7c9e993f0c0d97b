//! The addresses of a quarantined or taken down load balancer stay with it: elsewhere they would serve again.

use super::{Case, Refusal, Sink};
use crate::ledger::{Escape, escape};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    if let Some(Escape { key, lb, takedown }) = escape(case.current, case.actor, &case.proposed.changes) {
        refuse(key, takedown.map_or(Refusal::Quarantined { lb }, |takedown| Refusal::StaysDown { lb, takedown }));
    }
}
