//! `apply` against the API: made, unchanged, changed, pruned, stopped half-way and taken up again.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, OPERATOR, Reconciler, WEB};

#[test]
fn a_second_apply_says_unchanged_and_changes_nothing() {
    let agent = Agent::empty(Reconciler::Works);
    let first = agent.type_in("apply -f - --wait", WEB);
    assert_eq!(first.exit, Exit::Ok, "{first:?}");
    for line in ["+ lb web: created", "+ web: backend web: created", "+ web: frontend http: created"] {
        assert!(first.out.contains(line), "{first:?}");
    }
    let made = agent.generation();
    let second = agent.type_in("apply -f -", WEB);
    assert_eq!(second.exit, Exit::Ok, "{second:?}");
    assert!(second.out.lines().all(|line| line.ends_with("unchanged")), "{second:?}");
    assert_eq!(agent.generation(), made, "the second run wrote something");
}

#[test]
fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let agent = Agent::empty(Reconciler::Works);
    let dry = agent.type_in("apply -f - --dry-run", WEB);
    assert!(dry.exit == Exit::Differs && dry.out.contains("+ lb web: create"), "{dry:?}");
    assert_eq!(agent.changes(), 0);
    assert_eq!(agent.type_in("apply -f -", WEB).exit, Exit::Ok);
    assert_eq!(agent.type_in("apply -f - --dry-run", WEB).exit, Exit::Ok);
    let before = agent.generation();
    let dry = agent.type_in("apply -f - --dry-run", &WEB.replace("weight: 3", "weight: 9"));
    assert!(dry.exit == Exit::Differs && dry.out.contains("server 10.0.0.5: weight 3 → weight 9"), "{dry:?}");
    assert_eq!(agent.generation(), before);
}

#[test]
fn a_dry_run_says_what_the_guard_would_refuse_and_ends_as_the_real_run_would() {
    let agent = Agent::with_web();
    let before = agent.generation();
    // One address is nobody's to give, another is its network's last, and one load balancer is well.
    let near = "name: near\nips: [192.0.2.255]\n";
    let files = format!("{WEB}\n---\nname: far\nips: [198.51.100.9]\n---\n{near}---\nname: well\nips: [ipv4]\n");
    let dry = agent.type_in("apply -f - --dry-run", &files);
    assert_eq!(dry.exit, Exit::Refused, "{dry:?}");
    let refused: Vec<&str> = dry.out.lines().filter(|line| line.contains("refused: ")).collect();
    assert_eq!(refused.len(), 2, "{dry:?}");
    assert!(dry.out.contains("198.51.100.9 is in none of the edge's pools"), "{dry:?}");
    assert!(dry.out.contains("192.0.2.255 is in none of the edge's pools"), "{dry:?}");
    assert!(dry.out.contains("+ lb well: create") && dry.err.contains("2 of 4 load balancers"), "{dry:?}");
    let json = agent.type_in("apply -f - --dry-run -o json", &files).json();
    assert!(json[1]["refused"]["why"].as_str().unwrap().contains("198.51.100.9"), "{json}");
    assert!(json[0].get("refused").is_none() && json[3].get("refused").is_none(), "{json}");
    assert_eq!(agent.generation(), before);
    // The real run meets the same, in the same words.
    let real = agent.type_in("apply -f -", &files);
    assert!(real.exit == Exit::Refused && real.err.contains("198.51.100.9 is in none of the edge's pools"), "{real:?}");
    // Who only compares is asked for no right to change anything.
    assert_eq!(agent.type_in("diff -f -", &files).exit, Exit::Differs);
}

#[test]
fn what_would_be_made_is_shown_and_what_would_be_refused_is_told_without_making_it() {
    let agent = Agent::with_web();
    let before = agent.generation();
    let dry = agent.typed("lb create --name next --wait --dry-run -o json");
    assert!(dry.exit == Exit::Differs && dry.err.contains("nothing was"), "{dry:?}");
    assert_eq!(dry.json()["name"], "next");
    for (command, exit, why) in [
        ("ip create --address 198.51.100.1 --dry-run", Exit::Refused, "in none of the edge's pools"),
        ("ip create --address 198.51.100.1", Exit::Refused, "in none of the edge's pools"),
        (
            "frontend create --lb web --name two --port 80 --backend web --dry-run",
            Exit::Refused,
            "a port and protocol has one frontend",
        ),
        ("frontend create --lb web --name two --port 80 --backend web", Exit::Refused, "a port and protocol has one"),
        ("server add --lb web --backend web 10.0.0.77 --dry-run", Exit::Differs, "this would be made; nothing was"),
        ("lb create --name next --dry-run --expect-deny", Exit::Usage, "give one"),
    ] {
        let ran = agent.typed(command);
        assert!(ran.exit == exit && ran.err.contains(why), "{command}: {ran:?}");
    }
    assert_eq!(agent.generation(), before);
    assert_eq!(agent.typed("lb get next").exit, Exit::NotFound);
}

