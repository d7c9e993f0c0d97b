//! Deliveries over the API: who reads them, and dead letters that are sent again.

use axum::http::{Method, StatusCode};
use lb_userspace::delivery::{Address, Letter, Recipient, RecipientKind};
use lb_userspace::model::ProjectId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, owner, text};

const PATH: &str = "/snowshed/v1/deliveries";

/// Writes a letter of a project, or of the edge; its id.
pub(super) fn post(api: &Api, project_id: Option<ProjectId>) -> Uuid {
    let letter = Letter {
        to: Recipient { kind: RecipientKind::Subscriber, id: Uuid::from_u128(77) },
        address: Address::Webhook { uri: "https://example.org/hook".to_owned() },
        project_id,
        organization_id: None,
        lb_id: None,
        kind: "server.down".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        message: "server 10.0.0.1 is down".to_owned(),
        data: json!({"server": "10.0.0.1"}),
    };
    api.outbox.post(jiff::Timestamp::UNIX_EPOCH, &[letter]).unwrap()[0]
}

async fn ids(api: &Api, token: &str, query: &str) -> Vec<String> {
    let (status, list) = api.call_as(token, Method::GET, &format!("{PATH}{query}"), None).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let found: Vec<String> =
        list["deliveries"].as_array().unwrap().iter().map(|one| text(one, "/id").to_owned()).collect();
    assert_eq!(list["total_count"], found.len());
    found
}

#[tokio::test]
async fn a_token_reads_the_deliveries_of_its_project_and_an_operator_those_of_the_edge_too() {
    let api = Api::new();
    let [one, two, edge] = [Some(owner(1).project), Some(owner(2).project), None].map(|of| post(&api, of).to_string());
    assert_eq!(ids(&api, "secret-one", "").await, [one.as_str()]);
    assert_eq!(ids(&api, "secret-two", "").await, [two.as_str()]);
    assert_eq!(ids(&api, "secret-operator", "").await, [one.as_str(), &two, &edge]);
    assert_eq!(ids(&api, "secret-operator", "?state=dead").await, [""; 0]);
    let stranger = Uuid::from_u128(78);
    assert_eq!(ids(&api, "secret-operator", &format!("?recipient_id={stranger}")).await, [""; 0]);
    let (status, _) = api.call(Method::GET, &format!("{PATH}/{edge}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for wrong in ["state=gone", "recipient_id=x", "recipient_id=00000000-0000-0000-0000-000000000000"] {
        let (status, answer) = api.call(Method::GET, &format!("{PATH}?{wrong}"), None).await;
        assert_eq!((status, text(&answer, "/type")), (StatusCode::BAD_REQUEST, "invalid_arguments"), "{wrong}");
    }
    let shown = api.get(&format!("{PATH}/{one}")).await;
    assert_eq!((text(&shown, "/state"), text(&shown, "/uri")), ("waiting", "https://example.org/hook"));
}

#[tokio::test]
async fn a_letter_that_is_expected_to_be_refused_stays_as_it_is() {
    let api = Api::new();
    let id = post(&api, Some(owner(1).project));
    let before = api.outbox.delivery(id).unwrap();
    let request = axum::http::Request::builder()
        .method(Method::POST)
        .uri(format!("{PATH}/{id}/redeliver"))
        .header("X-Auth-Token", "secret-one")
        .header("Expect", "deny");
    let (status, answer) = api.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::EXPECTATION_FAILED, "{answer}");
    assert_eq!(api.outbox.delivery(id).unwrap(), before);
}

#[tokio::test]
async fn the_targets_of_alarms_and_their_secrets_are_for_operators() {
    let api = Api::new();
    let path = "/snowshed/v1/alarm-targets";
    for token in ["secret-one", "secret-operator"] {
        let (status, answer) = api.call_as(token, Method::GET, path, None).await;
        assert_eq!((status, &answer), (StatusCode::OK, &json!({"alarm_targets": [], "total_count": 0})));
    }
    let targets = vec![Address::Webhook { uri: "https://example.org/alarm".to_owned() }];
    let api = Api::telling(targets);
    let (_, answer) = api.call(Method::GET, path, None).await;
    assert_eq!(answer["total_count"], 0, "a tenant's token sees none: {answer}");
    let (_, answer) = api.call_as("secret-operator", Method::GET, path, None).await;
    assert_eq!(text(&answer, "/alarm_targets/0/uri"), "https://example.org/alarm");
    assert!(answer.pointer("/alarm_targets/0/secret").and_then(Value::as_str).unwrap().starts_with("whsec_"));
}
