//! Snowshed's own paths, beside Scaleway's.

pub(super) mod advice;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod health;
pub(super) mod metrics;
pub(super) mod operations;
pub(super) mod organizations;
pub(super) mod projects;
pub(super) mod recovery;
pub(super) mod status;
mod tenants;
pub(super) mod tokens;
