//! Organizations, projects and tokens: made, used, narrowed, revoked.

use axum::http::{Method, StatusCode};
use lb_userspace::model::Role;
use serde_json::{Value, json};

use super::{Api, Ids, TOKEN_KEY, text};

const OPERATOR: &str = "secret-operator";

impl Api {
    /// A request that must succeed, with any token.
    async fn ok_as(&self, token: &str, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call_as(token, method.clone(), path, Some(body)).await;
        assert!(status.is_success(), "{method} {path} {body}: {status} {answer}");
        answer
    }

    /// The kind of refusal of a request.
    async fn refusal(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        let (status, answer) = self.call_as(token, method.clone(), path, body).await;
        assert!(!status.is_success(), "{method} {path}: {answer}");
        (status.as_u16(), text(&answer, "/type").to_owned())
    }
}

/// An organization with a project and a token of each role in it: their ids, and the secrets by role.
struct Tenant {
    organization: String,
    project: String,
    admin: String,
    editor: String,
    viewer: String,
}

impl Tenant {
    async fn create(api: &Api, name: &str) -> Self {
        let made = api.ok_as(OPERATOR, Method::POST, "/snowshed/v1/organizations", &json!({"name": name})).await;
        let organization = text(&made, "/id").to_owned();
        let admin = json!({"name": "admin", "role": "org-admin", "organization_id": organization});
        let admin = api.ok_as(OPERATOR, Method::POST, "/snowshed/v1/tokens", &admin).await;
        let admin = text(&admin, "/secret").to_owned();
        let made = api.ok_as(&admin, Method::POST, "/snowshed/v1/projects", &json!({"name": "shop"})).await;
        assert_eq!(text(&made, "/organization_id"), organization);
        let project = text(&made, "/id").to_owned();
        let mut secrets = Vec::new();
        for role in ["project-editor", "viewer"] {
            let wanted = json!({"name": role, "role": role, "project_id": project});
            let made = api.ok_as(&admin, Method::POST, "/snowshed/v1/tokens", &wanted).await;
            secrets.push(text(&made, "/secret").to_owned());
        }
        let [editor, viewer] = <[String; 2]>::try_from(secrets).unwrap();
        Self { organization, project, admin, editor, viewer }
    }
}

