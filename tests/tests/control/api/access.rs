//! Who may do what: tokens, projects and the zone.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;

use super::{Api, Ids, ZONE, text};

#[tokio::test]
async fn without_a_known_token_nothing_is_shown_and_nothing_is_changed() {
    let api = Api::new();
    for (header, value) in [
        (None, ""),
        (Some("X-Auth-Token"), ""),
        (Some("X-Auth-Token"), "wrong"),
        (Some("X-Auth-Token"), "secret-one-and-more"),
        (Some("Authorization"), "Bearer wrong"),
        (Some("Authorization"), "Basic secret-one"),
        (Some("Authorization"), "secret-one"),
    ] {
        for path in [format!("/lb/v1/zones/{ZONE}/lbs"), "/snowshed/v1/status".to_owned()] {
            let mut request = Request::builder().uri(&path);
            if let Some(header) = header {
                request = request.header(header, value);
            }
            let (status, problem) = api.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((status, text(&problem, "/type")), (StatusCode::UNAUTHORIZED, "denied_authentication"));
            assert_eq!(text(&problem, "/method"), "api_key");
            assert!(text(&problem, "/help_message").contains("X-Auth-Token"), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_bearer_is_as_good_as_scaleways_header() {
    let api = Api::new();
    let request = Request::builder().uri(format!("/lb/v1/zones/{ZONE}/lbs"));
    let request = request.header("Authorization", "bearer secret-one").body(Body::empty()).unwrap();
    assert_eq!(api.send(request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_objects_of_another_project_look_like_missing_ones_on_every_path() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let lb = json!({"name": "mine"});
    let frontend = json!({"name": "x", "inbound_port": 81, "backend_id": ids.backend});
    let backend = json!({"name": "x", "forward_protocol": "tcp", "forward_port": 81});
    let servers = json!({"server_ip": ["10.0.0.9"]});
    let reverse = json!({"reverse": "x"});
    let kind = json!({"type": "LB-GP-M"});
    let requests = [
        (Method::GET, "/lbs/{lb}", None),
        (Method::PUT, "/lbs/{lb}", Some(&lb)),
        (Method::PATCH, "/lbs/{lb}", Some(&lb)),
        (Method::DELETE, "/lbs/{lb}?release_ip=true", None),
        (Method::POST, "/lbs/{lb}/migrate", Some(&kind)),
        (Method::GET, "/lbs/{lb}/stats", None),
        (Method::GET, "/lbs/{lb}/backend-stats", None),
        (Method::GET, "/lbs/{lb}/frontends", None),
        (Method::POST, "/lbs/{lb}/frontends", Some(&frontend)),
        (Method::GET, "/lbs/{lb}/backends", None),
        (Method::POST, "/lbs/{lb}/backends", Some(&backend)),
        (Method::GET, "/ips/{ip}", None),
        (Method::PATCH, "/ips/{ip}", Some(&reverse)),
        (Method::DELETE, "/ips/{ip}", None),
        (Method::GET, "/frontends/{frontend}", None),
        (Method::PUT, "/frontends/{frontend}", Some(&frontend)),
        (Method::PATCH, "/frontends/{frontend}", Some(&frontend)),
        (Method::DELETE, "/frontends/{frontend}", None),
        (Method::GET, "/backends/{backend}", None),
        (Method::PUT, "/backends/{backend}", Some(&backend)),
        (Method::PATCH, "/backends/{backend}", Some(&backend)),
        (Method::DELETE, "/backends/{backend}", None),
        (Method::PUT, "/backends/{backend}/servers", Some(&servers)),
        (Method::POST, "/backends/{backend}/servers", Some(&servers)),
        (Method::DELETE, "/backends/{backend}/servers", Some(&servers)),
        (Method::PUT, "/backends/{backend}/healthcheck", Some(&json!({"port": 81}))),
    ]
    .map(|(method, path, body)| (method, ids.path(path), body.cloned()));
    let missing = "99999999-9999-4999-8999-999999999999";
    for (method, path, body) in requests {
        let (status, problem) = api.call_as("secret-two", method.clone(), &path, body.as_ref()).await;
        assert_eq!(
            (status, text(&problem, "/type")),
            (StatusCode::NOT_FOUND, "not_found"),
            "{method} {path}: {problem}"
        );
        let (id, absent) = path
            .split('/')
            .find(|part| part.len() >= 36)
            .map_or(("", String::new()), |id| (&id[..36], path.replace(&id[..36], missing)));
        let (_, other) = api.call_as("secret-two", method.clone(), &absent, body.as_ref()).await;
        assert_eq!(problem.to_string().replace(id, missing), other.to_string(), "{method} {path}");
    }
    for list in ["/lbs", "/ips", "/lbs?deleted=true"] {
        let (_, answer) = api.call_as("secret-two", Method::GET, list, None).await;
        assert_eq!(answer["total_count"], json!(0), "{list}");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn what_belongs_to_another_project_cannot_be_referred_to() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let (_, theirs) = api.call_as("secret-two", Method::POST, "/lbs", Some(&json!({"name": "theirs"}))).await;
    let lb = text(&theirs, "/id");
    let head = api.head();
    let frontend = json!({"name": "x", "inbound_port": 80, "backend_id": ids.backend});
    let requests = [
        (Method::POST, "/lbs".to_owned(), json!({"name": "x", "ip_ids": [ids.ip]}), "ip_ids[0]"),
        (Method::POST, format!("/lbs/{lb}/frontends"), frontend, "backend_id"),
    ];
    for (method, path, body, argument) in requests {
        let (status, problem) = api.call_as("secret-two", method, &path, Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(text(&problem, "/details/0/argument_name"), argument);
    }
    let own_ip = api.call_as("secret-two", Method::GET, "/ips", None).await.1;
    let path = format!("/ips/{}", text(&own_ip, "/ips/0/id"));
    let (status, problem) = api.call_as("secret-two", Method::PATCH, &path, Some(&json!({"lb_id": ids.lb}))).await;
    assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "lb_id"));
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn another_zone_an_unknown_path_and_a_wrong_method_say_what_there_is() {
    let api = Api::new();
    let request = |method: Method, uri: &str| {
        let request = Request::builder().method(method).uri(uri).header("X-Auth-Token", "secret-one");
        request.body(Body::empty()).unwrap()
    };
    let (status, problem) = api.send(request(Method::GET, "/lb/v1/zones/nl-ams-1/lbs")).await;
    assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "zone"));
    assert!(text(&problem, "/help_message").contains(ZONE));
    let (status, problem) = api.send(request(Method::GET, &format!("/lb/v1/zones/{ZONE}/acls"))).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::NOT_FOUND, "not_found"));
    assert!(text(&problem, "/help_message").contains("frontends"));
    let (status, problem) = api.send(request(Method::DELETE, &format!("/lb/v1/zones/{ZONE}/lbs"))).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let api = Api::new();
    for path in ["/healthz", "/metrics"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(api.send(request).await.0, StatusCode::OK, "{path}");
    }
}
