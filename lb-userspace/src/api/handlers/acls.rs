//! Rules of access lists: create, get, list, set all, update, delete.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;

use super::lbs::deleted;
use super::{Id, Life, find_acl, find_frontend, in_lb, key, now};
use crate::api::body::{Bare, Body};
use crate::api::change::{Draft, commit, create as created, run, update as updated};
use crate::api::etag::{self, IfMatch, Versioned, VersionedList};
use crate::api::idempotency::Caller;
use crate::api::listing::{Listed, Listing, Page, Pairs};
use crate::api::openapi;
use crate::api::parse::{Arguments, Description};
use crate::api::view::View;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::ledger::{Change, Snapshot};
use crate::model::{Acl, AclId, Actor, Document, Frontend, FrontendId, Invalid, Kind, Times};

mod parse;

use parse::{Rule, parse};

/// Makes an access rule.
#[utoipa::path(
    post, path = "/frontends/{id}/acls",
    request_body = wire::AclSpec,
    responses((status = 200, body = wire::Acl))
)]
pub(in crate::api) async fn create(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    Body(request): Body<wire::AclSpec>,
) -> Result<Versioned<wire::Acl>, ApiError> {
    run(&context, move |context| {
        let frontend: FrontendId = path.parse("frontend_id")?;
        find_frontend(&context.ledger.snapshot(), &actor, frontend, Life::Live)?;
        let mut arguments = Arguments::default();
        let rule =
            parse(&mut arguments, "", request, Description::Whole).and_then(|rule| rule.into_new(&mut arguments, ""));
        let rule = arguments.build(rule)?;
        let (id, times) = (AclId::new(), Times::created(now(context)));
        commit(
            context,
            &actor,
            "acl.create",
            |current| {
                let frontend = find_frontend(current, &actor, frontend, Life::Live)?;
                let acl = Acl { id, lb: frontend.lb, frontend: frontend.id, times, ..rule.clone() };
                Ok(Draft {
                    authority: in_lb(current, &actor, frontend.lb)?,
                    changes: vec![created(Document::Acl(acl))],
                })
            },
            |after| show(context, after, &actor, id, Life::Live),
        )
    })
    .await
}

/// Shows an access rule.
#[utoipa::path(
    get, path = "/acls/{id}",
    params(openapi::WithDeleted),
    responses((status = 200, body = wire::Acl))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    life: Life,
) -> Result<Versioned<wire::Acl>, ApiError> {
    show(&context, &context.ledger.snapshot(), &actor, path.parse("acl_id")?, life)
}

/// Lists the access rules of a frontend.
#[utoipa::path(
    get, path = "/frontends/{id}/acls",
    params(openapi::Paged, openapi::WithDeleted),
    responses((status = 200, body = wire::AclList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<VersionedList<wire::AclList>, ApiError> {
    let frontend = path.parse("frontend_id")?;
    let mut arguments = Arguments::default();
    let (listing, pairs) = Listing::read(pairs, &["deleted"], &mut arguments)?;
    let life = Life::of(&pairs, &mut arguments);
    arguments.finish()?;
    let snapshot = context.ledger.snapshot();
    find_frontend(&snapshot, &actor, frontend, life)?;
    let Page { items: page, total_count, next_cursor } =
        listing.page(snapshot.acls_of(frontend).filter(|acl| life.counts(acl.times)));
    let view = View::new(&context, &snapshot);
    let list = wire::AclList { acls: page.into_iter().map(|acl| view.acl(acl)).collect(), total_count, next_cursor };
    Ok(VersionedList { etag: version(&in_order(&snapshot, frontend)), list })
}

/// Version of all the rules of a frontend.
fn version(rules: &[Arc<Acl>]) -> String {
    etag::of(&rules.iter().map(|acl| &**acl).collect::<Vec<&Acl>>())
}

/// The rules of a frontend, in the order in which they are asked.
fn in_order(snapshot: &Snapshot, frontend: FrontendId) -> Vec<Arc<Acl>> {
    let mut rules: Vec<Arc<Acl>> = live(snapshot, frontend).map(Arc::clone).collect();
    Acl::sort(&mut rules);
    rules
}

/// Sets all access rules of a frontend.
///
/// A rule that has the name of one that is there takes its place; rules that are not named go. `If-Match` takes the `ETag`
/// of the list.
#[utoipa::path(
    put, path = "/frontends/{id}/acls",
    request_body = wire::SetAcls,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::AclList))
)]
pub(in crate::api) async fn set(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    Body(request): Body<wire::SetAcls>,
) -> Result<VersionedList<wire::AclList>, ApiError> {
    run(&context, move |context| {
        let frontend: FrontendId = path.parse("frontend_id")?;
        find_frontend(&context.ledger.snapshot(), &actor, frontend, Life::Live)?;
        let rules = parse_all(request)?;
        let now = now(context);
        commit(
            context,
            &actor,
            "acl.set",
            |current| {
                let frontend = find_frontend(current, &actor, frontend, Life::Live)?;
                let version = || version(&in_order(current, frontend.id));
                if_match.check_version(key(Kind::Frontend, frontend.id.as_uuid()), version)?;
                let changes = replaced(current, &frontend, &rules, now);
                Ok(Draft { authority: in_lb(current, &actor, frontend.lb)?, changes })
            },
            |after| {
                find_frontend(after, &actor, frontend, Life::Live)?;
                let view = View::new(context, after);
                let rules = in_order(after, frontend);
                let acls: Vec<wire::Acl> = rules.iter().map(|acl| view.acl(acl)).collect();
                let list = wire::AclList { total_count: acls.len() as u64, next_cursor: None, acls };
                Ok(VersionedList { etag: version(&rules), list })
            },
        )
    })
    .await
}

