//! Snowshed's own paths, beside Scaleway's.

pub(super) mod advice;
pub(super) mod capture;
pub(super) mod deliveries;
pub(super) mod dependents;
pub(super) mod document;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod freezes;
pub(super) mod heal;
pub(super) mod health;
pub(super) mod holds;
pub(super) mod impact;
pub(super) mod incident;
mod measures;
pub(super) mod metrics;
pub(super) mod operations;
pub(super) mod organizations;
pub(super) mod plans;
pub(super) mod projects;
pub(super) mod purges;
pub(super) mod quarantines;
pub(super) mod recovery;
pub(super) mod status;
mod tenants;
pub(super) mod tokens;
