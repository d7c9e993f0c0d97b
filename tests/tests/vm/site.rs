//! A site with two edges behind one route: either of them carries every flow.

use std::time::Duration;

use tests::fabric::Fabric;
use tests::load::Load;

use crate::stage::{ENOUGH, addresses, ask, balance, snowshed, vips};

#[test]
fn the_other_edge_takes_over_in_the_middle_of_connections() {
    let mut fabric = Fabric::create("vm", 3, &snowshed()).unwrap();
    fabric.add_vips(&vips()).unwrap();
    let servers = addresses(&fabric.servers, true);
    // Not in the same order: the tables do not depend on it.
    let reversed: Vec<_> = servers.iter().copied().rev().collect();
    for (agent, servers) in fabric.agents.iter().zip([servers, reversed]) {
        balance(agent, &servers, "ipip");
    }
    for vip in vips() {
        let before = transmitted(&fabric);
        let answers = ask(&fabric.client, vip, ENOUGH);
        assert_eq!(answers.len(), 3, "{vip}: {answers:?}");
        let after = transmitted(&fabric);
        assert!(before.iter().zip(&after).all(|(before, after)| after > before), "both edges work: {after:?}");
    }

    let loads = vips().map(|vip| {
        let load = Load { connections: 16, timeout: Duration::from_secs(10), ..Load::long_lived((vip, 80).into()) };
        load.start(&fabric.client).unwrap()
    });
    let more = |requests| loads.iter().for_each(|load| load.wait_for(requests).unwrap());
    more(800);
    fabric.route_to(&[1]).unwrap();
    fabric.agents[0].kill().unwrap();
    more(800);
    // And all of it to the other one, whose agent is dead: the data plane outlives it.
    fabric.route_to(&[0]).unwrap();
    more(800);
    for load in loads {
        let samples = load.finish().unwrap();
        assert_eq!(samples.failed().count(), 0, "{:?}", samples.failures());
        assert_eq!(samples.wandering(), 0, "a connection changed its server with the edge");
        assert_eq!(samples.openings().0.len(), 16, "each connection is opened once");
    }
}

/// Packets that the edges sent, by edge.
fn transmitted(fabric: &Fabric) -> Vec<u64> {
    use tests::edge::Site as _;
    let sent = |text: String| {
        let after = text.split("TX:").nth(1).unwrap().split('\\').nth(1).unwrap();
        after.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    fabric.edges.iter().map(|edge| sent(edge.netns().ip("-s -o link show dev eth0").unwrap())).collect()
}
