//! Subscribers over the API: made, changed, named by load balancers, deleted; and what they must not be.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, owner, text};

const URI: &str = "https://example.org/hook";

async fn create(api: &Api, name: &str) -> Value {
    api.ok(Method::POST, "/subscribers", &json!({"name": name, "webhook_config": {"uri": URI}})).await
}

#[tokio::test]
async fn a_subscriber_is_made_listed_changed_named_by_a_load_balancer_and_deleted() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let made = create(&api, "ops").await;
    let id = text(&made, "/id").to_owned();
    assert_eq!((text(&made, "/webhook_config/uri"), made.get("email_config")), (URI, None));
    assert_eq!(text(&made, "/project_id"), owner(1).project.to_string());
    create(&api, "night").await;
    let list = api.get("/subscribers?order_by=name_desc").await;
    assert_eq!((&list["total_count"], text(&list, "/subscribers/0/name")), (&json!(2), "ops"));

    let path = format!("/subscribers/{id}");
    let email = json!({"name": "day", "email_config": {"email": "ops@example.org"}});
    let changed = api.ok(Method::PUT, &path, &email).await;
    assert_eq!((text(&changed, "/name"), text(&changed, "/email_config/email")), ("day", "ops@example.org"));
    assert_eq!(changed.get("webhook_config"), None);
    let renamed = api.ok(Method::PATCH, &path, &json!({"name": "ops"})).await;
    assert_eq!(text(&renamed, "/email_config/email"), "ops@example.org", "what is not given stays");

    let lb = api.ok(Method::POST, &ids.path("/lb/{lb}/subscribe"), &json!({"subscriber_id": id})).await;
    assert_eq!(text(&lb, "/subscriber/id"), id);
    let (status, refused) = api.call(Method::DELETE, &format!("/lb/subscription/{id}"), None).await;
    assert_eq!((status, text(&refused, "/type")), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
    assert!(text(&refused, "/help_message").contains("unsubscribe"), "{refused}");
    let lb = api.ok(Method::DELETE, &ids.path("/lb/{lb}/unsubscribe"), &json!({})).await;
    assert_eq!(lb["subscriber"], Value::Null);
    api.delete(&format!("/lb/subscription/{id}")).await;
    assert_eq!(api.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/subscribers").await["total_count"], 1);
}

#[tokio::test]
async fn a_load_balancer_that_comes_back_is_what_it_was_also_when_its_subscriber_is_gone() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let id = text(&create(&api, "ops").await, "/id").to_owned();
    api.ok(Method::POST, &ids.path("/lb/{lb}/subscribe"), &json!({"subscriber_id": id})).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    api.delete(&format!("/lb/subscription/{id}")).await;
    let lb = api.ok(Method::POST, &ids.path("/lbs/{lb}/undelete"), &json!({})).await;
    assert_eq!(lb["subscriber"], Value::Null, "nobody is told by one that is gone");
    let renamed = api.ok(Method::PATCH, &ids.path("/lbs/{lb}"), &json!({"name": "renamed"})).await;
    assert_eq!(text(&renamed, "/name"), "renamed");
}

#[tokio::test]
async fn a_load_balancer_names_subscribers_of_its_own_project_only() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let body = json!({"name": "theirs", "webhook_config": {"uri": URI}});
    let (status, theirs) = api.call_as("secret-two", Method::POST, "/subscribers", Some(&body)).await;
    assert_eq!(status, StatusCode::OK, "{theirs}");
    let head = api.head();
    for (subscriber, token) in [(text(&theirs, "/id"), "secret-one"), (text(&theirs, "/id"), "secret-operator")] {
        let body = json!({"subscriber_id": subscriber});
        let (status, answer) = api.call_as(token, Method::POST, &ids.path("/lb/{lb}/subscribe"), Some(&body)).await;
        assert_eq!((status, text(&answer, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), "subscriber_id");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn the_secret_of_a_subscriber_is_shown_to_whoever_may_change_it_and_is_its_own() {
    let api = Api::new();
    let mut secrets = Vec::new();
    for name in ["a", "b"] {
        let id = text(&create(&api, name).await, "/id").to_owned();
        let secret = api.get(&format!("/snowshed/v1/subscribers/{id}/secret")).await;
        secrets.push(text(&secret, "/secret").to_owned());
        let (status, _) =
            api.call_as("secret-two", Method::GET, &format!("/snowshed/v1/subscribers/{id}/secret"), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    assert!(secrets[0].starts_with("whsec_") && secrets[0] != secrets[1]);
}

#[tokio::test]
async fn a_subscriber_is_told_in_one_way_and_nowhere_private() {
    let api = Api::new();
    let head = api.head();
    let cases = [
        (json!({"name": "x"}), "webhook_config", "one of `email_config` and `webhook_config`"),
        (
            json!({"name": "x", "webhook_config": {"uri": URI}, "email_config": {"email": "a@example.org"}}),
            "webhook_config",
            "told in one way",
        ),
        (json!({"name": "x", "webhook_config": {}}), "webhook_config.uri", "a URI is needed"),
        (json!({"name": "x", "webhook_config": {"uri": "ftp://example.org/"}}), "webhook_config.uri", "http and https"),
        (
            json!({"name": "x", "webhook_config": {"uri": "http://169.254.169.254/"}}),
            "webhook_config.uri",
            "not of the public Internet",
        ),
        (json!({"name": "x", "webhook_config": {"uri": "http://[::1]/"}}), "webhook_config.uri", "allow_targets"),
        (json!({"name": "x", "email_config": {"email": "nobody"}}), "email_config.email", "no e-mail address"),
        (json!({"name": "x", "webhook_config": {"url": URI}}), "webhook_config.url", ""),
    ];
    for (body, argument, says) in cases {
        let (status, answer) = api.call(Method::POST, "/subscribers", Some(&body)).await;
        assert_eq!((status, text(&answer, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{body}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{body}: {answer}");
        assert!(text(&answer, "/details/0/help_message").contains(says), "{body}: {answer}");
    }
    assert_eq!(api.head(), head);
}
