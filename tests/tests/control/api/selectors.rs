//! Every operation that changes something, with a body that would be taken: it is never carried out when it expects to be
//! refused, and never with a selector that is not exactly one thing. An operation that is new fails here until somebody says what
//! body it takes and what in it selects.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use lb_userspace::delivery::{Filter, Outbox};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::coverage::{Operation, World, guarded};
use super::{ZONE, owner, text};

/// Operations of whoever runs the edges.
const OPERATORS: [&str; 8] =
    ["/freezes", "/hold/", "/organizations", "/quarantines", "/snowshed/v1/releases", "/heal/", "/projects", "/tokens"];

/// Operations that are refused anyhow in this world, with what they would be answered.
const REFUSED_ANYHOW: [(&str, StatusCode); 8] = [
    // Its port is not the backend's, and `ipip` translates none.
    ("POST /lbs/{id}/frontends", StatusCode::BAD_REQUEST),
    // In use, deleted, or nobody else's to do.
    ("DELETE /backends/{id}", StatusCode::PRECONDITION_FAILED),
    ("DELETE /ips/{id}", StatusCode::PRECONDITION_FAILED),
    ("POST /snowshed/v1/hold/releases/{id}/approve", StatusCode::PRECONDITION_FAILED),
    ("POST /snowshed/v1/plans/{id}/approve", StatusCode::PRECONDITION_FAILED),
    ("POST /lbs/{id}/undelete", StatusCode::EXPECTATION_FAILED),
    ("DELETE /snowshed/v1/organizations/{id}", StatusCode::PRECONDITION_FAILED),
    ("DELETE /snowshed/v1/projects/{id}", StatusCode::PRECONDITION_FAILED),
];

/// An operation without the zone: `POST /lbs/{id}/backends`.
fn name(method: &Method, path: &str) -> String {
    format!("{method} {}", path.replace(&format!("/lb/v1/zones/{ZONE}"), ""))
}

fn changing() -> Vec<Operation> {
    guarded().into_iter().filter(|(method, _)| *method != Method::GET).collect()
}

fn token(path: &str) -> &'static str {
    if OPERATORS.iter().any(|part| path.contains(part)) { "secret-operator" } else { "secret-one" }
}

