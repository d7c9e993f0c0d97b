//! The kernel's own load balancer on the same topology: what it answers, ours answers; what each costs stands beside it.

use std::net::IpAddr;
use std::time::Instant;

use tests::netns::Netns;
use tests::network::{Layout, Network};

use crate::stage::{Stage, VIP_V4, addresses, ask, network};

/// Connections of a measure.
const CONNECTIONS: usize = 1_200;

#[test]
fn ipvs_and_the_product_serve_the_same_clients_through_the_same_servers() {
    let of_ipvs = {
        let network = network(Layout::OneSegment);
        balance_by_ipvs(&network);
        connections_per_second(&network.client)
    };
    let stage = Stage::new(Layout::OneSegment, |_| ());
    stage.balance(&addresses(&stage.network.servers, true));
    let of_snowshed = connections_per_second(&stage.network.client);
    println!(
        "{}HTTP connections per second, one client: IPVS (tunnel, mh) {of_ipvs:.0}, Snowshed {of_snowshed:.0}",
        tests::vm::MEASURE
    );
}

fn balance_by_ipvs(network: &Network) {
    let service = format!("{VIP_V4}:80");
    network.edge.ip(&format!("address add {VIP_V4}/32 dev lo")).unwrap();
    network.edge.exec("ipvsadm", &["-A", "-t", &service, "-s", "mh", "-b", "mh-port"]).unwrap();
    for server in &network.servers {
        let server = format!("{}:80", server.v4());
        network.edge.exec("ipvsadm", &["-a", "-t", &service, "-r", &server, "-i"]).unwrap();
    }
}

/// Both servers must have answered, and every request.
fn connections_per_second(client: &Netns) -> f64 {
    let vip: IpAddr = VIP_V4.parse().unwrap();
    let connections = tests::vm::scaled(CONNECTIONS);
    let started = Instant::now();
    let answers = ask(client, vip, connections);
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(answers.len(), 2, "{answers:?}");
    connections as f64 / seconds
}