/// Changes an access rule: PUT as a whole, PATCH what is named.
#[utoipa::path(
    method(put, patch), path = "/acls/{id}",
    request_body = wire::AclSpec,
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Acl))
)]
pub(in crate::api) async fn update(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    description: Description,
    Body(request): Body<wire::AclSpec>,
) -> Result<Versioned<wire::Acl>, ApiError> {
    run(&context, move |context| {
        let id = path.parse("acl_id")?;
        find_acl(&context.ledger.snapshot(), &actor, id, Life::Live)?;
        let mut arguments = Arguments::default();
        let rule = parse(&mut arguments, "", request, description);
        let rule = arguments.build(rule)?;
        let now = now(context);
        commit(
            context,
            &actor,
            "acl.update",
            |current| {
                let before = find_acl(current, &actor, id, Life::Live)?;
                if_match.check(key(Kind::Acl, id.as_uuid()), &*before)?;
                let change = changed(&before, rule.over(&before), now);
                Ok(Draft { authority: in_lb(current, &actor, before.lb)?, changes: vec![change] })
            },
            |after| show(context, after, &actor, id, Life::Live),
        )
    })
    .await
}

/// Deletes an access rule.
#[utoipa::path(delete, path = "/acls/{id}", params(openapi::IfMatch), responses((status = 204)))]
pub(in crate::api) async fn delete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<StatusCode, ApiError> {
    let id = path.parse("acl_id")?;
    run(&context, move |context| {
        let now = now(context);
        commit(
            context,
            &actor,
            "acl.delete",
            |current| {
                let before = find_acl(current, &actor, id, Life::Live)?;
                if_match.check(key(Kind::Acl, id.as_uuid()), &*before)?;
                let change = deleted(Document::Acl(Acl::clone(&before)), now);
                Ok(Draft { authority: in_lb(current, &actor, before.lb)?, changes: vec![change] })
            },
            |_| Ok(StatusCode::NO_CONTENT),
        )
    })
    .await
}

fn live(snapshot: &Snapshot, frontend: FrontendId) -> impl Iterator<Item = &Arc<Acl>> {
    snapshot.acls_of(frontend).filter(|acl| acl.times.is_live())
}

/// Every rule of a set, each with the id it gets if it is new.
fn parse_all(request: wire::SetAcls) -> Result<Vec<Acl>, ApiError> {
    let mut arguments = Arguments::default();
    let Some(specs) = request.acls else {
        let help = "`acls` is needed: every rule of the frontend, or [] for none";
        return Err(ApiError::argument("acls", &Invalid::required(help)));
    };
    let mut rules: Vec<Acl> = Vec::with_capacity(specs.len());
    for (position, spec) in specs.into_iter().enumerate() {
        let of = format!("acls[{position}].");
        let parsed = parse(&mut arguments, &of, spec, Description::Whole);
        let Some(rule) = parsed.and_then(|rule: Rule| rule.into_new(&mut arguments, &of)) else { continue };
        if rules.iter().any(|other| other.name == rule.name) {
            let help = format!("two rules are named `{}`: a name tells them apart", rule.name);
            arguments.wrong(&format!("{of}name"), &Invalid::constraint(help));
        }
        rules.push(rule);
    }
    arguments.finish()?;
    Ok(rules)
}

/// What makes a frontend's rules these.
fn replaced(current: &Snapshot, frontend: &Frontend, wanted: &[Acl], now: jiff::Timestamp) -> Vec<Change> {
    let there: Vec<&Arc<Acl>> = live(current, frontend.id).collect();
    let mut kept = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for rule in wanted {
        match there.iter().find(|acl| acl.name == rule.name) {
            Some(before) => {
                kept.push(before.id);
                let Acl { name, description, index, action, subnets, invert, .. } = rule.clone();
                let after = Acl { name, description, index, action, subnets, invert, ..Acl::clone(before) };
                changes.push(changed(before, after, now));
            }
            None => {
                let (lb, times) = (frontend.lb, Times::created(now));
                changes.push(created(Document::Acl(Acl { lb, frontend: frontend.id, times, ..rule.clone() })));
            }
        }
    }
    let gone = there.into_iter().filter(|acl| !kept.contains(&acl.id));
    changes.extend(gone.map(|acl| deleted(Document::Acl(Acl::clone(acl)), now)));
    changes
}

fn changed(before: &Arc<Acl>, wanted: Acl, now: jiff::Timestamp) -> Change {
    let times = if wanted == **before { before.times } else { before.times.updated(now) };
    updated(Document::Acl(Acl::clone(before)), Document::Acl(Acl { times, ..wanted }))
}

fn show(
    context: &Context,
    snapshot: &Snapshot,
    actor: &Actor,
    id: AclId,
    life: Life,
) -> Result<Versioned<wire::Acl>, ApiError> {
    let acl = find_acl(snapshot, actor, id, life)?;
    Ok(Versioned(View::new(context, snapshot).acl(&acl)))
}

impl Listed for &Arc<Acl> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn created_at(&self) -> jiff::Timestamp {
        self.times.created_at
    }

    fn id(&self) -> uuid::Uuid {
        self.id.as_uuid()
    }
}
