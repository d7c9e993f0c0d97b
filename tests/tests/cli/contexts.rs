//! Contexts: agents by name, in a file.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, Ran, Reconciler, TOKEN};

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    ran
}

#[test]
fn a_context_is_told_where_its_agent_is_and_says_how_when_it_is_not() {
    let agent = Agent::empty(Reconciler::Works);
    let file = agent.file("contexts.toml", "");
    let ran = agent.plain(&format!("context set two --url http://127.0.0.1:7481 --contexts {}", file.display()));
    assert!(ran.exit == Exit::Usage && std::fs::read_to_string(&file).unwrap().is_empty(), "{ran:?}");
    assert!(ran.err.contains("snowshed context set two --agent-url http://127.0.0.1:7481"), "{ran:?}");
}

#[test]
fn a_command_reaches_the_agent_of_the_context_it_names_or_of_the_current_one() {
    let (one, two) = (Agent::with_web(), Agent::empty(Reconciler::Works));
    let file = one.file("contexts.toml", "");
    let flag = format!("--contexts={}", file.display());
    let token = one.file("token", TOKEN);
    for (name, agent) in [("one", &one), ("two", &two)] {
        let (socket, token) = (agent.socket(), token.display());
        let set = format!("context set {name} --agent-socket {} --agent-token-file {token} {flag}", socket.display());
        ok(one.plain(&set));
    }
    let names = |command: &str| ok(one.plain(&format!("{command} {flag}"))).out;
    assert!(names("lb list").contains("web"), "the first one is the current one");
    assert_eq!(names("lb list --context two"), "");
    ok(one.plain(&format!("context use two {flag}")));
    assert_eq!(names("lb list"), "");
    let listed = names("context list");
    assert!(listed.lines().any(|line| line.trim_start().starts_with('*') && line.contains("two")), "{listed}");
    // A token of a context is never sent to an agent that is named otherwise.
    let elsewhere = one.plain(&format!("lb list {flag} --socket={}", one.socket().display()));
    assert_eq!(elsewhere.exit, Exit::NotAuthorized, "{elsewhere:?}");

    ok(one.plain(&format!("context delete two {flag}")));
    let gone = one.plain(&format!("lb list --context two {flag}"));
    assert!(gone.exit == Exit::NotFound && gone.err.contains("there are one"), "{gone:?}");
    assert_eq!(one.plain(&format!("context use two {flag}")).exit, Exit::NotFound);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "others may read it");
}

#[test]
fn a_file_that_holds_no_contexts_says_where_and_changes_nothing() {
    let agent = Agent::with_web();
    let file = agent.file("contexts.toml", "[contexts.one]\nsock = \"/run/x\"\n");
    for command in ["lb list", "context list", "context set two --agent-socket /run/y"] {
        let ran = agent.plain(&format!("{command} --contexts={}", file.display()));
        assert!(ran.exit == Exit::Usage && ran.err.contains("unknown field `sock`"), "{command}: {ran:?}");
    }
    assert!(std::fs::read_to_string(&file).unwrap().contains("sock ="));
}

#[test]
fn the_ids_alone_and_more_columns_are_formats_too() {
    let agent = Agent::with_web();
    let id = agent.typed("lb list -o json").json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ok(agent.typed("lb list -o name")).out, format!("{id}\n"));
    assert_eq!(ok(agent.typed("lb get web -o name")).out, format!("{id}\n"));
    assert_eq!(ok(agent.typed("server list --lb web --backend web -o name")).out, "10.0.0.5\n10.0.0.6\n");
    let (narrow, wide) = (ok(agent.typed("lb list")).out, ok(agent.typed("lb list -o wide")).out);
    assert!(!narrow.contains("PROJECT") && wide.contains("PROJECT") && wide.contains(&id), "{wide}");
    let none = agent.typed("status -o name");
    assert!(none.exit == Exit::Usage && none.err.contains("-o json"), "{none:?}");
}