/// A body that is taken, and the fields of it that select what is changed.
fn body(world: &World, method: &Method, path: &str) -> (Value, &'static [&'static str]) {
    let (lb, place) = (&world.ids.lb, format!("lb:{}", world.ids.lb));
    let (project, backend) = (format!("project:{}", owner(1).project), &world.ids.backend);
    let acl = json!({"name": "deny", "action": {"type": "deny"}, "match": {"ip_subnet": ["10.8.0.0/16"]}, "index": 2});
    match name(method, path).as_str() {
        "POST /lbs" => (json!({"name": "new"}), &[]),
        "PUT /lbs/{id}" | "PATCH /lbs/{id}" => (json!({"name": "other"}), &[]),
        "POST /lbs/{id}/migrate" => (json!({"type": "LB-GP-M"}), &[]),
        "POST /lbs/{id}/backends" => (json!({"name": "b", "forward_protocol": "tcp", "forward_port": 81}), &[]),
        "POST /lbs/{id}/frontends" => {
            (json!({"name": "f", "inbound_port": 81, "backend_id": backend}), &["backend_id"])
        }
        "PUT /frontends/{id}" | "PATCH /frontends/{id}" => {
            (json!({"name": "f", "inbound_port": 80, "backend_id": backend, "connection_rate_limit": 9}), &[])
        }
        "PUT /backends/{id}" | "PATCH /backends/{id}" => {
            (json!({"name": "other", "forward_protocol": "tcp", "forward_port": 80}), &[])
        }
        "PUT /backends/{id}/healthcheck" => (json!({"port": 81}), &[]),
        "POST /backends/{id}/servers" | "PUT /backends/{id}/servers" => (json!({"server_ip": ["10.0.0.9"]}), &[]),
        "DELETE /backends/{id}/servers" => (json!({"server_ip": ["10.0.0.1"]}), &["server_ip"]),
        "POST /frontends/{id}/acls" | "PUT /acls/{id}" | "PATCH /acls/{id}" => (acl, &[]),
        "PUT /frontends/{id}/acls" => (json!({"acls": [acl]}), &[]),
        "POST /ips" => (json!({}), &[]),
        "PATCH /ips/{id}" => (json!({"reverse": "a.example"}), &[]),
        "POST /subscribers" => (json!({"name": "n", "webhook_config": {"uri": "https://example.org/x"}}), &[]),
        "PUT /subscribers/{id}" | "PATCH /subscribers/{id}" => (json!({"name": "other"}), &[]),
        "POST /lb/{id}/subscribe" => (json!({"subscriber_id": world.subscriber}), &["subscriber_id"]),
        "POST /snowshed/v1/dependents" => (json!({"kind": "database", "name": "n", "lb_ids": [lb]}), &["lb_ids"]),
        "PATCH /snowshed/v1/dependents/{id}" => (json!({"name": "other", "lb_ids": [lb]}), &[]),
        "POST /snowshed/v1/dependents/{id}/release" => (json!({"reason": "moved"}), &[]),
        "POST /snowshed/v1/freezes" => (json!({"place": place, "reason": "x", "lasts_seconds": 60}), &["place"]),
        "POST /snowshed/v1/quarantines" => (json!({"place": place, "reason": "x"}), &["place"]),
        "POST /snowshed/v1/releases" => (json!({"place": world.quarantined, "reason": "x"}), &["place"]),
        "POST /snowshed/v1/plans" => (
            json!({"action": "delete", "parent": project, "filter": {"count": 2}, "reason": "x",
                "validate_only": false}),
            &["parent", "filter", "action"],
        ),
        "POST /snowshed/v1/hold/releases" => (json!({"services": ["192.0.2.1 80/tcp"], "reason": "x"}), &["services"]),
        "POST /snowshed/v1/heal/retry" => (json!({"place": place}), &["place"]),
        "POST /snowshed/v1/heal/resolve" => (json!({"place": place, "reason": "x"}), &["place"]),
        "POST /snowshed/v1/undo" => (json!({"operation": world.operation}), &["operation"]),
        "POST /snowshed/v1/restore" => (json!({"at": "8", "scope": place}), &["at", "scope"]),
        "POST /snowshed/v1/organizations" => (json!({"name": "new"}), &[]),
        "PATCH /snowshed/v1/organizations/{id}" | "PATCH /snowshed/v1/projects/{id}" => (json!({"name": "other"}), &[]),
        "POST /snowshed/v1/projects" => {
            (json!({"name": "new", "organization_id": owner(1).organization}), &["organization_id"])
        }
        "POST /snowshed/v1/tokens" => {
            (json!({"name": "new", "role": "viewer", "project_id": owner(1).project}), &["role"])
        }
        other if other.starts_with("DELETE ") || method == Method::POST && is_bare(other) => (Value::Null, &[]),
        other => panic!("{other}: say here what body it takes, and what in it selects"),
    }
}

/// Whether an operation takes no body.
fn is_bare(name: &str) -> bool {
    ["/apply", "/approve", "/undelete", "/redeliver", "/unsubscribe"].iter().any(|end| name.ends_with(end))
}

/// A selector that selects nothing, everything, or the wrong kind of thing.
fn bad_selectors(world: &World) -> Vec<Value> {
    let (project, organization) = (owner(1).project.to_string(), owner(1).organization.to_string());
    let of = |text: &str| [json!(text), json!([text])];
    let texts = [
        "",
        " ",
        "*",
        "%",
        "null",
        "all",
        "everything",
        "00000000-0000-0000-0000-000000000000",
        "lb:*",
        "lb:",
        "project:",
        "project:*",
        "organization:",
        "token:",
        &project,
        &format!("lb:{project}"),
        &format!("project:{organization}"),
        &format!("organization:{project}"),
        &format!("lb:{}", world.ids.ip),
        &format!(" lb:{}", world.ids.lb),
        &format!("LB:{}", world.ids.lb),
        &format!("lb:{0},lb:{0}", world.ids.lb),
        "lb:99999999-9999-4999-8999-999999999999",
        "99999999-9999-4999-8999-999999999999",
    ];
    let mut all = vec![Value::Null, json!(-1), json!(true), json!([]), json!({}), json!([null]), json!([""])];
    all.extend(texts.iter().flat_map(|text| of(text)));
    all.extend([json!({"count": 0}), json!({"all": true}), json!({"lb_ids": []}), json!({"tag": ""})]);
    all
}

