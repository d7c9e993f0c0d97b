//! Snowshed's userspace: the agent that owns the maps, its control API, and the command line.
//!
//! A change goes `api → model → guard → ledger → plan → reconcile → dataplane`; each folder is one of these words.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails with the value"))]

pub mod agent;
pub mod answering;
pub mod api;
pub mod authority;
pub mod balance;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod delivery;
pub mod doctor;
pub mod explain;
pub mod faults;
pub mod guard;
pub mod health;
pub mod ledger;
pub mod model;
pub mod netlink;
pub mod nexthop;
pub mod observe;
pub mod plan;
pub mod purge;
pub mod reconcile;
pub mod recovery;
pub mod shares;
