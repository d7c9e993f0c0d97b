//! The playground itself: before the product is judged, the network around it must work.

use std::time::Duration;

use tests::http;
use tests::load::Load;
use tests::network::{Layout, Network};
use tests::server::HTTP_PORT;

#[test]
fn servers_answer_with_their_names_on_both_layouts() {
    for layout in [Layout::OneSegment, Layout::TwoSegments] {
        let mut network = Network::create("e2e", layout, 2).unwrap();
        for server in &mut network.servers {
            server.start_nginx().unwrap();
        }
        for server in &network.servers {
            for address in [server.v4(), server.v6()] {
                let target = (address, HTTP_PORT).into();
                let body = network.client.run(|| http::get(target, "/", Duration::from_secs(2))).unwrap();
                assert_eq!(body.unwrap(), server.name(), "{layout:?} {address}");
            }
        }
    }
}

#[test]
fn the_load_sees_a_killed_server_and_its_return() {
    let mut network = Network::create("e2e", Layout::OneSegment, 1).unwrap();
    network.servers[0].start_nginx().unwrap();
    let target = (network.servers[0].v4(), HTTP_PORT).into();
    let load = Load::short(target).start(&network.client).unwrap();
    load.wait_for(200).unwrap();
    network.servers[0].kill_nginx().unwrap();
    let killed = std::time::Instant::now();
    load.wait_for(100).unwrap();
    network.servers[0].start_nginx().unwrap();
    let back = std::time::Instant::now();
    load.wait_for(100).unwrap();
    let samples = load.finish().unwrap();

    assert!(samples.failed().all(|sample| sample.ended >= killed - Duration::from_millis(50)));
    assert!(samples.since(killed).failed().count() > tests::vm::scaled(50), "a closed port must show");
    assert_eq!(samples.since(back).failed().count(), 0, "{:?}", samples.failures());
}
