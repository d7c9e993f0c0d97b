//! Setting an edge up: the configuration, the keys and the first operator's token.

use lb_userspace::authority::TokenKey;
use lb_userspace::cli::failure::Exit;
use lb_userspace::config::Config;
use lb_userspace::ledger::{Ledger, SqliteLedger};
use lb_userspace::model::{Reach, Role};

use crate::harness::{Agent, Reconciler};

#[test]
fn an_edge_is_set_up_once_and_its_operators_token_is_shown_once() {
    let agent = Agent::empty(Reconciler::Works);
    let directory = tempfile::tempdir().unwrap();
    let (config, ledger) = (directory.path().join("etc/agent.toml"), directory.path().join("var/ledger.db"));
    let command = format!(
        "init --config {} --ledger {} --interface eth0 --v4 203.0.113.0/24 --v6 2001:db8::/64 -o json",
        config.display(),
        ledger.display()
    );
    let first = agent.typed(&command);
    assert_eq!(first.exit, Exit::Ok, "{first:?}");
    let secret = first.json()["token"].as_str().unwrap().to_owned();
    let read = Config::load(&config).unwrap();
    assert_eq!(
        (read.ledger.path.clone(), read.dataplane.interfaces.clone()),
        (ledger.clone(), vec!["eth0".to_owned()])
    );
    let key = TokenKey::beside(&ledger).unwrap();
    {
        let opened = SqliteLedger::open(&ledger).unwrap();
        let snapshot = opened.snapshot();
        let token = snapshot.tenants().token_with(&key.digest(&secret)).unwrap();
        assert_eq!((token.role, token.reach), (Role::Operator, Reach::Fleet));
        let running = agent.typed(&format!("init --token-only --config {}", config.display()));
        assert_eq!(running.exit, Exit::Error, "a ledger that is open is left alone: {running:?}");
        assert!(running.err.contains("is in use"), "{running:?}");
    }
    let bytes = std::fs::read(&ledger).unwrap();
    assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "the secret stands in the ledger");

    let text = std::fs::read_to_string(&config).unwrap();
    let again = agent.typed(&command);
    assert_eq!(again.exit, Exit::Refused, "{again:?}");
    assert!(again.err.contains("is there already: nothing was changed") && !again.out.contains("token"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);

    let more = agent.typed(&format!("init --token-only --config {} -o json", config.display()));
    assert_eq!(more.exit, Exit::Ok, "{more:?}");
    assert_ne!(more.json()["token"], secret.as_str());
    assert_eq!(SqliteLedger::open(&ledger).unwrap().snapshot().tenants().tokens().count(), 2);
}
