//! Devices of real edges: virtio NICs, VLAN devices, bonds.

use std::time::Duration;

use tests::load::Load;
use tests::network::{Layout, Network};

use crate::stage::{Stage, VIP_V4, addresses};

#[test]
fn xdp_runs_in_the_driver_of_a_virtio_nic() {
    let stage = Stage::new(Layout::Nics, |_| ());
    stage.balance(&addresses(&stage.network.servers, true));
    stage.expect_answers();
    let link = stage.network.edge.ip("-d link show dev eth0").unwrap();
    assert!(link.contains("xdp/id") || link.contains("prog/xdp"), "no XDP program in the driver: {link}");
    assert!(!link.contains("xdpgeneric"), "{link}");
    let driver = stage.network.edge.exec("ethtool", &["-i", "eth0"]).unwrap();
    assert!(driver.contains("driver: virtio_net"), "{driver}");
}

#[test]
fn clients_and_servers_in_a_vlan_are_reached_through_vlan_devices() {
    let stage = Stage::new(Layout::OneSegment, |network| {
        let machines = [&network.client, &network.edge].into_iter().chain(network.servers.iter().map(|s| &s.netns));
        for (host, machine) in [2, 1, 11, 12].into_iter().zip(machines) {
            machine.ip("link add link eth0 name eth0.10 type vlan id 10").unwrap();
            machine.ip("link set eth0.10 up").unwrap();
            machine.ip(&format!("address add 10.79.0.{host}/24 dev eth0.10")).unwrap();
            machine.ip(&format!("address add fd79::{host}/64 dev eth0.10 nodad")).unwrap();
        }
        // The client reaches the VIPs by the VLAN only, and the answers come back that way.
        network.client.ip("route replace default via 10.79.0.1").unwrap();
        network.client.ip("-6 route replace default via fd79::1").unwrap();
    });
    for server in &stage.network.servers {
        // The tunnel's local address is the one in the VLAN.
        let host = if server.name() == "server1" { 11 } else { 12 };
        for (name, kind) in [("vlan4", "ipip"), ("vlansit", "sit mode ip6ip")] {
            server.netns.ip(&format!("link add {name} type {kind} local 10.79.0.{host} remote any")).unwrap();
            server.netns.ip(&format!("link set {name} up")).unwrap();
            server.netns.sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
        }
    }
    stage.balance(&["10.79.0.11".parse().unwrap(), "10.79.0.12".parse().unwrap()]);
    stage.expect_answers();
}

#[test]
fn a_bond_carries_xdp_and_outlives_the_loss_of_a_cable() {
    let stage = Stage::new(Layout::OneSegment, |network| {
        network.edge.ip("link del eth0").unwrap();
        network.edge.ip("link add eth0 mtu 1600 type bond mode active-backup miimon 50").unwrap();
        for (cable, port) in [("cable0", "edge0"), ("cable1", "edge1")] {
            network.plug_edge(cable, port, 1600).unwrap();
            network.edge.ip(&format!("link set {cable} down")).unwrap();
            network.edge.ip(&format!("link set {cable} master eth0")).unwrap();
        }
        network.edge.ip("link set eth0 mtu 1600 up").unwrap();
        network.address_edge().unwrap();
    });
    stage.balance(&addresses(&stage.network.servers, true));
    stage.expect_answers();

    let load = Load::long_lived((VIP_V4.parse::<std::net::IpAddr>().unwrap(), 80).into());
    let load = Load { connections: 8, timeout: Duration::from_secs(10), ..load };
    let load = load.start(&stage.network.client).unwrap();
    load.wait_for(400).unwrap();
    stage.network.edge.ip("link set cable0 down").unwrap();
    load.wait_for(400).unwrap();
    let samples = load.finish().unwrap();
    assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
    assert_eq!(samples.wandering(), 0);
    let bond = stage.network.edge.ip(&format!("-d link show dev {}", Network::INTERFACE)).unwrap();
    assert!(bond.contains("active_slave cable1"), "the other cable took over: {bond}");
}
