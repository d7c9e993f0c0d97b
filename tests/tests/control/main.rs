//! The control tier: ledger and API against files and memory. No privileges, no kernel.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that unwraps fails with the value; figures go to stderr"
)]

mod api;
#[path = "../shared/certificates.rs"]
mod certificates;
mod ledger;
mod recovery;
