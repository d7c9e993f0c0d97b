//! Each noun: create, get, list, update, delete, against the API.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, Ran, Reconciler, WEB};

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    ran
}

#[test]
fn a_load_balancer_is_made_shown_listed_changed_and_deleted() {
    let agent = Agent::empty(Reconciler::Works);
    let made = ok(agent.typed("lb create --name shop --description hello --tag a --tag b --ipv6 -o json")).json();
    assert_eq!((&made["name"], &made["description"], &made["tags"][1]), (&"shop".into(), &"hello".into(), &"b".into()));
    assert_eq!(made["ip"].as_array().map(Vec::len), Some(2), "{made}");

    let shown = ok(agent.typed("lb get shop"));
    assert!(shown.out.contains("192.0.2.1, 2001:db8::1"), "{shown:?}");
    let listed = ok(agent.typed("lb list"));
    assert!(listed.out.contains("NAME") && listed.out.contains("shop"), "{listed:?}");
    assert!(ok(agent.typed("lb list --tag other")).out.is_empty());

    let id = made["id"].as_str().unwrap();
    let changed = ok(agent.typed(&format!("lb update {id} --name store --no-tags -o json"))).json();
    assert_eq!((&changed["name"], &changed["description"]), (&"store".into(), &"hello".into()), "the rest stays");
    assert_eq!(changed["tags"].as_array().map(Vec::len), Some(0));

    let default = (&made["answers_echo"], &made["on_closed_port"]);
    assert_eq!(default, (&true.into(), &"reject".into()));
    let silent = ok(agent.typed("lb update store --answers-echo false --on-closed-port drop -o json")).json();
    assert_eq!((&silent["answers_echo"], &silent["on_closed_port"]), (&false.into(), &"drop".into()));
    assert_eq!(silent["description"], "hello", "the rest stays");
    let made = ok(agent.typed("lb create --name mute --answers-echo false --on-closed-port drop -o json")).json();
    assert_eq!((&made["answers_echo"], &made["on_closed_port"]), (&false.into(), &"drop".into()));

    ok(agent.typed("lb delete store --yes"));
    assert_eq!(agent.typed("lb get store").exit, Exit::NotFound, "lists hide it");
    let gone = ok(agent.typed(&format!("lb get {id} -o yaml")));
    assert!(gone.out.contains("status: to_delete"), "{gone:?}");
}

#[test]
fn an_ip_is_reserved_attached_detached_and_given_back() {
    let agent = Agent::with_web();
    let ip = ok(agent.typed("ip create --address 192.0.2.77 --tag spare --reverse a.example -o json")).json();
    assert_eq!((&ip["ip_address"], &ip["reverse"]), (&"192.0.2.77".into(), &"a.example".into()));
    assert!(ok(agent.typed("ip list --tag spare")).out.contains("192.0.2.77"));
    assert!(!ok(agent.typed("ip list --family ipv6")).out.contains("192.0.2.77"));

    ok(agent.typed("lb create --name bare --no-ipv4"));
    let attached = ok(agent.typed("ip update 192.0.2.77 --lb bare -o json")).json();
    assert!(attached["lb_id"].is_string(), "{attached}");
    assert_eq!(attached["tags"][0], "spare", "what is not given stays");
    let refused = agent.typed("ip delete 192.0.2.77 --yes");
    assert_eq!(refused.exit, Exit::Refused, "an attached address is in use: {refused:?}");
    assert!(ok(agent.typed("ip update 192.0.2.77 --detach -o json")).json()["lb_id"].is_null());
    ok(agent.typed("ip delete 192.0.2.77 --yes"));
    assert_eq!(agent.typed("ip get 192.0.2.77").exit, Exit::NotFound);
}

