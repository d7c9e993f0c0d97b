//! `ETag` and `If-Match`: a change is made to the version somebody read, or not at all.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, ZONE, text};

impl Api {
    /// A request with `If-Match`; the answer with its `ETag`.
    async fn call_if(&self, version: &str, method: Method, path: &str, body: &Value) -> (StatusCode, Value, String) {
        let (uri, token) = match path.starts_with("/snowshed") {
            true => (path.to_owned(), "secret-operator"),
            false => (format!("/lb/v1/zones/{ZONE}{path}"), "secret-one"),
        };
        let mut request = Request::builder().method(method).uri(uri).header("X-Auth-Token", token);
        if !version.is_empty() {
            request = request.header("If-Match", version);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.body(body).unwrap();
        let response = tower::ServiceExt::oneshot(self.router.clone(), request).await.unwrap();
        let etag = response.headers().get("ETag").map(|etag| etag.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null), etag)
    }

    async fn version(&self, path: &str) -> String {
        let (status, object, etag) = self.call_if("", Method::GET, path, &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{object}");
        assert_eq!(etag, format!("\"{}\"", text(&object, "/etag")), "the header and the body agree");
        etag
    }
}

/// Every request that changes something that is there, and the object whose version counts.
fn changes(ids: &Ids) -> Vec<(Method, &'static str, &'static str, Value)> {
    let backend = json!({"name": "other", "forward_protocol": "tcp", "forward_port": 80});
    let frontend = json!({"name": "other", "inbound_port": 80, "backend_id": ids.backend});
    let servers = json!({"server_ip": ["10.0.0.9"]});
    vec![
        (Method::PUT, "/lbs/{lb}", "", json!({"name": "other"})),
        (Method::PATCH, "/ips/{ip}", "", json!({"reverse": "a.example"})),
        (Method::PUT, "/frontends/{frontend}", "", frontend),
        (Method::PUT, "/backends/{backend}", "", backend),
        (Method::POST, "/backends/{backend}", "/servers", servers.clone()),
        (Method::DELETE, "/backends/{backend}", "/servers", servers.clone()),
        (Method::PUT, "/backends/{backend}", "/servers", servers),
        (Method::PUT, "/backends/{backend}", "/healthcheck", json!({"check_max_retries": 7})),
        (Method::DELETE, "/frontends/{frontend}", "", Value::Null),
        (Method::DELETE, "/backends/{backend}", "", Value::Null),
        (Method::DELETE, "/lbs/{lb}", "", Value::Null),
        // Attached to a deleted load balancer it stays reserved.
        (Method::PATCH, "/ips/{ip}", "", json!({"lb_id": null})),
        (Method::DELETE, "/ips/{ip}", "", Value::Null),
    ]
}

#[tokio::test]
async fn every_change_is_made_to_the_version_that_was_read_or_not_at_all() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for (method, of, below, body) in changes(&ids) {
        let (of, path) = (ids.path(of), format!("{}{below}", ids.path(of)));
        let head = api.head();
        let version = api.version(&of).await;
        let stale = "\"00000000000000000000000000000000\"";
        let (status, problem, _) = api.call_if(stale, method.clone(), &path, &body).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{method} {path}: {problem}");
        assert_eq!(text(&problem, "/type"), "precondition_failed");
        assert_eq!(text(&problem, "/precondition"), "etag_must_match");
        assert_eq!(api.head(), head, "{method} {path}");
        let either = format!("{stale}, {version}");
        let (status, answer, etag) = api.call_if(&either, method.clone(), &path, &body).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        assert_ne!(api.head(), head, "{method} {path}");
        if answer.get("etag").is_some() {
            assert_ne!(etag, version, "{method} {path}: another version");
            let (status, ..) = api.call_if(&version, method.clone(), &path, &body).await;
            assert_eq!(status, StatusCode::PRECONDITION_FAILED, "the version that was read is gone");
        }
    }
}

