//! Limits under real connections, and what the operator sees of them.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::network::Layout;

use crate::scene::{Scene, VIP_V4, http_target};

/// Shorter than the time after which a client repeats its SYN.
const ONE_SYN: Duration = Duration::from_millis(900);
const LIMIT: usize = 5;
const TRIES: usize = 60;

#[test]
fn a_client_beyond_its_limit_is_refused_and_others_are_not() {
    let scene = Scene::new(Layout::OneSegment, 2);
    scene.balance(&[1, 1]);
    scene.network.client.ip(&format!("address add 10.77.0.3/24 dev {}", tests::network::Network::INTERFACE)).unwrap();
    let limit = LIMIT.to_string();
    scene.edge.ok(&["frontend", "update", "http", "--lb", "web", "--connection-rate-limit", &limit, "--wait"]).unwrap();

    let target = http_target(VIP_V4);
    let begun = Instant::now();
    let opened = scene.network.client.run(|| {
        std::thread::scope(|scope| {
            let tries: Vec<_> =
                (0..TRIES).map(|_| scope.spawn(|| TcpStream::connect_timeout(&target, ONE_SYN))).collect();
            tries.into_iter().map(|one| one.join().unwrap()).filter(Result::is_ok).count()
        })
    });
    let opened = opened.unwrap();
    // A second's worth at once, and what came back while the test ran.
    let most = LIMIT + (begun.elapsed().as_secs_f64() * LIMIT as f64) as usize + 1;
    assert!((LIMIT..=most).contains(&opened), "{opened} of {TRIES} came in, {most} were allowed");

    let url = format!("http://{target}/");
    for _ in 0..3 {
        let other = ["-sSf", "--interface", "10.77.0.3", "--max-time", "10", &url];
        scene.network.client.exec("curl", &other).unwrap();
    }

    let status = scene.edge.status().unwrap();
    let services = status["services"].as_array().unwrap();
    let service = services.iter().find(|it| it["address"] == VIP_V4 && it["port"] == 80).unwrap();
    assert_eq!(service["refused"]["source_limited"], (TRIES - opened) as u64, "{service}");
    assert_eq!(scene.verdict("source_limited"), (TRIES - opened) as u64);
    assert!(service["packets"].as_u64() > service["opened"].as_u64(), "{service}");
    assert!(scene.edge.ok(&["status"]).unwrap().contains("source_limited"));
    assert!(scene.metrics().contains("snowshed_service_refused_packets_total"));

    let top = scene.edge.json(&["top", "--once", "--interval", "50ms"]).unwrap();
    assert_eq!(top["services"].as_array().map(Vec::len), Some(4), "{top}");

    scene.edge.ok(&["frontend", "update", "http", "--lb", "web", "--connection-rate-limit", "0", "--wait"]).unwrap();
    scene.ask(VIP_V4, 100);
    assert_eq!(scene.verdict("source_limited"), (TRIES - opened) as u64, "nothing is limited any more");
}
