//! Wrong paths, queries and bodies.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;

use super::{Api, Ids, ZONE, fields, text};

const LISTS: [&str; 7] = [
    "/lbs",
    "/ips",
    "/lb-types",
    "/lbs/{lb}/frontends",
    "/lbs/{lb}/backends",
    "/lbs/{lb}/backend-stats",
    "/frontends/{frontend}/acls",
];

/// A key of a list's query, where it stands, a wrong value, and what must be said.
const CASES: [(&str, &str, &str, &str); 16] = [
    ("/lbs", "name", "name=a&name=b", "given twice"),
    ("/lbs", "order_by", "order_by=size", "created_at_asc, created_at_desc, name_asc, name_desc"),
    ("/lbs", "page", "page=0", "from 1 upwards"),
    ("/lbs", "page", "page=two", "from 1 upwards"),
    ("/ips", "page_size", "page_size=101", "from 1 to 100"),
    ("/ips", "page_size", "page_size=-1", "from 1 to 100"),
    ("/lbs", "cursor", "cursor=2", "is no cursor"),
    (
        "/lbs",
        "cursor",
        "cursor=bmFtZV9hc2MgMTExMTExMTEtMTExMS00MTExLTgxMTEtMTExMTExMTExMTExIHg&page=2",
        "leave out `page`",
    ),
    (
        "/lbs",
        "cursor",
        "cursor=bmFtZV9hc2MgMTExMTExMTEtMTExMS00MTExLTgxMTEtMTExMTExMTExMTExIHg&order_by=name_desc",
        "in the order name_asc",
    ),
    ("/lbs", "project_id", "project_id=*", "UUID"),
    ("/ips", "organization_id", "organization_id=all", "UUID"),
    ("/lbs", "lb_ids", "lb_ids=x", "UUID"),
    ("/lbs", "deleted", "deleted=perhaps", "neither `true` nor `false`"),
    ("/ips", "ip_address", "ip_address=here", "no IP address"),
    ("/ips", "ip_type", "ip_type=ipv5", "all, ipv4 and ipv6"),
    ("/lb-types", "tags", "tags=x", "not known here"),
];

#[tokio::test]
async fn every_wrong_query_is_refused_with_what_is_allowed() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for (path, key, query, help) in CASES {
        let (status, problem) = api.call(Method::GET, &format!("{path}?{query}"), None).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{query}");
        assert_eq!(text(&problem, "/details/0/argument_name"), key, "{query}");
        assert!(text(&problem, "/details/0/help_message").contains(help), "{query}: {problem}");
    }
    for list in LISTS {
        let (status, problem) = api.call(Method::GET, &ids.path(&format!("{list}?pag=1")), None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{list}");
        assert!(text(&problem, "/details/0/help_message").contains("did you mean `page`?"), "{problem}");
    }
}

#[test]
fn every_key_of_a_list_has_a_wrong_value_in_the_table() {
    let untested: Vec<_> =
        fields::query_keys().into_iter().filter(|key| !CASES.iter().any(|(_, tested, ..)| tested == key)).collect();
    assert!(untested.is_empty(), "no wrong value for {untested:?}");
}

