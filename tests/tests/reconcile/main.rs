//! Planner and reconciler against the maps in memory, intact and failing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that unwraps fails with the value")]

mod fixture;
mod hold;

mod advice;
mod convergence;
mod explain;
mod flows;
mod forwarding;
mod heal;
mod nat;
mod planner;
mod quic;
mod ranges;
mod service;
mod steps;