#[test]
fn a_backend_and_a_frontend_are_made_shown_listed_changed_and_deleted() {
    let agent = Agent::with_web();
    let backend = ok(agent.typed(
        "backend create --lb web --name dns --protocol udp --forward-port 53 --server 10.0.0.7,weight=2 --server fd00::8,drain \
         --check-port 8053 --check-interval 500ms --check-timeout 300ms --sticky-sessions table --sticky-prefix-v6 64 --algorithm leastconn --slow-start 30s \
         --quic-server-id-length 4 --quic-config-id 2 \
         --forwarding ipip --server fd00::9,backup --server fd00::a,drain=10m --on-empty drop -o json",
    ))
    .json();
    assert_eq!((&backend["forward_protocol"], &backend["on_empty"]), (&"udp".into(), &"drop".into()), "{backend}");
    assert_eq!(backend["servers"][1]["drain"], true);
    assert_eq!((&backend["forward_port_algorithm"], &backend["forwarding"]), (&"leastconn".into(), &"ipip".into()));
    assert_eq!((&backend["sticky_prefix_v6"], &backend["slow_start"]), (&64.into(), &30_000.into()));
    assert_eq!(
        (&backend["servers"][2]["backup"], &backend["servers"][3]["drain_timeout"]),
        (&true.into(), &600_000.into())
    );
    assert_eq!((&backend["quic_server_id_length"], &backend["quic_config_id"]), (&4.into(), &2.into()));
    let id = backend["servers"][0]["quic_server_id"].as_str().unwrap();
    assert!(id.len() == 8 && id.chars().all(|digit| digit.is_ascii_hexdigit()), "{backend}");
    assert!(ok(agent.typed("server list --lb web --backend dns -o wide")).out.contains(id));
    assert!(ok(agent.typed("server get 10.0.0.7 --lb web --backend dns")).out.contains(id));
    let shown = ok(agent.typed("backend get dns --lb web")).out;
    assert!(shown.contains("weight 1, backup") && shown.contains("weight 1, drain 10m"), "{shown}");
    assert_eq!(
        (&backend["health_check"]["port"], &backend["health_check"]["check_delay"]),
        (&8053.into(), &500.into())
    );

    let frontend =
        ok(agent.typed("frontend create --lb web --name dns --inbound-port 53 --backend dns -o json")).json();
    assert_eq!(frontend["backend"]["name"], "dns");
    assert!(ok(agent.typed("frontend list --lb web")).out.contains("udp"));
    assert!(ok(agent.typed("backend list --lb web")).out.contains("tcp on port 8053, every 500 ms within 300 ms"));

    let changed =
        ok(agent.typed("backend update dns --lb web --check http --check-uri /ready --on-empty reject -o json")).json();
    assert_eq!(
        (&changed["on_empty"], &changed["sticky_sessions"]),
        (&"reject".into(), &"table".into()),
        "the rest stays"
    );
    assert_eq!(changed["health_check"]["http_config"]["uri"], "/ready");
    assert_eq!(changed["health_check"]["check_delay"], 500, "the rest of the check stays");
    let changed = ok(agent.typed("frontend update dns --lb web --name names --timeout-client 5m -o json")).json();
    assert_eq!((&changed["name"], &changed["inbound_port"]), (&"names".into(), &53.into()));
    assert_eq!(changed["timeout_client"], 300_000);

    let refused = agent.typed("backend delete dns --lb web --yes");
    assert_eq!(refused.exit, Exit::Refused, "a frontend uses it: {refused:?}");
    ok(agent.typed("frontend delete names --lb web --yes"));
    ok(agent.typed("backend delete dns --lb web --yes"));
    assert_eq!(agent.typed("frontend get names --lb web").exit, Exit::NotFound);
}

#[test]
fn a_server_is_added_shown_listed_changed_drained_and_removed() {
    let agent = Agent::with_web();
    for (add, remove) in [("add", "remove"), ("create", "delete")] {
        let pool = "--lb web --backend web";
        let server = ok(agent.typed(&format!("server {add} {pool} 10.0.0.9 --weight 7 -o json"))).json();
        assert_eq!(
            server,
            serde_json::json!({
                "address": "10.0.0.9", "weight": 7, "backup": false, "drain": false, "drain_timeout": null, "drain_deadline": null, "quic_server_id": null,
            })
        );
        let again = agent.typed(&format!("server {add} {pool} 10.0.0.9"));
        assert!(again.exit == Exit::Usage && again.err.contains("already"), "{again:?}");
        let drained = ok(agent.typed(&format!("server update {pool} 10.0.0.9 --drain -o json"))).json();
        assert_eq!((&drained["weight"], &drained["drain"]), (&7.into(), &true.into()));
        let ends =
            ok(agent.typed(&format!("server update {pool} 10.0.0.9 --drain-timeout 1h --backup -o json"))).json();
        assert!(ends["drain_deadline"].is_string() && ends["backup"] == true, "{ends}");
        let back = ok(agent.typed(&format!("server update {pool} 10.0.0.9 --drain=false --weight 2 -o json"))).json();
        assert_eq!((&back["weight"], &back["drain"]), (&2.into(), &false.into()));
        let listed = ok(agent.typed(&format!("server list {pool} -o json"))).json();
        assert_eq!(listed.as_array().map(Vec::len), Some(3), "the others stay: {listed}");
        assert_eq!(listed[0]["weight"], 3, "the others keep their weight: {listed}");
        ok(agent.typed(&format!("server {remove} {pool} 10.0.0.9 --yes")));
        assert_eq!(agent.typed(&format!("server get {pool} 10.0.0.9")).exit, Exit::NotFound);
    }
}

