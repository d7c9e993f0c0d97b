//! Next hops, followed in real namespaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_userspace::nexthop::{Config, follow};
use lb_userspace::plan::{NextHop, NextHops, Resolution, Unresolved};
use tokio::sync::watch;

use crate::fixture::Fixture;

/// A condition that does not come true in this time will not.
const LIMIT: Duration = Duration::from_secs(60);

struct Followed {
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    next_hops: watch::Receiver<Arc<NextHops>>,
}

impl Followed {
    fn want(&self, addresses: &[&str]) {
        self.wanted.send_replace(addresses.iter().map(|address| ip(address)).collect());
    }

    /// Waits until the way to an address is this one.
    async fn until(&mut self, address: &str, expected: Resolution) {
        let address = ip(address);
        let reached = self.next_hops.wait_for(|hops| hops.get(&address) == Some(&expected));
        let in_time = tokio::time::timeout(LIMIT, reached).await.map(|outcome| drop(outcome.unwrap()));
        if in_time.is_err() {
            panic!("{address}: waited for {expected:?}, have {:?}", self.next_hops.borrow().get(&address));
        }
    }

    async fn until_unresolved(&mut self, address: &str, why: Unresolved) {
        self.until(address, Resolution::Unresolved(why)).await;
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Follows in the edge's namespace while `test` runs there.
fn following(fixture: &Fixture, config: Config, test: impl AsyncFnOnce(Followed) + Send) {
    fixture.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (wanted, receiver) = watch::channel(BTreeSet::new());
            let (follower, next_hops) = follow(config, receiver).unwrap();
            let task = tokio::spawn(follower.run());
            test(Followed { wanted, next_hops }).await;
            tokio::time::timeout(LIMIT, task).await.unwrap().unwrap().unwrap();
        });
    });
}

/// The way through the edge's `eth0` (or a VLAN device on it) to the peer.
fn through_eth0(fixture: &Fixture) -> NextHop {
    let ifindex = fixture.edge.ip("-o link show dev eth0").unwrap();
    let ifindex = ifindex.split(':').next().unwrap().trim().parse().unwrap();
    let (mac, source_mac) = (fixture.peer.mac("eth0").unwrap(), fixture.edge.mac("eth0").unwrap());
    NextHop { ifindex, mac, source_mac, mtu: 1500, vlan_outer: 0, vlan_inner: 0, via_gateway: false }
}

#[test]
fn servers_on_link_and_behind_a_gateway_are_resolved_in_both_families() {
    let fixture = Fixture::new("hops");
    fixture.edge.ip("route add 10.50.0.0/16 via 10.9.0.2 mtu 1400").unwrap();
    fixture.edge.ip("-6 route add fd50::/16 via fd09::2").unwrap();
    fixture.edge.ip("route add 10.60.0.0/16 via inet6 fd09::2 dev eth0").unwrap();
    fixture.edge.ip("route add blackhole 10.70.0.0/16").unwrap();
    let hop = through_eth0(&fixture);
    following(&fixture, Config::default(), async |mut followed| {
        let resolved = [
            ("10.9.0.2", 1500, false),
            ("fd09::2", 1500, false),
            ("10.50.3.4", 1400, true),
            ("fd50::9", 1500, true),
            ("10.60.0.1", 1500, true),
        ];
        let unresolved = [
            ("10.70.0.1", Unresolved::NoRoute),
            ("192.0.2.1", Unresolved::NoRoute),
            ("2001:db8::1", Unresolved::NoRoute),
            ("10.9.0.1", Unresolved::Local),
            ("fd09::1", Unresolved::Local),
            ("127.0.0.5", Unresolved::Local),
            ("10.9.0.77", Unresolved::NoNeighbour),
        ];
        let all: Vec<&str> = resolved
            .iter()
            .map(|(address, ..)| *address)
            .chain(unresolved.iter().map(|(address, _)| *address))
            .collect();
        followed.want(&all);
        for (address, mtu, via_gateway) in resolved {
            followed.until(address, Resolution::Resolved(NextHop { mtu, via_gateway, ..hop })).await;
        }
        for (address, why) in unresolved {
            followed.until_unresolved(address, why).await;
        }
        assert_eq!(followed.next_hops.borrow().len(), all.len());
        followed.want(&["10.9.0.2"]);
        followed.next_hops.wait_for(|hops| hops.len() == 1).await.unwrap();
    });
}

