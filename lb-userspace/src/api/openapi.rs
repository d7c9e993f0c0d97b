//! The OpenAPI document: made of what stands beside the handlers, and completed with what holds for every operation.
//!
//! A handler says its method, path, query, body and answer in `#[utoipa::path(…)]`, and `router.rs` registers it with
//! `routes!`, which takes the path from there: a route without an entry cannot be registered. What everybody shares
//! (the token, `{zone}` and `{id}`, `Idempotency-Key`, the bodies of errors) is added here.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::wire::Problem;

#[derive(OpenApi)]
#[openapi(components(schemas(Problem)))]
struct Base;

/// Order of a list.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "documents what `listing` reads")]
pub(super) enum Order {
    CreatedAtAsc,
    CreatedAtDesc,
    NameAsc,
    NameDesc,
}

/// Family of an address.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "documents what `ips` reads")]
pub(super) enum IpType {
    All,
    Ipv4,
    Ipv6,
}

macro_rules! parameters {
    ($($(#[$about:meta])+ $place:ident $name:ident { $($(#[$doc:meta])+ $field:ident: $kind:ty,)+ })+) => {$(
        $(#[$about])+
        #[derive(IntoParams)]
        #[into_params(parameter_in = $place)]
        #[expect(dead_code, reason = "documents what the handlers read")]
        pub(super) struct $name {
            $($(#[$doc])+ $field: Option<$kind>,)+
        }
    )+};
}

parameters! {
    /// What every list has.
    Query Paged {
        /// Only those whose name contains this, whatever its case.
        name: String,
        /// `created_at_asc` when not given.
        #[param(inline)]
        order_by: Order,
        /// The page, from 1.
        #[param(minimum = 1)]
        page: u64,
        /// Entries on a page; 20 when not given.
        #[param(minimum = 1, maximum = 100)]
        page_size: u32,
        /// Where the page begins, instead of `page`: the `next_cursor` of the page before.
        #[param(min_length = 1)]
        cursor: String,
    }
    /// Filters by owner: they narrow what the token may see.
    Query Owned {
        /// Only those of this project.
        project_id: uuid::Uuid,
        /// Only those of this organization.
        organization_id: uuid::Uuid,
    }
    /// Filter by organization.
    Query OfOrganization {
        /// Only those of this organization.
        organization_id: uuid::Uuid,
    }
    /// Filters of load balancers.
    Query LbFilter {
        /// Those with one of these labels.
        tags: Vec<String>,
        /// Only these.
        lb_ids: Vec<uuid::Uuid>,
        /// Deleted ones too.
        deleted: bool,
    }
    /// Filters of flexible IPs.
    Query IpFilter {
        /// Those with one of these labels.
        tags: Vec<String>,
        /// This address.
        ip_address: String,
        /// `all` when not given.
        #[param(inline)]
        ip_type: IpType,
    }
    /// How a load balancer is deleted.
    Query LbDeletion {
        /// Its addresses go with it.
        release_ip: bool,
        /// Also when it has live traffic.
        with_traffic: bool,
        /// Without the grace period in which it goes on forwarding.
        now: bool,
    }
    /// Filter by backend.
    Query OfBackend {
        /// Only servers of this backend.
        backend_id: uuid::Uuid,
    }
    /// Filter by life.
    Query WithDeleted {
        /// Deleted ones too.
        deleted: bool,
    }
    /// Filter by life.
    Query WithRevoked {
        /// Revoked ones too.
        revoked: bool,
    }
    /// What is explained.
    Query ExplainQuery {
        /// Address and port of the client, as in `198.51.100.7:40000`.
        #[param(required)]
        client: String,
        /// Address and port of the service, as in `192.0.2.10:80`.
        #[param(required)]
        service: String,
        /// `tcp` when not given.
        #[param(inline)]
        protocol: crate::model::Protocol,
        /// Of UDP: a QUIC connection id as hexadecimal digits, to explain packets of that open connection.
        #[param(min_length = 2, max_length = 40)]
        connection_id: String,
    }
    /// What is captured.
    Query CaptureQuery {
        /// Only packets of clients of this address or prefix.
        client: String,
        /// Only packets of this service: `address`, `prefix`, `address:port` or `:port`.
        service: String,
        /// Only this protocol: `tcp`, `udp`, `icmp`, `icmpv6`, or a number.
        protocol: String,
        /// Only packets that left for this reason, such as `acl_denied`; may be repeated.
        reason: String,
        /// Ends after so many packets.
        #[param(minimum = 1)]
        count: u64,
        /// Ends after so many seconds.
        #[param(minimum = 1, maximum = 3600, default = 60)]
        seconds: u32,
        /// Packets a second at most; those above are counted as lost.
        #[param(minimum = 1, maximum = 100_000, default = 1000)]
        rate: u32,
        /// Bytes of each packet that are kept.
        #[param(minimum = 64, maximum = 2047, default = 256)]
        snap: u32,
        /// `pcapng` when not given.
        #[param(inline)]
        format: crate::observe::capture::Format,
    }
    /// Filters of operations.
    Query OperationFilter {
        /// Only those before this number.
        #[param(minimum = 1)]
        before: u64,
        /// Entries on a page.
        #[param(minimum = 1, maximum = 100)]
        page_size: u32,
        /// Only those that touched this load balancer.
        lb_id: uuid::Uuid,
        /// Only those with this verb, such as `lb.delete`.
        verb: String,
        /// Only those of this actor.
        actor: String,
    }
    /// Filters of the scoreboard.
    Query HealFilter {
        /// Those in one of these states.
        #[param(inline)]
        state: Vec<crate::recovery::heal::State>,
        /// Those with one of these faults.
        #[param(inline)]
        fault: Vec<crate::recovery::heal::Fault>,
    }
    /// Filters of events.
    Query EventFilter {
        /// Only those after this one; `now` for what is to come.
        after: String,
        /// Only those about this load balancer.
        lb_id: uuid::Uuid,
        /// Only those of this kind, such as `server.down`.
        kind: String,
    }
    /// Filters of deliveries.
    Query DeliveryFilter {
        /// Only those that have come so far.
        #[param(inline)]
        state: crate::delivery::State,
        /// Only those to this subscriber or alarm target.
        recipient_id: uuid::Uuid,
    }
    /// Filters of dependents.
    Query DependentFilter {
        /// Only those of this load balancer.
        lb_id: uuid::Uuid,
        /// Only those of this kind, such as `kubernetes`.
        kind: String,
    }
    /// What would be gone.
    Query ImpactQuery {
        /// `lb:ID`, `project:ID`, `organization:ID`, or `zone` for everything.
        #[param(required)]
        place: String,
    }
    /// The time of an incident.
    Query IncidentQuery {
        /// A time, or the number of the first operation.
        #[param(required)]
        since: String,
        /// A time, or the number of the last operation; now when not given.
        until: String,
    }
    /// The version that is changed.
    Header IfMatch {
        /// The `ETag` that was read, in quotes; at another version nothing is changed.
        #[param(rename = "If-Match")]
        if_match: String,
    }
}

/// The document as it is served at `/openapi.json` and committed as `docs/openapi.json`.
pub static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// The document of every route.
fn document() -> Value {
    let mut base = Base::openapi();
    base.merge(super::router::documented());
    let mut document = serde_json::to_value(base).unwrap_or_default();
    document["info"] = json!({
        "title": "Snowshed",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "The control API of a Snowshed edge. Below `/lb/v1` it is Scaleway's Load Balancer API, so that its \
            clients work unchanged; below `/snowshed/v1` stands what is Snowshed's own.",
        "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
    });
    document["components"]["securitySchemes"] = json!({
        "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
        "bearer": {"type": "http", "scheme": "bearer"},
    });
    for (status, what, _) in PROBLEMS {
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        document["components"]["responses"][status.to_string()] = json!({"description": what, "content": content});
    }
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                complete(path, method, operation);
            }
        }
    }
    document
}

/// Adds what every operation of its kind has.
fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let is_change = method != "get";
    let is_public = operation.get("security").and_then(Value::as_array).is_some_and(|all| all.iter().any(is_empty));
    let own: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let relative = ["/lb/v1/zones/{zone}/", "/snowshed/v1/", "/"].iter().find_map(|base| path.strip_prefix(base));
    let words = relative.unwrap_or(path).split('/');
    let words: Vec<String> = words.map(|part| part.replace(['{', '}'], "").replace(['-', '.'], "_")).collect();
    operation.insert("operationId".to_owned(), json!(format!("{method}_{}", words.join("_"))));
    operation.insert("tags".to_owned(), json!([words.first()]));
    if !is_public {
        operation.insert("security".to_owned(), json!([{"token": []}, {"bearer": []}]));
    }
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        let placeholders = own.iter().filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        parameters.splice(0..0, placeholders.map(|name| placeholder(path, name)));
        // A token's creation takes none: its answer holds the secret, and is not kept.
        if is_change && !(method == "post" && path == "/snowshed/v1/tokens") {
            parameters.push(idempotency_key());
        }
    }
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        for (status, _, holds) in PROBLEMS {
            let holds = match holds {
                Holds::Always => true,
                Holds::WithToken => !is_public,
                Holds::ForChanges => is_change,
            };
            if holds {
                let shared = json!({"$ref": format!("#/components/responses/{status}")});
                responses.entry(status.to_string()).or_insert(shared);
            }
        }
    }
}

