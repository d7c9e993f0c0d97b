//! The real objects through `BPF_PROG_TEST_RUN`: packets in, verdicts and bytes out.
//!
//! `SNOWSHED_EBPF_DIR` names another directory of objects: that is how a fresh build is held to the same tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step of a test ends it; measures are shown")]

mod direct;
mod edge;
mod edges;
mod explained;
mod flood;
mod forwarding;
mod gue;
mod loaded;
mod lookup;
mod memory;
mod model;
mod nat;
mod packets;
mod protection;
mod quic;
mod random;
mod unwrapping;
