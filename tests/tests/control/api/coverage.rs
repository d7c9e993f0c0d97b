//! Every operation of the OpenAPI document, also one that is new tomorrow: without a token, by a stranger, with a scope that is
//! none, and with input that nobody reads. A new noun fails here until somebody says what stands in for its `{id}`.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, ZONE, owner, text};

/// Operations that anybody may use: that the agent lives, its counters, and what its API is.
const PUBLIC: [&str; 3] = ["/healthz", "/metrics", "/openapi.json"];
/// Operations that read neither a body nor a query nor an id.
const WITHOUT_INPUT: [&str; 1] = ["GET /snowshed/v1/status"];
const MISSING: &str = "99999999-9999-4999-8999-999999999999";

/// An operation: method, and path with `{id}`.
pub(super) type Operation = (Method, String);

/// The paths of what is not built.
fn absent() -> impl Iterator<Item = String> {
    let source = include_str!("../../../../lb-userspace/src/api/handlers/absent.rs");
    // A route's path may stand on the line after the word.
    let parts = source.split(".route(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    parts.filter_map(|rest| rest.split_once('"')).map(|(path, _)| format!("/lb/v1/zones/{ZONE}{path}"))
}

/// Every operation of the document, and whether it takes a token.
fn operations() -> Vec<(Operation, bool)> {
    let document: Value = serde_json::from_str(&lb_userspace::api::openapi::DOCUMENT).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let takes_token = operation["security"].as_array().unwrap().iter().all(|one| one != &json!({}));
            let method = method.to_uppercase().parse().unwrap();
            found.push(((method, path.replace("{zone}", ZONE)), takes_token));
        }
    }
    assert!(found.len() > 60, "only {} operations were found", found.len());
    found
}

/// Those that take a token. Nobody else's are public than those that are meant to be.
pub(super) fn guarded() -> Vec<Operation> {
    let (guarded, public): (Vec<_>, Vec<_>) = operations().into_iter().partition(|(_, takes_token)| *takes_token);
    let mut public: Vec<_> = public.into_iter().map(|((_, path), _)| path).collect();
    public.sort();
    assert_eq!(public, PUBLIC);
    guarded.into_iter().map(|(operation, _)| operation).collect()
}

/// A tenant with one of everything.
pub(super) struct World {
    pub(super) api: Api,
    pub(super) ids: Ids,
    acl: String,
    token: String,
    pub(super) operation: String,
    /// A place that is quarantined.
    pub(super) quarantined: String,
    freeze: String,
    plan: String,
    release: String,
    delivery: String,
    pub(super) subscriber: String,
    dependent: String,
    purge: String,
}