#[test]
fn access_rules_and_limits_are_set_shown_listed_changed_and_taken_off() {
    let agent = Agent::with_web();
    let of = "--lb web --frontend http";
    let made = ok(agent.typed(&format!(
        "acl create {of} --name office --index 1 --action allow --subnet 192.0.2.7 --subnet 2001:db8::/32 --invert -o json"
    )))
    .json();
    assert_eq!(made["match"]["ip_subnet"], serde_json::json!(["192.0.2.7/32", "2001:db8::/32"]));
    ok(agent.typed(&format!("acl create {of} --name first --index 0 --action deny --subnet 10.0.0.0/8")));
    let listed = ok(agent.typed(&format!("acl list {of}"))).out;
    let lines: Vec<&str> = listed.lines().filter(|line| line.contains("http")).collect();
    assert!(lines[0].contains("first") && lines[1].contains("not 192.0.2.7/32, 2001:db8::/32"), "{listed}");

    let changed = ok(agent.typed(&format!("acl update office {of} --action deny --invert=false -o json"))).json();
    assert_eq!((&changed["action"]["type"], &changed["match"]["invert"]), (&"deny".into(), &false.into()));
    assert_eq!(changed["match"]["ip_subnet"], made["match"]["ip_subnet"], "what is not given stays");
    assert_eq!(agent.typed("acl get office").exit, Exit::Usage, "of which frontend?");
    ok(agent.typed(&format!("acl delete office first {of} --expect-count 2")));
    assert_eq!(agent.typed(&format!("acl get office {of}")).exit, Exit::NotFound);

    let limited = ok(agent.typed("frontend update http --lb web --connection-rate-limit 20 -o json")).json();
    assert_eq!((&limited["connection_rate_limit"], &limited["packet_rate_limit"]), (&20.into(), &0.into()));
    let shown = ok(agent.typed("frontend update http --lb web --packet-rate-limit 9000")).out;
    assert!(shown.contains("20") && shown.contains("9000") && shown.contains("not limited"), "{shown}");

    let rules =
        WEB.replace("backend: web }", "backend: web, acls: [{ name: ours, action: deny, subnets: [10.0.0.0/8] }] }");
    assert!(ok(agent.type_in("apply -f -", &rules)).out.contains("acl"));
    assert!(ok(agent.typed(&format!("acl get ours {of}"))).out.contains("10.0.0.0/8"));
    let again = ok(agent.type_in("apply -f - --dry-run", &rules));
    assert!(!again.out.contains("update"), "{again:?}");
}

#[test]
fn an_ambiguous_name_lists_the_candidates_and_an_id_decides() {
    let agent = Agent::empty(Reconciler::Works);
    let ids = [(), ()].map(|()| {
        let lb = ok(agent.typed("lb create --name twin -o json")).json();
        lb["id"].as_str().unwrap().to_owned()
    });
    let ran = agent.typed("lb get twin");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ids.iter().all(|id| ran.err.contains(id)), "{ran:?}");
    ok(agent.typed(&format!("lb delete {} --yes", ids[0])));
    assert!(ok(agent.typed("lb get twin -o json")).out.contains(&ids[1]));
}

