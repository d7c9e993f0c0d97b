//! What stands between a service and its servers: quarantine.
//!
//! A subprogram: packets of a service without protection pay for one test of its flags, not even in registers.

use lb_common::abi::service::flags;
use lb_common::abi::{Reason, ServiceEntry};

use crate::account;
use crate::verdict::Verdict;

/// The packet goes on.
pub(crate) const ADMITTED: u64 = 0;

/// Whether a packet of a protected service goes on: [`ADMITTED`], or what [`crate::judged`] makes of the verdict.
#[inline(never)]
pub(crate) fn admit(service: &ServiceEntry) -> u64 {
    match check(service) {
        Ok(()) => ADMITTED,
        Err(reason) => {
            account::refused(service, reason);
            crate::judged(Verdict::drop(reason))
        }
    }
}

#[inline(always)]
fn check(service: &ServiceEntry) -> Result<(), Reason> {
    if service.flags & flags::QUARANTINED != 0 {
        return Err(Reason::Quarantined);
    }
    Ok(())
}
