//! A ledger of the largest size on offer opens, verified, and says how long that took.

use std::num::{NonZeroU8, NonZeroU16};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lb_userspace::ledger::{Change, Ledger, SqliteLedger};
use lb_userspace::model::{
    Algorithm, Backend, BackendId, Document, EmptyPool, Forwarding, Frontend, FrontendId, HealthCheck, Ip, IpId, Lb,
    PrefixV6, Probe, Protocol, Proxied, RateLimits, Server, StickySessions, Tags, Weight,
};

use super::{create, lb, owner, proposal};

/// A load balancer with address, frontend and backend of three servers.
fn documents(number: u32) -> Vec<Change> {
    let lb: Lb = lb(&format!("lb-{number}"), owner(1));
    let backend = Backend {
        id: BackendId::new(),
        lb: lb.id,
        name: lb.name.clone(),
        protocol: Protocol::Tcp,
        forward_port: NonZeroU16::new(80).unwrap(),
        algorithm: Algorithm::Roundrobin,
        sticky_sessions: StickySessions::None,
        sticky_prefix_v6: PrefixV6::WHOLE,
        quic: None,
        slow_start: None,
        forwarding: Forwarding::Ipip,
        on_empty: EmptyPool::Reject,
        servers: (0..3)
            .map(|server| Server::serving([10, 9, 0, server].into(), Weight::ONE, Timestamp::UNIX_EPOCH))
            .collect(),
        health_check: HealthCheck {
            port: NonZeroU16::new(80).unwrap(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            fall: NonZeroU8::MIN,
            rise: NonZeroU8::MIN,
            transient_interval: None,
            send_proxy: false,
            probe: Probe::Tcp,
        },
        proxied: Proxied::default(),
        times: lb.times,
    };
    let frontend = Frontend {
        id: FrontendId::new(),
        lb: lb.id,
        name: lb.name.clone(),
        inbound_port: NonZeroU16::new(80).unwrap(),
        inbound_port_end: None,
        backend: backend.id,
        timeout_client: None,
        limits: RateLimits::default(),
        times: lb.times,
    };
    let ip = Ip {
        id: IpId::new(),
        owner: lb.owner,
        address: std::net::Ipv4Addr::from(0x0a00_0000 + number).into(),
        lb: Some(lb.id),
        reverse: String::new(),
        tags: Tags::default(),
        times: lb.times,
    };
    let documents = [Document::Ip(ip), Document::Backend(backend), Document::Frontend(frontend)];
    let rest = documents.into_iter().map(|after| Change { before: None, after });
    std::iter::once(create(lb)).chain(rest).collect()
}

#[test]
fn ten_thousand_load_balancers_are_verified_and_folded_at_start() {
    const LBS: u32 = 10_000;
    const PER_OPERATION: u32 = 100;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = SqliteLedger::open(&path).unwrap();
    for batch in 0..LBS / PER_OPERATION {
        let changes = (0..PER_OPERATION).flat_map(|number| documents(batch * PER_OPERATION + number)).collect();
        ledger.append(proposal(&ledger.snapshot(), changes)).unwrap();
    }
    let before = ledger.snapshot();
    drop(ledger);
    let start = Instant::now();
    let snapshot = SqliteLedger::open(&path).unwrap().snapshot();
    eprintln!("{LBS} load balancers, {} documents: open in {:?}", LBS * 4, start.elapsed());
    assert_eq!(snapshot.lbs().count(), LBS as usize);
    assert_eq!(snapshot.head(), before.head());
    assert!(snapshot.ips().eq(before.ips()) && snapshot.backends().eq(before.backends()));
}
