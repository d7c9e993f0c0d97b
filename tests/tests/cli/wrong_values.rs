//! Every argument of every command refuses a wrong value: it says what is allowed, and nothing is changed.

use lb_userspace::cli::failure::Exit;

use crate::harness::Agent;

/// A valid invocation of every command that has no commands of its own, with as many arguments as are needed.
const COMMANDS: &[(&str, &[&str])] = &[
    ("lb create", &["--name", "new"]),
    ("lb get", &["<lb>", "web"]),
    ("lb list", &[]),
    ("lb update", &["<lb>", "web", "--name", "other"]),
    ("lb delete", &["<lbs>", "web", "--yes", ""]),
    ("ip create", &[]),
    ("ip get", &["<ip>", "192.0.2.1"]),
    ("ip list", &[]),
    ("ip update", &["<ip>", "192.0.2.1", "--reverse", "a.example"]),
    ("ip delete", &["<ips>", "192.0.2.1", "--yes", ""]),
    ("frontend create", &["--lb", "web", "--name", "new", "--inbound-port", "81", "--backend", "web"]),
    ("frontend get", &["<frontend>", "http", "--lb", "web"]),
    ("frontend list", &["--lb", "web"]),
    ("frontend update", &["<frontend>", "http", "--lb", "web", "--name", "other"]),
    ("frontend delete", &["<frontends>", "http", "--lb", "web", "--yes", ""]),
    (
        "acl create",
        &[
            "--lb",
            "web",
            "--frontend",
            "http",
            "--name",
            "new",
            "--index",
            "1",
            "--action",
            "deny",
            "--subnet",
            "10.1.0.0/16",
        ],
    ),
    ("acl get", &["<acl>", "ours", "--lb", "web", "--frontend", "http"]),
    ("acl list", &["--lb", "web", "--frontend", "http"]),
    ("acl update", &["<acl>", "ours", "--lb", "web", "--frontend", "http", "--index", "2"]),
    ("acl delete", &["<acls>", "ours", "--lb", "web", "--frontend", "http", "--yes", ""]),
    ("backend create", &["--lb", "web", "--name", "new", "--forward-port", "81"]),
    ("backend get", &["<backend>", "web", "--lb", "web"]),
    ("backend list", &["--lb", "web"]),
    ("backend update", &["<backend>", "web", "--lb", "web", "--name", "other"]),
    ("backend delete", &["<backends>", "web", "--lb", "web", "--yes", ""]),
    ("server add", &["--lb", "web", "--backend", "web", "<address>", "10.0.0.9"]),
    ("server get", &["--lb", "web", "--backend", "web", "<address>", "10.0.0.5"]),
    ("server list", &["--lb", "web", "--backend", "web"]),
    ("server update", &["--lb", "web", "--backend", "web", "<address>", "10.0.0.5", "--weight", "2"]),
    ("server remove", &["--lb", "web", "--backend", "web", "<addresses>", "10.0.0.5", "--yes", ""]),
    ("org create", &["--name", "new"]),
    ("org get", &["<id>", ID]),
    ("org list", &[]),
    ("org rename", &["<id>", ID, "--name", "other"]),
    ("org delete", &["<id>", ID]),
    ("project create", &["--name", "new"]),
    ("project get", &["<id>", ID]),
    ("project list", &[]),
    ("project rename", &["<id>", ID, "--name", "other"]),
    ("project delete", &["<id>", ID]),
    ("token create", &["--name", "new", "--role", "viewer"]),
    ("token get", &["<id>", ID]),
    ("token list", &[]),
    ("token revoke", &["<id>", ID]),
    ("subscriber create", &["--name", "new", "--webhook", "https://example.org/hook"]),
    ("subscriber get", &["<subscriber>", "ops"]),
    ("subscriber list", &[]),
    ("subscriber update", &["<subscriber>", "ops", "--name", "other"]),
    ("subscriber delete", &["<subscribers>", "ops", "--yes", ""]),
    ("subscriber subscribe", &["<lb>", "web", "--subscriber", "ops"]),
    ("subscriber unsubscribe", &["<lb>", "web"]),
    ("subscriber secret", &["<subscriber>", "ops"]),
    ("delivery list", &[]),
    ("delivery get", &["<delivery>", ID]),
    ("delivery redeliver", &["<deliveries>", ID]),
    ("delivery alarm-targets", &[]),
    ("apply", &["--file", EXAMPLE]),
    ("status", &[]),
    ("diff", &["--file", EXAMPLE]),
    ("edit", &["<lb>", "web", "--editor", "true"]),
    ("export", &["<lbs>", "web"]),
    ("doctor", &["--config", "/nonexistent"]),
    ("top", &["--once", "", "--interval", "1ms"]),
    ("ops list", &[]),
    ("ops show", &["<operation>", "1"]),
    ("events", &[]),
    ("explain", &["<client>", "198.51.100.7:1000", "<service>", "192.0.2.1:80"]),
    ("capture", &["--write", "/nonexistent/out.pcapng"]),
    ("trace", &[]),
    ("gate", &["--lb", "web"]),
    ("dependent create", &["--kind", "database", "--name", "new", "--lb", "web"]),
    ("dependent get", &["<dependent>", ID]),
    ("dependent list", &[]),
    ("dependent advice", &["<dependent>", ID]),
    ("dependent release", &["<dependent>", ID, "--reason", "test"]),
    ("dependent secret", &["<dependent>", ID]),
    ("dependent delete", &["<dependent>", ID]),
    ("impact", &["<place>", LB]),
    ("incident report", &["--since", "1"]),
    ("heal follow", &[]),
    ("heal list", &[]),
    ("heal show", &["<lb>", "web"]),
    ("heal retry", &["<place>", PROJECT]),
    ("heal resolve", &["<place>", LB, "--reason", "test"]),
    ("drill avalanche", &[]),
    ("backup create", &["--config", "/nonexistent"]),
    ("backup list", &["--config", "/nonexistent"]),
    ("backup verify", &["--name", "latest", "--config", "/nonexistent"]),
    ("backup restore", &["--name", "latest", "--config", "/nonexistent"]),
    ("undo", &["<operation>", "1", "--dry-run", ""]),
    ("restore", &["--at", "1", "--scope", "lb:11111111-1111-4111-8111-111111111111", "--dry-run", ""]),
    ("lb undelete", &["<deleted>", ID]),
    ("freeze", &["<place>", PROJECT, "--reason", "test", "--for", "1m"]),
    ("thaw", &["<freeze>", ID]),
    ("quarantine", &["<place>", PROJECT, "--reason", "test"]),
    ("release", &["<place>", PROJECT, "--reason", "test"]),
    ("measures", &[]),
    ("hold list", &[]),
    ("hold release", &["--service", "192.0.2.1 80/tcp", "--reason", "test"]),
    ("hold approve", &["<release>", ID]),
    ("purge list", &[]),
    ("purge show", &["<purge>", ID]),
    ("ts quarantine", &["--parent", PROJECT, "--count", "1", "--reason", "test"]),
    ("ts release", &["--parent", PROJECT, "--count", "1", "--reason", "test"]),
    ("ts plan-removal", &["--parent", PROJECT, "--count", "1", "--reason", "test"]),
    ("ts show", &["<plan>", ID]),
    ("ts approve", &["<plan>", ID]),
    ("ts apply", &["<plan>", ID]),
    ("completion", &["<shell>", "bash"]),
    ("man", &["<directory>", "/nonexistent"]),
    ("context list", &[]),
    ("context set", &["<named>", "edge", "--agent-socket", "/run/s.sock"]),
    ("context use", &["<named>", "edge"]),
    ("context delete", &["<named>", "edge"]),
    ("backend attach", &["--iface", "nosuch0", "--vip", "192.0.2.10"]),
    ("backend detach", &["--iface", "nosuch0"]),
    ("backend status", &[]),
    ("detach", &["--pin-dir", "/nonexistent", "--yes", ""]),
    ("agent", &["--config", "/nonexistent", "--check", ""]),
    ("init", &["--config", "/proc/no/agent.toml", "--interface", "eth0", "--ledger", "/proc/no/ledger.db"]),
];