#[tokio::test]
async fn a_version_is_that_of_its_own_object_in_every_view() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let before = api.version(&ids.path("/lbs/{lb}")).await;
    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &json!({"server_ip": ["10.0.0.9"]})).await;
    api.status.send_modify(|status| status.applied_generation = 99);
    assert_eq!(api.version(&ids.path("/lbs/{lb}")).await, before, "neither a backend nor the data plane changes it");
    for (list, key, object) in [
        ("/lbs", "lbs", "/lbs/{lb}"),
        ("/ips", "ips", "/ips/{ip}"),
        ("/lbs/{lb}/frontends", "frontends", "/frontends/{frontend}"),
        ("/lbs/{lb}/backends", "backends", "/backends/{backend}"),
    ] {
        let listed = api.get(&ids.path(list)).await;
        assert_eq!(format!("\"{}\"", text(&listed[key][0], "/etag")), api.version(&ids.path(object)).await, "{list}");
    }
}

#[tokio::test]
async fn a_malformed_version_is_refused_and_a_star_is_any() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let path = ids.path("/lbs/{lb}");
    let body = json!({"name": "other"});
    for wrong in ["abc", "\"abc", "W/\"abc\"", "\"a\" \"b\"", ",", "\"a\",, \"b\""] {
        let (status, problem, _) = api.call_if(wrong, Method::PUT, &path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), "If-Match");
        assert!(text(&problem, "/help_message").contains("with its quotes"), "{problem}");
    }
    assert_eq!(api.head(), head);
    assert_eq!(api.call_if("*", Method::PUT, &path, &body).await.0, StatusCode::OK);
}

/// Every operation that documents `If-Match` and is not below [`changes`]: its path there, whose version counts, what is sent.
fn other_changes(ids: &Ids, own: &[String; 4]) -> Vec<(Method, &'static str, String, String, Value)> {
    let [organization, project, token, dependent] = own;
    let lb = ids.path("/lbs/{lb}");
    let acls = ids.path("/frontends/{frontend}/acls");
    let (acl, subscriber) = (ids.path("/acls/{acl}"), ids.path("/subscribers/{subscriber}"));
    let subscribe = |verb: &str| ids.path("/lb/{lb}/").clone() + verb;
    let rule =
        json!({"name": "other", "index": 5, "action": {"type": "deny"}, "match": {"ip_subnet": ["10.8.0.0/16"]}});
    let named = |number: usize| json!({"name": format!("other {number}")});
    let whole = json!({"name": "other", "webhook_config": {"uri": "https://example.org/other"}});
    let dependents = "/snowshed/v1/dependents/{id}";
    vec![
        (Method::PATCH, "/lbs/{id}", lb.clone(), lb.clone(), named(1)),
        (Method::POST, "/lbs/{id}/migrate", lb.clone(), format!("{lb}/migrate"), json!({"type": "LB-GP-M"})),
        (
            Method::POST,
            "/lb/{id}/subscribe",
            lb.clone(),
            subscribe("subscribe"),
            json!({"subscriber_id": ids.subscriber}),
        ),
        (Method::DELETE, "/lb/{id}/unsubscribe", lb.clone(), subscribe("unsubscribe"), Value::Null),
        (Method::PUT, "/subscribers/{id}", subscriber.clone(), subscriber.clone(), whole),
        (Method::PATCH, "/subscribers/{id}", subscriber.clone(), subscriber.clone(), named(2)),
        (Method::DELETE, "/lb/subscription/{id}", subscriber, ids.path("/lb/subscription/{subscriber}"), Value::Null),
        (Method::PUT, "/acls/{id}", acl.clone(), acl.clone(), rule.clone()),
        (Method::PATCH, "/acls/{id}", acl.clone(), acl.clone(), named(3)),
        (Method::DELETE, "/acls/{id}", acl.clone(), acl, Value::Null),
        (Method::PUT, "/frontends/{id}/acls", acls.clone(), acls, json!({"acls": [rule]})),
        (
            Method::PATCH,
            "/frontends/{id}",
            ids.path("/frontends/{frontend}"),
            ids.path("/frontends/{frontend}"),
            named(4),
        ),
        (Method::PATCH, "/backends/{id}", ids.path("/backends/{backend}"), ids.path("/backends/{backend}"), named(5)),
        (Method::PATCH, dependents, dependent.clone(), dependent.clone(), named(6)),
        (
            Method::POST,
            "/snowshed/v1/dependents/{id}/release",
            dependent.clone(),
            format!("{dependent}/release"),
            json!({"reason": "x"}),
        ),
        (Method::DELETE, dependents, dependent.clone(), dependent.clone(), Value::Null),
        (Method::PATCH, "/snowshed/v1/organizations/{id}", organization.clone(), organization.clone(), named(7)),
        (Method::PATCH, "/snowshed/v1/projects/{id}", project.clone(), project.clone(), named(8)),
        (Method::DELETE, "/snowshed/v1/tokens/{id}", token.clone(), token.clone(), Value::Null),
        (Method::DELETE, "/snowshed/v1/projects/{id}", project.clone(), project.clone(), Value::Null),
        (Method::DELETE, "/snowshed/v1/organizations/{id}", organization.clone(), organization.clone(), Value::Null),
        (Method::POST, "/lbs/{id}/undelete", lb.clone(), format!("{lb}/undelete"), Value::Null),
    ]
}

