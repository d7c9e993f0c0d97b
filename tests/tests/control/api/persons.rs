//! Tokens are who they are by their ids over the API: freezes of one, and approvals by another.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Ids, owner, text};

impl Api {
    /// A new token made with another's secret: its id and its secret.
    async fn token_by(&self, maker: &str, body: &Value) -> (String, String) {
        let (status, made) = self.call_as(maker, Method::POST, "/snowshed/v1/tokens", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        (text(&made, "/id").to_owned(), text(&made, "/secret").to_owned())
    }

    /// A plan that takes more out of service than one person may, made with a secret: where it is approved.
    async fn plan_by(&self, secret: &str) -> String {
        let plan = json!({
            "action": "quarantine", "parent": format!("project:{}", owner(1).project), "filter": {"tag": "spam"},
            "reason": "phishing", "validate_only": false,
        });
        let (status, plan) = self.call_as(secret, Method::POST, "/snowshed/v1/plans", Some(&plan)).await;
        assert_eq!((status, &plan["needs_approval"]), (StatusCode::OK, &json!(true)), "{plan}");
        format!("/snowshed/v1/plans/{}/approve", text(&plan, "/id"))
    }

    /// Lets time pass.
    fn later(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_freeze_of_one_token_is_none_of_another_of_the_same_name() {
    let api = Api::new();
    let mut tokens = Vec::new();
    for number in [1, 2] {
        let body = json!({"name": "ci", "role": "project-editor", "project_id": owner(number).project});
        tokens.push(api.token_by("secret-operator", &body).await);
    }
    let freeze = |place: String| json!({"place": place, "reason": "leaked", "lasts_seconds": 60});
    for wrong in ["token:ci".to_owned(), format!("token:{}", owner(1).project)] {
        let body = freeze(wrong.clone());
        let (status, problem) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/freezes", Some(&body)).await;
        assert_eq!((status, text(&problem, "/details/0/argument_name")), (StatusCode::BAD_REQUEST, "place"), "{wrong}");
    }
    let (id, secret) = &tokens[0];
    let body = freeze(format!("token:{id}"));
    let (status, made) = api.call_as("secret-operator", Method::POST, "/snowshed/v1/freezes", Some(&body)).await;
    assert_eq!((status, text(&made, "/place")), (StatusCode::OK, &format!("token:{id}")[..]));
    let create = async |secret: &str| api.call_as(secret, Method::POST, "/lbs", Some(&json!({"name": "x"}))).await.0;
    assert_eq!(create(secret).await, StatusCode::LOCKED);
    assert_eq!(create(&tokens[1].1).await, StatusCode::OK);
    let seen = async |secret: &str| {
        let (_, list) = api.call_as(secret, Method::GET, "/snowshed/v1/freezes", None).await;
        list["freezes"].as_array().unwrap().len()
    };
    assert_eq!((seen(secret).await, seen(&tokens[1].1).await), (1, 0));
}

#[tokio::test]
async fn a_plan_is_not_approved_by_a_token_of_whoever_made_it() {
    let api = Api::with(std::sync::Arc::new(lb_userspace::ledger::MemoryLedger::new()), Default::default());
    Ids::create(&api).await;
    for number in 0..11 {
        api.ok(Method::POST, "/lbs", &json!({"name": format!("lb-{number}"), "tags": ["spam"]})).await;
    }
    let role = json!({"name": "mine too", "role": "operator"});
    let (_, own) = api.token_by("secret-operator", &role).await;
    let (_, own_of_own) = api.token_by(&own, &role).await;
    let (_, sibling) = api.token_by("secret-operator", &role).await;
    let path = api.plan_by(&own).await;
    let approve = async |secret: &str, path: &str| api.call_as(secret, Method::POST, path, None).await;
    let refused = async |secret: &str, path: &str, why: &str| {
        let (status, problem) = approve(secret, path).await;
        let expected = (StatusCode::PRECONDITION_FAILED, "plan_needs_another_person");
        assert_eq!((status, text(&problem, "/precondition")), expected, "{problem}");
        assert!(problem.to_string().contains(why), "{problem}");
    };
    api.later(1);
    let (_, late) = api.token_by("secret-operator", &role).await;
    for (secret, why) in [
        (&own[..], "whoever made it"),
        (&own_of_own, "made with the one that asks"),
        (&late, "made after it"),
        ("secret-operator", "made the one that asks"),
        (&sibling, "one token made this one and the one that asks"),
    ] {
        refused(secret, &path, why).await;
    }
    // A day later one hand's tokens are taken for those of several persons, except those that it made meanwhile.
    api.later(24 * 3600 - 1);
    let (_, fresh) = api.token_by("secret-operator", &role).await;
    let by_fresh = api.plan_by(&fresh).await;
    refused("secret-operator", &by_fresh, "made the one that asks").await;
    refused(&own_of_own, &by_fresh, "one token made this one and the one that asks").await;
    let path = api.plan_by(&own).await;
    refused(&own_of_own, &path, "made with the one that asks").await;
    refused(&fresh, &path, "one token made this one and the one that asks").await;
    let (status, approved) = approve(&sibling, &path).await;
    assert_eq!((status, text(&approved, "/approved_by")), (StatusCode::OK, "mine too"), "{approved}");
    let path = api.plan_by(&own_of_own).await;
    let (status, approved) = approve("secret-operator", &path).await;
    assert_eq!((status, text(&approved, "/approved_by")), (StatusCode::OK, "operator"), "{approved}");
}
