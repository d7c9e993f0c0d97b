//! What the development kernel lacks: tunnel devices, IPVS, virtio NICs, VLAN devices, bonds, a site with two edges.
//!
//! `cargo xtask vm` runs this target inside its virtual machines; elsewhere it fails for want of modules and NICs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step of a test ends it; measures are shown")]

mod devices;
mod ipvs;
mod site;
mod stage;
mod tunnels;
