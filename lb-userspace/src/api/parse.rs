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
use crate::model::{Actor, Invalid, OrganizationId, ProjectId};

/// How much of an object a request describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Description {
    /// `POST` and `PUT`: the fields that every object has must be there.
    Whole,
    /// `PATCH`: what is absent is kept.
    Part,
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

    /// The project and organization of a creation: absent, or the token's own.
    pub(super) fn owner(&mut self, actor: &Actor, project: Option<&str>, organization: Option<&str>) {
        let (own_project, own_organization) = (actor.owner.project, actor.owner.organization);
        if let Some(project) = project
            && self.take("project_id", id::<ProjectId>(project)).is_some_and(|project| project != own_project)
        {
            let help = format!("the token is for project {own_project}: leave `project_id` out or give that one");
            self.wrong("project_id", &Invalid::constraint(help));
        }
        if let Some(organization) = organization
            && self
                .take("organization_id", id::<OrganizationId>(organization))
                .is_some_and(|organization| organization != own_organization)
        {
            let help = format!(
                "the token is for organization {own_organization}: leave `organization_id` out or give that one"
            );
            self.wrong("organization_id", &Invalid::constraint(help));
        }
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

/// A client's or server's idle time: 1 ms to 24 h.
pub(super) fn idle(timeout: Millis) -> Result<Option<Duration>, Invalid> {
    const MAX: Duration = Duration::from_secs(24 * 3600);
    if timeout.0.is_zero() || timeout.0 > MAX {
        return Err(Invalid::constraint(format!("{timeout} is outside 1ms to 24h; leave it out for none")));
    }
    Ok(Some(timeout.0))
}

/// Why settings of a layer-7 proxy are not there.
pub(super) const LAYER_7: &str = "Snowshed forwards packets at layer 4 and does not end connections; leave it out";
