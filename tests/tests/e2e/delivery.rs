//! Webhooks outlive the agent: what changed is told although the agent was killed before it could tell.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tests::network::{Layout, Network};
use tests::wait;

use crate::scene::Scene;

/// Targets on this machine are allowed, and an attempt that failed is made anew at once.
const DELIVERY: &str =
    "[delivery]\nallow_targets = [\"127.0.0.0/8\"]\nfirst_retry = \"20ms\"\nlongest_retry = \"100ms\"\n";
const LIMIT: Duration = Duration::from_secs(60);

/// An HTTP server in the edge's namespace that refuses everything until it is told to take it.
struct Receiver {
    uri: String,
    takes: Arc<AtomicBool>,
    /// Ids and bodies of what it took.
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    fn start(network: &Network) -> Self {
        let listener = network.edge.run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
        let uri = format!("http://{}/hook", listener.local_addr().unwrap());
        let (takes, taken): (Arc<AtomicBool>, Arc<Mutex<Vec<_>>>) = Default::default();
        let (does_take, list) = (Arc::clone(&takes), Arc::clone(&taken));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = BufReader::new(connection.unwrap());
                let (mut id, mut length) = (String::new(), 0);
                let mut line = String::new();
                while connection.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    match name.to_ascii_lowercase().as_str() {
                        "webhook-id" => value.trim().clone_into(&mut id),
                        "content-length" => length = value.trim().parse().unwrap(),
                        _ => {}
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if connection.read_exact(&mut body).is_err() {
                    // Its sender was killed.
                    continue;
                }
                let status = if does_take.load(Ordering::SeqCst) {
                    list.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
                    "204 No Content"
                } else {
                    "503 Service Unavailable"
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(connection.get_mut().write_all(answer.as_bytes()));
            }
        });
        Self { uri, takes, taken }
    }
}

#[test]
fn a_server_that_went_down_before_the_agent_was_killed_is_told_by_the_next_agent_once() {
    let mut scene = Scene::with_config(Layout::OneSegment, 2, DELIVERY);
    scene.balance(&[1, 1]);
    let receiver = Receiver::start(&scene.network);
    scene.edge.ok(&["subscriber", "create", "--name", "ops", "--webhook", &receiver.uri]).unwrap();
    scene.edge.ok(&["subscriber", "subscribe", "web", "--subscriber", "ops"]).unwrap();

    scene.network.servers[0].kill_nginx().unwrap();
    let waiting = |edge: &tests::edge::Edge| -> Vec<(String, String)> {
        let list = edge.json(&["delivery", "list", "--state", "waiting"]).unwrap();
        let text = |letter: &Value, key: &str| letter[key].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|letter| (text(letter, "id"), text(letter, "type"))).collect()
    };
    let is_down = |letters: &[(String, String)]| letters.iter().any(|(_, kind)| kind == "server.down");
    wait::until("the letter to wait", LIMIT, || is_down(&waiting(&scene.edge))).unwrap();
    let before = waiting(&scene.edge);
    scene.edge.kill().unwrap();
    assert!(receiver.taken.lock().unwrap().is_empty(), "nothing was delivered before the agent was killed");

    receiver.takes.store(true, Ordering::SeqCst);
    scene.edge.start(&scene.network).unwrap();
    wait::until("every letter to be delivered", LIMIT, || waiting(&scene.edge).is_empty()).unwrap();
    let taken = receiver.taken.lock().unwrap();
    for (id, kind) in &before {
        let times = taken.iter().filter(|(taken, _)| taken == id).count();
        assert_eq!(times, 1, "{kind} {id} was told {times} times: {taken:?}");
    }
    let downs = taken.iter().filter(|(_, body)| body["type"] == "server.down").count();
    let written = before.iter().filter(|(_, kind)| kind == "server.down").count();
    assert_eq!(downs, written, "the next agent tells nothing anew: {taken:?}");
}
