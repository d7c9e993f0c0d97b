//! Lists: filters, order and pages out of a query string. A filter narrows what the token may see, and never widens it.

use std::cmp::Ordering;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use jiff::Timestamp;

use super::ApiError;
use super::body::{unknown, wrong};
use super::parse::{Arguments, id};
use super::wire::Detail;
use crate::authority::Sight;
use crate::ledger::Snapshot;
use crate::model::{Actor, Invalid, OrganizationId, ProjectId, Tags};

/// Entries on a page when the query does not say.
const PAGE_SIZE: usize = 20;
/// Most entries on a page.
const MAX_PAGE_SIZE: usize = 100;

/// The pairs of a query string.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map(|Query(pairs)| Self(pairs)).map_err(
            |rejection| {
                ApiError::arguments(vec![wrong("query", "format", format!("the query cannot be read: {rejection}"))])
            },
        )
    }
}

impl Pairs {
    /// Refuses the keys that a path does not have.
    pub(super) fn known(self, known: &[&str]) -> Result<Self, ApiError> {
        let details: Vec<Detail> = self
            .0
            .iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, _)| wrong(key, "unknown", unknown(key, known)))
            .collect();
        if details.is_empty() { Ok(self) } else { Err(ApiError::arguments(details)) }
    }

    /// The value of a key; an empty one is absent, a repeated one is wrong.
    pub(super) fn one(&self, arguments: &mut Arguments, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, value)| key == name && !value.is_empty());
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            arguments.wrong(name, &Invalid::constraint(format!("`{name}` is given twice; once is allowed")));
        }
        first
    }

    /// Every value of a key.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// `true` or `false`; absent is false.
    pub(super) fn flag(&self, arguments: &mut Arguments, name: &str) -> bool {
        match self.one(arguments, name) {
            None | Some("false" | "False" | "0") => false,
            Some("true" | "True" | "1") => true,
            Some(other) => {
                let help = format!("`{other}` is neither `true` nor `false`");
                arguments.wrong(name, &Invalid::format(help));
                false
            }
        }
    }
}

/// Keys that every list has.
const COMMON: [&str; 4] = ["name", "order_by", "page", "page_size"];

/// Order and page of a list.
#[derive(Debug)]
pub(super) struct Listing {
    name: Option<String>,
    order: Order,
    page: usize,
    page_size: usize,
    organization: Option<OrganizationId>,
    project: Option<ProjectId>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    CreatedAt,
    CreatedAtDescending,
    Name,
    NameDescending,
}

const ORDERS: [(&str, Order); 4] = [
    ("created_at_asc", Order::CreatedAt),
    ("created_at_desc", Order::CreatedAtDescending),
    ("name_asc", Order::Name),
    ("name_desc", Order::NameDescending),
];

/// Something that is listed.
pub(super) trait Listed {
    /// What `name` filters and orders by.
    fn name(&self) -> String;
    /// When it was made.
    fn created_at(&self) -> Timestamp;
    /// Breaks ties.
    fn id(&self) -> uuid::Uuid;
}

impl Listing {
    /// Reads what every list has; `own` are the keys this one has besides.
    pub(super) fn read(pairs: Pairs, own: &[&str], arguments: &mut Arguments) -> Result<(Self, Pairs), ApiError> {
        let known: Vec<&str> = COMMON.iter().chain(own).copied().collect();
        let pairs = pairs.known(&known)?;
        let name = pairs.one(arguments, "name").map(str::to_lowercase);
        let order = pairs
            .one(arguments, "order_by")
            .map_or(Some(Order::CreatedAt), |text| arguments.take("order_by", order(text)));
        let page = number(&pairs, arguments, "page", 1, usize::MAX / MAX_PAGE_SIZE);
        let page_size = number(&pairs, arguments, "page_size", PAGE_SIZE, MAX_PAGE_SIZE);
        let project =
            pairs.one(arguments, "project_id").and_then(|text| arguments.take("project_id", id::<ProjectId>(text)));
        let organization = pairs
            .one(arguments, "organization_id")
            .and_then(|text| arguments.take("organization_id", id::<OrganizationId>(text)));
        let order = order.unwrap_or(Order::CreatedAt);
        let listing = Self { name, order, page, page_size, organization, project };
        Ok((listing, pairs))
    }

    /// What the actor sees within the filters by owner; nothing, when they name what it does not see.
    pub(super) fn sight<'a>(&self, snapshot: &'a Snapshot, actor: &Actor) -> Option<Sight<'a>> {
        Sight::new(snapshot, actor).narrowed(self.organization, self.project)
    }

    /// One page of what the token may see, and how much there is on all pages.
    pub(super) fn page<T: Listed>(&self, items: impl Iterator<Item = T>) -> (Vec<T>, u64) {
        let mut items: Vec<T> = items
            .filter(|item| self.name.as_ref().is_none_or(|part| item.name().to_lowercase().contains(part)))
            .collect();
        items.sort_by(|a, b| self.compare(a, b));
        let total = items.len();
        let first = (self.page - 1) * self.page_size;
        let page = items.into_iter().skip(first).take(self.page_size).collect();
        (page, total as u64)
    }

    fn compare<T: Listed>(&self, a: &T, b: &T) -> Ordering {
        let by_time = || a.created_at().cmp(&b.created_at());
        let by_name = || a.name().cmp(&b.name());
        let order = match self.order {
            Order::CreatedAt => by_time(),
            Order::CreatedAtDescending => by_time().reverse(),
            Order::Name => by_name(),
            Order::NameDescending => by_name().reverse(),
        };
        order.then_with(|| a.id().cmp(&b.id()))
    }
}

/// The filter `tags`: one of the wanted tags is enough; none wanted lets everything through.
pub(super) fn is_tagged(wanted: &[&str], tags: &Tags) -> bool {
    wanted.is_empty() || tags.as_slice().iter().any(|own| wanted.contains(&own.as_str()))
}

fn order(text: &str) -> Result<Order, Invalid> {
    ORDERS.iter().find(|(word, _)| *word == text).map(|(_, order)| *order).ok_or_else(|| {
        let words = ORDERS.map(|(word, _)| word).join(", ");
        Invalid::constraint(format!("`{text}` is no order: {words} are"))
    })
}

fn number(pairs: &Pairs, arguments: &mut Arguments, name: &str, default: usize, max: usize) -> usize {
    let Some(text) = pairs.one(arguments, name) else { return default };
    match text.parse::<usize>() {
        Ok(number) if (1..=max).contains(&number) => number,
        _ => {
            let upper = if max == MAX_PAGE_SIZE { format!(" to {max}") } else { " upwards".to_owned() };
            arguments.wrong(name, &Invalid::constraint(format!("`{text}`: a whole number from 1{upper} is expected")));
            default
        }
    }
}
