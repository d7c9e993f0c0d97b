//! What an edge holds over the API: who sees it, who lets it go, and who must agree.

use axum::http::{Method, StatusCode};
use lb_userspace::authority::{Bootstrap, bootstrap};
use lb_userspace::model::{Document, Measure, Name, Person, Plan, Reach, Role, What};
use serde_json::{Value, json};

use super::{Api, Ids, text};

/// A second operator, and an edge that holds these.
fn holding(api: &Api, services: &[String]) {
    let token = |name: &str, role| Bootstrap {
        name: Name::try_from(name.to_owned()).unwrap(),
        role,
        reach: Reach::Fleet,
        digest: super::TOKEN_KEY.digest(&format!("secret-{name}")),
    };
    let tokens = [token("operator-too", Role::Operator), token("safety", Role::TrustSafety)];
    bootstrap(&*api.ledger, &tokens, jiff::Timestamp::UNIX_EPOCH).unwrap();
    api.status.send_modify(|status| status.held = services.to_vec());
}

async fn release(api: &Api, token: &str, body: &Value) -> (StatusCode, Value) {
    api.call_as(token, Method::POST, "/snowshed/v1/hold/releases", Some(body)).await
}

/// Releases of the ledger that an edge would act on.
fn in_force(api: &Api) -> Vec<Vec<String>> {
    let now = jiff::Timestamp::from_second(api.seconds.load(std::sync::atomic::Ordering::SeqCst)).unwrap();
    let snapshot = api.ledger.snapshot();
    let measures = snapshot.measures().filter(|it| it.is_in_force(now) && !it.waits_for_approval());
    let services = measures.filter_map(|measure| match &measure.what {
        What::LetGo { services, .. } => Some(services.clone()),
        _ => None,
    });
    services.collect()
}

#[tokio::test]
async fn an_operator_sees_what_is_held_and_lets_go_exactly_that_with_a_reason_for_a_quarter_of_an_hour() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let own = "192.0.2.1 80/tcp".to_owned();
    holding(&api, &[own.clone(), "198.51.100.9 53/udp".to_owned()]);
    api.delete(&ids.path("/lbs/{lb}")).await;
    let (_, all) = api.call_as("secret-operator", Method::GET, "/snowshed/v1/hold", None).await;
    assert_eq!((&all["total_count"], text(&all, "/services/0/service")), (&json!(2), own.as_str()));
    assert_eq!((text(&all, "/services/0/lb_id"), text(&all, "/services/0/lb_name")), (ids.lb.as_str(), "web"));
    assert_eq!(text(&all, "/services/0/deleted_at"), "1970-01-01T00:00:00Z");
    assert_eq!(all["services"][1]["lb_id"], Value::Null);
    assert_eq!(api.get("/snowshed/v1/hold").await["total_count"], json!(1), "a tenant sees its own");
    let (_, none) = api.call_as("secret-two", Method::GET, "/snowshed/v1/hold", None).await;
    assert_eq!(none["total_count"], json!(0));

    let body = json!({"services": [own], "reason": "it has moved"});
    let head = api.head();
    for token in ["secret-one", "secret-safety"] {
        let (status, answer) = release(&api, token, &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "only an operator: {answer}");
    }
    assert_eq!(api.head(), head);
    let (status, made) = release(&api, "secret-operator", &body).await;
    assert_eq!((status, &made["needs_approval"]), (StatusCode::OK, &json!(false)), "{made}");
    assert_eq!(in_force(&api), [vec![own.clone()]]);
    let operation = api.ledger.operations(lb_userspace::model::Generation(0), usize::MAX).unwrap().pop().unwrap();
    assert_eq!(
        (operation.verb.as_str(), operation.actor.name.as_str(), operation.reason.as_str()),
        ("hold.release", "operator", "it has moved")
    );
    let (_, status) = api.call_as("secret-operator", Method::GET, "/snowshed/v1/status", None).await;
    assert_eq!(status["containment"]["hold_releases"][0]["id"], made["id"]);
    api.seconds.fetch_add(Plan::KEEPS.as_secs(), std::sync::atomic::Ordering::SeqCst);
    assert!(in_force(&api).is_empty(), "what is deleted tomorrow is held again");
}