/// A tenant with a token, and a dependent that holds: their paths.
async fn own(api: &Api, ids: &Ids) -> [String; 4] {
    let make = async |collection: &str, body: Value| {
        let path = format!("/snowshed/v1/{collection}");
        let (status, made, _) = api.call_if("", Method::POST, &path, &body).await;
        assert_eq!(status, StatusCode::OK, "{collection}: {made}");
        let id = text(&made, "/id").to_owned();
        (format!("{path}/{id}"), id)
    };
    let (organization, id) = make("organizations", json!({"name": "new"})).await;
    let (project, project_id) = make("projects", json!({"name": "new", "organization_id": id})).await;
    let (token, _) = make("tokens", json!({"name": "new", "role": "viewer", "project_id": project_id})).await;
    let dependent = json!({"kind": "database", "name": "db", "lb_ids": [ids.lb], "finalizer": true});
    let (dependent, _) = make("dependents", dependent).await;
    [organization, project, token, dependent]
}

/// Operations of the OpenAPI document that change something, and whether they take `If-Match`.
fn documented() -> std::collections::BTreeMap<(String, String), bool> {
    let document: Value = serde_json::from_str(&lb_userspace::api::openapi::DOCUMENT).unwrap();
    let mut found = std::collections::BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "get") {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            let takes = parameters.any(|parameter| parameter["name"] == "If-Match");
            let path = path.strip_prefix("/lb/v1/zones/{zone}").unwrap_or(path);
            found.insert((method.to_uppercase(), path.to_owned()), takes);
        }
    }
    found
}

#[tokio::test]
async fn every_operation_compares_the_version_that_was_read_or_refuses_to_be_told_one() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let own = own(&api, &ids).await;
    let stale = "\"00000000000000000000000000000000\"";
    let noun = |path: &str| {
        ["lb", "ip", "frontend", "backend"]
            .iter()
            .fold(path.to_owned(), |path, noun| path.replace(&format!("{{{noun}}}"), "{id}"))
    };
    let mut seen: std::collections::BTreeSet<(String, String)> = changes(&ids)
        .iter()
        .map(|(method, of, below, _)| (method.to_string(), noun(&format!("{of}{below}"))))
        .collect();
    for (method, documented, of, path, body) in other_changes(&ids, &own) {
        seen.insert((method.to_string(), documented.to_owned()));
        if documented.ends_with("/undelete") {
            api.delete(&of).await;
        }
        let (_, _, version) = api.call_if("", Method::GET, &of, &Value::Null).await;
        assert!(!version.is_empty(), "{of} shows no version");
        let head = api.head();
        let (status, problem, _) = api.call_if(stale, method.clone(), &path, &body).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{method} {path}: {problem}");
        assert_eq!((text(&problem, "/precondition"), api.head()), ("etag_must_match", head), "{method} {path}");
        let (status, answer, _) = api.call_if(&version, method.clone(), &path, &body).await;
        assert!(status.is_success() && api.head() != head, "{method} {path}: {status} {answer}");
    }
    for ((method, path), takes) in documented() {
        if takes {
            assert!(seen.contains(&(method.clone(), path.clone())), "no test of If-Match for {method} {path}");
            continue;
        }
        let path = path.replace("{id}", &ids.lb);
        let (status, problem, _) = api.call_if(stale, method.parse().unwrap(), &path, &json!({})).await;
        let told = text(&problem, "/details/0/argument_name");
        assert_eq!((status, told), (StatusCode::BAD_REQUEST, "If-Match"), "{method} {path}: {problem}");
    }
}