#[test]
fn deleting_asks_and_more_than_one_needs_its_count() {
    let agent = Agent::with_web();
    ok(agent.typed("lb create --name other"));
    let before = agent.generation();
    for (command, exit, says) in [
        ("lb delete web", Exit::Usage, "add --yes"),
        ("lb delete web other", Exit::Usage, "add --expect-count 2"),
        ("lb delete web other --yes", Exit::Usage, "add --expect-count 2"),
        ("lb delete web other --expect-count 1", Exit::Usage, "but 2 would be deleted"),
        ("lb delete web no-such --expect-count 2", Exit::NotFound, "no-such"),
    ] {
        let ran = agent.typed(command);
        assert!(ran.exit == exit && ran.err.contains(says), "{command}: {ran:?}");
    }
    for (command, typed) in [("lb delete web", "n\n"), ("lb delete web", ""), ("lb delete web other", "y\n")] {
        let ran = agent.answer(command, typed);
        assert!(ran.exit == Exit::Error && ran.err.contains("nothing was deleted"), "{command}: {ran:?}");
    }
    assert_eq!(agent.generation(), before, "nothing was deleted so far");
    let (web, other) = (agent.id_of("web"), agent.id_of("other"));
    let ran = ok(agent.answer("lb delete web other web", "2\n"));
    assert_eq!(agent.generation(), before + 2, "one operation beside its plan: {ran:?}");
    assert!(ran.err.contains("deleted lb web") && ran.err.contains("deleted lb other"), "{ran:?}");
    assert!(ok(agent.typed("lb list -o json")).json().as_array().unwrap().is_empty());

    let refused = agent.typed(&format!("lb undelete {web} {other}"));
    assert!(refused.exit == Exit::Usage && refused.err.contains("add --expect-count 2"), "{refused:?}");
    ok(agent.typed("lb undelete web other --expect-count 2"));
    assert_eq!(agent.generation(), before + 4, "one operation beside its plan");
    assert_eq!(ok(agent.typed("lb list -o json")).json().as_array().unwrap().len(), 2);

    let none = agent.typed("lb delete --tag no-such --expect-count 1");
    assert!(none.exit == Exit::NotFound && none.err.contains("no load balancer is so"), "{none:?}");
    ok(agent.typed("lb update web --tag gone"));
    ok(agent.typed("lb delete --tag gone --expect-count 1"));
    assert_eq!(ok(agent.typed("lb list -o json")).json()[0]["name"], "other");
    let both = agent.typed("lb delete --tag gone other --yes");
    assert_eq!(both.exit, Exit::Usage, "names or labels: {both:?}");

    agent.let_traffic_flow();
    ok(agent.typed(&format!("lb undelete {web}")));
    let before = agent.generation();
    let project = ok(agent.typed("lb get web -o json")).json()["project_id"].as_str().unwrap().to_owned();
    let busy = agent.typed(&format!("lb delete --project {project} --expect-count 2"));
    assert!(busy.exit == Exit::Refused && busy.err.contains("pass 200 packets and 10 new connections"), "{busy:?}");
    assert_eq!(agent.generation(), before, "not even a plan is left");
    ok(agent.typed(&format!("lb delete --project {project} --expect-count 2 --with-traffic")));
    assert!(ok(agent.typed("lb list -o json")).json().as_array().unwrap().is_empty());
}

#[test]
fn several_that_gave_their_addresses_back_come_back_with_them() {
    let agent = Agent::with_web();
    ok(agent.typed("lb create --name other"));
    let whole = |id: &str| ok(agent.typed(&format!("lb get {id} -o json"))).json();
    let before: Vec<_> = ["web", "other"].into_iter().map(whole).collect();
    ok(agent.typed("lb delete web --yes --release-ip"));
    ok(agent.typed("lb delete other --yes --release-ip"));
    assert_eq!(ok(agent.typed("ip list")).out, "", "they were given back");
    let ids: Vec<String> = before.iter().map(|lb| lb["id"].as_str().unwrap().to_owned()).collect();
    ok(agent.typed(&format!("lb undelete {} --expect-count 2", ids.join(" "))));
    for (id, before) in ids.iter().zip(&before) {
        let after = whole(id);
        assert_eq!((&after["etag"], &after["ip"]), (&before["etag"], &before["ip"]), "the same, byte for byte");
    }
}

#[test]
fn refusals_end_with_their_own_exit_code() {
    let agent = Agent::with_web();
    for name in ["b", "c", "d"] {
        ok(agent.typed(&format!("lb create --name {name}")));
    }
    let before = agent.generation();
    let over = agent.typed("lb create --name e");
    assert!(over.exit == Exit::Refused && over.err.contains("4"), "the quota is 4: {over:?}");
    let zone = agent.typed("lb list --zone nl-ams-1");
    assert!(zone.exit == Exit::Usage && zone.err.contains("it serves `fr-par-1`"), "{zone:?}");
    let taken = agent.typed("ip create --address 198.51.100.1");
    assert_eq!(taken.exit, Exit::Refused, "outside the pools: {taken:?}");
    assert_eq!(agent.typed("explain 198.51.100.7:1000 192.0.2.1:80").exit, Exit::NotFound);
    assert_eq!(agent.generation(), before);
}