#[tokio::test]
async fn more_than_ten_wait_for_a_second_operator_who_is_never_the_first() {
    let api = Api::new();
    let held: Vec<String> = (1..=Plan::ALONE + 1).map(|number| format!("192.0.2.{number} 80/tcp")).collect();
    holding(&api, &held);
    let count = held.len();
    let (_, made) = release(&api, "secret-operator", &json!({"count": count, "reason": "the zone closes"})).await;
    assert_eq!(made["needs_approval"], json!(true), "{made}");
    assert!(in_force(&api).is_empty(), "nothing is let go before that");
    let path = format!("/snowshed/v1/hold/releases/{}/approve", text(&made, "/id"));
    let head = api.head();
    let (status, problem) = api.call_as("secret-operator", Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{problem}");
    assert_eq!(text(&problem, "/precondition"), "release_needs_another_person");
    let (status, _) = api.call_as("secret-safety", Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(api.head(), head);
    let (status, approved) = api.call_as("secret-operator-too", Method::POST, &path, None).await;
    assert_eq!((status, text(&approved, "/approved_by")), (StatusCode::OK, "operator-too"));
    assert_eq!(in_force(&api), [held]);
    let head = api.head();
    assert_eq!(api.call_as("secret-operator-too", Method::POST, &path, None).await.0, StatusCode::OK);
    assert_eq!(api.head(), head, "once");
}

#[tokio::test]
async fn a_release_of_nothing_of_everything_or_of_what_is_not_held_is_refused() {
    let api = Api::new();
    let held = "192.0.2.1 80/tcp";
    holding(&api, &[held.to_owned(), "192.0.2.2 80/tcp".to_owned()]);
    let head = api.head();
    for selector in [
        json!({}),
        json!({"services": null}),
        json!({"services": []}),
        json!({"services": ""}),
        json!({"services": ["*"]}),
        json!({"services": [""]}),
        json!({"services": [" 192.0.2.1 80/tcp"]}),
        json!({"services": ["192.0.2.3 80/tcp"]}),
        json!({"services": [held, "192.0.2.3 80/tcp"]}),
        json!({"services": [held], "count": 1}),
        json!({"services": [held], "all": true}),
        json!({"count": 0}),
        json!({"count": 1}),
        json!({"count": 3}),
        json!({"count": "2"}),
        json!({"count": -2}),
        json!({"all": true}),
    ] {
        let mut body = selector.clone();
        body["reason"] = json!("test");
        let (status, answer) = release(&api, "secret-operator", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{selector}: {answer}");
        assert_eq!(api.head(), head, "{selector}");
    }
    for reason in [json!(null), json!(""), json!(" "), json!(7)] {
        let (status, _) = release(&api, "secret-operator", &json!({"count": 2, "reason": reason})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}");
    }
    assert_eq!(api.head(), head);
}

#[test]
fn the_engine_lets_nobody_approve_a_release_alone_or_keep_one_for_ever() {
    use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Proposal};
    use lb_userspace::model::{Actor, MeasureId, Reason, Scope, Times};
    let ledger = MemoryLedger::new();
    let at = jiff::Timestamp::UNIX_EPOCH;
    let propose = |name: &str, before: Option<&Measure>, after: &Measure| {
        let change = Change {
            before: before.map(|measure| Document::Measure(measure.clone())),
            after: Document::Measure(after.clone()),
        };
        ledger.append(Proposal {
            expected: ledger.snapshot().generation(),
            actor: Actor::agent(name),
            scope: Scope::Measure { measure: after.id },
            verb: "hold.release".to_owned(),
            reason: String::new(),
            at,
            attempt: None,
            plan: None,
            changes: vec![change],
        })
    };
    let services: Vec<String> = (0..11).map(|number| format!("192.0.2.{number} 80/tcp")).collect();
    let made = Measure {
        id: MeasureId::new(),
        by: Person::agent("first"),
        reason: Reason::try_from("test".to_owned()).unwrap(),
        expires_at: at.checked_add(Plan::KEEPS).ok(),
        what: What::LetGo { services: services.clone(), agreed_by: None },
        times: Times::created(at),
    };
    let approved = |by: &str| Measure {
        what: What::LetGo { services: services.clone(), agreed_by: Some(Person::agent(by)) },
        ..made.clone()
    };
    let refused = |result: Result<_, LedgerError>| assert!(matches!(result, Err(LedgerError::Refused(_))));
    refused(propose("first", None, &Measure { expires_at: None, ..made.clone() }));
    refused(propose("first", None, &approved("second")));
    propose("first", None, &made).unwrap();
    refused(propose("first", Some(&made), &approved("first")));
    refused(propose("first", Some(&made), &approved("second")));
    refused(propose("second", Some(&made), &approved("third")));
    let fewer = Measure { what: What::LetGo { services: services[1..].to_vec(), agreed_by: None }, ..made.clone() };
    refused(propose("second", Some(&made), &fewer));
    propose("second", Some(&made), &approved("second")).unwrap();
}