/// What stands in the outbox.
fn letters(outbox: &Outbox) -> usize {
    outbox.deliveries(&Filter::default()).unwrap().len()
}

async fn deny(world: &World, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
    expecting(world, "deny", token(path), method, path, body).await
}

async fn expecting(
    world: &World,
    what: &str,
    token: &str,
    method: &Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header("X-Auth-Token", token);
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    world.api.send(request.header("Expect", what).body(body).unwrap()).await
}

#[tokio::test]
async fn every_operation_that_is_rehearsed_is_answered_and_nothing_comes_of_it() {
    let world = World::create().await;
    let (head, waiting) = (world.api.head(), letters(&world.api.outbox));
    let mut would_be = 0;
    for (number, (method, path)) in changing().into_iter().enumerate() {
        let (body, _) = body(&world, &method, &path);
        let uri = if path.contains("{id}") { path.replace("{id}", &world.id_of(&path)) } else { path.clone() };
        let what = format!("rehearsal={}", uuid::Uuid::from_u128(number as u128 + 1));
        let (status, answer) = expecting(&world, &what, token(&path), &method, &uri, &body).await;
        let name = name(&method, &path);
        let expected = REFUSED_ANYHOW.iter().any(|(operation, _)| *operation == name);
        let is_sent = status == StatusCode::EXPECTATION_FAILED && path.contains("/deliveries/");
        assert!(status.is_success() || expected || is_sent, "{name}: {status} {answer}");
        would_be += usize::from(status.is_success());
        assert_eq!((world.api.head(), letters(&world.api.outbox)), (head, waiting), "{name}");
    }
    assert!(would_be > 45, "only {would_be} would have been carried out");
}

