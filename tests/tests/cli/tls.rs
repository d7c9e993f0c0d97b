//! The command line and an agent on another machine: https, and what is said when its certificate will not do.

use lb_userspace::api::Tls;
use lb_userspace::cli::failure::Exit;

use crate::certificates::{Authority, Valid};
use crate::harness::{Agent, TOKEN};

#[test]
fn an_agent_is_spoken_to_over_https_when_its_certificate_is_trusted() {
    let agent = Agent::with_web();
    let authority = Authority::new(agent.directory());
    let (certificate, key) = authority.sign("agent", &["localhost", "127.0.0.1"], Valid::Now);
    let port = agent.listen("0.0.0.0:0", Some(&Tls::open(&certificate, &key).unwrap()));
    let (ca, token) = (authority.ca(), agent.file("secret", TOKEN));
    for host in ["localhost", "127.0.0.1"] {
        let command = format!("lb list -o name --url https://{host}:{port} --ca-file {} --token {TOKEN}", ca.display());
        let ran = agent.plain(&command);
        assert_eq!((ran.exit, ran.out.lines().count()), (Exit::Ok, 1), "{ran:?}");
    }
    // As a context, the flags are said once.
    let contexts = format!("--contexts={}", agent.file("contexts.toml", "").display());
    let set = format!(
        "context set far --agent-url https://localhost:{port} --agent-ca-file {} --agent-token-file {} {contexts}",
        ca.display(),
        token.display()
    );
    assert_eq!(agent.plain(&set).exit, Exit::Ok);
    let ran = agent.plain(&format!("lb update web --tag far --expect-deny {contexts}"));
    assert_eq!(ran.exit, Exit::Error, "the change reaches the agent, which would carry it out: {ran:?}");
    assert!(ran.err.contains("would have been carried out"), "{ran:?}");
}

#[test]
fn a_certificate_that_will_not_do_says_why_and_what_to_do() {
    let agent = Agent::with_web();
    let authority = Authority::new(agent.directory());
    let serve = |name: &str, hosts: &[&str], valid| {
        let (certificate, key) = authority.sign(name, hosts, valid);
        agent.listen("0.0.0.0:0", Some(&Tls::open(&certificate, &key).unwrap()))
    };
    let good = serve("good", &["localhost"], Valid::Now);
    std::fs::remove_file(agent.directory().join("beside-0.0.0.0:0")).unwrap();
    let expired = serve("expired", &["localhost"], Valid::Expired);
    let plain = agent.listen("127.0.0.1:0", None);
    let ca = format!("--ca-file {}", authority.ca().display());
    for (host, port, flags, what, help) in [
        ("localhost", good, "", "signed by nobody whom you trust", "--ca-file, SNOWSHED_CA_FILE"),
        ("127.0.0.1", good, &*ca, "is for another name", "name the agent in the URL as its certificate does"),
        ("localhost", expired, &ca, "its certificate has expired", "put a new one in its place"),
        ("localhost", plain, &ca, "it does not speak TLS there", "TLS listener (`api.listen`)"),
    ] {
        let ran = agent.plain(&format!("lb list --url https://{host}:{port} {flags} --token {TOKEN}"));
        assert_eq!(ran.exit, Exit::Error, "{ran:?}");
        assert!(ran.err.contains(what) && ran.err.contains(help), "{what}: {ran:?}");
    }
}
