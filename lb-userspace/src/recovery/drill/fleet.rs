//! The fleet of the incident: organizations, load balancers, and what depends on them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use jiff::Timestamp;

use super::DrillError;
use crate::model::{
    Algorithm, Backend, BackendId, Dependent, DependentId, DependentKind, Document, EmptyPool, Forwarding, Frontend,
    FrontendId, HealthCheck, Ip, IpId, Lb, LbId, LbSet, LbType, Name, OrganizationId, Owner, PrefixV6, Probe,
    ProjectId, Protocol, Proxied, RateLimits, Server, StickySessions, Tags, Times, Weight,
};

/// Figures of the incident (its post-mortem's impact analysis).
const ORGANIZATIONS: usize = 775;
const LBS: usize = 1574;
const DATABASE_LBS: usize = 50;
const DATABASES: usize = 500;
const CLUSTERS: usize = 229;
const IOT_HUBS: usize = 33;
/// Load balancers with live clients, half TCP, half UDP.
const SAMPLE: usize = 64;

/// Kinds of dependents in the register.
const DATABASE: &str = "database";
pub(super) const KUBERNETES: &str = "kubernetes";
const IOT_HUB: &str = "iot_hub";

/// Port of TCP services, and of UDP services.
pub(super) const TCP_PORT: u16 = 80;
pub(super) const UDP_PORT: u16 = 53;

/// Everything there is.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) organizations: usize,
    pub(super) lbs: Vec<Service>,
    pub(super) dependents: Vec<Relying>,
}

/// A load balancer with one service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) lb: LbId,
    pub(super) owner: Owner,
    pub(super) address: Ipv4Addr,
    pub(super) protocol: Protocol,
}

/// Something that relies on a load balancer: it stands in the register.
#[derive(Clone, Debug)]
pub(super) struct Relying {
    kind: &'static str,
    owner: Owner,
    lb: LbId,
}

impl Service {
    pub(super) const fn port(&self) -> u16 {
        match self.protocol {
            Protocol::Tcp => TCP_PORT,
            Protocol::Udp => UDP_PORT,
        }
    }
}

impl Fleet {
    pub(super) fn of_the_incident(scale: usize) -> Self {
        let organizations = ORGANIZATIONS * scale;
        let owners: Vec<Owner> = (0..organizations)
            .map(|_| Owner { organization: OrganizationId::new(), project: ProjectId::new() })
            .collect();
        let lbs: Vec<Service> = (0..LBS * scale)
            .map(|number| Service {
                lb: LbId::new(),
                owner: owners[number % organizations],
                address: vip(number),
                protocol: if number % 2 == 0 { Protocol::Tcp } else { Protocol::Udp },
            })
            .collect();
        let of = |kind, count: usize, among: usize, first: usize| {
            let lbs: Vec<(Owner, LbId)> =
                lbs.iter().skip(first).take(among).map(|service| (service.owner, service.lb)).collect();
            (0..count).map(move |number| {
                let (owner, lb) = lbs[number % among];
                Relying { kind, owner, lb }
            })
        };
        let dependents = of(DATABASE, DATABASES * scale, DATABASE_LBS * scale, 0)
            .chain(of(KUBERNETES, CLUSTERS * scale, CLUSTERS * scale, DATABASE_LBS * scale))
            .chain(of(IOT_HUB, IOT_HUBS * scale, IOT_HUBS * scale, (DATABASE_LBS + CLUSTERS) * scale))
            .collect();
        Self { organizations, lbs, dependents }
    }

    /// The load balancers that clients talk to: spread over the whole fleet.
    pub(super) fn sample(&self) -> Vec<&Service> {
        // An odd step: both protocols are in it.
        let step = (self.lbs.len() / SAMPLE).max(1) | 1;
        self.lbs.iter().step_by(step).take(SAMPLE).collect()
    }

    /// The register of the dependents.
    pub(super) fn register(&self, now: Timestamp) -> Result<Vec<Document>, DrillError> {
        let doing = |invalid: crate::model::Invalid| DrillError::new("registering a dependent", invalid);
        let one = |(number, one): (usize, &Relying)| {
            Ok(Document::Dependent(Dependent {
                id: DependentId::new(),
                owner: one.owner,
                kind: DependentKind::try_from(one.kind.to_owned()).map_err(doing)?,
                name: Name::try_from(format!("{}-{number}", one.kind)).map_err(doing)?,
                lbs: LbSet::try_from(BTreeSet::from([one.lb])).map_err(doing)?,
                webhook: None,
                finalizer: false,
                times: Times::created(now),
            }))
        };
        self.dependents.iter().enumerate().map(one).collect()
    }

    /// The documents of a load balancer and what belongs to it.
    pub(super) fn documents(number: usize, service: &Service, now: Timestamp) -> Result<Vec<Document>, DrillError> {
        let (times, owner, lb) = (Times::created(now), service.owner, service.lb);
        let backend = BackendId::new();
        let name = Name::try_from(format!("lb-{number}"))
            .map_err(|invalid| DrillError::new("naming a load balancer", invalid))?;
        let port = NonZeroU16::new(service.port()).unwrap_or(NonZeroU16::MIN);
        let probed = NonZeroU16::new(TCP_PORT).unwrap_or(NonZeroU16::MIN);
        let server = |position| Server::serving(IpAddr::V4(server_address(number, position)), Weight::ONE, now);
        Ok(vec![
            Document::Lb(Lb {
                id: lb,
                owner,
                name: name.clone(),
                description: String::new(),
                tags: Tags::default(),
                kind: LbType::S,
                answers_echo: true,
                on_closed_port: crate::model::ClosedPort::Reject,
                protected: false,
                subscriber: None,
                at_once: false,
                taken_down: None,
                times,
            }),
            Document::Ip(Ip {
                id: IpId::new(),
                owner,
                address: IpAddr::V4(service.address),
                lb: Some(lb),
                reverse: String::new(),
                tags: Tags::default(),
                times,
            }),
            Document::Backend(Backend {
                id: backend,
                lb,
                name: name.clone(),
                protocol: service.protocol,
                forward_port: port,
                algorithm: Algorithm::Roundrobin,
                sticky_sessions: StickySessions::None,
                sticky_prefix_v6: PrefixV6::WHOLE,
                quic: None,
                slow_start: None,
                forwarding: Forwarding::Ipip,
                on_empty: EmptyPool::Reject,
                servers: (0..3).map(server).collect(),
                health_check: HealthCheck {
                    port: probed,
                    interval: Duration::from_secs(60),
                    timeout: Duration::from_secs(10),
                    fall: NonZeroU8::MIN.saturating_add(2),
                    rise: NonZeroU8::MIN,
                    transient_interval: None,
                    send_proxy: false,
                    probe: Probe::Tcp,
                },
                proxied: Proxied::default(),
                times,
            }),
            Document::Frontend(Frontend {
                id: FrontendId::new(),
                lb,
                name,
                inbound_port: port,
                inbound_port_end: None,
                backend,
                timeout_client: None,
                limits: RateLimits::default(),
                times,
            }),
        ])
    }
}

/// 172.20.0.0/14 holds the addresses of ten incidents.
fn vip(number: usize) -> Ipv4Addr {
    offset(Ipv4Addr::new(172, 20, 0, 0), number + 1)
}

/// 10.100.0.0/14 holds the servers.
fn server_address(number: usize, position: usize) -> Ipv4Addr {
    offset(Ipv4Addr::new(10, 100, 0, 0), number * 3 + position + 1)
}

fn offset(base: Ipv4Addr, by: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(base).wrapping_add(u32::try_from(by).unwrap_or_default()))
}
