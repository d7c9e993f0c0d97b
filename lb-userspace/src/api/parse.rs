//! Wire into model: every argument is looked at, and all that are wrong are told together.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;

use super::ApiError;
use super::problem::detail;
use super::wire::{Detail, Millis};
use crate::authority;
use crate::ledger::Snapshot;
use crate::model::{Actor, Invalid, OrganizationId, Owner, ProjectId};

/// How much of an object a request describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Description {
    /// `POST` and `PUT`: the fields that every object has must be there; of the others, those that Scaleway's API has are
    /// their defaults when absent, and Snowshed's own are kept, as Scaleway's tools cannot send them.
    Whole,
    /// `PATCH`: what is absent is kept.
    Part,
}

impl Description {
    /// A field that is not named: a part keeps what was there, a whole has the default.
    pub(super) fn absent<T>(self, before: T, default: T) -> T {
        match self {
            Self::Whole => default,
            Self::Part => before,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Description {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(if parts.method == Method::PATCH { Self::Part } else { Self::Whole })
    }
}

/// Collects what is wrong with the arguments of a request.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    details: Vec<Detail>,
}

impl Arguments {
    /// Notes a wrong argument.
    pub(super) fn wrong(&mut self, name: &str, invalid: &Invalid) {
        self.details.push(detail(name, invalid));
    }

    /// The value, or a note of what is wrong with it.
    pub(super) fn take<T>(&mut self, name: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.wrong(name, &invalid)).ok()
    }

    /// A value that must be there.
    pub(super) fn needed<V, T>(
        &mut self,
        name: &str,
        value: Option<V>,
        what: &str,
        parse: impl FnOnce(V) -> Result<T, Invalid>,
    ) -> Option<T> {
        match value {
            Some(value) => self.take(name, parse(value)),
            None => {
                self.wrong(name, &Invalid::required(format!("`{name}` is needed: {what}")));
                None
            }
        }
    }

    /// A value that a whole description must have, and a part of one (`PATCH`) may leave out: then it is `None`.
    pub(super) fn of<V, T>(
        &mut self,
        description: Description,
        name: &str,
        value: Option<V>,
        what: &str,
        parse: impl FnOnce(V) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match (description, value) {
            (Description::Part, None) => Some(None),
            (_, value) => self.needed(name, value, what, parse).map(Some),
        }
    }

    /// A value that may be absent: then it is `default`.
    pub(super) fn or<V, T>(
        &mut self,
        name: &str,
        value: Option<V>,
        default: T,
        parse: impl FnOnce(V) -> Result<T, Invalid>,
    ) -> Option<T> {
        match value {
            Some(value) => self.take(name, parse(value)),
            None => Some(default),
        }
    }

    /// A setting that is not built: only what means "off" is taken.
    pub(super) fn off(&mut self, name: &str, is_off: bool, help: &str) {
        if !is_off {
            self.wrong(name, &Invalid::constraint(format!("`{name}` is not available: {help}")));
        }
    }

    /// The owner of what is created: the project that is named, or the token's only one.
    pub(super) fn owner(
        &mut self,
        current: &Snapshot,
        actor: &Actor,
        project: Option<&str>,
        organization: Option<&str>,
    ) -> Option<Owner> {
        let named = match project {
            Some(text) => Some(self.take("project_id", id::<ProjectId>(text))?),
            None => None,
        };
        let owner = match authority::project_of(current, actor, named) {
            Ok(Some(owner)) => owner,
            Ok(None) => {
                let help = "a token of an organization or of the fleet has no project of its own: name one (`project_id`; `--project` of the CLI)";
                self.wrong("project_id", &Invalid::required(help));
                return None;
            }
            Err(_) => {
                let own = actor.project().map(|own| format!(": leave `project_id` out or give {}", own.project));
                let help = format!("there is no such project for this token{}", own.unwrap_or_default());
                self.wrong("project_id", &Invalid::constraint(help));
                return None;
            }
        };
        if let Some(text) = organization {
            let organization = self.take("organization_id", id::<OrganizationId>(text))?;
            if organization != owner.organization {
                let help = format!(
                    "the project is of organization {}: leave `organization_id` out or give that one",
                    owner.organization
                );
                self.wrong("organization_id", &Invalid::constraint(help));
                return None;
            }
        }
        Some(owner)
    }

    /// Ends the reading: an error if anything was wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.details.is_empty() { Ok(()) } else { Err(ApiError::arguments(self.details)) }
    }

    /// Ends the reading with a value made of what was read; the value is only absent when something was wrong.
    pub(super) fn build<T>(self, value: Option<T>) -> Result<T, ApiError> {
        self.finish()?;
        value.ok_or_else(|| ApiError::internal("an argument is missing that was not told"))
    }
}

/// An id of any kind.
pub(super) fn id<T: FromStr<Err = Invalid>>(text: &str) -> Result<T, Invalid> {
    text.parse()
}

/// A time of a proxy's connections: up to 24 h; 0 is none.
pub(super) fn proxied(timeout: Millis) -> Result<Option<Duration>, Invalid> {
    const MAX: Duration = Duration::from_secs(24 * 3600);
    if timeout.0 > MAX {
        return Err(Invalid::constraint(format!("{timeout} is above 24h; 0, or nothing, is none")));
    }
    Ok(Some(timeout.0).filter(|time| !time.is_zero()))
}

/// Why settings of TLS are refused.
pub(super) const NO_TLS: &str = "TLS is not ended here: servers have the certificates; leave it out";
/// Why settings of connections to servers are refused.
pub(super) const NO_PROXY: &str =
    "the client connects to the server itself, and nothing is connected anew for it; leave it out";
/// Why PROXY headers are refused.
pub(super) const NO_HEADER: &str = "a header at the front of a stream moves every sequence number after it: the edge would have \
to end the connection. With `forwarding: ipip`, `gue` or `l2` servers see the client's own address without it; leave it out, or give `proxy_protocol_none`";