#[test]
fn a_neighbours_new_mac_is_followed() {
    let fixture = Fixture::new("mac");
    let hop = through_eth0(&fixture);
    following(&fixture, Config { refresh: Duration::from_millis(200), ..Config::default() }, async |mut followed| {
        followed.want(&["10.9.0.2"]);
        followed.until("10.9.0.2", Resolution::Resolved(hop)).await;
        fixture.edge.ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:aa dev eth0 nud reachable").unwrap();
        let mac = [2, 0, 0, 0, 0, 0xaa];
        followed.until("10.9.0.2", Resolution::Resolved(NextHop { mac, ..hop })).await;
        // Gone altogether: asked for again, and answered with the real one.
        fixture.edge.ip("neigh del 10.9.0.2 dev eth0").unwrap();
        followed.until("10.9.0.2", Resolution::Resolved(hop)).await;
    });
}

#[test]
fn links_that_go_down_and_routes_that_move_are_followed() {
    let fixture = Fixture::new("moves");
    let hop = through_eth0(&fixture);
    following(&fixture, Config { refresh: Duration::from_millis(200), ..Config::default() }, async |mut followed| {
        followed.want(&["10.9.0.2", "10.50.0.1"]);
        followed.until("10.9.0.2", Resolution::Resolved(hop)).await;
        followed.until_unresolved("10.50.0.1", Unresolved::NoRoute).await;
        fixture.edge.ip("route add 10.50.0.0/16 via 10.9.0.2").unwrap();
        followed.until("10.50.0.1", Resolution::Resolved(NextHop { via_gateway: true, ..hop })).await;
        fixture.edge.ip("route change 10.50.0.0/16 dev lo").unwrap();
        followed.until_unresolved("10.50.0.1", Unresolved::UnsupportedDevice).await;
        fixture.edge.ip("link set eth0 mtu 1300").unwrap();
        followed.until("10.9.0.2", Resolution::Resolved(NextHop { mtu: 1300, ..hop })).await;
        fixture.peer.ip("link set eth0 down").unwrap();
        followed.until_unresolved("10.9.0.2", Unresolved::LinkDown).await;
        fixture.peer.ip("link set eth0 up").unwrap();
        followed.until("10.9.0.2", Resolution::Resolved(NextHop { mtu: 1300, ..hop })).await;
        fixture.edge.ip("link set eth0 down").unwrap();
        followed.until_unresolved("10.9.0.2", Unresolved::NoRoute).await;
    });
}

#[test]
fn lost_events_are_made_up_for_by_reading_everything_anew() {
    let fixture = Fixture::new("lost");
    // So small that a few events overflow it.
    let config = Config { event_buffer_bytes: 1, ..Config::default() };
    following(&fixture, config, async |mut followed| {
        followed.want(&["10.50.0.1"]);
        followed.until_unresolved("10.50.0.1", Unresolved::NoRoute).await;
        let batch: String = (0..4000)
            .map(|number| format!("route add 10.51.{}.{}/32 via 10.9.0.2\n", number / 250, number % 250))
            .chain(["route add 10.50.0.0/16 via 10.9.0.2\n".to_owned()])
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        let path = file.path().display();
        fixture.edge.ip(&format!("-batch {path}")).unwrap();
        let hop = NextHop { via_gateway: true, ..through_eth0(&fixture) };
        followed.until("10.50.0.1", Resolution::Resolved(hop)).await;
    });
}

#[test]
fn thirty_thousand_servers_are_resolved() {
    let fixture = Fixture::new("many");
    fixture.edge.ip("route add 10.128.0.0/9 via 10.9.0.2").unwrap();
    following(&fixture, Config::default(), async |mut followed| {
        let first = u32::from(Ipv4Addr::new(10, 128, 0, 0));
        let wanted: BTreeSet<IpAddr> = (0..30_000).map(|number| Ipv4Addr::from(first + number).into()).collect();
        let started = Instant::now();
        followed.wanted.send_replace(wanted);
        let resolved = |hops: &Arc<NextHops>| {
            hops.len() == 30_000 && hops.values().all(|hop| matches!(hop, Resolution::Resolved(_)))
        };
        tokio::time::timeout(LIMIT, followed.next_hops.wait_for(resolved)).await.unwrap().unwrap();
        println!("30,000 servers resolved in {:?}", started.elapsed());
    });
}