/// A wrong value for every argument, by its name: the same name means the same thing everywhere, save where a
/// command stands before it.
const WRONG: &[(&str, &str, Exit, &str)] = &[
    (
        "--socket",
        "/nonexistent/socket",
        Exit::Error,
        "there is no socket at /nonexistent/socket: is the agent running?",
    ),
    ("--url", "http://192.0.2.1:80", Exit::Usage, "only this machine's own agent is spoken to without TLS"),
    ("--ca-file", "/nonexistent", Exit::Usage, "/nonexistent holds no certificates to trust"),
    ("--token", "wrong", Exit::NotAuthorized, "the token is not known"),
    ("--token-file", "/nonexistent/token", Exit::Usage, "the token file /nonexistent/token cannot be read"),
    ("--zone", "fr/par", Exit::Usage, "lower-case letters, digits and hyphens"),
    ("--output", "xml", Exit::Usage, "[possible values: table, wide, name, json, yaml]"),
    ("--wait", "soon", Exit::Usage, "[possible values: applied, ready, locked, deleted]"),
    ("--timeout", "30", Exit::Usage, "a number with its unit, for example 500ms, 30s"),
    ("--name", " x", Exit::Usage, "no control characters"),
    ("--description", LONG, Exit::Usage, "at most 1024 are allowed"),
    ("--tag", "", Exit::Usage, "a tag has 1 to 128 characters"),
    ("--type", "XXL", Exit::Usage, "LB-S, LB-GP-M, LB-GP-L, LB-GP-XL are offered"),
    ("--ip", "web", Exit::Usage, "give its id (a UUID) or its address"),
    ("--project", "mine", Exit::Usage, "a UUID such as"),
    ("--webhook", "ftp://example.org/", Exit::Usage, "http and https"),
    ("dependent create --webhook", "ftp://example.org/", Exit::Usage, "an http:// or https:// URL"),
    ("--email", "nobody", Exit::Usage, "no e-mail address"),
    ("--subscriber", "no-such", Exit::NotFound, "there is no subscriber named `no-such`"),
    ("<subscriber>", "no-such", Exit::NotFound, "there is no subscriber named `no-such`"),
    ("<subscribers>", "no-such", Exit::NotFound, "there is no subscriber named `no-such`"),
    ("--recipient", "x", Exit::Usage, "a UUID such as"),
    ("delivery list --state", "gone", Exit::Usage, "[possible values: waiting, delivered, dead]"),
    ("<delivery>", "x", Exit::Usage, "a UUID such as"),
    ("<deliveries>", "x", Exit::Usage, "a UUID such as"),
    ("--editor", "", Exit::Usage, "a name is needed"),
    ("--verb", "", Exit::Usage, "a name is needed"),
    ("--actor", "", Exit::Usage, "a name is needed"),
    ("--kind", "", Exit::Usage, "a name is needed"),
    ("--before", "0", Exit::Usage, "0 is not in 1.."),
    ("--limit", "0", Exit::Usage, "0 is not in 1.."),
    ("--count", "0", Exit::Usage, "0 is not in 1.."),
    ("--after", "17", Exit::Usage, "one that a stream gave, such as"),
    ("--context", "no such", Exit::Usage, "letters, digits, dots, hyphens and underscores"),
    ("--contexts", "/proc/version", Exit::Usage, "/proc/version holds no contexts"),
    ("<named>", "a b", Exit::Usage, "letters, digits, dots, hyphens and underscores"),
    ("<directory>", "/nonexistent", Exit::Usage, "/nonexistent is no directory"),
    ("--agent-socket", "", Exit::Usage, "a path is needed"),
    ("--agent-token-file", "", Exit::Usage, "a path is needed"),
    ("--agent-url", "http://example.com:80", Exit::Usage, "is not a URL of the agent"),
    ("--agent-ca-file", "", Exit::Usage, "a path is needed"),
    ("--agent-zone", "Paris!", Exit::Usage, "is not a zone"),
    ("ops show <operation>", "first", Exit::Usage, "give its number, from 1 upwards, or its id"),
    ("--expect-count", "0", Exit::Usage, "0 is not in 1.."),
    ("--lb", "", Exit::Usage, "a name is needed: 1 to 255 characters"),
    ("--backend", "", Exit::Usage, "a name is needed: 1 to 255 characters"),
    ("--reverse", "-a..b", Exit::Usage, "is not a DNS name, such as www.example.com"),
    ("--address", "0.0.0.0", Exit::Usage, "no address of a single machine"),
    ("--family", "ipv5", Exit::Usage, "[possible values: ipv4, ipv6]"),
    (
        "--inbound-port",
        "65536",
        Exit::Usage,
        "a number from 1 to 65535, a range such as 8000-8999, or `any` is expected",
    ),
    ("--inbound-port", "90-80", Exit::Usage, "its last port is above its first"),
    ("--inbound-port", "80-65536", Exit::Usage, "`65536` is not a port"),
    ("--forward-port", "0", Exit::Usage, "a number from 1 to 65535 is expected"),
    ("--timeout-client", "soon", Exit::Usage, "a number with its unit"),
    ("--timeout-server", "1us", Exit::Usage, "not a whole number of milliseconds"),
    ("--connection-rate-limit", "-1", Exit::Usage, "-1 is no limit"),
    ("--service-connection-rate-limit", "many", Exit::Usage, "a whole number per second, or 0 for none"),
    ("--packet-rate-limit", "100000001", Exit::Usage, "1 to 100000000 per second are, and 0 is none"),
    ("--frontend", "", Exit::Usage, "a name is needed: 1 to 255 characters"),
    ("--index", "-1", Exit::Usage, "invalid value"),
    ("--action", "redirect", Exit::Usage, "[possible values: allow, deny]"),
    ("--subnet", "10.0.0.1/8", Exit::Usage, "the network is 10.0.0.0/8"),
    ("acl update --invert", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("<acl>", "no-such", Exit::NotFound, "there is no acl named `no-such` of frontend http"),
    ("<acls>", "no-such", Exit::NotFound, "there is no acl named `no-such` of frontend http"),
    ("--protocol", "sctp", Exit::Usage, "tcp or udp"),
    ("--server", "10.0.0.5,heavy", Exit::Usage, "ADDRESS[,weight=1..65535][,backup][,drain[=TIMEOUT]]"),
    ("--forwarding", "sit", Exit::Usage, "[possible values: nat, ipip, gue, l2]"),
    ("--algorithm", "random", Exit::Usage, "[possible values: roundrobin, first, leastconn]"),
    ("--sticky-prefix-v6", "129", Exit::Usage, "prefix length 129 is outside 1 to 128"),
    ("--quic-server-id-length", "9", Exit::Usage, "a server id of 9 bytes is outside 1 to 8"),
    ("--quic-config-id", "7", Exit::Usage, "configuration 7 is outside 0 to 6"),
    ("--connection-id", "4g", Exit::Usage, "1 to 20 bytes as hexadecimal digits"),
    ("--slow-start", "fast", Exit::Usage, "a number with its unit"),
    ("--backup", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("--drain-timeout", "soon", Exit::Usage, "a number with its unit"),
    ("--sticky-sessions", "cookie", Exit::Usage, "[possible values: none, table]"),
    ("--on-empty", "wait", Exit::Usage, "[possible values: reject, drop]"),
    ("--check", "icmp", Exit::Usage, "[possible values: tcp, http, https, mysql, pgsql, ldap, redis]"),
    ("--check-port", "http", Exit::Usage, "a number from 1 to 65535 is expected"),
    ("--check-interval", "5", Exit::Usage, "a number with its unit"),
    ("--check-timeout", "5 parsecs", Exit::Usage, "a number with its unit"),
    ("--check-fall", "0", Exit::Usage, "invalid value '0'"),
    ("--check-rise", "256", Exit::Usage, "invalid value '256'"),
    ("--check-transient-interval", "5", Exit::Usage, "a number with its unit"),
    ("--check-send-proxy", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("--check-user", "a b", Exit::Usage, "without blanks"),
    ("--check-sni", "10.0.0.1", Exit::Usage, "a DNS name is expected"),
    ("--check-uri", "healthz", Exit::Usage, "it begins with / and has no blanks"),
    ("--check-method", "get", Exit::Usage, "capital letters, for example GET"),
    ("--check-code", "99", Exit::Usage, "99 is not in 100..=599"),
    ("--check-host", "a b", Exit::Usage, "a name or an address, with a port if need be"),
    ("--weight", "0", Exit::Usage, "outside 1 to 65535; to stop new connections to a server, drain it"),
    ("--drain", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("--file", "/nonexistent/web.yaml", Exit::Usage, "/nonexistent/web.yaml cannot be read"),
    ("--iface", "nosuch0", Exit::NotFound, ""),
    ("backend attach --iface", "nosuch0", Exit::Error, "nosuch0"),
    ("--vip", "0.0.0.0", Exit::Usage, "no address of a single machine"),
    ("--mode", "fast", Exit::Usage, "[possible values: native, generic]"),
    ("--pin-dir", "/nonexistent/pins", Exit::NotFound, "nothing is pinned in /nonexistent/pins"),
    ("--watch", "0s", Exit::Usage, "1ms or more"),
    ("--interval", "0s", Exit::Usage, "1ms or more"),
    ("--config", "/nonexistent/agent.toml", Exit::Error, ""),
    ("init --config", "/proc/no/agent.toml", Exit::Error, "/proc/no/agent.toml cannot be written"),
    ("init --ledger", "/proc/no/ledger.db", Exit::Error, "/proc/no/agent.toml cannot be written"),
    ("--interface", "no/interface", Exit::Usage, "is no interface, such as eth0"),
    ("--v4", "10.0.0.0/99", Exit::Usage, "invalid value '10.0.0.0/99'"),
    ("--v6", "10.0.0.0/8", Exit::Usage, "invalid value '10.0.0.0/8'"),
    ("--organization", "mine", Exit::Usage, "a UUID such as"),
    ("--role", "root", Exit::Usage, "operator, trust-safety, org-admin, project-editor, viewer are"),
    ("--expires-at", "tomorrow", Exit::Usage, "is no time, such as 2027-01-01T00:00:00Z"),
    ("<id>", "mine", Exit::Usage, "a UUID such as"),
    ("<lb>", "no-such", Exit::NotFound, "there is no lb named `no-such`"),
    ("<lbs>", "no-such", Exit::NotFound, "there is no lb named `no-such`"),
    ("<ip>", "192.0.2.99", Exit::NotFound, "there is no IP 192.0.2.99"),
    ("<ips>", "not-an-ip", Exit::Usage, "give its id (a UUID) or its address"),
    ("<frontend>", "no-such", Exit::NotFound, "there is no frontend named `no-such` in load balancer web"),
    ("<frontends>", "no-such", Exit::NotFound, "there is no frontend named `no-such` in load balancer web"),
    ("<backend>", "no-such", Exit::NotFound, "there is no backend named `no-such` in load balancer web"),
    ("<backends>", "no-such", Exit::NotFound, "there is no backend named `no-such` in load balancer web"),
    ("<address>", "10.0.0", Exit::Usage, "an IPv4 address such as 10.0.0.5"),
    ("<addresses>", "ff02::1", Exit::Usage, "no address of a single machine"),
    ("<client>", "198.51.100.7", Exit::Usage, "is not ADDRESS:PORT"),
    ("<service>", "192.0.2.1:80/http", Exit::Usage, "tcp or udp"),
    ("backup verify --name", "../x", Exit::Usage, "is no name of a backup"),
    ("backup restore --name", "*", Exit::Usage, "is no name of a backup"),
    ("<dependent>", "web", Exit::Usage, "is not an id: a UUID such as"),
    ("dependent create --kind", "Big One", Exit::Usage, "is no kind: a word of lower-case letters"),
    ("--dependent-kind", "Big One", Exit::Usage, "is no kind: a word of lower-case letters"),
    ("--of", "no-such", Exit::NotFound, "there is no lb named `no-such`"),
    ("--since", "yesterday", Exit::Usage, "neither a time such as 2026-04-07T16:30:00Z nor the number"),
    ("--until", "never", Exit::Usage, "neither a time such as 2026-04-07T16:30:00Z nor the number"),
    ("--state", "sick", Exit::Usage, "is no state: needs_attention, healing, pending, ready are"),
    ("--fault", "sick", Exit::Usage, "is no reason: map_full, write_refused"),
    ("--scale", "0", Exit::Usage, "0 is not in 1..=10"),
    ("<command>", "true", Exit::Usage, "unexpected argument"),
    ("undo <operation>", "last", Exit::Usage, "names no operation: its number or its id is expected"),
    ("--at", "yesterday", Exit::Usage, "neither a time such as 2026-04-07T16:30:00Z nor the number"),
    ("--scope", "*", Exit::Usage, "is no scope: lb:ID, project:ID or organization:ID is expected"),
    ("--reason", " ", Exit::Usage, "a reason has at least one character"),
    ("<place>", "*", Exit::Usage, "is no place: lb:ID, project:ID or organization:ID is expected"),
    ("--parent", "project:", Exit::Usage, "is no place: lb:ID, project:ID or organization:ID is expected"),
    ("<freeze>", "*", Exit::Usage, "is not an id: a UUID such as"),
    ("<purge>", "*", Exit::Usage, "is not an id: a UUID such as"),
    ("<release>", "*", Exit::Usage, "is not an id: a UUID such as"),
    ("--service", "192.0.2.1:80", Exit::Usage, "is no service: an address, a port and a protocol"),
    ("<plan>", "all", Exit::Usage, "is not an id: a UUID such as"),
    ("<deleted>", "web", Exit::NotFound, "no deleted load balancer is named `web`"),
    ("--id", "web", Exit::Usage, "is not an id: a UUID such as"),
    ("--for", "5", Exit::Usage, "a number with its unit"),
    ("--client", "web", Exit::Usage, "is no address or prefix: one such as 198.51.100.7"),
    ("capture --service", "web", Exit::Usage, "is no service: 203.0.113.10:80, [2001:db8::10]:80, an address"),
    ("trace --service", "203.0.113.10:0", Exit::Usage, "leave the port out for any"),
    ("capture --protocol", "sctp", Exit::Usage, "`tcp`, `udp`, `icmp`, `icmpv6` or 1 to 255 is expected"),
    ("trace --protocol", "256", Exit::Usage, "`tcp`, `udp`, `icmp`, `icmpv6` or 1 to 255 is expected"),
    ("capture --reason", "lost", Exit::Usage, "is no reason; there are transmitted, redirected"),
    ("trace --reason", "", Exit::Usage, "is no reason; there are transmitted, redirected"),
    ("--write", "/proc/version", Exit::Usage, "/proc/version exists: name another file"),
    ("--rate", "100001", Exit::Usage, "a whole number from 1 to 100000 is expected"),
    ("--snap", "63", Exit::Usage, "a whole number from 64 to 2047 is expected"),
    ("capture --for", "2h", Exit::Usage, "whole seconds are expected, from 1s to 1h"),
    ("trace --for", "500ms", Exit::Usage, "whole seconds are expected, from 1s to 1h"),
    ("--answers-echo", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("--on-closed-port", "wait", Exit::Usage, "reject or drop is expected"),
    ("lb update --protected", "maybe", Exit::Usage, "[possible values: true, false]"),
    ("<shell>", "ksh", Exit::Usage, "possible values"),
];

/// An id that nothing has.
const ID: &str = "33333333-3333-4333-8333-333333333333";
/// A place that is right.
const PROJECT: &str = "project:11111111-1111-4111-8111-111111111111";

/// One that is a load balancer.
const LB: &str = "lb:33333333-3333-4333-8333-333333333333";

/// A file that is right.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/web.yaml");

/// More characters than a description may have.
const LONG: &str = match std::str::from_utf8(&[b'x'; 1025]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Flags whose wrong values only show when the agent is asked.
const CONNECTION: &[&str] = &["--socket", "--ca-file", "--token", "--token-file", "--context", "--contexts"];

#[test]
fn every_argument_of_every_command_refuses_a_wrong_value() {
    let agent = Agent::with_web();
    let ours = "acl create --lb web --frontend http --name ours --index 0 --action allow --subnet 10.0.0.0/8";
    assert_eq!(agent.typed(ours).exit, Exit::Ok);
    let before = agent.generation();
    let mut checked = 0;
    for leaf in lb_userspace::cli::leaves() {
        let (_, base) = COMMANDS
            .iter()
            .find(|(command, _)| *command == leaf.path)
            .unwrap_or_else(|| panic!("`{}` has no valid invocation in this test: add one", leaf.path));
        for argument in &leaf.arguments {
            // Local commands talk to no agent: where it is does not matter to them.
            if leaf.local && CONNECTION.contains(&argument.name.as_str()) {
                continue;
            }
            check(&agent, &leaf.path, base, argument);
            checked += 1;
        }
    }
    assert!(checked > 300, "only {checked} arguments were found");
    assert_eq!(agent.generation(), before, "a refused command changed the ledger");
}

fn check(agent: &Agent, command: &str, base: &[&str], argument: &lb_userspace::cli::Argument) {
    let name = argument.name.as_str();
    let (value, exit, says) = if argument.takes_value {
        let own = format!("{command} {name}");
        let find = |wanted: &str| WRONG.iter().find(|(of, ..)| *of == wanted);
        let found = find(&own).or_else(|| find(name));
        let (_, value, exit, says) =
            found.unwrap_or_else(|| panic!("`{command} {name}` has no wrong value in this test: add one"));
        (*value, *exit, *says)
    } else {
        ("maybe", Exit::Usage, "unexpected value 'maybe'")
    };
    let mut args: Vec<String> = command.split(' ').map(str::to_owned).collect();
    for pair in base.chunks(2).filter(|pair| pair[0] != name) {
        args.extend(as_typed(pair[0], pair[1]));
    }
    if name.starts_with('<') {
        args.push(value.to_owned());
    } else {
        args.push(format!("{name}={value}"));
    }
    if command == "gate" {
        args.extend(["--", "true"].map(str::to_owned));
    }
    let ran = agent.run_without(name, &args);
    assert_eq!(ran.exit, exit, "snowshed {}\n{}{}", args.join(" "), ran.out, ran.err);
    assert!(ran.err.contains(says), "snowshed {}\n  said     {}\n  and not  {says}", args.join(" "), ran.err);
}

/// A pair of a base as it is typed: `<name>` is a positional, an empty value a flag without one.
fn as_typed(name: &str, value: &str) -> Vec<String> {
    match (name.starts_with('<'), value.is_empty()) {
        (true, _) => vec![value.to_owned()],
        (false, true) => vec![name.to_owned()],
        (false, false) => vec![name.to_owned(), value.to_owned()],
    }
}