#[tokio::test]
async fn an_operator_makes_a_tenant_whose_tokens_do_what_their_roles_say() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let lb = api.ok_as(&tenant.editor, Method::POST, "/lbs", &json!({"name": "web"})).await;
    assert_eq!(
        (text(&lb, "/project_id"), text(&lb, "/organization_id")),
        (tenant.project.as_str(), tenant.organization.as_str())
    );
    let path = format!("/lbs/{}", text(&lb, "/id"));
    for token in [&tenant.admin, &tenant.editor, &tenant.viewer, OPERATOR] {
        assert_eq!(api.call_as(token, Method::GET, &path, None).await.0, StatusCode::OK);
    }
    assert_eq!(api.call_as("secret-one", Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    let head = api.head();
    let name = json!({"name": "other"});
    let denied = (403, "permissions_denied".to_owned());
    assert_eq!(api.refusal(&tenant.viewer, Method::PUT, &path, Some(&name)).await, denied);
    assert_eq!(api.refusal(&tenant.viewer, Method::POST, "/lbs", Some(&name)).await, denied);
    for path in ["/snowshed/v1/organizations", "/snowshed/v1/projects", "/snowshed/v1/tokens"] {
        assert_eq!(api.refusal(&tenant.editor, Method::POST, path, Some(&name)).await, denied, "{path}");
    }
    assert_eq!(api.refusal(&tenant.admin, Method::POST, "/snowshed/v1/organizations", Some(&name)).await, denied);
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn who_has_several_projects_names_one_to_create_in() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let other = Tenant::create(&api, "other").await;
    let head = api.head();
    for (token, project) in [
        (&*tenant.admin, Value::Null),
        (OPERATOR, Value::Null),
        (OPERATOR, json!("")),
        (OPERATOR, json!("*")),
        (OPERATOR, json!(tenant.organization)),
        (&*tenant.admin, json!(other.project)),
    ] {
        for path in ["/lbs", "/ips"] {
            let body = json!({"name": "web", "project_id": project});
            let body = if path == "/ips" { json!({"project_id": project}) } else { body };
            let (status, answer) = api.call_as(token, Method::POST, path, Some(&body)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {project}: {answer}");
            assert_eq!(text(&answer, "/details/0/argument_name"), "project_id");
        }
    }
    assert_eq!(api.head(), head);
    for token in [&*tenant.admin, OPERATOR] {
        let body = json!({"name": "web", "project_id": tenant.project});
        assert_eq!(text(&api.ok_as(token, Method::POST, "/lbs", &body).await, "/project_id"), tenant.project);
    }
}

#[tokio::test]
async fn filters_by_owner_never_show_more_than_the_token_sees() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let other = Tenant::create(&api, "other").await;
    for tenant in [&tenant, &other] {
        api.ok_as(&tenant.editor, Method::POST, "/lbs", &json!({"name": "web"})).await;
    }
    let filters = |tenant: &Tenant| {
        [format!("organization_id={}", tenant.organization), format!("project_id={}", tenant.project)]
    };
    let count = async |token: &str, path: &str, filter: &str| {
        let (status, answer) = api.call_as(token, Method::GET, &format!("{path}?{filter}"), None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["total_count"].as_u64().unwrap()
    };
    for path in ["/lbs", "/ips", "/snowshed/v1/tokens"] {
        for filter in filters(&other) {
            for token in [&tenant.admin, &tenant.editor, &tenant.viewer] {
                assert_eq!(count(token, path, &filter).await, 0, "{path}?{filter}");
            }
            assert!(count(OPERATOR, path, &filter).await > 0, "{path}?{filter}");
        }
    }
    for filter in filters(&tenant) {
        assert_eq!((count(&tenant.editor, "/lbs", &filter).await, count(OPERATOR, "/lbs", &filter).await), (1, 1));
    }
    assert_eq!((count(&tenant.admin, "/lbs", "").await, count(OPERATOR, "/lbs", "").await), (1, 2));
}

#[tokio::test]
async fn a_revoked_token_and_those_of_a_deleted_project_are_refused_from_the_next_request_on() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let (_, tokens) = api.call_as(&tenant.admin, Method::GET, "/snowshed/v1/tokens?name=viewer", None).await;
    let viewer = text(&tokens, "/tokens/0/id").to_owned();
    assert_eq!(api.call_as(&tenant.viewer, Method::GET, "/lbs", None).await.0, StatusCode::OK);
    let path = format!("/snowshed/v1/tokens/{viewer}");
    assert_eq!(api.refusal(&tenant.editor, Method::DELETE, &path, None).await.0, 403);
    assert_eq!(api.call_as(&tenant.admin, Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    let (status, answer) = api.call_as(&tenant.viewer, Method::GET, "/lbs", None).await;
    assert_eq!((status, text(&answer, "/reason")), (StatusCode::UNAUTHORIZED, "not_found"));
    let (_, revoked) = api.call_as(&tenant.admin, Method::GET, &path, None).await;
    assert!(revoked["revoked_at"].is_string() && revoked["last_used_at"].is_string(), "{revoked}");
    let head = api.head();
    assert_eq!(api.call_as(&tenant.admin, Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.head(), head, "revoking again changes nothing");

    api.ok_as(&tenant.editor, Method::POST, "/ips", &json!({})).await;
    let project = format!("/snowshed/v1/projects/{}", tenant.project);
    assert_eq!(api.refusal(&tenant.admin, Method::DELETE, &project, None).await.1, "precondition_failed");
    let (_, ips) = api.call_as(&tenant.editor, Method::GET, "/ips", None).await;
    let ip = format!("/ips/{}", text(&ips, "/ips/0/id"));
    assert_eq!(api.call_as(&tenant.editor, Method::DELETE, &ip, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.call_as(&tenant.admin, Method::DELETE, &project, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.refusal(&tenant.editor, Method::GET, "/lbs", None).await.0, 401);
}

#[tokio::test]
async fn secrets_are_shown_once_and_stand_nowhere_in_the_ledger() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let (_, tokens) = api.call_as(OPERATOR, Method::GET, "/snowshed/v1/tokens?revoked=true", None).await;
    assert_eq!(tokens["total_count"], json!(6));
    assert!(!tokens.to_string().contains("secret"), "{tokens}");
    let log = api.ledger.operations(lb_userspace::model::Generation(0), 1000).unwrap();
    let log = serde_json::to_string(&log).unwrap();
    for secret in [&tenant.admin, &tenant.editor, &tenant.viewer] {
        assert!(!log.contains(secret.as_str()), "a secret stands in the ledger");
    }
    assert!(log.contains(&String::from(TOKEN_KEY.digest(&tenant.viewer))), "its digest does");
    let body = json!({"name": "x", "role": "operator"});
    let request = axum::http::Request::post("/snowshed/v1/tokens").header("X-Auth-Token", OPERATOR);
    let request = request.header("Idempotency-Key", "a").body(axum::body::Body::from(body.to_string())).unwrap();
    assert_eq!(api.send(request).await.0, StatusCode::BAD_REQUEST, "a kept answer would hold the secret");
}

#[tokio::test]
async fn a_token_expires_by_itself() {
    let api = Api::new();
    let wanted = json!({"name": "x", "role": "operator", "expires_at": "1970-01-01T00:00:10Z"});
    let made = api.ok_as(OPERATOR, Method::POST, "/snowshed/v1/tokens", &wanted).await;
    let secret = text(&made, "/secret");
    assert_eq!(api.call_as(secret, Method::GET, "/lbs", None).await.0, StatusCode::OK);
    api.seconds.store(10, std::sync::atomic::Ordering::SeqCst);
    let (status, answer) = api.call_as(secret, Method::GET, "/lbs", None).await;
    assert_eq!((status, text(&answer, "/reason")), (StatusCode::UNAUTHORIZED, "expired"));
}

#[tokio::test]
async fn a_token_that_does_not_fit_is_refused_with_what_is_wrong() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let other = Tenant::create(&api, "other").await;
    let head = api.head();
    let (organization, project) = (&tenant.organization, &tenant.project);
    for (token, body, argument) in [
        (OPERATOR, json!({"role": "viewer", "project_id": project}), "name"),
        (OPERATOR, json!({"name": "x", "project_id": project}), "role"),
        (OPERATOR, json!({"name": "x", "role": "root"}), "role"),
        (OPERATOR, json!({"name": "x", "role": "viewer"}), "project_id"),
        (OPERATOR, json!({"name": "x", "role": "project-editor"}), "project_id"),
        (OPERATOR, json!({"name": "x", "role": "project-editor", "organization_id": organization}), "project_id"),
        (OPERATOR, json!({"name": "x", "role": "org-admin"}), "organization_id"),
        (OPERATOR, json!({"name": "x", "role": "operator", "project_id": project}), "organization_id"),
        (OPERATOR, json!({"name": "x", "role": "viewer", "project_id": organization}), "project_id"),
        (OPERATOR, json!({"name": "x", "role": "operator", "expires_at": "soon"}), "expires_at"),
        (OPERATOR, json!({"name": "x", "role": "operator", "expires_at": "1970-01-01T00:00:00Z"}), "expires_at"),
        (&*tenant.admin, json!({"name": "x", "role": "viewer", "project_id": other.project}), "project_id"),
        (
            &*tenant.admin,
            json!({"name": "x", "role": "org-admin", "organization_id": other.organization}),
            "organization_id",
        ),
    ] {
        let (status, answer) = api.call_as(token, Method::POST, "/snowshed/v1/tokens", Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{body}: {answer}");
    }
    let body = json!({"name": "x", "role": Role::Operator});
    let (status, _) = api.call_as(&tenant.admin, Method::POST, "/snowshed/v1/tokens", Some(&body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "an administrator makes no operator");
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn tenants_are_renamed_listed_and_deleted_only_when_nothing_is_in_them() {
    let api = Api::new();
    let tenant = Tenant::create(&api, "acme").await;
    let organization = format!("/snowshed/v1/organizations/{}", tenant.organization);
    let project = format!("/snowshed/v1/projects/{}", tenant.project);
    let named = json!({"name": "new"});
    for path in [&organization, &project] {
        assert_eq!(text(&api.ok_as(&tenant.admin, Method::PATCH, path, &named).await, "/name"), "new");
        assert_eq!(api.refusal(&tenant.editor, Method::PATCH, path, Some(&named)).await.0, 403, "{path}");
        assert_eq!(api.refusal("secret-one", Method::PATCH, path, Some(&named)).await.0, 404, "{path}");
    }
    assert_eq!(api.refusal(OPERATOR, Method::DELETE, &organization, None).await.1, "precondition_failed");
    for path in [&project, &organization] {
        assert_eq!(api.call_as(OPERATOR, Method::DELETE, path, None).await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(api.refusal(&tenant.admin, Method::GET, &organization, None).await.0, 401);
    let (_, listed) = api.call_as(OPERATOR, Method::GET, "/snowshed/v1/organizations?name=new", None).await;
    assert_eq!(listed["total_count"], json!(0));
    let (_, listed) =
        api.call_as(OPERATOR, Method::GET, "/snowshed/v1/organizations?name=new&deleted=true", None).await;
    assert_eq!(listed["total_count"], json!(1));
}

#[tokio::test]
async fn an_operator_edits_what_a_tenant_has_and_only_what_he_names() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/lbs/{lb}");
    assert_eq!(text(&api.ok_as(OPERATOR, Method::PUT, &path, &json!({"name": "new"})).await, "/name"), "new");
    let log = api.ledger.operations(lb_userspace::model::Generation(api.ledger.snapshot().generation().0 - 1), 1);
    let operation = log.unwrap().remove(0);
    assert_eq!(operation.actor.role, Role::Operator);
    assert_eq!(
        operation.scope,
        lb_userspace::model::Scope::Lb { lb: ids.lb.parse().unwrap(), project: super::owner(1).project }
    );
}