#[tokio::test]
async fn requests_of_one_rehearsal_see_what_its_earlier_ones_made_and_nobody_else_does() {
    let world = World::create().await;
    let (head, path) = (world.api.head(), format!("/lb/v1/zones/{ZONE}/lbs"));
    let [one, other] = [1, 2].map(|number| format!("rehearsal={}", uuid::Uuid::from_u128(number)));
    let send = |what: &str, token: &'static str, method: Method, path: String, body: Value| {
        let (what, world) = (what.to_owned(), &world);
        async move { expecting(world, &what, token, &method, &path, &body).await }
    };
    let (status, lb) = send(&one, "secret-one", Method::POST, path.clone(), json!({"name": "new"})).await;
    assert_eq!(status, StatusCode::OK, "{lb}");
    let made = format!("{path}/{}", text(&lb, "/id"));
    for (what, token, expected) in [
        (&one, "secret-one", StatusCode::OK),
        (&other, "secret-one", StatusCode::NOT_FOUND),
        // Another token's rehearsal of the same number is its own.
        (&one, "secret-operator", StatusCode::NOT_FOUND),
        (&one, "nobody's", StatusCode::UNAUTHORIZED),
        (&"rehearsal=1".to_owned(), "secret-one", StatusCode::EXPECTATION_FAILED),
        (&format!("{one}, deny"), "secret-one", StatusCode::EXPECTATION_FAILED),
    ] {
        let (status, answer) = send(what, token, Method::GET, made.clone(), Value::Null).await;
        assert_eq!(status, expected, "{what} {token}: {answer}");
    }
    let backend = json!({"name": "b", "forward_protocol": "tcp", "forward_port": 81});
    let (status, answer) = send(&one, "secret-one", Method::POST, format!("{made}/backends"), backend).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(world.api.head(), head);
    // Silent ones make room for new ones.
    for number in 10..40 {
        let what = format!("rehearsal={}", uuid::Uuid::from_u128(number));
        assert_eq!(send(&what, "secret-one", Method::GET, path.clone(), Value::Null).await.0, StatusCode::OK);
    }
    assert_eq!(send(&one, "secret-one", Method::GET, made, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_operation_that_expects_to_be_refused_is_told_that_it_would_have_been_carried_out_and_is_not() {
    let world = World::create().await;
    let (head, waiting) = (world.api.head(), letters(&world.api.outbox));
    let (mut would_be, mut wrong) = (0, Vec::new());
    for (method, path) in changing() {
        let (body, _) = body(&world, &method, &path);
        let uri = if path.contains("{id}") { path.replace("{id}", &world.id_of(&path)) } else { path.clone() };
        let (status, answer) = deny(&world, &method, &uri, &body).await;
        let name = name(&method, &path);
        let expected = REFUSED_ANYHOW.iter().find(|(operation, _)| *operation == name).map(|(_, status)| *status);
        if status != expected.unwrap_or(StatusCode::EXPECTATION_FAILED) {
            wrong.push(format!("{name} {body}: {status} {answer}"));
        }
        would_be += usize::from(status == StatusCode::EXPECTATION_FAILED);
        assert_eq!((world.api.head(), letters(&world.api.outbox)), (head, waiting), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(would_be > 45, "only {would_be} would have been carried out");
}

#[tokio::test]
async fn every_selector_of_every_operation_that_is_not_exactly_one_thing_is_refused() {
    let world = World::create().await;
    let (head, waiting) = (world.api.head(), letters(&world.api.outbox));
    let (_, theirs) = world.api.call_as("secret-two", Method::GET, "/lbs", None).await;
    let theirs = text(&theirs, "/lbs/0/id").to_owned();
    let mut tried = 0;
    for (method, path) in changing() {
        let (good, selectors) = body(&world, &method, &path);
        let uri = if path.contains("{id}") { path.replace("{id}", &world.id_of(&path)) } else { path.clone() };
        let mut selections: Vec<Value> = Vec::new();
        for field in selectors {
            let with = |value: Value| {
                let mut body = good.clone();
                body[*field] = value;
                body
            };
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(*field);
            selections.push(without);
            selections.extend(bad_selectors(&world).into_iter().map(with));
            if token(&path) == "secret-one" {
                let foreign = [json!(theirs), json!([theirs]), json!(format!("lb:{theirs}"))];
                selections.extend(foreign.into_iter().map(with));
            }
        }
        if let Some(fields) = good.as_object() {
            let mut unknown = fields.clone();
            unknown.insert("everything".to_owned(), json!(true));
            selections.push(Value::Object(unknown));
        }
        for body in selections.iter().filter(|body| **body != good) {
            let (status, answer) = world.ask(Some(token(&path)), &method, &uri, Some(body)).await;
            assert!(status.is_client_error(), "{} {body}: {status} {answer}", name(&method, &path));
            assert_eq!((world.api.head(), letters(&world.api.outbox)), (head, waiting), "{method} {path} {body}");
            tried += 1;
        }
    }
    assert!(tried > 700, "only {tried} were tried");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_else_it_says_no_operation_that_expects_to_be_refused_changes_one_byte(
        requests in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, "[a-z*: ]{0,12}"), 1..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::create().await;
            let (head, waiting) = (world.api.head(), letters(&world.api.outbox));
            let tables = std::sync::Arc::clone(&world.api.tables.subscribe().borrow());
            let all = changing();
            for (index, mutation, noise) in requests {
                let (method, path) = index.get(&all).clone();
                let (mut body, _) = body(&world, &method, &path);
                let mut uri = if path.contains("{id}") { path.replace("{id}", &world.id_of(&path)) } else { path.clone() };
                match (mutation, &mut body) {
                    (1, Value::Object(fields)) => drop(fields.insert(noise.clone(), json!(noise))),
                    (2, Value::Object(fields)) => {
                        let first = fields.keys().next().cloned();
                        first.and_then(|key| fields.insert(key, json!(noise)));
                    }
                    (3, body) => *body = json!([noise]),
                    (4, _) => uri = format!("{uri}?with_traffic=true&now=true&release_ip=true"),
                    _ => {}
                }
                let (status, answer) = deny(&world, &method, &uri, &body).await;
                assert!(!status.is_success(), "{method} {uri}: {status} {answer}");
                assert_eq!((world.api.head(), letters(&world.api.outbox)), (head, waiting), "{method} {uri} {body}");
            }
            assert!(std::sync::Arc::ptr_eq(&tables, &world.api.tables.subscribe().borrow()), "nothing reached the planner");
        });
    }
}
