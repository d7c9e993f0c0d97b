//! A load balancer as a file: written, compared, edited.

use std::os::unix::fs::PermissionsExt;

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, Ran, TOKEN, WEB};

/// A load balancer that uses everything a file can say.
const WHOLE: &str = "
name: whole
description: all of it
tags: [a, b]
answers_echo: false
on_closed_port: drop
ips: [ipv4]
frontends:
  - name: http
    inbound_port: 80
    backend: web
    timeout_client: 90s
    connection_rate_limit: 7
    acls: [{ name: office, action: allow, subnets: [198.51.100.0/24], invert: true }]
  - { name: cache, inbound_port: 6379, backend: cache }
  - { name: dns, inbound_port: 53, backend: dns }
  - { name: media, inbound_port: 20000-29999, backend: dns }
backends:
  - name: web
    forward_port: 80
    algorithm: leastconn
    sticky_sessions: table
    sticky_prefix_v6: 64
    slow_start: 30s
    on_empty: drop
    timeout_server: 1500ms
    servers: [{ address: 10.0.0.5, weight: 3, drain: true, drain_timeout: 10m }, { address: 10.0.0.8, backup: true }]
    health_check: { transient_interval: 200ms, send_proxy: true, https: { uri: /up, code: 204, sni: a.example } }
  - { name: cache, forward_port: 6379, servers: [{ address: 10.0.0.6 }], health_check: { redis: {} } }
  - { name: dns, forward_port: 53, protocol: udp, quic_server_id_length: 4, quic_config_id: 2, health_check: { port: 3306, mysql: { user: health } } }
dependents:
  - { kind: kubernetes, name: prod, webhook: https://hooks.example.com/prod, finalizer: true }
  - { kind: database, name: orders }
";

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    ran
}

/// An editor that runs a script of sed over the file.
fn editor(agent: &Agent, sed: &str) -> String {
    let path = agent.file("editor", &format!("#!/bin/sh\nsed -i '{sed}' \"$1\"\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("--editor={}", path.display())
}

#[test]
fn what_is_exported_is_what_there_is() {
    let agent = Agent::with_web();
    ok(agent.type_in("apply -f -", WHOLE));
    let exported = ok(agent.typed("export web whole")).out;
    assert!(exported.contains("answers_echo: false\non_closed_port: drop"), "{exported}");
    let compared = agent.type_in("diff -f - --prune", &exported);
    assert_eq!(compared.exit, Exit::Ok, "{exported}\n{compared:?}");
    let differs = agent.type_in("diff -f -", &WEB.replace("weight: 3", "weight: 4"));
    assert!(differs.exit == Exit::Differs && differs.out.contains("weight 3 → weight 4"), "{differs:?}");
}

#[test]
fn an_edit_changes_what_was_edited_and_nothing_else() {
    let agent = Agent::with_web();
    let before = agent.generation();
    let same = ok(agent.typed(&format!("edit web {}", editor(&agent, "s/no-such/x/"))));
    assert!(same.err.contains("nothing was changed") && agent.generation() == before, "{same:?}");
    ok(agent.typed(&format!("edit web {}", editor(&agent, "s/weight: 3/weight: 9/"))));
    assert_eq!(agent.generation(), before + 1);
    let weight = ok(agent.typed("server get --lb web --backend web 10.0.0.5 -o json")).json();
    assert_eq!(weight["weight"], 9);

    let wrong = agent.typed(&format!("edit web {}", editor(&agent, "s/weight: 9/weight: many/")));
    assert!(wrong.exit == Exit::Usage && wrong.err.contains("your text is kept"), "{wrong:?}");
    let path = wrong.err.split("apply --prune -f ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(std::fs::read_to_string(path).unwrap().contains("weight: many"));
    std::fs::remove_file(path).unwrap();
    let failed = agent.typed("edit web --editor=false");
    assert!(failed.err.contains("ended with"), "{failed:?}");
    let path = failed.err.split("apply --prune -f ").nth(1).unwrap().split_whitespace().next().unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(agent.generation(), before + 1);
}

#[test]
fn an_edit_takes_back_nothing_that_somebody_else_changed_meanwhile() {
    let agent = Agent::with_web();
    // While the text is edited, somebody changes the load balancer.
    let script = format!(
        "#!/bin/sh\nset -e\ncurl -sSf --unix-socket {} -X PATCH -H 'X-Auth-Token: {TOKEN}' -d '{{\"description\": \"theirs\"}}' \
         http://snowshed/lb/v1/zones/fr-par-1/lbs/{} > /dev/null\nsed -i 's/weight: 3/weight: 9/' \"$1\"\n",
        agent.socket().display(),
        agent.id_of("web"),
    );
    let path = agent.file("meanwhile", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = agent.generation();
    let edited = agent.typed(&format!("edit web --editor={}", path.display()));
    assert_eq!(edited.exit, Exit::Refused, "{edited:?}");
    assert!(edited.err.contains("+ description: theirs") && edited.err.contains("your text is kept"), "{edited:?}");
    assert_eq!(agent.generation(), before + 1, "only theirs");
    let path = edited.err.split("apply --prune -f ").nth(1).unwrap().split_whitespace().next().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn deleted_load_balancers_are_shown_when_they_are_asked_for() {
    let agent = Agent::with_web();
    ok(agent.typed("lb delete web --yes"));
    assert_eq!(ok(agent.typed("lb list -o name")).out, "");
    assert!(ok(agent.typed("lb list --show-deleted")).out.contains("to_delete"));
    assert_eq!(agent.typed("lb get web").exit, Exit::NotFound);
    assert!(ok(agent.typed("lb get web --show-deleted")).out.contains("to_delete"));
}

#[test]
fn names_that_a_file_could_not_tell_apart_are_not_exported() {
    let agent = Agent::with_web();
    ok(agent.typed("backend create --lb web --name web --forward-port 8181"));
    let ran = agent.typed("export web");
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.out.is_empty() && ran.err.contains("two backends are called `web`"), "{ran:?}");
}
