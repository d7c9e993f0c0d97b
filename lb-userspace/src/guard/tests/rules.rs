//! Each rule by itself: what it refuses, and the nearest thing that it allows.

use std::collections::BTreeSet;

use super::*;
use crate::guard::rules;
use crate::model::{
    Acl, AclAction, AclId, Algorithm, Backend, BackendId, Dependent, DependentId, DependentKind, DocumentKey,
    EmptyPool, Forwarding, Frontend, FrontendId, HealthCheck, Kind, LbSet, MeasureId, PrefixV6, Probe, Protocol,
    Proxied, Quic, RateLimits, Reason, Server, StickySessions, Takedown, Weight,
};
use crate::plan::ServerRef;
use crate::reconcile::identity;

/// A backend of load balancer `lb` on a port, with one server `10.0.0.last` for each `last`.
fn backend(number: u128, lb: u128, protocol: Protocol, port: u16, servers: &[u8]) -> Backend {
    let port = port.try_into().unwrap();
    let server = |last: &u8| Server::serving([10, 0, 0, *last].into(), Weight::ONE, Timestamp::UNIX_EPOCH);
    Backend {
        id: BackendId::from_uuid(uuid(number)),
        lb: LbId::from_uuid(uuid(lb)),
        name: Name::try_from("pool".to_owned()).unwrap(),
        protocol,
        forward_port: port,
        algorithm: Algorithm::default(),
        sticky_sessions: StickySessions::default(),
        sticky_prefix_v6: PrefixV6::WHOLE,
        quic: None,
        slow_start: None,
        forwarding: Forwarding::Ipip,
        on_empty: EmptyPool::default(),
        servers: servers.iter().map(server).collect(),
        health_check: HealthCheck {
            port,
            interval: HealthCheck::DEFAULT_INTERVAL,
            timeout: HealthCheck::DEFAULT_TIMEOUT,
            fall: HealthCheck::DEFAULT_FALL,
            rise: HealthCheck::DEFAULT_RISE,
            transient_interval: None,
            send_proxy: false,
            probe: Probe::Tcp,
        },
        proxied: Proxied::default(),
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

fn frontend(number: u128, lb: u128, port: u16, backend: u128) -> Frontend {
    Frontend {
        id: FrontendId::from_uuid(uuid(number)),
        lb: LbId::from_uuid(uuid(lb)),
        name: Name::try_from("front".to_owned()).unwrap(),
        inbound_port: port.try_into().unwrap(),
        inbound_port_end: None,
        backend: BackendId::from_uuid(uuid(backend)),
        timeout_client: None,
        limits: RateLimits::default(),
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

/// Load balancer 10 with address 20 (192.0.2.1), TCP backend 30 of two servers and frontend 40 on port 80; a deleted
/// load balancer 11 with its address 21 (192.0.2.2, still reserved); a second load balancer 12 without anything.
fn world() -> Vec<Document> {
    vec![
        Document::Lb(lb(10, 1)),
        Document::Ip(ip(20, 1, [192, 0, 2, 1], Some(10))),
        Document::Backend(backend(30, 10, Protocol::Tcp, 80, &[1, 2])),
        Document::Frontend(frontend(40, 10, 80, 30)),
        Document::Acl(acl(50, 40, 1)),
        deleted(&Document::Lb(lb(11, 1))),
        Document::Ip(ip(21, 1, [192, 0, 2, 2], Some(11))),
        Document::Lb(lb(12, 1)),
    ]
}

/// A rule of load balancer 10 that names so many networks.
fn acl(number: u128, frontend: u128, subnets: u8) -> Acl {
    Acl {
        id: AclId::from_uuid(uuid(number)),
        lb: LbId::from_uuid(uuid(10)),
        frontend: FrontendId::from_uuid(uuid(frontend)),
        name: Name::try_from("rule".to_owned()).unwrap(),
        description: String::new(),
        index: 0,
        action: AclAction::Deny,
        subnets: (0..subnets).map(|last| std::net::IpAddr::from([10, 0, 0, last]).into()).collect(),
        invert: false,
        times: Times::created(Timestamp::UNIX_EPOCH),
    }
}

/// A dependent of a project, on these load balancers.
fn dependent(of: u128, lbs: &[u128]) -> Document {
    let lbs: BTreeSet<_> = lbs.iter().map(|number| LbId::from_uuid(uuid(*number))).collect();
    Document::Dependent(Dependent {
        id: DependentId::from_uuid(uuid(60)),
        owner: owner(of),
        kind: DependentKind::try_from("database".to_owned()).unwrap(),
        name: Name::try_from("orders".to_owned()).unwrap(),
        lbs: LbSet::try_from(lbs).unwrap(),
        webhook: None,
        finalizer: true,
        times: Times::created(Timestamp::UNIX_EPOCH),
    })
}

fn deleted(document: &Document) -> Document {
    let mut after = document.clone();
    let times = after.times_mut();
    *times = times.deleted(Timestamp::UNIX_EPOCH);
    after
}

/// A change of what stands in the world under the same key.
fn update(after: Document) -> Change {
    let before = world().into_iter().find(|document| document.key() == after.key());
    Change { before: Some(before.unwrap()), after }
}

fn delete(number: u128) -> Change {
    let before = world().into_iter().find(|document| document.key().id == uuid(number)).unwrap();
    update(deleted(&before))
}

fn purge(number: u128) -> Change {
    let before = world().into_iter().find(|document| document.key().id == uuid(number)).unwrap();
    let mut after = before.clone();
    let times = after.times_mut();
    *times = times.purged(Timestamp::UNIX_EPOCH);
    update(after)
}

const LIMITS: Limits = Limits {
    lbs_per_project: 3,
    ips_per_project: 3,
    frontends_per_lb: 4,
    backends_per_lb: 2,
    servers_per_backend: 3,
    subscribers_per_project: 2,
    acls_per_frontend: 2,
    acl_prefixes_per_frontend: 3,
};

/// Frontend 40 with limits of new connections of each source, and of packets.
fn limited(port: u16, backend: u128, connections_per_source: u32, packets: u32) -> Frontend {
    let limits = RateLimits { connections_per_source, packets, ..RateLimits::default() };
    Frontend { limits, ..frontend(40, 10, port, backend) }
}

fn report(changes: Vec<Change>) -> Report {
    let actor = Actor::editor("tester", owner(1));
    let pools = Pools::new(["192.0.2.0/24".parse().unwrap()]);
    judge(
        &snapshot(&world()),
        &Proposed::new(in_project(1), changes, "test", Timestamp::UNIX_EPOCH),
        &actor,
        &LIMITS,
        &pools,
    )
}

/// Each violation as `rule kind:number what`.
fn said(report: &Report) -> BTreeSet<String> {
    let word = |refusal: &Refusal| match refusal {
        Refusal::Argument { argument, .. } => (*argument).to_owned(),
        Refusal::Quota { resource, quota, current } => format!("{resource} {current}/{quota}"),
        Refusal::Deleted { key } => format!("deleted {}", key.id.as_u128()),
        Refusal::InUse { .. } => "in use".to_owned(),
        Refusal::OutOfScope { .. } => "out of scope".to_owned(),
        Refusal::Protected => "protected".to_owned(),
        Refusal::Traffic { rate } => format!("{} packets a second", rate.packets_per_second),
        Refusal::PlanNeeded { count, .. } => format!("{count} need a plan"),
        Refusal::Quarantined { lb } => format!("quarantined {}", lb.as_uuid().as_u128()),
        Refusal::StaysDown { lb, .. } => format!("stays down with {}", lb.as_uuid().as_u128()),
        Refusal::TakenDown { takedown } => format!("taken down for {}", takedown.reason.as_str()),
        Refusal::Frozen { freeze } => format!("frozen by {}", freeze.by.name),
        Refusal::Budget { exceeded } => format!("{} of {}", exceeded.used + exceeded.wanted, exceeded.limit),
    };
    let line = |it: &Violation| format!("{} {}: {}", it.rule, it.key.id.as_u128(), word(&it.refusal));
    report.violations.iter().map(line).collect()
}

/// Changes, and everything that is said of them; nothing for those that are allowed.
fn cases() -> Vec<(Vec<Change>, &'static [&'static str])> {
    let pool = |servers: &[u8]| Document::Backend(backend(30, 10, Protocol::Tcp, 80, servers));
    let new_pool = |lb, port, servers: &[u8]| create(Document::Backend(backend(31, lb, Protocol::Udp, port, servers)));
    let front = |number, lb, port, backend| Document::Frontend(frontend(number, lb, port, backend));
    let range = |number, first, last: u16, backend| {
        let frontend = frontend(number, 10, first, backend);
        Document::Frontend(Frontend { inbound_port_end: last.try_into().ok(), ..frontend })
    };
    let address = |number, last, lb| Document::Ip(ip(number, 1, [192, 0, 2, last], lb));
    let slow = |interval_ms, timeout_ms| {
        let mut pool = backend(30, 10, Protocol::Tcp, 80, &[1]);
        pool.health_check.interval = std::time::Duration::from_millis(interval_ms);
        pool.health_check.timeout = std::time::Duration::from_millis(timeout_ms);
        vec![update(Document::Backend(pool))]
    };
    vec![
        // scope
        (vec![create(Document::Lb(lb(13, 1)))], &[]),
        (vec![create(Document::Lb(lb(13, 2)))], &["scope 13: out of scope"]),
        // live
        (vec![update(address(21, 2, None))], &[]),
        (vec![update(deleted(&Document::Lb(lb(11, 1))))], &["live 11: deleted 11"]),
        (vec![new_pool(11, 80, &[])], &["live 31: deleted 11"]),
        (vec![create(address(22, 3, Some(11)))], &["live 22: deleted 11"]),
        // access lists
        (vec![create(Document::Acl(acl(51, 40, 2)))], &[]),
        (vec![create(Document::Acl(acl(51, 40, 3)))], &["quotas 51: lb_acl_subnets 1/3"]),
        (
            vec![create(Document::Acl(acl(51, 40, 1))), create(Document::Acl(acl(52, 40, 1)))],
            &["quotas 51: lb_acls 1/2"],
        ),
        (vec![create(Document::Acl(acl(51, 41, 1)))], &["references 51: frontend_id"]),
        (vec![update(Document::Acl(acl(50, 41, 1)))], &["immutable 50: frontend_id", "references 50: frontend_id"]),
        (vec![delete(50), delete(40)], &[]),
        // rates
        (vec![update(Document::Frontend(limited(80, 30, 5, 0)))], &[]),
        (
            vec![
                new_pool(10, 53, &[]),
                create(Document::Frontend(Frontend { id: FrontendId::from_uuid(uuid(41)), ..limited(53, 31, 0, 9) })),
            ],
            &[],
        ),
        (
            vec![
                new_pool(10, 53, &[]),
                create(Document::Frontend(Frontend { id: FrontendId::from_uuid(uuid(41)), ..limited(53, 31, 5, 9) })),
            ],
            &["rates 41: connection_rate_limit"],
        ),
        (
            vec![
                update(Document::Frontend(limited(80, 30, 5, 0))),
                update(Document::Backend(backend(30, 10, Protocol::Udp, 80, &[1]))),
            ],
            &["rates 40: connection_rate_limit"],
        ),
        // connection ids of QUIC
        (vec![create(quic(Protocol::Udp, shared_ids().as_slice(), 2))], &[]),
        (vec![create(quic(Protocol::Udp, shared_ids().as_slice(), 1))], &["quic 31: quic_server_id_length"]),
        (vec![create(quic(Protocol::Tcp, &[1], 4))], &["quic 31: quic_server_id_length"]),
        // immutable
        (
            vec![update(Document::Frontend(frontend(40, 12, 80, 30)))],
            &["immutable 40: lb_id", "references 40: backend_id"],
        ),
        (vec![update(address(20, 9, Some(10)))], &["immutable 20: ip_address"]),
        // references
        (vec![create(front(41, 12, 80, 30))], &["references 41: backend_id"]),
        (vec![create(front(41, 10, 80, 99))], &["references 41: backend_id"]),
        (vec![new_pool(99, 80, &[])], &["references 31: lb_id", "scope 31: out of scope"]),
        (vec![new_pool(12, 80, &[]), create(front(41, 12, 80, 31))], &[]),
        (
            vec![update(Document::Ip(ip(20, 1, [192, 0, 2, 1], Some(99))))],
            &["in_use 20: in use", "references 20: lb_id", "scope 20: out of scope"],
        ),
        // purge
        (vec![purge(11)], &["live 11: deleted 11", "purge 11: out of scope"]),
        (vec![purge(50)], &["purge 50: out of scope"]),
        // taken_down
        (vec![create(Document::Lb(taken_down(lb(13, 1))))], &["taken_down 13: taken down for abuse"]),
        (vec![update(Document::Lb(taken_down(lb(12, 1))))], &["taken_down 12: taken down for abuse"]),
        // in_use
        (vec![delete(40)], &[]),
        (vec![delete(30)], &["in_use 30: in use"]),
        (vec![delete(40), delete(30)], &[]),
        (vec![delete(20)], &["in_use 20: in use"]),
        (vec![delete(10), delete(20)], &[]),
        (vec![delete(21)], &["in_use 21: in use"]),
        (vec![update(address(20, 1, Some(12)))], &["in_use 20: in use"]),
        (vec![update(address(20, 1, None))], &[]),
        // addresses
        (vec![create(address(22, 3, None))], &[]),
        (vec![create(address(22, 1, None))], &["addresses 22: ip_address"]),
        (vec![create(address(22, 2, None))], &["addresses 22: ip_address"]),
        (vec![create(address(22, 0, None))], &["addresses 22: ip_address"]),
        (vec![create(Document::Ip(ip(22, 1, [10, 0, 0, 1], None)))], &["addresses 22: ip_address"]),
        (
            vec![create(address(22, 3, None)), create(address(23, 3, None))],
            &["addresses 22: ip_address", "addresses 23: ip_address", "quotas 22: lb_ips 2/3"],
        ),
        // attachment
        (vec![create(address(22, 3, Some(12)))], &[]),
        (vec![create(address(22, 3, Some(10)))], &["attachment 10: ip_ids"]),
        // ports
        (vec![new_pool(10, 80, &[]), create(front(41, 10, 80, 31))], &[]),
        (vec![create(front(41, 10, 80, 30))], &["ports 41: inbound_port"]),
        (vec![update(front(40, 10, 81, 30))], &["ports 40: inbound_port"]),
        (vec![update(Document::Backend(backend(30, 10, Protocol::Tcp, 81, &[1])))], &["ports 30: forward_port"]),
        (vec![update(front(40, 10, 81, 30)), update(Document::Backend(backend(30, 10, Protocol::Tcp, 81, &[1])))], &[]),
        // ranges of ports
        (vec![new_pool(10, 80, &[]), create(range(41, 70, 90, 31))], &[]),
        (vec![create(range(41, 70, 90, 30)), create(range(42, 91, 99, 30))], &[]),
        (vec![create(range(41, 70, 90, 30)), create(range(42, 90, 99, 30))], &["ports 41: inbound_port"]),
        (vec![create(range(41, 1, 65535, 30)), create(range(42, 90, 99, 30))], &["ports 41: inbound_port"]),
        (
            vec![create(range(41, 1, 99, 30)), create(range(42, 2, 3, 30)), create(range(43, 99, 100, 30))],
            &["ports 41: inbound_port", "ports 41: inbound_port"],
        ),
        (vec![update(range(40, 80, 90, 30)), create(front(41, 10, 80, 30))], &[]),
        // dependents
        (vec![create(dependent(1, &[10, 12]))], &[]),
        (vec![create(dependent(1, &[10, 11]))], &["dependents 60: lb_ids"]),
        (vec![create(dependent(1, &[10, 99]))], &["dependents 60: lb_ids"]),
        (vec![create(dependent(2, &[10]))], &["dependents 60: lb_ids", "scope 60: out of scope"]),
        // servers
        (vec![update(pool(&[3]))], &[]),
        (vec![update(pool(&[3, 3]))], &["servers 30: server_ip"]),
        (slow(1000, 1000), &[]),
        (slow(1000, 1001), &["servers 30: health_check.check_timeout"]),
        (slow(1000, 0), &["servers 30: health_check.check_timeout"]),
        // families
        (vec![update(six(Forwarding::Nat))], &["families 30: server_ip"]),
        (vec![update(six(Forwarding::Ipip))], &[]),
        // quotas
        (vec![update(pool(&[1, 2, 3]))], &[]),
        (vec![update(pool(&[1, 2, 3, 4]))], &["quotas 30: lb_servers 2/3"]),
        (vec![create(Document::Lb(lb(13, 1))), create(Document::Lb(lb(14, 1)))], &["quotas 13: lbs 2/3"]),
    ]
}

/// As Trust & Safety would have removed it.
fn taken_down(lb: Lb) -> Lb {
    let reason = Reason::try_from("abuse".to_owned()).unwrap();
    Lb { taken_down: Some(Takedown { plan: MeasureId::from_uuid(uuid(70)), reason }), ..lb }
}

/// A new backend whose connection ids name servers by so many bytes.
fn quic(protocol: Protocol, servers: &[u8], length: u8) -> Document {
    let quic = Quic::changed(None, Some(length), None).unwrap();
    Document::Backend(Backend { quic, ..backend(31, 10, protocol, 53, servers) })
}

/// Two servers of that backend whose ids begin with the same byte, and only with that.
fn shared_ids() -> [u8; 2] {
    let Document::Backend(pool) = quic(Protocol::Udp, &[], 1) else { unreachable!() };
    let bytes = |last| {
        let server = ServerRef { backend: pool.id, address: [10, 0, 0, last].into() };
        identity(server, 53).to_be_bytes()
    };
    let pairs = (1..=255u8).flat_map(|second| (1..second).map(move |first| [first, second]));
    let is_shared = |[first, second]: &[u8; 2]| bytes(*first)[0] == bytes(*second)[0];
    pairs.filter(is_shared).find(|[first, second]| bytes(*first)[1] != bytes(*second)[1]).unwrap()
}

/// The backend with one server, by its IPv6 address.
fn six(forwarding: Forwarding) -> Document {
    let server = Server::serving("fd00::1".parse().unwrap(), Weight::ONE, Timestamp::UNIX_EPOCH);
    Document::Backend(Backend { forwarding, servers: vec![server], ..backend(30, 10, Protocol::Tcp, 80, &[]) })
}

#[test]
fn each_rule_refuses_its_own_and_allows_the_nearest_right_thing() {
    let mut wrong = Vec::new();
    for (number, (changes, expected)) in cases().into_iter().enumerate() {
        let keys: Vec<String> = changes.iter().map(|change| change.key().to_string()).collect();
        let said = said(&report(changes));
        let expected: BTreeSet<String> = expected.iter().map(|&line| line.to_owned()).collect();
        if said != expected {
            wrong.push(format!("case {number} {keys:?}:\n    said     {said:?}\n    expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_case_that_it_refuses() {
    let refused: BTreeSet<&str> =
        cases().into_iter().flat_map(|(_, said)| said).map(|line| line.split_once(' ').unwrap().0).collect();
    // What these judge by is not in a change alone: `what_is_protected_has_traffic_…` below, and the control tier's
    // `api::containment`, have their cases.
    let elsewhere = ["freeze", "quarantine", "protected", "traffic", "bulk", "budget"];
    let untested: Vec<_> = rules::ALL
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !refused.contains(name) && !elsewhere.contains(name))
        .collect();
    assert!(untested.is_empty(), "no case is refused by {untested:?}");
}

#[test]
fn what_is_protected_has_traffic_or_is_more_than_one_does_not_go_by_a_plain_request() {
    let protected = Document::Lb(Lb { protected: true, ..lb(12, 1) });
    let rate = crate::observe::Rate { packets_per_second: 7.0, connections_per_second: 0.0 };
    let cases: [(Vec<Document>, bool, &[&str]); 4] = [
        (vec![Document::Lb(lb(10, 1))], false, &[]),
        (vec![protected], false, &["protected 12: protected"]),
        (vec![Document::Lb(lb(10, 1))], true, &["traffic 10: 7 packets a second"]),
        (vec![Document::Lb(lb(10, 1)), Document::Lb(lb(12, 1))], false, &["bulk 10: 2 need a plan"]),
    ];
    for (documents, has_traffic, expected) in cases {
        let changes = documents.iter().map(|it| Change { before: Some(it.clone()), after: deleted(it) }).collect();
        let mut proposed = Proposed::new(in_project(1), changes, "lb.delete", Timestamp::UNIX_EPOCH);
        if has_traffic {
            proposed.traffic.insert(LbId::from_uuid(uuid(10)), rate);
        }
        let actor = Actor::editor("tester", owner(1));
        let report = judge(&snapshot(&documents), &proposed, &actor, &LIMITS, &Pools::new([]));
        assert_eq!(said(&report), expected.iter().map(|it| (*it).to_owned()).collect(), "{report:?}");
    }
}

proptest! {
    /// Ports: allowed exactly when every port and protocol has one frontend and no port is translated.
    #[test]
    fn a_port_and_protocol_has_one_frontend(
        wanted in prop::collection::vec((1u16..5, any::<bool>(), any::<bool>()), 0..6)
    ) {
        let mut changes = Vec::new();
        let mut taken = BTreeSet::new();
        let mut fits = true;
        for (number, (port, is_udp, translates)) in wanted.into_iter().enumerate() {
            let number = number as u128;
            let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            changes.push(create(Document::Backend(backend(100 + number, 12, protocol, port, &[]))));
            let inbound = if translates { port + 100 } else { port };
            changes.push(create(Document::Frontend(frontend(200 + number, 12, inbound, 100 + number))));
            fits &= !translates && taken.insert((inbound, is_udp));
        }
        let report = report(changes);
        let is_refused = report.violations.iter().any(|violation| violation.rule == "ports");
        prop_assert_eq!(is_refused, !fits, "{:?}", report);
    }

    /// Quotas: what adds is allowed exactly up to the quota, what takes away always.
    #[test]
    fn a_quota_is_a_limit_of_what_is_added(before in 0usize..6, after in 0usize..6, quota in 0usize..6) {
        let servers = |count: usize| (1..=u8::try_from(count).unwrap()).collect::<Vec<u8>>();
        let pool = |count| Document::Backend(backend(30, 10, Protocol::Tcp, 80, &servers(count)));
        let current = snapshot(&[Document::Lb(lb(10, 1)), pool(before)]);
        let change = Change { before: Some(pool(before)), after: pool(after) };
        let limits = Limits { servers_per_backend: quota, ..LIMITS };
        let actor = Actor::editor("tester", owner(1));
        let proposed = Proposed::new(in_project(1), vec![change], "test", Timestamp::UNIX_EPOCH);
        let report = judge(&current, &proposed, &actor, &limits, &Pools::new([]));
        prop_assert_eq!(report.is_allowed(), after <= quota || after <= before, "{:?}", report);
    }

    /// Servers and addresses: no address is both, whichever comes first.
    #[test]
    fn no_address_is_that_of_a_server_and_of_a_load_balancer(last in 1u8..20, server in 1u8..20) {
        let key = DocumentKey { kind: Kind::Backend, id: uuid(30) };
        let mut pool = backend(30, 10, Protocol::Tcp, 80, &[]);
        pool.servers = vec![Server::serving([192, 0, 2, server].into(), Weight::ONE, Timestamp::UNIX_EPOCH)];
        let report = report(vec![
            update(Document::Ip(ip(20, 1, [192, 0, 2, 1], None))),
            create(Document::Ip(ip(22, 1, [192, 0, 2, last.max(3)], None))),
            update(Document::Backend(pool)),
        ]);
        let is_refused = report.violations.iter().any(|violation| violation.rule == "servers" && violation.key == key);
        prop_assert_eq!(is_refused, server <= 2 || server == last.max(3), "{:?}", report);
    }
}