impl World {
    pub(super) async fn create() -> Self {
        let api = Api::new();
        let ids = Ids::create(&api).await;
        let acl =
            json!({"name": "deny", "action": {"type": "deny"}, "match": {"ip_subnet": ["10.0.0.0/8"]}, "index": 1});
        let acl = api.ok(Method::POST, &format!("/frontends/{}/acls", ids.frontend), &acl).await;
        let operation = text(&api.get("/snowshed/v1/operations").await, "/operations/0/id").to_owned();
        let token = text(&api.get("/snowshed/v1/tokens").await, "/tokens/0/id").to_owned();
        let project = format!("project:{}", owner(1).project);
        let freeze = json!({"place": project, "verb": "never.used", "reason": "test", "lasts_seconds": 3600});
        let freezes = "/snowshed/v1/freezes";
        let (_, freeze) = api.call_as("secret-operator", Method::POST, freezes, Some(&freeze)).await;
        let plan = json!({"action": "delete", "parent": project, "filter": {"count": 1}, "reason": "test",
            "validate_only": false});
        let plan = api.ok(Method::POST, "/snowshed/v1/plans", &plan).await;
        api.status.send_modify(|status| status.held = vec!["192.0.2.1 80/tcp".to_owned()]);
        let release = json!({"count": 1, "reason": "test"});
        let releases = "/snowshed/v1/hold/releases";
        let (_, release) = api.call_as("secret-operator", Method::POST, releases, Some(&release)).await;
        let release = text(&release, "/id").to_owned();
        let (freeze, plan) = (text(&freeze, "/id").to_owned(), text(&plan, "/id").to_owned());
        let dependent = json!({"kind": "database", "name": "orders", "lb_ids": [ids.lb]});
        let dependent = api.ok(Method::POST, "/snowshed/v1/dependents", &dependent).await;
        let dependent = text(&dependent, "/id").to_owned();
        let subscriber = json!({"name": "ops", "webhook_config": {"uri": "https://example.org/hook"}});
        let subscriber = text(&api.ok(Method::POST, "/subscribers", &subscriber).await, "/id").to_owned();
        let other = api.ok(Method::POST, "/lbs", &json!({"name": "abuse"})).await;
        let quarantined = format!("lb:{}", text(&other, "/id"));
        let quarantine = json!({"place": quarantined, "reason": "test"});
        api.call_as("secret-operator", Method::POST, "/snowshed/v1/quarantines", Some(&quarantine)).await;
        api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
        let purge = super::purges::announce(&api).await;
        let delivery = super::deliveries::post(&api, Some(owner(1).project)).to_string();
        Self {
            acl: text(&acl, "/id").to_owned(),
            api,
            ids,
            token,
            operation,
            quarantined,
            freeze,
            plan,
            release,
            delivery,
            subscriber,
            dependent,
            purge,
        }
    }

    /// The id of tenant one's object that a path's `{id}` names.
    pub(super) fn id_of(&self, path: &str) -> String {
        let noun = path.split('/').rev().skip_while(|part| *part != "{id}").nth(1).unwrap();
        match noun {
            // Scaleway writes some paths with one.
            "lbs" | "lb" => self.ids.lb.clone(),
            "subscribers" | "subscription" => self.subscriber.clone(),
            "ips" => self.ids.ip.clone(),
            "frontends" => self.ids.frontend.clone(),
            "backends" => self.ids.backend.clone(),
            "acls" => self.acl.clone(),
            "operations" => self.operation.clone(),
            "organizations" => owner(1).organization.to_string(),
            "projects" => owner(1).project.to_string(),
            "tokens" => self.token.clone(),
            "freezes" => self.freeze.clone(),
            "plans" => self.plan.clone(),
            "releases" => self.release.clone(),
            "deliveries" => self.delivery.clone(),
            "dependents" => self.dependent.clone(),
            "purges" => self.purge.clone(),
            _ => panic!("{path}: say here what stands for the {{id}} of {noun}"),
        }
    }

    pub(super) async fn ask(
        &self,
        token: Option<&str>,
        method: &Method,
        uri: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header("X-Auth-Token", token);
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.api.send(request.body(body).unwrap()).await
    }
}

/// `{}` where a body may be.
fn nothing(method: &Method) -> Option<Value> {
    (*method != Method::GET).then(|| json!({}))
}

#[tokio::test]
async fn every_operation_without_a_token_is_denied() {
    let world = World::create().await;
    let head = world.api.head();
    let absent = absent()
        .flat_map(|path| [Method::GET, Method::POST, Method::PUT, Method::DELETE].map(|method| (method, path.clone())));
    for (method, path) in guarded().into_iter().chain(absent) {
        for id in [MISSING, &world.ids.lb] {
            let uri = path.replace("{id}", id);
            let (status, answer) = world.ask(None, &method, &uri, nothing(&method).as_ref()).await;
            // A path that does not take the method says so to everybody.
            if status != StatusCode::METHOD_NOT_ALLOWED {
                assert_eq!(
                    (status, text(&answer, "/type")),
                    (StatusCode::UNAUTHORIZED, "denied_authentication"),
                    "{method} {uri}"
                );
            }
        }
    }
    assert_eq!(world.api.head(), head);
}

