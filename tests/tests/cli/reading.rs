//! What commands that show something have in common: watching, waiting for a state, and what is deleted.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, Ran, Reconciler};

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    ran
}

/// Every noun with a thing of its own, how it is named, and a command that changes or makes it.
const READ: [(&str, &str, &str, &str); 9] = [
    ("lb list", "web", "lb update web --tag changed", "changed"),
    ("lb get web", "web", "lb update web --description again", "again"),
    ("ip list", "192.0.2.1", "ip update 192.0.2.1 --reverse a.example", "a.example"),
    ("frontend get http --lb web", "http", "frontend update http --lb web --timeout-client 87654ms", "87654"),
    ("frontend list --lb web", "http", "frontend update http --lb web --name late", "late"),
    ("acl list --lb web --frontend late", "ours", "acl update ours --lb web --frontend late --name theirs", "theirs"),
    ("backend get web --lb web", "web", "backend update web --lb web --timeout-server 98765ms", "98765"),
    ("server list --lb web --backend web", "10.0.0.5", "server add --lb web --backend web 10.0.0.77", "10.0.0.77"),
    ("subscriber get ops", "ops", "subscriber update ops --email new@example.org", "new@example.org"),
];

#[test]
fn every_noun_is_shown_again_when_it_changes() {
    let agent = Agent::with_web();
    ok(agent.typed("acl create --lb web --frontend http --name ours --index 0 --action allow --subnet 10.0.0.0/8"));
    ok(agent.typed("subscriber create --name ops --webhook https://example.org/hook"));
    for (command, first, change, last) in READ {
        let meanwhile = || drop(ok(agent.typed(change)));
        let ran = ok(agent.watch(&format!("{command} --watch=2ms -o wide"), first, meanwhile, last));
        let shown: Vec<&str> = ran.out.split("\n\n").collect();
        let [before, after] = shown[..] else { panic!("{command}: shown twice, and no oftener: {ran:?}") };
        assert!(!before.contains(last) && after.contains(last), "{command}: {ran:?}");
    }
}

#[test]
fn what_is_watched_and_goes_away_ends_the_watching() {
    let agent = Agent::with_web();
    ok(agent.typed("subscriber create --name ops --webhook https://example.org/hook"));
    let meanwhile = || drop(ok(agent.typed("subscriber delete ops --yes")));
    let ran = agent.watch("subscriber get ops --watch=2ms", "ops", meanwhile, "never shown");
    assert!(ran.exit == Exit::NotFound && ran.err.contains("no subscriber named `ops`"), "{ran:?}");
}

#[test]
fn what_is_deleted_is_shown_to_who_asks_for_it_only() {
    let agent = Agent::with_web();
    ok(agent.typed("acl create --lb web --frontend http --name ours --index 0 --action allow --subnet 10.0.0.0/8"));
    ok(agent.typed("subscriber create --name ops --webhook https://example.org/hook"));
    ok(agent.typed("ip create --address 192.0.2.77"));
    let dependent =
        ok(agent.typed("dependent create --kind kubernetes --name prod --lb web -o json")).json()["id"].clone();
    let dependent = dependent.as_str().unwrap();
    let frontend = ok(agent.typed("frontend get http --lb web -o json")).json()["id"].clone();
    let frontend = frontend.as_str().unwrap();
    for (get, list, delete) in [
        (format!("dependent get {dependent}"), "dependent list".to_owned(), format!("dependent delete {dependent}")),
        (
            format!("acl get ours --frontend {frontend}"),
            format!("acl list --frontend {frontend}"),
            format!("acl delete ours --frontend {frontend} --yes"),
        ),
        (
            "frontend get http --lb web".to_owned(),
            "frontend list --lb web".to_owned(),
            "frontend delete http --lb web --yes".to_owned(),
        ),
        (
            "backend get web --lb web".to_owned(),
            "backend list --lb web".to_owned(),
            "backend delete web --lb web --yes".to_owned(),
        ),
        ("subscriber get ops".to_owned(), "subscriber list".to_owned(), "subscriber delete ops --yes".to_owned()),
        ("ip get 192.0.2.77".to_owned(), "ip list".to_owned(), "ip delete 192.0.2.77 --yes".to_owned()),
        ("lb get web".to_owned(), "lb list".to_owned(), "lb delete web --yes".to_owned()),
    ] {
        let listed = |flag: &str| ok(agent.typed(&format!("{list} -o json {flag}"))).json().as_array().unwrap().len();
        let before = listed("");
        assert!(!ok(agent.typed(&format!("{get} --show-deleted"))).out.contains("deleted"), "{get}");
        ok(agent.typed(&delete));
        assert_eq!(agent.typed(&get).exit, Exit::NotFound, "{get}");
        let shown = ok(agent.typed(&format!("{get} --show-deleted"))).out;
        assert!(shown.contains("deleted"), "{get}: {shown}");
        assert_eq!((listed(""), listed("--show-deleted")), (before - 1, before), "{list}");
        let table = ok(agent.typed(&format!("{list} --show-deleted"))).out;
        assert!(table.contains("DELETED"), "{list}: {table}");
    }
}

#[test]
fn a_state_is_waited_for_and_commands_that_cannot_bring_it_about_refuse_to_wait() {
    let agent = Agent::with_web();
    assert_eq!(ok(agent.typed("lb create --name next --wait=ready -o json")).json()["status"], "ready");
    ok(agent.typed("server add --lb web --backend web 10.0.0.77 --wait=ready"));
    ok(agent.typed("lb delete next --yes --wait=deleted"));
    let late = agent.typed("lb get web --wait=locked --timeout 20ms");
    assert!(late.exit == Exit::TimedOut && late.err.contains("web is ready, and not locked after 20ms"), "{late:?}");
    let before = agent.generation();
    for command in [
        "subscriber create --name ops --webhook https://example.org/hook --wait=ready",
        "frontend delete http --lb web --yes --wait=deleted",
        "lb list --wait=ready",
        "status --wait=locked",
    ] {
        let refused = agent.typed(command);
        assert!(refused.exit == Exit::Usage && refused.err.contains("changes no load balancer"), "{refused:?}");
    }
    assert_eq!(agent.generation(), before);

    let stands = Agent::empty(Reconciler::Stands);
    let late = stands.typed("lb create --name web --wait=ready --timeout 20ms");
    assert_eq!(late.exit, Exit::TimedOut, "{late:?}");
}
