//! Advice over the API: what is not settled is told, and another project's load balancer looks like a missing one.

use axum::http::{Method, StatusCode};

use super::{Api, Ids, text};

#[tokio::test]
async fn advice_tells_why_not_to_act_and_changes_nothing() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    let path = format!("/snowshed/v1/lbs/{}/advice", ids.lb);
    let (status, advice) = api.call(Method::GET, &path, None).await;
    assert_eq!((status, text(&advice, "/lb_id")), (StatusCode::OK, ids.lb.as_str()));
    assert_eq!(advice["safe"], false, "nothing is attached in this test: {advice}");
    assert_eq!(text(&advice, "/reasons/1/code"), "detached", "{advice}");
    api.call(Method::DELETE, &format!("/lbs/{}", ids.lb), None).await;
    let (_, advice) = api.call(Method::GET, &path, None).await;
    assert_eq!(text(&advice, "/reasons/0/code"), "deleted", "{advice}");
    assert_ne!(api.head(), head, "the deletion was the only change");
}

#[tokio::test]
async fn advice_about_what_the_token_may_not_see_is_not_found() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = format!("/snowshed/v1/lbs/{}/advice", ids.lb);
    let (status, foreign) = api.call_as("secret-two", Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let missing = "99999999-9999-4999-8999-999999999999";
    let (_, absent) = api.call_as("secret-two", Method::GET, &path.replace(&ids.lb, missing), None).await;
    assert_eq!(foreign.to_string().replace(&ids.lb, missing), absent.to_string());
    for id in ["", "*", "null", "web"] {
        let (status, _) = api.call(Method::GET, &format!("/snowshed/v1/lbs/{id}/advice"), None).await;
        assert!([StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND].contains(&status), "`{id}`: {status}");
    }
    let (status, _) = api.call_as("wrong", Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