#[test]
fn an_operator_makes_the_first_tenant_and_names_the_project_of_what_a_file_makes() {
    let agent = Agent::empty(Reconciler::Works);
    let file = agent.file("web.yaml", WEB);
    let operator =
        |command: &str| agent.plain(&format!("{command} --socket={} --token={OPERATOR}", agent.socket().display()));
    let refused = operator(&format!("apply -f {}", file.display()));
    assert!(refused.exit == Exit::Usage && refused.err.contains("--project"), "{refused:?}");
    assert_eq!(agent.changes(), 0);
    let organization = operator("org create --name acme -o name").out;
    let project = operator(&format!("project create --name web --organization {} -o name", organization.trim())).out;
    let applied = operator(&format!("apply -f {} --project {}", file.display(), project.trim()));
    assert_eq!(applied.exit, Exit::Ok, "{applied:?}");
    let lb = operator("lb get web -o json").json();
    assert_eq!(lb["project_id"], project.trim());
    assert_eq!(lb["ip"][0]["project_id"], project.trim());
}

#[test]
fn apply_shows_the_ids_of_load_balancers_as_names() {
    let agent = Agent::empty(Reconciler::Works);
    let dry = agent.type_in("apply -f - --dry-run -o name", WEB);
    assert_eq!((dry.exit, dry.out.as_str()), (Exit::Differs, "web\n"), "{dry:?}");
    let ran = agent.type_in("apply -f - -o name", WEB);
    assert_eq!((ran.exit, ran.out.trim()), (Exit::Ok, agent.id_of("web").as_str()), "{ran:?}");
}

#[test]
fn the_example_becomes_a_load_balancer_and_its_ports_can_move() {
    let agent = Agent::empty(Reconciler::Works);
    let example = include_str!("../../../examples/web.yaml");
    let file = agent.file("web.yaml", example);
    let apply = format!("apply -f {} -o json", file.display());
    let ran = agent.typed(&apply);
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert_eq!(agent.typed("lb get web -o json").json()["ip"].as_array().map(Vec::len), Some(2));
    agent.file(
        "web.yaml",
        &example.replace("_port: 80 ", "_port: 8080 ").replace("inbound_port: 80\n", "inbound_port: 8080\n"),
    );
    let ran = agent.typed(&apply);
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert_eq!(agent.typed("frontend get http --lb web -o json").json()["inbound_port"], 8080);
    assert!(
        agent.typed(&apply).json()[0]["steps"].as_array().unwrap().iter().all(|step| step["action"] == "unchanged")
    );
}

#[test]
fn what_the_file_no_longer_names_goes_only_with_prune() {
    let agent = Agent::with_web();
    let less = "{name: web, ips: [ipv4]}";
    let before = agent.generation();
    let ran = agent.type_in("apply -f -", less);
    assert!(ran.exit == Exit::Ok && ran.out.contains("not in the file, stays"), "{ran:?}");
    assert_eq!(agent.generation(), before);
    let ran = agent.type_in("apply -f - --prune", less);
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    let lb = agent.typed("lb get web -o json").json();
    assert_eq!((&lb["frontend_count"], &lb["backend_count"]), (&0.into(), &0.into()));
    assert_eq!(lb["ip"].as_array().map(Vec::len), Some(1));
    assert!(agent.typed("ip list").out.contains("2001:db8::1"), "a detached address stays reserved");
}

#[test]
fn dependents_of_a_file_are_registered_changed_shared_and_leave_with_prune_and_let_go_only_with_a_reason() {
    let agent = Agent::with_web();
    let file = |dependents: &str| format!("{}dependents: {dependents}\n", WEB.trim_start());
    let prod = "[{ kind: kubernetes, name: prod }, { kind: database, name: orders }]";
    let ran = agent.type_in("apply -f -", &file(prod));
    assert!(ran.exit == Exit::Ok && ran.out.contains("+ web: dependent prod: created"), "{ran:?}");
    let made = agent.generation();
    assert_eq!(agent.type_in("apply -f -", &file(prod)).exit, Exit::Ok);
    assert_eq!(agent.generation(), made, "the second run wrote something");
    let other = "name: other\nips: [ipv4]\ndependents: [{ kind: database, name: orders }]\n";
    assert_eq!(agent.type_in("apply -f -", other).exit, Exit::Ok);
    let orders = agent.typed("dependent list --dependent-kind database -o json").json();
    assert_eq!(orders[0]["lb_ids"].as_array().map(Vec::len), Some(2), "one dependent of both: {orders}");

    let told = "[{ kind: kubernetes, name: prod, webhook: https://hooks.example.com/x, finalizer: true }]";
    let dry = agent.type_in("diff -f -", &file(told));
    assert!(dry.exit == Exit::Differs && dry.out.contains("webhook: https://hooks.example.com/x"), "{dry:?}");
    let ran = agent.type_in("apply -f - --prune", &file(told));
    assert!(ran.exit == Exit::Ok && ran.out.contains("- web: dependent orders: removed"), "{ran:?}");
    let all = agent.typed("dependent list -o json").json();
    assert_eq!(all.as_array().map(Vec::len), Some(2), "the other load balancer still has it: {all}");
    let refused = agent.type_in("apply -f -", &file(prod));
    assert!(refused.exit == Exit::Refused && refused.err.contains("letting go takes a reason"), "{refused:?}");
    let wrong = agent.type_in("apply -f -", &file("[{ kind: Kubernetes, name: x, webhook: ftp://x }]"));
    assert!(
        wrong.exit == Exit::Usage && wrong.err.contains("is no kind") && wrong.err.contains("is no webhook"),
        "{wrong:?}"
    );
}