#[test]
fn waiting_ends_when_the_maps_hold_the_change_or_the_time_is_over() {
    let works = Agent::empty(Reconciler::Works);
    ok(works.typed("lb create --name web --wait --timeout 30s"));
    let stands = Agent::empty(Reconciler::Stands);
    let ran = stands.typed("lb create --name web --wait --timeout 50ms");
    assert_eq!(ran.exit, Exit::TimedOut);
    assert!(ran.err.contains("generation 0 of 5"), "{ran:?}");
    assert_eq!(stands.changes(), 1, "the change is recorded all the same");
}

#[test]
fn what_is_shown_after_waiting_is_what_was_waited_for() {
    let agent = Agent::empty(Reconciler::Works);
    for command in ["lb create --name web", "lb update web --description new"] {
        let shown = ok(agent.typed(&format!("{command} --wait -o json"))).json();
        assert_eq!(shown["status"], "ready", "{command}: {shown}");
    }
}

#[test]
fn changes_of_the_same_object_at_the_same_time_are_all_made() {
    const ROUNDS: usize = 12;
    let agent = Agent::with_web();
    let run = |command: String| ok(agent.typed(&command));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..=ROUNDS).for_each(|n| drop(run(format!("server update --lb web --backend web 10.0.0.5 --weight {n}"))));
        });
        scope.spawn(|| {
            (1..=ROUNDS).for_each(|n| drop(run(format!("server update --lb web --backend web 10.0.0.6 --weight {n}"))));
        });
        scope.spawn(|| {
            let backend = ok(agent.typed("backend get web --lb web -o json")).json()["id"].as_str().unwrap().to_owned();
            (1..=ROUNDS).for_each(|n| drop(run(format!("backend update {backend} --timeout-server {n}s"))));
        });
        scope.spawn(|| (1..=ROUNDS).for_each(|n| drop(run(format!("lb update web --description {n}")))));
        scope.spawn(|| (1..=ROUNDS).for_each(|n| drop(run(format!("lb update web --tag {n}")))));
        // Each of them finds what the one before left, also while others write.
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                run(format!("server add --lb web --backend web 10.0.1.{n}"));
                run(format!("server remove --lb web --backend web 10.0.1.{n} --yes"));
            }
        });
    });
    let backend = ok(agent.typed("backend get web --lb web -o json")).json();
    let weights: Vec<_> = backend["servers"].as_array().unwrap().iter().map(|server| &server["weight"]).collect();
    assert_eq!(weights, [ROUNDS, ROUNDS], "{backend}");
    assert_eq!(backend["timeout_server"], ROUNDS * 1000);
    let lb = ok(agent.typed("lb get web -o json")).json();
    assert_eq!(
        (&lb["description"], &lb["tags"]),
        (&ROUNDS.to_string().into(), &serde_json::json!([ROUNDS.to_string()]))
    );
}

#[test]
fn lists_are_read_to_their_last_page() {
    let agent = Agent::with_web();
    for _ in 0..101 {
        ok(agent.typed("ip create"));
    }
    assert_eq!(ok(agent.typed("ip list -o json")).json().as_array().map(Vec::len), Some(103));
}

#[test]
fn an_undo_shows_its_plan_wants_the_count_and_brings_the_load_balancer_back() {
    let agent = Agent::with_web();
    let before = agent.typed("lb get web -o json").json();
    assert_eq!(agent.typed("lb delete web --yes").exit, Exit::Ok);
    let deletion = agent.generation();

    let plan = agent.typed(&format!("undo {deletion} --dry-run"));
    assert_eq!(plan.exit, Exit::Differs, "{plan:?}");
    assert!(plan.out.contains(&format!("undo of operation {deletion}: 1 documents change")), "{plan:?}");
    let unasked = agent.typed(&format!("undo {deletion}"));
    assert_eq!(unasked.exit, Exit::Usage);
    assert!(unasked.err.contains("add --expect-count 1"), "{unasked:?}");
    assert_eq!(agent.typed(&format!("undo {deletion} --expect-count 2")).exit, Exit::Usage);
    assert_ne!(agent.answer(&format!("undo {deletion}"), "yes\n").exit, Exit::Ok);
    assert_eq!(agent.generation(), deletion, "nothing was undone so far");

    let done = agent.answer(&format!("undo {deletion}"), "1\n");
    assert_eq!(done.exit, Exit::Ok, "{done:?}");
    assert_eq!(agent.typed("lb get web -o json").json()["etag"], before["etag"], "the same, byte for byte");
    let again = agent.typed(&format!("undo {deletion} --dry-run"));
    assert_eq!(again.exit, Exit::Ok, "nothing is left to undo: {again:?}");
}

