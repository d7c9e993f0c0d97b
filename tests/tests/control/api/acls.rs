//! Access rules: one by one and all together, their order, whose they are, and what goes with their frontend.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, text};

fn rule(name: &str, index: u32, action: &str, subnets: &[&str]) -> Value {
    json!({"name": name, "index": index, "action": {"type": action}, "match": {"ip_subnet": subnets}})
}

fn names(list: &Value) -> Vec<(&str, &str)> {
    list["acls"].as_array().unwrap().iter().map(|acl| (text(acl, "/name"), text(acl, "/action/type"))).collect()
}

#[tokio::test]
async fn a_rule_is_made_shown_changed_and_deleted() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let path = ids.path("/frontends/{frontend}/acls");
    let mut new = rule("office", 0, "allow", &["192.0.2.7", "2001:db8::/32"]);
    new["match"]["ips_edge_services"] = json!(false);
    new["match"]["http_filter"] = json!("acl_http_filter_none");
    new["match"]["http_filter_value"] = json!([]);
    new["match"]["invert"] = json!(true);
    let made = api.ok(Method::POST, &path, &new).await;
    assert_eq!(made["match"]["ip_subnet"], json!(["192.0.2.7/32", "2001:db8::/32"]));
    assert_eq!((&made["match"]["invert"], &made["index"]), (&json!(true), &json!(0)));
    assert_eq!((text(&made, "/frontend/id"), text(&made, "/frontend/lb/id")), (&*ids.frontend, &*ids.lb));
    let one = format!("/acls/{}", text(&made, "/id"));
    assert_eq!(api.get(&one).await, made);

    let changed = api.ok(Method::PUT, &one, &json!({"name": "home", "index": 9, "action": {"type": "deny"}})).await;
    assert_eq!((text(&changed, "/name"), text(&changed, "/action/type")), ("home", "deny"));
    assert_eq!(changed["match"], made["match"], "what is not given stays");
    let changed = api.ok(Method::PATCH, &one, &json!({"match": {"ip_subnet": ["10.0.0.0/8"]}})).await;
    assert_eq!((&changed["match"]["invert"], &changed["index"]), (&json!(false), &json!(9)));
    assert_eq!(names(&api.get(&format!("{path}?order_by=name_asc")).await), [("home", "deny"), ("rule", "deny")]);

    api.delete(&one).await;
    assert_eq!(api.call(Method::GET, &one, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.get(&path).await["total_count"], 1);
}

#[tokio::test]
async fn a_set_keeps_the_rules_it_names_and_takes_away_the_others() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let path = ids.path("/frontends/{frontend}/acls");
    let set = json!({"acls": [rule("new", 1, "deny", &["0.0.0.0/0"]), rule("rule", 0, "allow", &["10.9.0.0/16"])]});
    let answer = api.ok(Method::PUT, &path, &set).await;
    assert_eq!(names(&answer), [("rule", "allow"), ("new", "deny")], "in the order in which they are asked");
    assert_eq!((text(&answer, "/acls/0/id"), &answer["total_count"]), (&*ids.acl, &json!(2)));
    let generation = api.ledger.snapshot().generation();
    assert_eq!(api.ok(Method::PUT, &path, &set).await, answer);
    assert_eq!(api.ledger.snapshot().generation(), generation, "the same set changes nothing");

    let (status, problem) = api
        .call(
            Method::PUT,
            &path,
            Some(&json!({"acls": (0..5).map(|n| rule(&n.to_string(), n, "deny", &["10.0.0.1"])).collect::<Vec<_>>()})),
        )
        .await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::FORBIDDEN, "quotas_exceeded"), "{problem}");
    assert_eq!(text(&problem, "/details/0/resource"), "lb_acls");
    assert_eq!(api.get(&path).await["total_count"], 2);
    assert_eq!(names(&api.ok(Method::PUT, &path, &json!({"acls": []})).await), []);
}

#[tokio::test]
async fn a_list_of_a_hundred_thousand_networks_is_taken_and_one_more_is_not() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let path = ids.path("/frontends/{frontend}/acls");
    let nets = |count: u32| -> Vec<String> {
        (0..count).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n * 2).to_string()).collect()
    };
    let set = |nets: Vec<String>| json!({"acls": [{"name": "all", "index": 0, "action": {"type": "deny"}, "match": {"ip_subnet": nets}}]});
    let answer = api.ok(Method::PUT, &path, &set(nets(100_000))).await;
    assert_eq!(answer["acls"][0]["match"]["ip_subnet"].as_array().map(Vec::len), Some(100_000));
    let (status, problem) = api.call(Method::PUT, &path, Some(&set(nets(100_001)))).await;
    assert_eq!((status, text(&problem, "/details/0/resource")), (StatusCode::FORBIDDEN, "lb_acl_subnets"));
}

#[tokio::test]
async fn rules_are_the_tokens_own_and_go_with_their_frontend() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    for (method, path) in [
        (Method::GET, "/frontends/{frontend}/acls"),
        (Method::POST, "/frontends/{frontend}/acls"),
        (Method::PUT, "/frontends/{frontend}/acls"),
        (Method::GET, "/acls/{acl}"),
        (Method::PUT, "/acls/{acl}"),
        (Method::PATCH, "/acls/{acl}"),
        (Method::DELETE, "/acls/{acl}"),
    ] {
        let body = [Method::POST, Method::PUT, Method::PATCH].contains(&method).then(|| json!({}));
        let (status, problem) = api.call_as("secret-two", method.clone(), &ids.path(path), body.as_ref()).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"), "{method} {path}");
    }
    api.delete(&ids.path("/frontends/{frontend}")).await;
    assert_eq!(api.call(Method::GET, &ids.path("/acls/{acl}"), None).await.0, StatusCode::NOT_FOUND);
    let (status, problem) = api.call(Method::PATCH, &ids.path("/acls/{acl}"), Some(&json!({"index": 1}))).await;
    assert_eq!((status, text(&problem, "/resource")), (StatusCode::NOT_FOUND, "acl"));
}

#[tokio::test]
async fn limits_are_set_kept_and_taken_off() {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    let path = ids.path("/frontends/{frontend}");
    let limits = |frontend: &Value| {
        ["connection_rate_limit", "service_connection_rate_limit", "packet_rate_limit"]
            .map(|name| frontend[name].as_u64().unwrap())
    };
    let set = json!({"connection_rate_limit": 50, "packet_rate_limit": 9000});
    assert_eq!(limits(&api.ok(Method::PATCH, &path, &set).await), [50, 0, 9000]);
    let whole =
        json!({"name": "http", "inbound_port": 80, "backend_id": ids.backend, "service_connection_rate_limit": 7});
    assert_eq!(limits(&api.ok(Method::PUT, &path, &whole).await), [0, 7, 9000]);
    let off = json!({"connection_rate_limit": 0, "service_connection_rate_limit": 0, "packet_rate_limit": 0});
    assert_eq!(limits(&api.ok(Method::PATCH, &path, &off).await), [0, 0, 0]);
}