#[test]
fn nothing_is_sent_when_anything_in_any_file_is_wrong() {
    let agent = Agent::empty(Reconciler::Works);
    let good = agent.file("good.yaml", WEB);
    let bad = agent.file("bad.yaml", "name: other\nbackend: []\n");
    let ran = agent.typed(&format!("apply -f {} -f {}", good.display(), bad.display()));
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("bad.yaml:2:1: unknown key `backend`; did you mean `backends`?"), "{ran:?}");
    let twice = agent.typed(&format!("apply -f {0} -f {0}", good.display()));
    assert!(twice.exit == Exit::Usage && twice.err.contains("described twice"), "{twice:?}");
    for empty in ["", "---\n", "# nothing\n"] {
        let ran = agent.type_in("apply -f -", empty);
        assert!(ran.exit == Exit::Usage && ran.err.contains("there is no load balancer in it"), "{empty:?}: {ran:?}");
    }
    assert_eq!(agent.changes(), 0);
}

#[test]
fn a_failure_half_way_says_what_was_done_and_the_next_run_goes_on() {
    let agent = Agent::empty(Reconciler::Works);
    // The quota of the test's agent is four load balancers: the fifth is refused.
    let five: String =
        (1..=5).map(|number| WEB.replace("name: web\nips", &format!("name: web{number}\nips")) + "---\n").collect();
    let ran = agent.type_in("apply -f -", &five);
    assert_eq!(ran.exit, Exit::Refused, "{ran:?}");
    assert!(ran.err.contains("web5: lb web5: ") && ran.err.contains("12 of 15 changes were made"), "{ran:?}");
    assert_eq!(agent.typed("lb delete web1 --yes").exit, Exit::Ok);
    let four: String = five.split_inclusive("---\n").skip(1).collect();
    let ran = agent.type_in("apply -f -", &four);
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert!(ran.out.contains("= lb web2: unchanged") && ran.out.contains("+ lb web5: created"), "{ran:?}");
}

#[test]
fn several_load_balancers_of_one_name_are_not_guessed_between() {
    let agent = Agent::empty(Reconciler::Works);
    for _ in 0..2 {
        agent.typed("lb create --name web");
    }
    let ran = agent.type_in("apply -f -", WEB);
    assert!(ran.exit == Exit::Usage && ran.err.contains("2 lbs are named `web`"), "{ran:?}");
}

#[test]
fn a_file_says_who_is_told_of_a_load_balancer() {
    let agent = Agent::with_web();
    let named = |name: &str| format!("{WEB}subscriber: {name}\n");
    let missing = agent.type_in("apply -f -", &named("ops"));
    assert!(missing.exit == Exit::Refused && missing.err.contains("no subscriber named `ops`"), "{missing:?}");
    for name in ["ops", "night"] {
        let made = agent.typed(&format!("subscriber create --name {name} --webhook https://example.org/{name}"));
        assert_eq!(made.exit, Exit::Ok, "{made:?}");
    }
    let told = || agent.typed("lb get web -o json").json()["subscriber"]["name"].clone();
    let ran = agent.type_in("apply -f -", &named("ops"));
    assert!(ran.exit == Exit::Ok && ran.out.contains("+ web: subscriber ops: created"), "{ran:?}");
    assert_eq!(told(), "ops");
    assert_eq!(agent.type_in("diff -f - --prune", &named("ops")).exit, Exit::Ok, "nothing is left to do");
    let exported = agent.typed("export web").out;
    assert!(exported.contains("subscriber: ops"), "{exported}");
    assert_eq!(agent.type_in("diff -f - --prune", &exported).exit, Exit::Ok, "{exported}");

    let other = agent.type_in("apply -f -", &named("night"));
    assert!(other.out.contains("told: ops → night"), "{other:?}");
    assert_eq!(told(), "night");
    let kept = agent.type_in("apply -f -", WEB);
    assert!(kept.out.contains("subscriber night: not in the file, stays"), "{kept:?}");
    assert_eq!(told(), "night");
    assert_eq!(agent.type_in("apply -f - --prune", WEB).exit, Exit::Ok);
    assert!(told().is_null());
}
