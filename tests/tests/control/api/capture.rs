//! `/snowshed/v1/capture`: whose it is, and what it takes.

use axum::http::{Method, StatusCode};
use lb_common::abi::Reason;

use super::{Api, text};

const PATH: &str = "/snowshed/v1/capture";

async fn ask(api: &Api, token: &str, query: &str) -> (StatusCode, serde_json::Value) {
    api.call_as(token, Method::GET, &format!("{PATH}?{query}"), None).await
}

#[tokio::test]
async fn only_operators_of_the_fleet_see_packets() {
    let api = Api::new();
    let (status, answer) = ask(&api, "secret-one", "").await;
    assert_eq!((status, text(&answer, "/type")), (StatusCode::FORBIDDEN, "permissions_denied"), "{answer}");
    let (status, answer) = ask(&api, "secret-operator", "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, answer) = ask(&api, "secret-operator", "service=:9").await;
    assert_eq!((status, text(&answer, "/type")), (StatusCode::CONFLICT, "transient_state"), "{answer}");
    assert!(text(&answer, "/message").contains("ops captures already, until 1970-01-01T00:00:00Z"), "{answer}");
}

#[tokio::test]
async fn what_is_asked_for_is_what_is_captured() {
    let api = Api::new();
    for (query, order) in [
        (
            "",
            "client: None, service: None, port: None, protocol: None, reasons: [], rate: 1000, snap: 256 }, format: Pcapng, count: None, lasts: 60s",
        ),
        ("client=198.51.100.7&seconds=3600&count=5", "client: Some(198.51.100.7/32), service: None"),
        ("service=203.0.113.10:80&protocol=udp", "service: Some(203.0.113.10/32), port: Some(80), protocol: Some(17)"),
        (
            "service=[2001:db8::10]:80&client=2001:db8::/32",
            "client: Some(2001:db8::/32), service: Some(2001:db8::10/128), port: Some(80)",
        ),
        ("service=203.0.113.0/24", "service: Some(203.0.113.0/24), port: None"),
        ("service=:53&protocol=132", "service: None, port: Some(53), protocol: Some(132)"),
        ("reason=acl_denied&reason=transmitted", "reasons: [AclDenied, Transmitted]"),
        ("rate=100000&snap=2047&format=lines", "rate: 100000, snap: 2047 }, format: Lines"),
        ("seconds=1&count=7", "count: Some(7), lasts: 1s"),
    ] {
        let (status, answer) = ask(&api, "secret-operator", query).await;
        assert_eq!(status, StatusCode::OK, "{query}: {answer}");
        assert!(answer.as_str().unwrap().contains(order), "{query}: {answer}");
    }
    for reason in Reason::ALL {
        let (status, answer) = ask(&api, "secret-operator", &format!("reason={}", reason.label())).await;
        assert!(status == StatusCode::OK && answer.as_str().unwrap().contains(&format!("[{reason:?}]")), "{answer}");
    }
}

#[tokio::test]
async fn what_nobody_can_capture_is_refused_with_what_can_be() {
    let api = Api::new();
    for (query, argument, help) in [
        ("client=web", "client", "is no address or prefix"),
        ("client=10.0.0.0/33", "client", "is no address or prefix"),
        ("client=", "client", "is no address or prefix"),
        ("client=*", "client", "is no address or prefix"),
        ("service=203.0.113.10:0", "service", "leave the port out for any"),
        ("service=:0", "service", "is no service"),
        ("service=web", "service", "is no service"),
        ("client=10.0.0.1&service=[2001:db8::10]:80", "client", "one address family"),
        ("protocol=sctp", "protocol", "`tcp`, `udp`, `icmp`, `icmpv6` or 1 to 255"),
        ("protocol=0", "protocol", "1 to 255"),
        ("protocol=256", "protocol", "1 to 255"),
        ("reason=lost", "reason", "there are transmitted, redirected"),
        ("reason=", "reason", "is no reason"),
        ("count=0", "count", "a whole number from 1 upwards"),
        ("seconds=0", "seconds", "a whole number from 1 to 3600"),
        ("seconds=3601", "seconds", "a whole number from 1 to 3600"),
        ("rate=0", "rate", "a whole number from 1 to 100000"),
        ("rate=100001", "rate", "a whole number from 1 to 100000"),
        ("snap=63", "snap", "a whole number from 64 to 2047"),
        ("snap=2048", "snap", "a whole number from 64 to 2047"),
        ("format=pcap", "format", "neither `pcapng` nor `lines`"),
        ("count=1&count=2", "count", "is given twice"),
        ("filter=all", "filter", ""),
    ] {
        let (status, answer) = ask(&api, "secret-operator", query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert_eq!(text(&answer, "/details/0/argument_name"), argument, "{query}: {answer}");
        assert!(text(&answer, "/details/0/help_message").contains(help), "{query}: {answer}");
    }
}