#[tokio::test]
async fn every_operation_on_a_strangers_object_answers_like_one_on_none() {
    let world = World::create().await;
    let head = world.api.head();
    let mut seen = 0;
    for (method, path) in guarded().into_iter().filter(|(_, path)| path.contains("{id}")) {
        let id = world.id_of(&path);
        let body = nothing(&method);
        let (status, theirs) = world.ask(Some("secret-two"), &method, &path.replace("{id}", &id), body.as_ref()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {theirs}");
        let (same, none) = world.ask(Some("secret-two"), &method, &path.replace("{id}", MISSING), body.as_ref()).await;
        assert_eq!((status, theirs.to_string().replace(&id, MISSING)), (same, none.to_string()), "{method} {path}");
        seen += 1;
    }
    assert!(seen > 30, "only {seen} operations name an object");
    assert_eq!(world.api.head(), head);
}

#[tokio::test]
async fn every_operation_with_a_scope_that_is_none_is_refused_and_changes_nothing() {
    let world = World::create().await;
    let head = world.api.head();
    let wrong =
        ["%20", "*", "%2A", "null", "undefined", "all", "00000000-0000-0000-0000-000000000000", "%00", "-", "%25"];
    for (method, path) in guarded() {
        let body = nothing(&method);
        if path.contains("{id}") {
            // Also ids of another kind: the organization's is nobody's but the organization's.
            let organization = owner(1).organization.to_string();
            let of_another_kind = (!path.contains("/organizations/")).then_some(organization.as_str());
            for id in wrong.into_iter().chain(of_another_kind) {
                for token in ["secret-one", "secret-operator"] {
                    let uri = path.replace("{id}", id);
                    let (status, answer) = world.ask(Some(token), &method, &uri, body.as_ref()).await;
                    assert!(status.is_client_error(), "{method} {uri}: {status} {answer}");
                }
            }
        } else if method != Method::GET {
            // Whoever reaches everything says where: nothing named is nothing done.
            for body in [json!({}), json!({"name": "x"}), json!({"name": "x", "project_id": ""}), json!({"scope": "*"})]
            {
                if path.ends_with("/organizations") && body == json!({"name": "x"}) {
                    continue;
                }
                let (status, answer) = world.ask(Some("secret-operator"), &method, &path, Some(&body)).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {answer}");
            }
        }
        assert_eq!(world.api.head(), head, "{method} {path}");
    }
}

#[tokio::test]
async fn every_operation_refuses_what_nobody_reads() {
    let world = World::create().await;
    let head = world.api.head();
    for (method, path) in guarded() {
        if WITHOUT_INPUT.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        let (uri, body) = if method != Method::GET {
            let id = if path.contains("{id}") { world.id_of(&path) } else { String::new() };
            (path.replace("{id}", &id), Some(json!({"no such field": 1})))
        } else if path.ends_with("{id}") {
            (path.replace("{id}", "no-such-form"), None)
        } else {
            let id = if path.contains("{id}") { world.id_of(&path) } else { String::new() };
            (format!("{}?no-such-key=1", path.replace("{id}", &id)), None)
        };
        let (status, answer) = world.ask(Some("secret-one"), &method, &uri, body.as_ref()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {uri}: {answer}");
        assert_eq!(text(&answer, "/type"), "invalid_arguments", "{method} {uri}");
    }
    assert_eq!(world.api.head(), head);
}

/// How long a stranger waits for somebody's object and for none: a figure, not a bound.
#[tokio::test]
async fn a_strangers_object_and_a_missing_one_are_looked_up_alike() {
    let world = World::create().await;
    let path = format!("/lb/v1/zones/{ZONE}/lbs/");
    let (theirs, none) = (format!("{path}{}", world.ids.lb), format!("{path}{MISSING}"));
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..500 {
        for (of, uri) in [&theirs, &none].into_iter().enumerate() {
            let started = Instant::now();
            let (status, _) = world.ask(Some("secret-two"), &Method::GET, uri, None).await;
            times[of].push(started.elapsed());
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
    }
    let [theirs, none] = times.map(|mut times| {
        times.sort();
        (times[250], times[450])
    });
    eprintln!("a stranger's lookup, median and 90 %: somebody's object {theirs:?}, none {none:?}");
}
