//! The whole product in network namespaces: real clients, real servers, a real agent. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step of a test ends it; measures are shown")]

mod capture;
#[path = "../shared/certificates.rs"]
mod certificates;
mod command_line;
mod delivery;
mod doctor;
mod drill;
mod edges;
mod failure;
mod floods;
mod heal;
mod hold;
mod ledger;
mod lifecycle;
mod nat;
mod neighbours;
mod playground;
mod policies;
mod protection;
mod quic;
mod quic_peers;
mod ranges;
mod scene;
mod sweep;
mod tls;
mod traffic;
