//! The kernel's maps, links and next hops as the agent holds them: real maps, real namespaces. Needs root.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the value")]
#![allow(
    clippy::print_stdout,
    reason = "a helper process tells its parent where it is; others tell what they measured"
)]

mod fixture;
mod kernel;
mod links;
mod nexthop;
mod tools;
