//! Access rules and limits of a file.

use super::*;

const RULES: &str = "acls: [{ name: ours, action: allow, subnets: [10.0.0.0/8] }, { name: rest, action: deny, subnets: [10.0.0.0/8], invert: true }]";

fn with(web: &str, keys: &str) -> String {
    web.replace("backend: web }", &format!("backend: web, {keys} }}"))
}

#[test]
fn rules_are_set_together_when_they_differ_and_left_alone_when_the_file_does_not_speak_of_them() {
    let rules = "rules: - > ours: allow 10.0.0.0/8; rest: deny not 10.0.0.0/8";
    check(|web| with(web, RULES), false, &[&format!("Update acl http; {rules}")]);
    let observed = applied(&one(&with(WEB, RULES)));
    for unchanged in [with(WEB, RULES), WEB.to_owned()] {
        let steps = plan(&one(&unchanged), &observed, true).unwrap();
        assert!(steps.iter().all(|step| step.action == Action::Unchanged), "{steps:?}");
    }
    let steps = plan(&one(&with(WEB, "acls: []")), &observed, false).unwrap();
    let calls: Vec<_> = steps.into_iter().flat_map(|step| step.calls).collect();
    let Some(none) = json!({"acls": []}).as_object().cloned() else { unreachable!() };
    assert_eq!(calls, [Call::SetAcls("http".into(), none)]);
}

#[test]
fn another_order_is_a_difference() {
    let observed = applied(&one(&with(WEB, RULES)));
    let swapped =
        RULES.replace("name: ours", "name: x").replace("name: rest", "name: ours").replace("name: x", "name: rest");
    assert!(planned(&one(&with(WEB, &swapped)), &observed, false).contains("Update acl http; rules: ours: allow"));
}

#[test]
fn a_frontend_that_is_made_anew_keeps_rules_and_limits_that_the_file_does_not_speak_of() {
    let observed = applied(&one(&with(WEB, &format!("packet_rate_limit: 7, {RULES}"))));
    let moved = WEB.replace("inbound_port: 80", "inbound_port: 81").replace("forward_port: 80", "forward_port: 81");
    let steps = plan(&one(&moved), &observed, false).unwrap();
    let calls: Vec<&Call> = steps.iter().flat_map(|step| &step.calls).collect();
    assert!(calls.iter().any(|call| matches!(call, Call::CreateFrontend(body, _) if body["packet_rate_limit"] == 7)));
    let Some(Call::SetAcls(_, body)) = calls.last() else { panic!("{calls:?}") };
    assert_eq!((&body["acls"][0]["name"], &body["acls"][1]["match"]["invert"]), (&json!("ours"), &json!(true)));
    let Some(Call::SetAcls(_, made)) = plan(&one(&with(WEB, RULES)), &Observed::default(), false)
        .unwrap()
        .into_iter()
        .flat_map(|step| step.calls)
        .last()
    else {
        panic!("no rules are set")
    };
    assert_eq!(made, *body, "as if the file had spoken of them");
}

#[test]
fn limits_that_are_given_are_changed() {
    check(
        |web| with(web, "connection_rate_limit: 20, packet_rate_limit: 0"),
        false,
        &["Update frontend http; connection_rate_limit: 0 > 20"],
    );
}

#[test]
fn every_mistake_in_rules_and_limits_is_named() {
    for (keys, expected) in [
        ("connection_rate_limit: -1", "-1 is no limit: 1 to 100000000 per second are, and 0 is none"),
        ("service_connection_rate_limit: many", "`many` is not a limit: a whole number per second"),
        ("packet_rate_limit: 100000001", "100000001 is no limit"),
        ("acls: [{ name: '', action: deny, subnets: [10.0.0.1] }]", "a name is needed"),
        ("acls: [{ name: a, action: redirect, subnets: [10.0.0.1] }]", "`redirect` is not known here: allow or deny"),
        ("acls: [{ name: a, action: deny, subnets: [] }]", "`subnets` is empty"),
        ("acls: [{ name: a, action: deny, subnets: [10.0.0.1/8] }]", "the network is 10.0.0.0/8"),
        ("acls: [{ name: a, action: deny, invert: x, subnets: [10.0.0.1] }]", "x"),
        ("acls: [{ name: a, action: deny }]", "the key `subnets` is missing"),
        (
            "acls: [{ name: a, action: deny, subnets: [10.0.0.1] }, { name: a, action: deny, subnets: [10.0.0.2] }]",
            "rule `a` stands twice",
        ),
    ] {
        let error = specs(&with(WEB, keys)).unwrap_err();
        assert!(error.contains(expected), "{keys}\n  gave {error}\n  not  {expected}");
    }
}
