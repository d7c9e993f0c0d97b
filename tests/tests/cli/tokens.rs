//! Tokens on the command line: one is named by its name only where there is one of that name.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, OPERATOR};

#[test]
fn a_token_is_frozen_by_its_name_only_where_the_name_tells_it() {
    let agent = Agent::with_web();
    let operator = |command: &str| {
        let freeze = format!("--socket={} --token={OPERATOR}", agent.socket().display());
        agent.plain(&format!("{command} {freeze}"))
    };
    let frozen = operator("freeze token:test --reason leaked --for 1h -o json");
    assert_eq!(frozen.exit, Exit::Ok, "{frozen:?}");
    let tokens = operator("token list -o json").json();
    let id_of = |name: &str| {
        let found = tokens.as_array().unwrap().iter().find(|token| token["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(frozen.json()["place"], format!("token:{}", id_of("test")));
    let refused = agent.typed("lb update web --description new");
    assert_eq!(refused.exit, Exit::ReadOnly, "{refused:?}");

    let made = operator("token create --name test --role operator -o json").json();
    let unclear = operator("freeze token:test --reason leaked --for 1h");
    assert_eq!(unclear.exit, Exit::Usage, "{unclear:?}");
    for id in [made["id"].as_str().unwrap(), &id_of("test")] {
        assert!(unclear.err.contains(&format!("token:{id}")), "{unclear:?}");
    }
    assert_eq!(operator("freeze token:nobody --reason leaked --for 1h").exit, Exit::NotFound);
    let by_id = operator(&format!("freeze token:{} --reason leaked --for 1h", made["id"].as_str().unwrap()));
    assert_eq!(by_id.exit, Exit::Ok, "{by_id:?}");
}