#[tokio::test]
async fn a_malformed_id_in_a_path_is_refused_and_an_unknown_one_is_not_found() {
    let api = Api::new();
    let head = api.head();
    for (method, path, argument) in [
        (Method::GET, "/lbs/{id}", "lb_id"),
        (Method::PUT, "/lbs/{id}", "lb_id"),
        (Method::PATCH, "/lbs/{id}", "lb_id"),
        (Method::DELETE, "/lbs/{id}", "lb_id"),
        (Method::POST, "/lbs/{id}/migrate", "lb_id"),
        (Method::GET, "/lbs/{id}/stats", "lb_id"),
        (Method::GET, "/lbs/{id}/backend-stats", "lb_id"),
        (Method::GET, "/lbs/{id}/frontends", "lb_id"),
        (Method::POST, "/lbs/{id}/frontends", "lb_id"),
        (Method::GET, "/lbs/{id}/backends", "lb_id"),
        (Method::POST, "/lbs/{id}/backends", "lb_id"),
        (Method::GET, "/ips/{id}", "ip_id"),
        (Method::PATCH, "/ips/{id}", "ip_id"),
        (Method::DELETE, "/ips/{id}", "ip_id"),
        (Method::GET, "/frontends/{id}", "frontend_id"),
        (Method::PUT, "/frontends/{id}", "frontend_id"),
        (Method::PATCH, "/frontends/{id}", "frontend_id"),
        (Method::DELETE, "/frontends/{id}", "frontend_id"),
        (Method::GET, "/backends/{id}", "backend_id"),
        (Method::PUT, "/backends/{id}", "backend_id"),
        (Method::PATCH, "/backends/{id}", "backend_id"),
        (Method::DELETE, "/backends/{id}", "backend_id"),
        (Method::PUT, "/backends/{id}/servers", "backend_id"),
        (Method::POST, "/backends/{id}/servers", "backend_id"),
        (Method::DELETE, "/backends/{id}/servers", "backend_id"),
        (Method::PUT, "/backends/{id}/healthcheck", "backend_id"),
    ] {
        let body = (method != Method::GET).then(|| json!({}));
        for wrong in ["x", "*", "%20", "00000000-0000-0000-0000-000000000000"] {
            let (status, problem) = api.call(method.clone(), &path.replace("{id}", wrong), body.as_ref()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path} {wrong}: {problem}");
            assert_eq!(text(&problem, "/details/0/argument_name"), argument, "{method} {path}");
            assert!(text(&problem, "/help_message").contains("UUID"), "{problem}");
        }
        let unknown = path.replace("{id}", "11111111-1111-4111-8111-111111111111");
        let (status, problem) = api.call(method.clone(), &unknown, body.as_ref()).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"), "{method} {path}");
        assert_eq!(text(&problem, "/resource_id"), "11111111-1111-4111-8111-111111111111");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn wrong_queries_of_a_delete_and_of_explain_are_refused() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let explain = "/snowshed/v1/explain";
    for (method, path, argument, help) in [
        (Method::DELETE, ids.path("/lbs/{lb}?release_ip=perhaps"), "release_ip", "neither `true` nor `false`"),
        (Method::DELETE, ids.path("/lbs/{lb}?release_ips=true"), "release_ips", "did you mean `release_ip`?"),
        (Method::GET, format!("{explain}?service=192.0.2.1:80"), "client", "is needed"),
        (Method::GET, format!("{explain}?client=198.51.100.7&service=192.0.2.1:80"), "client", "no address and port"),
        (Method::GET, format!("{explain}?client=198.51.100.7:1&service=192.0.2.1:0"), "service", "no address and port"),
        (Method::GET, format!("{explain}?client=198.51.100.7:1"), "service", "is needed"),
        (
            Method::GET,
            format!("{explain}?client=198.51.100.7:1&service=[2001:db8::1]:80"),
            "client",
            "one address family",
        ),
        (
            Method::GET,
            format!("{explain}?client=198.51.100.7:1&service=192.0.2.1:80&protocol=icmp"),
            "protocol",
            "`tcp` or `udp`",
        ),
        (
            Method::GET,
            format!("{explain}?client=198.51.100.7:1&service=192.0.2.1:80&protocol=udp&connection_id=123"),
            "connection_id",
            "1 to 20 bytes as hexadecimal digits",
        ),
        (
            Method::GET,
            format!("{explain}?client=198.51.100.7:1&service=192.0.2.1:80&connection_id=1234"),
            "connection_id",
            "goes over UDP",
        ),
    ] {
        let (status, problem) = api.call(method, &path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), argument, "{path}");
        assert!(text(&problem, "/details/0/help_message").contains(help), "{path}: {problem}");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn what_a_change_says_where_nobody_reads_it_is_refused_not_ignored() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let narrow = json!({"project_id": "*"});
    for path in ["/lbs/{lb}", "/ips/{ip}", "/frontends/{frontend}", "/backends/{backend}"] {
        let (status, problem) = api.call(Method::DELETE, &ids.path(path), Some(&narrow)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), "project_id");
    }
    let (lb, backend) = (json!({"name": "x"}), json!({"server_ip": ["10.0.0.1"]}));
    for (method, path, body) in [
        (Method::DELETE, "/lbs/{lb}", None),
        (Method::DELETE, "/ips/{ip}", None),
        (Method::DELETE, "/frontends/{frontend}", None),
        (Method::DELETE, "/backends/{backend}", None),
        (Method::DELETE, "/backends/{backend}/servers", Some(&backend)),
        (Method::PUT, "/backends/{backend}/servers", Some(&backend)),
        (Method::PUT, "/lbs/{lb}", Some(&lb)),
        (Method::POST, "/lbs", Some(&lb)),
    ] {
        let path = format!("{}?project_id=*", ids.path(path));
        let (status, problem) = api.call(method.clone(), &path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), "project_id", "{method} {path}");
    }
    assert_eq!(api.head(), head);
    let (status, _) = api.call(Method::DELETE, &ids.path("/frontends/{frontend}"), Some(&json!({}))).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "an empty object says nothing");
}

