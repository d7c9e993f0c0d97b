//! The command line against a real agent's API, without privileges or a kernel: what is typed, what is shown, how it ends.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that unwraps fails with the value")]

mod apply;
#[path = "../shared/certificates.rs"]
mod certificates;
mod contexts;
mod export;
mod harness;
mod init;
mod nouns;
mod ops;
mod reading;
mod tls;
mod tokens;
mod wrong_values;