fn is_empty(requirement: &Value) -> bool {
    requirement.as_object().is_some_and(Map::is_empty)
}

fn placeholder(path: &str, name: &str) -> Value {
    let schema = match name {
        "zone" => json!({"type": "string", "pattern": "^[a-z0-9-]{1,32}$", "examples": ["fr-par-1"]}),
        // An operation has a number too.
        _ if path.contains("/operations/") => json!({"type": "string"}),
        _ => json!({"type": "string", "format": "uuid"}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "A key of this request's own: sent again with it, the request is answered as it was and not carried \
            out again.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    })
}

#[derive(Clone, Copy)]
enum Holds {
    Always,
    WithToken,
    ForChanges,
}

/// Errors by status, what they mean, and which operations have them.
const PROBLEMS: [(u16, &str, Holds); 13] = [
    (400, "An argument is wrong: `details` says which, and what is allowed", Holds::WithToken),
    (401, "No token, or one that is not known", Holds::WithToken),
    (403, "The token may not do that, or a quota is reached", Holds::WithToken),
    (404, "There is no such object, or the token does not see it", Holds::WithToken),
    (409, "The object is in a state that does not allow it", Holds::ForChanges),
    (412, "Something else must be done first, or the object is at another version", Holds::ForChanges),
    (413, "The body is too large", Holds::ForChanges),
    (417, "The request expected to be refused, and would have been carried out", Holds::ForChanges),
    (423, "Read-only mode: nothing is changed, and nothing is gone", Holds::ForChanges),
    (429, "Too many requests: `Retry-After` says when to come again", Holds::Always),
    (431, "The head is too large", Holds::Always),
    (500, "The agent failed; its log says why", Holds::Always),
    (503, "The agent is too busy, or no address is left", Holds::Always),
];
