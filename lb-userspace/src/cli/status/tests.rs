//! The screen of `snowshed status`, from reports.

use std::io::Cursor;

use serde_json::json;

use super::*;
use crate::cli::terminal::Buffer;

fn report(change: impl FnOnce(&mut serde_json::Value)) -> StatusReport {
    let mut value = json!({
        "version": "0.1.0", "zone": "fr-par-1", "ledger_generation": 42, "mass_failure": null,
        "reconcile": {
            "applied_generation": 42, "applied_at": "2026-01-01T00:00:00Z", "services": 1, "backends": 2,
            "unresolved": {}, "nat_sources": [], "untranslatable": [], "empty_services": [], "repaired": {}, "repairs": [], "last_error": null,
            "attachments": [{"interface": "eth0", "ifindex": 2, "mode": "native"}],
        },
        "services": [{
            "lb": "11111111-1111-4111-8111-111111111111", "lb_name": "web",
            "frontend": "11111111-1111-4111-8111-111111111111", "backend": "11111111-1111-4111-8111-111111111111",
            "address": "2001:db8::10", "port": 80, "protocol": "tcp",
            "servers": [
                {"address": "10.0.0.5", "port": 80, "weight": 3, "share": 0.75, "drain": false, "up": true, "usable": true,
                 "since": "2026-01-01T00:00:00Z", "last_probe": "passed", "unresolved": null},
                {"address": "10.0.0.6", "port": 80, "weight": 1, "share": 0.25, "drain": false, "up": false,
                 "usable": false, "since": "2026-01-01T01:00:00Z", "last_probe": "connection refused",
                 "unresolved": null},
            ],
        }],
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn screen(report: &StatusReport) -> String {
    let out = Buffer::default();
    let mut terminal = Terminal::new(out.clone(), Buffer::default(), Cursor::new(Vec::new()));
    show(report, "2026-01-01T01:00:10Z".parse().unwrap(), &mut terminal, Format::Table).unwrap();
    out.text()
}

#[test]
fn a_healthy_edge_shows_its_servers_and_no_alarm() {
    let screen = screen(&report(|_| {}));
    assert!(!screen.contains("  !"), "{screen}");
    assert!(screen.contains("generation 42 applied, 1h 0m ago of 42"), "{screen}");
    assert!(screen.contains("attached to eth0 (native)"), "{screen}");
    let rows: Vec<Vec<&str>> = screen.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        rows.contains(&vec!["web", "[2001:db8::10]:80/tcp", "10.0.0.5", "3", "75.0%", "up", "1h", "0m", "-"]),
        "{screen}"
    );
    assert!(screen.contains("down") && screen.contains("10s") && screen.contains("connection refused"), "{screen}");
}

#[test]
fn a_server_that_drains_is_out_rises_or_stands_by_says_so() {
    let cases = [
        (json!({"drain": true}), "drain", "keeps its connections, gets no new ones"),
        (json!({"drain": true, "drain_deadline": "2026-01-01T01:05:20Z"}), "drain", "its connections for 5m 10s more"),
        (json!({"drain": true, "drain_deadline": "2026-01-01T01:00:10Z"}), "out", "its drain is over"),
        (json!({"slow_start_until": "2026-01-01T01:00:40Z"}), "up", "slow start: all of its share in 30s"),
        (json!({"backup": true, "share": 0.0}), "standby", "stands by"),
        (json!({"backup": true, "share": 1.0}), "up", "stands by"),
    ];
    for (change, state, why) in cases {
        let screen = screen(&report(|value| {
            let server = value["services"][0]["servers"][0].as_object_mut().unwrap();
            server.extend(change.as_object().unwrap().clone());
        }));
        let row = screen.lines().find(|line| line.contains("10.0.0.5")).unwrap();
        assert!(row.contains(&format!(" {state} ")) && row.contains(why), "{change}: {row}");
    }
}

#[test]
fn everything_that_is_wrong_is_an_alarm_before_the_services() {
    let screen = screen(&report(|value| {
        value["ledger_generation"] = json!(44);
        value["services"][0]["quarantined"] = json!(true);
        value["mass_failure"] = json!({"since": "2026-01-01T01:00:00Z", "down": 5, "checked": 8});
        value["reconcile"]["last_error"] = json!("SLOTS is full");
        value["reconcile"]["attachments"] = json!([]);
        value["reconcile"]["empty_services"] = json!(["192.0.2.1 80/tcp"]);
        value["reconcile"]["unresolved"] = json!({"10.0.0.9": "no_route"});
        value["reconcile"]["repaired"] = json!({"SERVICES": 2});
        value["reconcile"]["repairs"] =
            json!([{"at": "2026-01-01T01:00:00Z", "map": "SERVICES", "what": "an entry was gone"}]);
    }));
    let wanted = [
        "MASS FAILURE for 10s: 5 of 8",
        "SLOTS is full",
        "attached to no interface",
        "192.0.2.1 80/tcp has no usable server",
        "changes 43 to 44 are not in the maps yet",
        "[2001:db8::10]:80/tcp of web is quarantined",
        "no way to 10.0.0.9: no route to the server",
        "2 map entries were altered by somebody else and repaired; the last 10s ago in SERVICES: an entry was gone",
        "SERVER",
    ];
    let places: Vec<usize> =
        wanted.iter().map(|text| screen.find(text).unwrap_or_else(|| panic!("{text} is missing:\n{screen}"))).collect();
    assert!(places.is_sorted(), "{screen}");
}

#[test]
fn what_a_service_refused_stands_below_the_services_by_reason() {
    let screen = screen(&report(|value| {
        value["services"][0]["packets"] = json!(90);
        value["services"][0]["refused"] = json!({"acl_denied": 7, "source_limited": 2});
    }));
    let line = "[2001:db8::10]:80/tcp of web refused of 90 packets: acl_denied 7, source_limited 2";
    assert!(screen.lines().last() == Some(line) && !screen.contains("  !"), "{screen}");
}

#[test]
fn nothing_is_coloured_or_wrapped_off_a_terminal() {
    let screen = screen(&report(|value| {
        value["services"][0]["servers"][1]["last_probe"] = json!("x".repeat(300));
    }));
    assert!(!screen.contains('\x1b'), "{screen}");
    assert!(screen.contains(&"x".repeat(300)), "{screen}");
}

#[test]
fn an_age_has_at_most_two_units() {
    let at = Timestamp::UNIX_EPOCH;
    for (seconds, text) in
        [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (3600, "1h 0m"), (90_061, "1d 1h")]
    {
        assert_eq!(age(at, Timestamp::from_second(seconds).unwrap()), text);
    }
    assert_eq!(age(Timestamp::from_second(5).unwrap(), at), "0s", "a clock that was set back");
}

#[test]
fn what_contains_harm_and_who_must_act_is_on_the_screen() {
    let id = "22222222-2222-4222-8222-222222222222";
    let at = "2026-01-01T00:30:10Z";
    let screen = screen(&report(|value| {
        value["reconcile"]["held"] = json!(["192.0.2.1 80/tcp", "192.0.2.2 80/tcp"]);
        value["containment"] = json!({
            "freezes": [{"id": id, "place": "zone", "verb": "lb.delete", "reason": "budget used up", "by": "breaker",
                "created_at": at, "expires_at": "2026-01-01T01:30:10Z", "operations": []}],
            "quarantines": [{"id": id, "place": "project:1", "reason": "phishing", "by": "ts", "created_at": at,
                "load_balancers": 7}],
            "plans": [{"id": id, "action": "delete", "count": 1574, "by": "ts", "reason": "abuse",
                "waits_for_approval": true, "expires_at": null}],
            "hold_releases": [{"id": id, "services": ["a"], "reason": "moved", "by": "ops", "needs_approval": false,
                "approved_by": null, "created_at": at, "expires_at": null}],
            "removal_budget_remaining": 3,
        });
    }));
    for part in [
        "HOLD: 2 services forward on",
        "READ-ONLY: `lb.delete` at zone is refused, 30m 0s left, by breaker: budget used up (`snowshed thaw 2222",
        "quarantine of project:1, 7 load balancers, by ts: phishing",
        "to delete 1574 load balancers, by ts, waits for a second person: abuse",
        "the release of 1 held services by ops is in force",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
}
