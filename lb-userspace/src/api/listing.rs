//! Lists: filters, order and pages out of a query string. A filter narrows what the token may see, and never widens it.

use std::cmp::Ordering;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

    /// The value of a key; a repeated one is wrong. Only a text may be empty, and is absent then: a filter that somebody
    /// meant to fill in must not let everything through.
    pub(super) fn one(&self, arguments: &mut Arguments, name: &str) -> Option<&str> {
        let counts = |value: &str| !TEXTS.contains(&name) || !value.is_empty();
        let mut values = self.0.iter().filter(|(key, value)| key == name && counts(value));
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            arguments.wrong(name, &Invalid::constraint(format!("`{name}` is given twice; once is allowed")));
        }
        first
    }

    /// Every value of a key, also empty ones: they narrow, to what nothing is.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
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

/// Keys that take any text.
const TEXTS: [&str; 6] = ["name", "verb", "actor", "kind", "after", "ip_address"];

/// Keys that every list has.
const COMMON: [&str; 5] = ["name", "order_by", "page", "page_size", "cursor"];

/// Order and page of a list.
#[derive(Debug)]
pub(super) struct Listing {
    name: Option<String>,
    order: Order,
    start: Start,
    page_size: usize,
    organization: Option<OrganizationId>,
    project: Option<ProjectId>,
}

/// Where a page begins.
#[derive(Debug)]
enum Start {
    /// After so many full pages: what is made or deleted meanwhile moves it.
    Page(usize),
    /// After an entry, whether or not it still exists: no entry that stays is left out or shown twice.
    After(Cursor),
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// What stands on it.
    pub(super) items: Vec<T>,
    /// How many there are on all pages.
    pub(super) total_count: u64,
    /// Gives the next page; absent on the last one.
    pub(super) next_cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let asked = pairs.one(arguments, "order_by").and_then(|text| arguments.take("order_by", order(text)));
        let (order, start) = start(&pairs, arguments, asked);
        let page_size = number(&pairs, arguments, "page_size", PAGE_SIZE, MAX_PAGE_SIZE);
        let project =
            pairs.one(arguments, "project_id").and_then(|text| arguments.take("project_id", id::<ProjectId>(text)));
        let organization = pairs
            .one(arguments, "organization_id")
            .and_then(|text| arguments.take("organization_id", id::<OrganizationId>(text)));
        let listing = Self { name, order, start, page_size, organization, project };
        Ok((listing, pairs))
    }

    /// What the actor sees within the filters by owner; nothing, when they name what it does not see.
    pub(super) fn sight<'a>(&self, snapshot: &'a Snapshot, actor: &Actor) -> Option<Sight<'a>> {
        Sight::new(snapshot, actor).narrowed(self.organization, self.project)
    }

    /// One page of what the token may see, and how much there is on all pages.
    pub(super) fn page<T: Listed>(&self, items: impl Iterator<Item = T>) -> Page<T> {
        let mut items: Vec<(Cursor, T)> = items
            .filter(|item| self.name.as_ref().is_none_or(|part| item.name().to_lowercase().contains(part)))
            .map(|item| (Cursor::at(self.order, &item), item))
            .collect();
        items.sort_by(|(a, _), (b, _)| self.order.compare(a, b));
        let total = items.len();
        let first = match &self.start {
            Start::Page(pages) => pages.saturating_mul(self.page_size).min(total),
            Start::After(cursor) => items.partition_point(|(at, _)| self.order.compare(at, cursor).is_le()),
        };
        let end = first.saturating_add(self.page_size).min(total);
        let next_cursor = if end < total { items[..end].last().map(|(last, _)| last.to_string()) } else { None };
        let items = items.into_iter().skip(first).take(end - first).map(|(_, item)| item).collect();
        Page { items, total_count: total as u64, next_cursor }
    }
}

impl Order {
    fn word(self) -> &'static str {
        ORDERS.iter().find(|(_, order)| *order == self).map_or("", |(word, _)| word)
    }

    /// How two places in a list of this order follow each other.
    fn compare(self, a: &Cursor, b: &Cursor) -> Ordering {
        let by_key = a.key.cmp(&b.key);
        let by_key =
            if matches!(self, Self::CreatedAtDescending | Self::NameDescending) { by_key.reverse() } else { by_key };
        by_key.then_with(|| a.id.cmp(&b.id))
    }
}

/// A place in a list: what it is ordered by there, and the id of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    order: Order,
    key: Key,
    id: uuid::Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Time(Timestamp),
    Name(String),
}

impl Cursor {
    fn at<T: Listed>(order: Order, item: &T) -> Self {
        let key = match order {
            Order::CreatedAt | Order::CreatedAtDescending => Key::Time(item.created_at()),
            Order::Name | Order::NameDescending => Key::Name(item.name()),
        };
        Self { order, key, id: item.id() }
    }
}

/// Opaque to clients: base64 of order, id and key.
impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = match &self.key {
            Key::Time(time) => time.as_nanosecond().to_string(),
            Key::Name(name) => name.clone(),
        };
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{} {} {key}", self.order.word(), self.id)))
    }
}

impl std::str::FromStr for Cursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let mut parts = text.splitn(3, ' ');
            let order = order(parts.next()?).ok()?;
            let id = uuid::Uuid::try_parse(parts.next()?).ok()?;
            let key = parts.next()?;
            let key = match order {
                Order::CreatedAt | Order::CreatedAtDescending => {
                    Key::Time(Timestamp::from_nanosecond(key.parse().ok()?).ok()?)
                }
                Order::Name | Order::NameDescending => Key::Name(key.to_owned()),
            };
            Some(Self { order, key, id })
        };
        read().ok_or_else(|| {
            Invalid::format(format!("`{text}` is no cursor: give the `next_cursor` of the page before, as it was"))
        })
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

/// Order and beginning of a page: a cursor goes on in the order in which it was given.
fn start(pairs: &Pairs, arguments: &mut Arguments, asked: Option<Order>) -> (Order, Start) {
    let page = number(pairs, arguments, "page", 1, usize::MAX / MAX_PAGE_SIZE);
    let numbered = (asked.unwrap_or(Order::CreatedAt), Start::Page(page - 1));
    let Some(text) = pairs.one(arguments, "cursor") else { return numbered };
    let Some(cursor) = arguments.take("cursor", text.parse::<Cursor>()) else { return numbered };
    if pairs.one(arguments, "page").is_some() {
        let help = "a page begins after a cursor or has a number: leave out `page` or `cursor`";
        arguments.wrong("cursor", &Invalid::constraint(help));
    }
    if asked.is_some_and(|asked| asked != cursor.order) {
        let help = format!("the cursor is of a list in the order {}: leave `order_by` out", cursor.order.word());
        arguments.wrong("cursor", &Invalid::constraint(help));
    }
    (cursor.order, Start::After(cursor))
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
