//! Resources of Scaleway's API that this version does not have. There are none, so their lists are empty and their ids
//! not found; making one is refused with the reason, never accepted and ignored.

use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::{Id, find_lb};
use crate::api::listing::{Listing, Pairs};
use crate::api::parse::Arguments;
use crate::api::{ApiError, Context};
use crate::model::{Actor, Invalid, LbId};

/// Scaleway's paths of resources that this version does not have.
pub(in crate::api) fn routes() -> Router<Context> {
    Router::new()
        .route("/lbs/{id}/certificates", CERTIFICATE.collection(Of::Lb, &[]))
        .route("/certificates/{id}", CERTIFICATE.object())
        .route("/routes", ROUTE.collection(Of::Project, &["frontend_id"]))
        .route("/routes/{id}", ROUTE.object())
        .route("/lbs/{id}/private-networks", PRIVATE_NETWORK.list(Of::Lb, &[]))
        .route("/lbs/{id}/attach-private-network", PRIVATE_NETWORK.creation(Of::Lb))
        .route("/lbs/{id}/detach-private-network", PRIVATE_NETWORK.creation(Of::Lb))
}

/// A resource that is not there.
struct Absent {
    /// Its name in errors.
    resource: &'static str,
    /// The list's field.
    plural: &'static str,
    /// Why there is none.
    why: &'static str,
}

const CERTIFICATE: Absent = Absent {
    resource: "certificate",
    plural: "certificates",
    why: "Snowshed forwards packets at layer 4 and does not end TLS; the servers hold the certificates",
};
const ROUTE: Absent = Absent {
    resource: "route",
    plural: "routes",
    why: "Snowshed forwards packets at layer 4 and sees no host names and no paths; give each service a load balancer \
          or a port of its own",
};
const PRIVATE_NETWORK: Absent = Absent {
    resource: "private_network",
    plural: "private_network",
    why: "this version reaches servers by the edge's own routes only",
};
/// What the `{id}` of a collection's path names.
#[derive(Clone, Copy)]
enum Of {
    /// Nothing: the collection is the project's.
    Project,
    /// A load balancer.
    Lb,
}

impl Absent {
    /// An empty list, to which nothing can be added.
    fn collection(&'static self, of: Of, filters: &'static [&'static str]) -> MethodRouter<Context> {
        self.list(of, filters).merge(self.creation(of))
    }

    /// An empty list.
    fn list(&'static self, of: Of, filters: &'static [&'static str]) -> MethodRouter<Context> {
        get(
            move |State(context): State<Context>, Extension(actor): Extension<Actor>, named: Named, pairs: Pairs| async move {
                named.find(&context, &actor, of)?;
                let mut arguments = Arguments::default();
                Listing::read(pairs, filters, &mut arguments)?;
                arguments.finish()?;
                Ok::<_, ApiError>(self.none())
            },
        )
    }

    /// A path whose only use is to make one.
    fn creation(&'static self, of: Of) -> MethodRouter<Context> {
        post(move |State(context): State<Context>, Extension(actor): Extension<Actor>, named: Named| async move {
            named.find(&context, &actor, of)?;
            Err::<(), _>(self.refused())
        })
    }

    /// An object that is never found.
    fn object(&'static self) -> MethodRouter<Context> {
        let missing = move |named: Named| async move { self.missing(&named) };
        get(missing).put(missing).delete(missing)
    }

    fn none(&self) -> Json<Value> {
        Json(json!({ self.plural: [], "total_count": 0 }))
    }

    fn refused(&self) -> ApiError {
        let help = format!("`{}` is not available: {}", self.resource, self.why);
        ApiError::argument(self.resource, &Invalid::constraint(help))
    }

    fn missing(&self, named: &Named) -> ApiError {
        let argument = format!("{}_id", self.resource);
        let Some(id) = &named.0 else { return ApiError::internal("a path without an id") };
        // Ids of every kind are read alike.
        id.parse::<LbId>(&argument).map_or_else(|error| error, |id| ApiError::no_such(self.resource, id.as_uuid()))
    }
}

/// The `{id}` of a path that may have none.
struct Named(Option<Id>);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = RawPathParams::from_request_parts(parts, state).await;
        let has_id = named.is_ok_and(|named| named.iter().any(|(name, _)| name == "id"));
        Ok(Self(if has_id { Some(Id::from_request_parts(parts, state).await?) } else { None }))
    }
}

impl Named {
    fn find(&self, context: &Context, actor: &Actor, of: Of) -> Result<(), ApiError> {
        let snapshot = context.ledger.snapshot();
        match (of, &self.0) {
            (Of::Lb, Some(id)) => find_lb(&snapshot, actor, id.parse("lb_id")?).map(drop),
            _ => Ok(()),
        }
    }
}
