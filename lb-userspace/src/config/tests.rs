//! Tests of the configuration as its reader sees it.

use std::path::Path;

use super::*;

const MINIMAL: &str = r#"
[api]
[[api.tokens]]
name = "ops"
secret_sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
organization = "11111111-1111-4111-8111-111111111111"
project = "22222222-2222-4222-8222-222222222222"
[dataplane]
interfaces = ["eth0"]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("agent.toml"), text)
}

/// Adds lines to the minimal file and gives the messages that result.
fn messages(section: &str, lines: &str) -> Vec<String> {
    let text =
        if section == "dataplane" { format!("{MINIMAL}{lines}\n") } else { format!("{MINIMAL}[{section}]\n{lines}\n") };
    match parse(&text) {
        Ok(config) => panic!("accepted: {lines}\n{config:?}"),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn the_minimal_file_gives_every_default() {
    let config = parse(MINIMAL).unwrap();
    let mut expected = Config::default();
    expected.api.tokens = config.api.tokens.clone();
    expected.dataplane.interfaces = vec!["eth0".to_owned()];
    assert_eq!(config, expected);
    assert_eq!(config.deletion.grace, Duration::from_secs(900));
}

#[test]
fn the_printed_default_file_reads_back_as_the_defaults_and_lacks_only_what_has_none() {
    let error = parse(&default_file()).unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["dataplane.interfaces"], "{error}");

    let mut source = Source::new("");
    let text = default_file();
    let mut read = Source::new(&text);
    let table = read.parse();
    let config = read_sections(&mut Reader::new(&mut source, String::new(), table));
    assert_eq!(config, Config::default());
}

#[test]
fn the_printed_default_file_is_accepted_when_what_is_commented_out_is_filled_in() {
    let uncommented: String = default_file()
        .lines()
        .filter(|line| !line.starts_with("#hash_key =") && !line.starts_with("#secret_sha256"))
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = parse(&uncommented).unwrap();
    assert_eq!(config.dataplane.interfaces, ["eth0"]);
    assert_eq!(config.addresses.v4.len(), 2);
    assert_eq!(config.api.tokens[0].name, "ops");
}

#[test]
fn every_key_stands_in_the_printed_file_with_its_documentation() {
    let text = default_file();
    for (section, _, keys) in sections() {
        assert!(text.contains(&format!("\n[{section}]\n")), "{section}");
        for key in keys.iter().filter(|key| key.name != "tokens") {
            assert!(!key.doc.is_empty(), "{section}.{}", key.name);
            assert!(
                text.contains(&format!("\n{} = ", key.name)) || text.contains(&format!("\n#{} = ", key.name)),
                "{section}.{}",
                key.name
            );
        }
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "no line is wider than 120");
}

#[test]
fn each_wrong_value_is_refused_with_file_line_key_and_what_is_allowed() {
    let table: &[(&str, &str, &str)] = &[
        ("dataplane", "max_slots = 12", "agent.toml:10: dataplane.max_slots: 12: a whole number from 65536 to"),
        ("dataplane", "max_slots = \"many\"", "dataplane.max_slots: a string: a whole number"),
        ("dataplane", "max_flows = -1", "dataplane.max_flows: -1: a whole number from 1024"),
        ("dataplane", "max_flows = 99999999999999999999", "dataplane.max_flows: 99999999999999999999: a whole number"),
        ("dataplane", "xdp_mode = \"fast\"", "dataplane.xdp_mode: `fast`: allowed are auto, native, generic"),
        ("dataplane", "pin_dir = \"bpf\"", "dataplane.pin_dir: `bpf`: an absolute path is needed"),
        ("dataplane", "hash_key = \"00\"", "dataplane.hash_key: 32 hexadecimal digits are needed"),
        (
            "dataplane",
            "outer_source_v4 = \"10.0.0.0/8\"",
            "outer_source_v4: `10.0.0.0/8`: a network with prefix length 16",
        ),
        (
            "dataplane",
            "outer_source_v4 = \"fd00::/16\"",
            "outer_source_v4: `fd00::/16`: a network with prefix length 16",
        ),
        (
            "dataplane",
            "outer_source_v6 = \"fd00::1/64\"",
            "outer_source_v6: `fd00::1/64`: a network with prefix length 64",
        ),
        (
            "dataplane",
            "interface = [\"eth1\"]",
            "agent.toml:10: dataplane.interface: unknown key; did you mean `interfaces`?",
        ),
        ("dataplane", "grace = \"1m\"", "dataplane.grace: unknown key; it belongs in [deletion]"),
        ("ledger", "path = 3", "agent.toml:11: ledger.path: an absolute path in quotes is expected, not an integer"),
        ("ledger", "colour = 1", "ledger.colour: unknown key; known here: path"),
        ("ledgers", "", "agent.toml:10: ledgers: unknown key; did you mean `ledger`?"),
        (
            "addresses",
            "v4 = [\"203.0.113.9/24\"]",
            "addresses.v4: `203.0.113.9/24` has bits set behind its prefix length; the network is 203.0.113.0/24",
        ),
        (
            "addresses",
            "v4 = [\"2001:db8::/64\"]",
            "addresses.v4: `2001:db8::/64` is IPv6: it belongs in the key of the same name with v6",
        ),
        (
            "addresses",
            "v6 = [\"203.0.113.0/24\"]",
            "addresses.v6: `203.0.113.0/24` is IPv4: it belongs in the key of the same name with v4",
        ),
        (
            "addresses",
            "v4 = [\"203.0.113.0/24\"]\nnat_v4 = [\"203.0.113.7\"]",
            "addresses.nat_v4: 203.0.113.7/32 and the load balancers' 203.0.113.0/24 overlap",
        ),
        (
            "addresses",
            "nat_v6 = [\"2001:db8:1::/64\"]",
            "addresses.nat_v6: there are more source addresses than the 2 that `dataplane.max_nat_flows` = 131072",
        ),
        ("addresses", "v4 = [\"127.0.0.0/8\"]", "addresses.v4: `127.0.0.0/8` cannot be used for services"),
        ("addresses", "v4 = [\"all\"]", "addresses.v4: `all` is no network and no address"),
        ("addresses", "v4 = \"203.0.113.0/24\"", "addresses.v4: a list is expected, not a string"),
        (
            "addresses",
            "v4 = [\"203.0.113.0/24\", \"203.0.113.7\"]",
            "addresses.v4: 203.0.113.7/32 lies within 203.0.113.0/24",
        ),
        ("health", "mass_failure_share = 0", "health.mass_failure_share: a share above 0 and at most 1"),
        ("health", "mass_failure_share = 1.5", "health.mass_failure_share: a share above 0 and at most 1"),
        ("health", "mass_failure_share = nan", "health.mass_failure_share: a share above 0 and at most 1"),
        ("health", "mass_failure_window = \"5 parsecs\"", "`5 parsecs`: a duration from \"1s\" to \"1h\" is allowed"),
        ("health", "mass_failure_window = \"-5s\"", "`-5s`: a duration from \"1s\" to \"1h\" is allowed"),
        ("health", "mass_failure_window = 5", "a duration such as \"5s\" in quotes is expected, not an integer"),
        ("health", "max_concurrent_probes = 0", "health.max_concurrent_probes: 0: a whole number from 1 to 65536"),
        ("deletion", "grace = \"8d\"", "deletion.grace: `8d`: a duration from"),
        (
            "reconcile",
            "audit_interval = \"1ms\"",
            "reconcile.audit_interval: `1ms`: a duration from \"100ms\" to \"1h\"",
        ),
        (
            "reconcile",
            "move_window = true",
            "reconcile.move_window: a duration such as \"5s\" in quotes is expected, not a boolean",
        ),
        ("quotas", "ips = -3", "quotas.ips: -3: a whole number from 0"),
    ];
    for (section, lines, expected) in table {
        let messages = messages(section, lines);
        assert_eq!(messages.len(), 1, "{lines}: {messages:#?}");
        assert!(messages[0].contains(expected), "{lines}\n  says   {}\n  wanted {expected}", messages[0]);
        assert!(messages[0].starts_with("agent.toml:"), "{}", messages[0]);
    }
}

#[test]
fn each_wrong_value_of_the_api_section_is_refused() {
    let table: &[(&str, &str)] = &[
        ("zone = \"Paris 1\"", "api.zone: `Paris 1`: 1 to 32 lower-case letters"),
        ("socket = \"snowshed.sock\"", "api.socket: `snowshed.sock`: an absolute path is needed"),
        ("listen = [\"localhost\"]", "api.listen: `localhost` is no address and port"),
        ("listen = [\"127.0.0.1:0\"]", "api.listen: `127.0.0.1:0`: a port from 1 to 65535 is needed"),
        ("tls_key = \"key.pem\"", "api.tls_key: `key.pem`: an absolute path is needed"),
        ("requests_per_token = 0", "api.requests_per_token: 0: a whole number from 1"),
        ("requests_per_source = \"many\"", "api.requests_per_source: a string: a whole number from 1"),
        ("token = 1", "api.token: unknown key; did you mean `tokens`?"),
    ];
    for (line, expected) in table {
        let error = parse(&MINIMAL.replace("[api]\n", &format!("[api]\n{line}\n"))).unwrap_err().to_string();
        assert!(error.starts_with("agent.toml:3: ") && error.contains(expected), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_address_beyond_this_machine_needs_a_certificate_and_its_key() {
    let with = |lines: &str| parse(&MINIMAL.replace("[api]\n", &format!("[api]\n{lines}\n")));
    let pair = "tls_certificate = \"/a\"\ntls_key = \"/b\"";
    for address in ["0.0.0.0:7443", "[::]:7443", "192.0.2.1:7443", "[::ffff:192.0.2.1]:7443"] {
        let listen = format!("listen = [\"127.0.0.1:7480\", \"{address}\"]");
        let error = with(&listen).unwrap_err().to_string();
        let expected = format!("agent.toml: api.listen: {address} is not loopback and there is no certificate: set");
        assert!(error.starts_with(&expected) && error.lines().count() == 1, "{error}");
        with(&format!("{listen}\n{pair}")).unwrap();
    }
    with("listen = [\"[::1]:7480\", \"127.9.9.9:7480\"]").unwrap();
    let half = with("tls_key = \"/b\"").unwrap_err().to_string();
    assert!(half.contains("api.tls_key: needs its certificate"), "{half}");
    let half = with("tls_certificate = \"/a\"").unwrap_err().to_string();
    assert!(half.contains("api.tls_certificate: needs its key"), "{half}");
}

#[test]
fn each_wrong_token_is_refused() {
    let table: &[(&str, &str, &str)] = &[
        ("name = \"ops\"", "name = \"o p s\"", "api.tokens.name: `o p s`: 1 to 64 letters"),
        ("name = \"ops\"", "", "api.tokens[0].name: is needed"),
        ("secret_sha256 = \"ba", "secret_sha256 = \"zz", "api.tokens.secret_sha256: 64 hexadecimal digits are needed"),
        (
            "secret_sha256 = \"ba",
            "secret_file = \"/a\"\nsecret_sha256 = \"ba",
            "has both `secret_file` and `secret_sha256`",
        ),
        ("secret_sha256 =", "#", "api.tokens[0]: needs `secret_file` or `secret_sha256`"),
        ("project = \"2222", "project = \"2", "api.tokens.project: `22222"),
        ("organization =", "#", "api.tokens[0]: has a project without its organization"),
        ("project =", "#", "api.tokens[0]: needs `organization` and `project` for the role project-editor"),
        ("name =", "role = \"operator\"\nname =", "api.tokens[0]: needs neither `organization` nor `project`"),
        ("name =", "role = \"root\"\nname =", "api.tokens.role: "),
        (
            "[dataplane]",
            "secret = \"abc\"\n[dataplane]",
            "api.tokens.secret: unknown key; known here: name, secret_file",
        ),
    ];
    for (from, to, expected) in table {
        let error = parse(&MINIMAL.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let second =
        MINIMAL.replace("[dataplane]", &format!("{}\n[dataplane]", &MINIMAL[7..MINIMAL.find("[data").unwrap()]));
    assert!(parse(&second).unwrap_err().to_string().contains("`ops` is taken by a token above"));
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_the_order_of_the_lines() {
    let error = parse("[health]\nmass_failure_share = 7\n[dataplane]\nmax_slot = 1\nxdp_mode = 3\n").unwrap_err();
    let lines: Vec<Option<usize>> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(4), Some(5), None], "{error}");
}

#[test]
fn broken_toml_says_where() {
    let error = parse("[api\nzone = \"a\"\n").unwrap_err().to_string();
    assert!(error.starts_with("agent.toml:1: not TOML: "), "{error}");
}

#[test]
fn a_missing_file_says_how_to_begin() {
    let error = Config::load(Path::new("/nonexistent/agent.toml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/agent.toml: cannot be read") && error.contains("--print-default-config"));
}

#[test]
fn the_host_check_reports_every_problem_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = parse(MINIMAL).unwrap();
    config.ledger.path = directory.path().join("below/ledger.db");
    config.api.socket = directory.path().to_owned();
    config.dataplane.interfaces = vec!["lo".to_owned(), "nope0".to_owned()];
    config.dataplane.hash_key_file = Some(directory.path().join("absent"));
    config.api.tokens[0].secret_file = Some(directory.path().join("absent.token"));
    config.api.tokens[0].secret_sha256 = None;
    let problems = config.check_host();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["dataplane.interfaces", "api.tokens[0].secret_file", "dataplane.hash_key_file", "api.socket"],
        "{problems:#?}"
    );
    assert!(problems[0].what.contains("no interface `nope0`") && problems[0].what.contains("lo"), "{problems:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn secrets_do_not_appear_when_a_configuration_is_logged() {
    let text = format!("{MINIMAL}hash_key = \"000102030405060708090a0b0c0d0e0f\"\n");
    assert!(!format!("{:?}", parse(&text).unwrap().dataplane).contains("0, 1, 2"));
}

#[test]
fn the_example_file_is_accepted() {
    let config = parse(include_str!("../../../examples/agent.toml")).unwrap();
    assert_eq!(config.addresses.v6.len(), 1);
}