#[test]
fn a_restore_brings_a_load_balancer_back_to_an_earlier_operation() {
    let agent = Agent::with_web();
    let before = agent.typed("lb get web -o json").json();
    let good = agent.generation();
    assert_eq!(agent.typed("lb update web --name spoiled").exit, Exit::Ok);
    let id = before["id"].as_str().unwrap().to_owned();
    let done = agent.typed(&format!("restore --at {good} --scope lb:{id} --expect-count 1"));
    assert_eq!(done.exit, Exit::Ok, "{done:?}");
    assert_eq!(agent.typed("lb get web -o json").json()["etag"], before["etag"], "the same, byte for byte");
}

#[test]
fn a_gate_does_not_run_the_command_while_it_is_not_safe_to_act() {
    let agent = Agent::with_web();
    let proof = agent.file("proof", "");
    let ran = agent.typed(&format!("gate --lb web -- rm {}", proof.display()));
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("do not act: ") && ran.err.contains("attached to no interface"), "{ran:?}");
    assert!(proof.exists(), "the command ran");
    let waited = agent.typed(&format!("gate --lb web --wait --timeout 10ms -- rm {}", proof.display()));
    assert_eq!(waited.exit, Exit::TimedOut, "{waited:?}");
    assert!(proof.exists(), "the command ran");
    assert_eq!(agent.typed("gate --lb no-such -- true").exit, Exit::NotFound);
}

#[test]
fn a_subscriber_is_made_told_of_a_load_balancer_changed_and_deleted() {
    let agent = Agent::with_web();
    let made = ok(agent.typed("subscriber create --name ops --webhook https://example.org/hook -o json")).json();
    assert_eq!(made["webhook_config"]["uri"], "https://example.org/hook");
    assert!(ok(agent.typed("subscriber list")).out.contains("https://example.org/hook"));
    let refused = agent.typed("subscriber create --name inside --webhook http://10.0.0.1/");
    assert!(refused.exit == Exit::Usage && refused.err.contains("public Internet"), "{refused:?}");

    ok(agent.typed("subscriber subscribe web --subscriber ops"));
    assert_eq!(ok(agent.typed("lb get web -o json")).json()["subscriber"]["name"], "ops");
    let named = agent.typed("subscriber delete ops --yes");
    assert!(named.exit == Exit::Refused && named.err.contains("subscriber unsubscribe"), "{named:?}");
    let changed = ok(agent.typed("subscriber update ops --email ops@example.org -o json")).json();
    assert_eq!((&changed["name"], &changed["email_config"]["email"]), (&"ops".into(), &"ops@example.org".into()));
    assert!(ok(agent.typed("subscriber secret ops")).out.contains("whsec_"));
    ok(agent.typed("subscriber unsubscribe web"));
    assert!(ok(agent.typed("lb get web -o json")).json()["subscriber"].is_null());
    ok(agent.typed("subscriber delete ops --yes"));
    assert_eq!(agent.typed("subscriber get ops").exit, Exit::NotFound);
}

#[test]
fn a_dependent_is_registered_shown_listed_let_go_and_deleted_and_counts_in_the_impact() {
    let agent = Agent::with_web();
    let made = ok(agent.typed(
        "dependent create --kind kubernetes --name prod --lb web --finalizer --webhook https://hooks.example.com/a -o json",
    ))
    .json();
    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["kind"], &made["finalizer"]), (&"kubernetes".into(), &true.into()));
    assert!(ok(agent.typed(&format!("dependent get {id}"))).out.contains("https://hooks.example.com/a"));
    assert!(ok(agent.typed("dependent list --of web")).out.contains("holds deletions"));
    let lb = made["lb_ids"][0].as_str().unwrap();
    assert!(ok(agent.typed(&format!("impact lb:{lb}"))).out.contains("1 kubernetes; 1 hold deletions"));
    let asked = agent.typed(&format!("dependent advice {id}"));
    assert_eq!(asked.exit, Exit::Refused, "no program is attached here: {asked:?}");
    ok(agent.typed(&format!("dependent release {id} --reason moved")));
    assert!(!ok(agent.typed("dependent list")).out.contains("holds deletions"));
    ok(agent.typed(&format!("dependent delete {id}")));
    assert!(ok(agent.typed("dependent list")).out.is_empty());
    let report = ok(agent.typed("incident report --since 1")).out;
    assert!(report.contains("dependent.release") && report.contains(": moved"), "{report}");
}
