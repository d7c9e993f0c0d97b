//! Model into wire: what the API shows of a snapshot.

use super::wire;
use super::{Context, etag};
use crate::delivery::Address;
use crate::ledger::Snapshot;
use crate::model::{Acl, Backend, Frontend, Ip, Lb, LbId, Quic, Subscriber};

/// Id of a load balancer's instance: the same for the same load balancer and zone, wherever it is asked for.
pub(super) fn instance_id(lb: LbId, zone: &str) -> uuid::Uuid {
    uuid::Uuid::new_v5(&lb.as_uuid(), zone.as_bytes())
}

/// A snapshot as the API shows it.
pub(super) struct View<'a> {
    pub(super) snapshot: &'a Snapshot,
    zone: &'a str,
    applied_generation: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(context: &'a Context, snapshot: &'a Snapshot) -> Self {
        let applied_generation = context.status.borrow().applied_generation;
        Self { snapshot, zone: &context.zone, applied_generation }
    }

    pub(super) fn ip(&self, ip: &Ip) -> wire::Ip {
        wire::Ip {
            id: ip.id,
            ip_address: ip.address,
            organization_id: ip.owner.organization,
            project_id: ip.owner.project,
            lb_id: ip.lb,
            reverse: ip.reverse.clone(),
            tags: ip.tags.as_slice().to_vec(),
            zone: self.zone.to_owned(),
            deleted_at: ip.times.deleted_at,
            etag: etag::of(ip),
        }
    }

    pub(super) fn subscriber(&self, subscriber: &Subscriber) -> wire::Subscriber {
        let (email_config, webhook_config) = match subscriber.address.clone() {
            Address::Email { email } => (Some(wire::EmailConfig { email }), None),
            Address::Webhook { uri } => (None, Some(wire::WebhookConfig { uri })),
        };
        wire::Subscriber {
            id: subscriber.id,
            name: subscriber.name.to_string(),
            email_config,
            webhook_config,
            organization_id: subscriber.owner.organization,
            project_id: subscriber.owner.project,
            deleted_at: subscriber.times.deleted_at,
            etag: etag::of(subscriber),
        }
    }

    fn waits_for(&self, lb: LbId) -> Vec<wire::WaitsFor> {
        let holders = self.snapshot.holders_of(lb);
        let shown = holders.map(|holder| wire::WaitsFor {
            dependent_id: holder.id,
            kind: holder.kind.as_str().to_owned(),
            name: holder.name.to_string(),
        });
        shown.collect()
    }

    pub(super) fn lb(&self, lb: &Lb) -> wire::Lb {
        let snapshot = self.snapshot;
        let generation = snapshot.touched(lb.id).0;
        let is_applied = self.applied_generation >= generation;
        let mut ip: Vec<_> = snapshot.ips_of(lb.id).filter(|ip| is_shown(lb, ip)).map(|ip| self.ip(ip)).collect();
        ip.sort_by_key(|ip| ip.ip_address);
        let (status, of_instance) = match (lb.times.is_live(), is_applied) {
            (true, _) if snapshot.is_quarantined(lb) => (wire::LbStatus::Locked, wire::InstanceStatus::Locked),
            (false, _) => (wire::LbStatus::ToDelete, wire::InstanceStatus::Stopped),
            (true, true) => (wire::LbStatus::Ready, wire::InstanceStatus::Ready),
            (true, false) => (wire::LbStatus::Pending, wire::InstanceStatus::Pending),
        };
        let instance = wire::Instance {
            id: instance_id(lb.id, self.zone),
            status: of_instance,
            ip_address: ip.first().map(|ip| ip.ip_address.to_string()).unwrap_or_default(),
            created_at: Some(lb.times.created_at),
            updated_at: Some(lb.times.updated_at),
            zone: self.zone.to_owned(),
        };
        let frontends = snapshot.frontends_of(lb.id).filter(|frontend| frontend.times.is_live()).count();
        let backends = snapshot.backends_of(lb.id).filter(|backend| backend.times.is_live()).count();
        wire::Lb {
            id: lb.id,
            name: lb.name.to_string(),
            description: lb.description.clone(),
            status,
            instances: vec![instance],
            organization_id: lb.owner.organization,
            project_id: lb.owner.project,
            ip,
            tags: lb.tags.as_slice().to_vec(),
            frontend_count: u32::try_from(frontends).unwrap_or(u32::MAX),
            backend_count: u32::try_from(backends).unwrap_or(u32::MAX),
            kind: lb.kind.as_str().to_owned(),
            subscriber: lb
                .subscriber
                .and_then(|id| snapshot.subscriber(id))
                .filter(|subscriber| subscriber.times.is_live())
                .map(|subscriber| self.subscriber(subscriber)),
            ssl_compatibility_level: "ssl_compatibility_level_intermediate".to_owned(),
            answers_echo: lb.answers_echo,
            on_closed_port: lb.on_closed_port.as_str().to_owned(),
            created_at: Some(lb.times.created_at),
            updated_at: Some(lb.times.updated_at),
            private_network_count: 0,
            route_count: 0,
            zone: self.zone.to_owned(),
            generation,
            applied_generation: self.applied_generation,
            protected: lb.protected,
            deleted_at: lb.times.deleted_at,
            taken_down: lb.taken_down.as_ref().map(|takedown| wire::TakenDown {
                plan_id: takedown.plan,
                reason: takedown.reason.as_str().to_owned(),
            }),
            waits_for: if lb.times.is_live() { Vec::new() } else { self.waits_for(lb.id) },
            etag: etag::of(lb),
        }
    }

    fn lb_with(&self, id: LbId) -> Option<wire::Lb> {
        self.snapshot.lb(id).map(|lb| self.lb(lb))
    }

    pub(super) fn frontend(&self, frontend: &Frontend) -> wire::Frontend {
        wire::Frontend {
            id: frontend.id,
            name: frontend.name.to_string(),
            inbound_port: frontend.inbound_port.get(),
            inbound_port_end: frontend.inbound_port_end.map(std::num::NonZeroU16::get),
            backend: self.snapshot.backend(frontend.backend).map(|backend| self.backend(backend)),
            lb: self.lb_with(frontend.lb),
            timeout_client: frontend.timeout_client.map(wire::Millis),
            certificate: None,
            certificate_ids: Vec::new(),
            enable_http3: false,
            enable_access_logs: false,
            connection_rate_limit: frontend.limits.connections_per_source,
            service_connection_rate_limit: frontend.limits.connections,
            packet_rate_limit: frontend.limits.packets,
            warnings: wire::Warning::of_frontend(frontend),
            created_at: Some(frontend.times.created_at),
            updated_at: Some(frontend.times.updated_at),
            deleted_at: frontend.times.deleted_at,
            etag: etag::of(frontend),
        }
    }

    pub(super) fn acl(&self, acl: &Acl) -> wire::Acl {
        wire::Acl {
            id: acl.id,
            name: acl.name.to_string(),
            matches: Some(wire::AclMatch {
                ip_subnet: acl.subnets.clone(),
                ips_edge_services: false,
                http_filter: "acl_http_filter_none".to_owned(),
                http_filter_value: Vec::new(),
                http_filter_option: None,
                invert: acl.invert,
            }),
            action: Some(wire::AclAction { kind: acl.action, redirect: None }),
            frontend: self.snapshot.frontend(acl.frontend).map(|frontend| self.frontend(frontend)),
            index: acl.index,
            description: acl.description.clone(),
            created_at: Some(acl.times.created_at),
            updated_at: Some(acl.times.updated_at),
            deleted_at: acl.times.deleted_at,
            etag: etag::of(acl),
        }
    }

    pub(super) fn backend(&self, backend: &Backend) -> wire::Backend {
        let servers = backend.servers.iter();
        wire::Backend {
            id: backend.id,
            name: backend.name.to_string(),
            forward_protocol: backend.protocol,
            forward_port: backend.forward_port.get(),
            forward_port_algorithm: backend.algorithm,
            sticky_sessions: backend.sticky_sessions,
            sticky_sessions_cookie_name: String::new(),
            health_check: wire::HealthCheck::from(&backend.health_check),
            pool: servers.clone().map(|server| server.address).collect(),
            servers: servers.map(|server| wire::Server::of(backend, server)).collect(),
            lb: self.lb_with(backend.lb),
            send_proxy_v2: false,
            timeout_server: backend.proxied.timeout_server.map(wire::Millis),
            timeout_connect: backend.proxied.timeout_connect.map(wire::Millis),
            timeout_tunnel: backend.proxied.timeout_tunnel.map(wire::Millis),
            timeout_queue: None,
            on_marked_down_action: "on_marked_down_action_none".to_owned(),
            proxy_protocol: "proxy_protocol_none".to_owned(),
            failover_host: None,
            ssl_bridging: false,
            ignore_ssl_server_verify: false,
            redispatch_attempt_count: 0,
            max_retries: backend.proxied.max_retries,
            max_connections: 0,
            host: String::new(),
            forwarding: backend.forwarding,
            on_empty: backend.on_empty,
            sticky_prefix_v6: backend.sticky_prefix_v6,
            quic_server_id_length: Quic::length_of(backend.quic),
            quic_config_id: Quic::config_of(backend.quic),
            slow_start: backend.slow_start.map(wire::Millis),
            warnings: wire::Warning::of_backend(backend),
            created_at: Some(backend.times.created_at),
            updated_at: Some(backend.times.updated_at),
            deleted_at: backend.times.deleted_at,
            etag: etag::of(backend),
        }
    }
}

/// Of a deleted load balancer also the addresses that went with it.
fn is_shown(lb: &Lb, ip: &Ip) -> bool {
    ip.times.is_live() || ip.times.deleted_at == lb.times.deleted_at
}