#[tokio::test]
async fn servers_are_only_removed_by_name() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    for (body, argument) in
        [(json!({"server_ip": []}), "server_ip"), (json!({"servers": []}), "servers"), (json!({}), "server_ip")]
    {
        let (status, problem) = api.call(Method::DELETE, &ids.path("/backends/{backend}/servers"), Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), argument);
        assert!(text(&problem, "/help_message").contains("name the servers"), "{problem}");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_as_every_wrong_path_is() {
    let api = Api::new();
    for (method, path) in [(Method::GET, "/lbs/%ff%fe"), (Method::DELETE, "/backends/%ff")] {
        let (status, problem) = api.call(method, path, None).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{path}");
        assert!(text(&problem, "/help_message").contains("UTF-8"), "{problem}");
    }
}

#[tokio::test]
async fn the_pages_of_the_types_end() {
    let api = Api::new();
    let names = |answer: &serde_json::Value| {
        let types = answer["lb_types"].as_array().unwrap().clone();
        types.iter().map(|one| text(one, "/name").to_owned()).collect::<Vec<_>>()
    };
    let all = api.get("/lb-types").await;
    assert_eq!((&all["total_count"], names(&all).len()), (&json!(4), 4));
    assert!(all["lb_types"][0]["bandwidth"].is_u64() && all["lb_types"][0]["multicloud"].is_boolean(), "{all}");
    assert_eq!(names(&api.get("/lb-types?page_size=3&page=2").await), names(&all)[3..]);
    assert!(names(&api.get("/lb-types?page=2").await).is_empty());
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let api = Api::new();
    let head = api.head();
    for (body, status, kind) in [
        ("", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("[]", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("[null, null, \"x\"]", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("null", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("{\"name\": \"web\"", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("{\"name\": \"web\"} {}", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("{\"name\": \"a\", \"name\": \"b\"}", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("name: web", StatusCode::BAD_REQUEST, "invalid_arguments"),
        ("{\"name\": \"\u{0}\"}", StatusCode::BAD_REQUEST, "invalid_arguments"),
        (&format!("{{\"name\": \"{}\"}}", "x".repeat(7_000_000)), StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
    ] {
        let request = Request::post(format!("/lb/v1/zones/{ZONE}/lbs")).header("X-Auth-Token", "secret-one");
        let (answered, problem) = api.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        let shown: String = body.chars().take(40).collect();
        assert_eq!((answered, text(&problem, "/type")), (status, kind), "{shown}: {problem}");
        assert!(!text(&problem, "/help_message").is_empty(), "{shown}");
    }
    assert_eq!(api.head(), head);
}
