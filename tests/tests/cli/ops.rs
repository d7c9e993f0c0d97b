//! The audit and the events on the command line.

use lb_userspace::cli::failure::Exit;

use crate::harness::{Agent, Ran};

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    ran
}

#[test]
fn an_operation_is_listed_and_shown_as_a_difference() {
    let agent = Agent::with_web();
    ok(agent.typed("server update --lb web --backend web 10.0.0.5 --weight 7"));
    let listed = ok(agent.typed("ops list --lb web --limit 2"));
    assert!(listed.out.contains("backend web") && listed.out.contains("test"), "{listed:?}");
    assert!(listed.err.contains("add --before"), "{listed:?}");
    let all = ok(agent.typed("ops list --limit 500 -o json")).json();
    assert_eq!(all.as_array().map(Vec::len), usize::try_from(agent.changes() + 1).ok(), "one made the token");

    let shown = ok(agent.typed(&format!("ops show {}", agent.generation())));
    let difference = "  - servers[10.0.0.5].weight: 3\n  + servers[10.0.0.5].weight: 7\n";
    assert!(shown.out.contains(difference) && shown.out.contains("updated backend web"), "{shown:?}");
    let id = all[0]["id"].as_str().unwrap();
    assert_eq!(ok(agent.typed(&format!("ops show {id}"))).out, shown.out);
    assert_eq!(agent.typed("ops show 4711").exit, Exit::NotFound);
}

#[test]
fn events_are_shown_and_followed_from_where_somebody_was() {
    let agent = Agent::with_web();
    let (made, newest) = (agent.changes(), agent.generation());
    // The watcher tells of an operation a moment after it was made.
    let followed = ok(agent.typed(&format!("events --follow --after 00-0 --count {} -o json", made + 1)));
    let events: Vec<serde_json::Value> = followed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["kind"], "gap", "the position is of another run: {followed:?}");
    assert_eq!(events.last().unwrap()["data"]["generation"], newest);
    let third = events[3]["id"].as_str().unwrap();
    let rest = ok(agent.typed(&format!("events --after {third} -o json"))).json();
    assert_eq!(rest.as_array().unwrap().len() as u64, made - 3);
    let table = ok(agent.typed("events --kind operation --count 1"));
    assert!(table.out.contains(&format!("operation {newest} by test")), "{table:?}");
}
