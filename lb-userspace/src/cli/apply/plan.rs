//! The difference between what a file asks for and what there is, as steps in a safe order. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::spec::{BackendSpec, FrontendSpec, IpWish, LbSpec};
use super::{acl, backend, dependents};
use crate::api::wire;
use crate::cli::lb::object;
use crate::cli::value::millis;
use crate::model::{ClosedPort, ports_text};

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The load balancer of the spec's name.
    pub lb: Option<wire::Lb>,
    /// Its backends.
    pub backends: Vec<wire::Backend>,
    /// Its frontends.
    pub frontends: Vec<wire::Frontend>,
    /// Their access rules, if the spec speaks of any.
    pub acls: Vec<wire::Acl>,
    /// Every IP the token sees.
    pub ips: Vec<wire::Ip>,
    /// Every subscriber the token sees, if the spec names one.
    pub subscribers: Vec<wire::Subscriber>,
    /// Every dependent the token sees, if the spec speaks of any.
    pub dependents: Vec<wire::Dependent>,
}

/// One object, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// `lb`, `ip`, `subscriber`, `backend`, `frontend`, `acl`, `server` or `dependent`.
    pub kind: &'static str,
    /// Its name or address.
    pub name: String,
    /// Field by field.
    pub changes: Vec<FieldChange>,
    /// The requests that do it, in order.
    #[serde(skip)]
    pub calls: Vec<Call>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is as the file says.
    Unchanged,
    /// It is taken away, to be made again: its port changes, which cannot be done in one request.
    Replace,
    /// It is not in the file, and taken away.
    Remove,
    /// It is not in the file, and stays.
    Extra,
}

impl Action {
    /// Whether requests are sent for it.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(self, Self::Unchanged | Self::Extra)
    }
}

/// A field before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field, as the file names it.
    pub field: String,
    /// As it is; `None` when there was none.
    pub from: Option<String>,
    /// As it will be; `None` when it goes.
    pub to: Option<String>,
}

/// A request, as far as it is known before anything was made.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `POST /ips`; the new IP is attached when the load balancer is made, or by [`Call::AttachReserved`].
    Reserve(Map<String, Value>),
    /// `POST /lbs`, with the IPs reserved before.
    CreateLb(Map<String, Value>),
    /// `PUT /lbs/{id}`.
    UpdateLb(Map<String, Value>),
    /// Attaches the IP that was reserved before.
    AttachReserved,
    /// Attaches an IP.
    Attach(Uuid),
    /// Detaches an IP; it stays reserved.
    Detach(Uuid),
    /// `POST /lb/{lb}/subscribe`.
    Subscribe(Uuid),
    /// `DELETE /lb/{lb}/unsubscribe`.
    Unsubscribe,
    /// `POST /lbs/{lb}/backends`.
    CreateBackend(Map<String, Value>),
    /// `PUT /backends/{id}`, or below it.
    UpdateBackend(Uuid, &'static str, Map<String, Value>),
    /// `POST /backends/{id}/servers`: adds and changes these, and leaves the others alone.
    AddServers(Uuid, Map<String, Value>),
    /// `POST /lbs/{lb}/frontends`, with the id of the backend of this name.
    CreateFrontend(Map<String, Value>, String),
    /// `PUT /frontends/{id}`, with the id of the backend of this name.
    UpdateFrontend(Uuid, Map<String, Value>, String),
    /// `PUT /frontends/{id}/acls` of the frontend of this name.
    SetAcls(String, Map<String, Value>),
    /// `DELETE` of a frontend or backend: collection and id.
    Delete(&'static str, Uuid),
    /// `POST /dependents`, or `PATCH /dependents/{id}`: it depends on the load balancer, beside these.
    PutDependent(Option<Uuid>, Map<String, Value>, Vec<Uuid>),
    /// A dependent depends on these only; on none of them it leaves the register.
    LeaveDependent(Uuid, Vec<Uuid>),
}

/// The steps from what there is to what the file asks for; nothing to do when every action is `Unchanged` or `Extra`.
///
/// # Errors
/// When what the file asks for cannot be reached, and why.
pub fn plan(spec: &LbSpec, observed: &Observed, prune: bool) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    match &observed.lb {
        None => create_lb(spec, &observed.ips, &mut steps)?,
        Some(lb) => {
            steps.push(update_lb(spec, lb)?);
            update_ips(spec, lb, &observed.ips, prune, &mut steps)?;
        }
    }
    steps.extend(subscription(spec, observed, prune)?);
    let fates = frontend_fates(spec, observed);
    stop_frontends(&fates, observed, prune, &mut steps);
    for wanted in &spec.backends {
        match observed.backends.iter().find(|backend| backend.name == wanted.name) {
            None => steps.push(backend::create(wanted)),
            Some(current) => steps.extend(backend::update(wanted, current, prune)),
        }
    }
    for (wanted, fate) in spec.frontends.iter().zip(&fates) {
        steps.push(frontend_step(wanted, fate));
        let before = fate.observed().map(|frontend| frontend.id);
        let of = |acl: &&wire::Acl| acl.frontend.as_ref().is_some_and(|frontend| Some(frontend.id) == before);
        let there: Vec<&wire::Acl> = observed.acls.iter().filter(of).collect();
        steps.extend(match fate {
            Fate::Keep(_) => acl::step(wanted, &there),
            Fate::Create | Fate::Replace(_) => acl::anew(wanted, &there),
        });
    }
    remove_backends(spec, observed, prune, &mut steps);
    steps.extend(dependents::steps(spec, observed, prune)?);
    Ok(steps)
}

fn create_lb(spec: &LbSpec, ips: &[wire::Ip], steps: &mut Vec<Step>) -> Result<(), String> {
    let mut ip_ids = Vec::new();
    let wishes = spec.ips.as_deref().unwrap_or(&[IpWish::AnyIpv4]);
    for wish in wishes {
        let IpWish::Address(address) = wish else { continue };
        match ips.iter().find(|ip| ip.ip_address == *address) {
            Some(ip) if ip.lb_id.is_none() => ip_ids.push(ip.id.to_string()),
            Some(ip) => return Err(taken(ip)),
            None => steps.push(reserve(*wish, Vec::new())),
        }
    }
    let body = object(json!({
        "name": spec.name,
        "description": spec.description,
        "tags": spec.tags,
        "type": spec.kind.as_str(),
        "answers_echo": spec.answers_echo,
        "on_closed_port": spec.on_closed_port.as_str(),
        "assign_flexible_ip": wishes.contains(&IpWish::AnyIpv4),
        "assign_flexible_ipv6": wishes.contains(&IpWish::AnyIpv6),
        "ip_ids": ip_ids,
    }));
    let addresses: Vec<String> = wishes.iter().map(ToString::to_string).collect();
    let mut changes = vec![set("ips", &addresses.join(", ")), set("type", spec.kind.as_str())];
    changes.extend((!spec.description.is_empty()).then(|| set("description", &spec.description)));
    changes.extend((!spec.tags.is_empty()).then(|| set("tags", &spec.tags.join(", "))));
    changes.extend((!spec.answers_echo).then(|| set("answers_echo", "false")));
    let closed = spec.on_closed_port;
    changes.extend((closed != ClosedPort::default()).then(|| set("on_closed_port", closed.as_str())));
    steps.push(Step::new(Action::Create, "lb", &spec.name, changes, vec![Call::CreateLb(body)]));
    Ok(())
}

fn update_lb(spec: &LbSpec, lb: &wire::Lb) -> Result<Step, String> {
    if lb.kind != spec.kind.as_str() {
        return Err(format!(
            "load balancer {} is of type {}, the file says {}: the type is chosen when a load balancer is made",
            spec.name,
            lb.kind,
            spec.kind.as_str()
        ));
    }
    let mut changes = Vec::new();
    changes.extend(change("description", &lb.description, &spec.description));
    changes.extend(change("tags", &lb.tags.join(", "), &spec.tags.join(", ")));
    changes.extend(change("answers_echo", &lb.answers_echo.to_string(), &spec.answers_echo.to_string()));
    changes.extend(change("on_closed_port", &lb.on_closed_port, spec.on_closed_port.as_str()));
    let body = json!({"name": spec.name, "description": spec.description, "tags": spec.tags,
        "answers_echo": spec.answers_echo, "on_closed_port": spec.on_closed_port.as_str()});
    Ok(Step::of_changes("lb", &spec.name, changes, vec![Call::UpdateLb(object(body))]))
}

/// Each family by itself: what is asked for, what there is.
fn update_ips(
    spec: &LbSpec,
    lb: &wire::Lb,
    ips: &[wire::Ip],
    prune: bool,
    steps: &mut Vec<Step>,
) -> Result<(), String> {
    let Some(wishes) = &spec.ips else { return Ok(()) };
    for is_ipv6 in [false, true] {
        let wish = wishes.iter().find(|wish| wish.is_ipv6() == is_ipv6);
        let current = lb.ip.iter().find(|ip| ip.ip_address.is_ipv6() == is_ipv6);
        let detach = |current: &wire::Ip, action| {
            let calls = if prune { vec![Call::Detach(current.id.as_uuid())] } else { Vec::new() };
            Step::new(action, "ip", &current.ip_address.to_string(), Vec::new(), calls)
        };
        match (wish, current) {
            (None, None) => {}
            (None, Some(current)) => {
                steps.push(detach(current, if prune { Action::Remove } else { Action::Extra }));
            }
            (Some(IpWish::Address(address)), Some(current)) if current.ip_address != *address => {
                if !prune {
                    return Err(format!(
                        "load balancer {} has the address {}, the file says {address}: --prune detaches the old one",
                        spec.name, current.ip_address
                    ));
                }
                steps.push(detach(current, Action::Remove));
                steps.push(attach(IpWish::Address(*address), ips)?);
            }
            (Some(_), Some(current)) => {
                steps.push(Step::new(Action::Unchanged, "ip", &current.ip_address.to_string(), Vec::new(), Vec::new()));
            }
            (Some(wish), None) => steps.push(attach(*wish, ips)?),
        }
    }
    Ok(())
}

/// Who is told of the load balancer.
fn subscription(spec: &LbSpec, observed: &Observed, prune: bool) -> Result<Option<Step>, String> {
    let current = observed.lb.as_ref().and_then(|lb| lb.subscriber.as_ref());
    let Some(name) = &spec.subscriber else {
        return Ok(current.map(|current| match prune {
            true => Step::new(Action::Remove, "subscriber", &current.name, Vec::new(), vec![Call::Unsubscribe]),
            false => Step::new(Action::Extra, "subscriber", &current.name, Vec::new(), Vec::new()),
        }));
    };
    if current.is_some_and(|current| current.name == *name) {
        return Ok(Some(Step::new(Action::Unchanged, "subscriber", name, Vec::new(), Vec::new())));
    }
    let named: Vec<_> = observed.subscribers.iter().filter(|subscriber| subscriber.name == *name).collect();
    match named.as_slice() {
        [one] => {
            let changes = vec![FieldChange {
                field: "told".to_owned(),
                from: current.map(|current| current.name.clone()),
                to: Some(name.clone()),
            }];
            let action = if current.is_some() { Action::Update } else { Action::Create };
            Ok(Some(Step::new(action, "subscriber", name, changes, vec![Call::Subscribe(one.id.as_uuid())])))
        }
        [] => Err(format!(
            "{}: there is no subscriber named `{name}`: `snowshed subscriber create --name {name} …` makes one",
            spec.name
        )),
        several => Err(format!(
            "{}: {} subscribers are named `{name}`: `snowshed subscriber update ID --name …` tells them apart",
            spec.name,
            several.len()
        )),
    }
}

fn attach(wish: IpWish, ips: &[wire::Ip]) -> Result<Step, String> {
    if let IpWish::Address(address) = wish
        && let Some(ip) = ips.iter().find(|ip| ip.ip_address == address)
    {
        return match ip.lb_id {
            None => Ok(Step::new(
                Action::Update,
                "ip",
                &address.to_string(),
                vec![set("attached", "true")],
                vec![Call::Attach(ip.id.as_uuid())],
            )),
            Some(_) => Err(taken(ip)),
        };
    }
    Ok(reserve(wish, vec![Call::AttachReserved]))
}

fn reserve(wish: IpWish, then: Vec<Call>) -> Step {
    let body = match wish {
        IpWish::Address(address) => json!({"ip_address": address}),
        IpWish::AnyIpv4 | IpWish::AnyIpv6 => json!({"is_ipv6": wish.is_ipv6()}),
    };
    let calls = std::iter::once(Call::Reserve(object(body))).chain(then).collect();
    Step::new(Action::Create, "ip", &wish.to_string(), Vec::new(), calls)
}

fn taken(ip: &wire::Ip) -> String {
    let lb = ip.lb_id.map(|id| id.to_string()).unwrap_or_default();
    format!("the address {} belongs to another load balancer, {lb}", ip.ip_address)
}

/// What becomes of a frontend of the file.
enum Fate<'o> {
    Create,
    Keep(&'o wire::Frontend),
    Replace(&'o wire::Frontend),
}

impl<'o> Fate<'o> {
    const fn observed(&self) -> Option<&'o wire::Frontend> {
        match self {
            Self::Create => None,
            Self::Keep(frontend) | Self::Replace(frontend) => Some(frontend),
        }
    }
}

/// A frontend is known by its name, or else by port and protocol: then it was renamed. A frontend whose port or
/// protocol changes (two that swap would meet half-way), or that stands before a backend whose port or protocol
/// changes, cannot be changed in place: the two must always agree.
fn frontend_fates<'o>(spec: &LbSpec, observed: &'o Observed) -> Vec<Fate<'o>> {
    let moving: BTreeSet<Uuid> = observed
        .backends
        .iter()
        .filter(|current| {
            spec.backends.iter().any(|wanted| wanted.name == current.name && backend::moves(wanted, current))
        })
        .map(|backend| backend.id.as_uuid())
        .collect();
    let names: BTreeSet<&str> = spec.frontends.iter().map(|frontend| frontend.name.as_str()).collect();
    let by_service: BTreeMap<(String, &str), &wire::Frontend> = observed
        .frontends
        .iter()
        .filter(|frontend| !names.contains(frontend.name.as_str()))
        .filter_map(|frontend| {
            Some(((ports_of(frontend), frontend.backend.as_ref()?.forward_protocol.as_str()), frontend))
        })
        .collect();
    let fate = |wanted: &FrontendSpec| {
        let named = observed.frontends.iter().find(|frontend| frontend.name == wanted.name);
        let protocol = spec.backends.iter().find(|backend| backend.name == wanted.backend).map(|b| b.protocol.as_str());
        let renamed = || by_service.get(&(wanted.inbound_port.to_string(), protocol?)).copied();
        let Some(current) = named.or_else(renamed) else { return Fate::Create };
        let is_same_service = ports_of(current) == wanted.inbound_port.to_string()
            && current.backend.as_ref().is_none_or(|backend| protocol == Some(backend.forward_protocol.as_str()));
        let behind = current.backend.as_ref().map(|backend| backend.id.as_uuid());
        let in_place = is_same_service && behind.is_none_or(|id| !moving.contains(&id));
        if in_place { Fate::Keep(current) } else { Fate::Replace(current) }
    };
    spec.frontends.iter().map(fate).collect()
}

/// Frontends that go, before anything else changes: their ports may be wanted by others.
fn stop_frontends(fates: &[Fate<'_>], observed: &Observed, prune: bool, steps: &mut Vec<Step>) {
    for current in &observed.frontends {
        let delete = vec![Call::Delete("frontends", current.id.as_uuid())];
        let port = vec![FieldChange { field: "inbound_port".into(), from: Some(ports_of(current)), to: None }];
        let fate = fates.iter().find(|fate| fate.observed().is_some_and(|observed| observed.id == current.id));
        let (action, calls) = match fate {
            Some(Fate::Replace(_)) => (Action::Replace, delete),
            Some(_) => continue,
            None if prune => (Action::Remove, delete),
            None => (Action::Extra, Vec::new()),
        };
        steps.push(Step::new(action, "frontend", &current.name, port, calls));
    }
}

fn frontend_step(wanted: &FrontendSpec, fate: &Fate<'_>) -> Step {
    let timeout = wanted.timeout_client.map(|timeout| millis(timeout).to_string());
    let mut body = object(json!({"name": wanted.name}));
    body.extend(wanted.inbound_port.body());
    body.extend(wanted.timeout_client.map(|timeout| ("timeout_client".to_owned(), json!(millis(timeout)))));
    body.extend(wanted.limits.iter().map(|(name, limit)| ((*name).to_owned(), json!(limit))));
    let Fate::Keep(current) = fate else {
        if let Fate::Replace(before) = fate {
            let kept = limits_of(before).into_iter().filter(|(name, limit)| *limit > 0 && !body.contains_key(*name));
            body.extend(kept.map(|(name, limit)| (name.to_owned(), json!(limit))).collect::<Vec<_>>());
        }
        let mut changes = vec![set("inbound_port", &wanted.inbound_port.to_string()), set("backend", &wanted.backend)];
        changes.extend(timeout.map(|timeout| set("timeout_client", &format!("{timeout}ms"))));
        changes.extend(wanted.limits.iter().map(|(name, limit)| set(name, &limit.to_string())));
        let call = Call::CreateFrontend(body, wanted.backend.clone());
        return Step::new(Action::Create, "frontend", &wanted.name, changes, vec![call]);
    };
    let behind = current.backend.as_ref().map_or("", |backend| backend.name.as_str());
    let mut changes = Vec::new();
    changes.extend(change("name", &current.name, &wanted.name));
    changes.extend(change("backend", behind, &wanted.backend));
    changes.extend(wanted.timeout_client.and_then(|wanted| {
        change("timeout_client", &duration(current.timeout_client.map(|timeout| timeout.0)), &duration(Some(wanted)))
    }));
    for (name, there) in limits_of(current) {
        if let Some(limit) = wanted.limits.get(name) {
            changes.extend(change(name, &there.to_string(), &limit.to_string()));
        }
    }
    let call = Call::UpdateFrontend(current.id.as_uuid(), body, wanted.backend.clone());
    Step::of_changes("frontend", &wanted.name, changes, vec![call])
}

/// `80`, or `8000-8999`, as a file writes it.
fn ports_of(frontend: &wire::Frontend) -> String {
    ports_text(frontend.inbound_port, frontend.inbound_port_end)
}

fn limits_of(frontend: &wire::Frontend) -> [(&'static str, u32); 3] {
    [
        ("connection_rate_limit", frontend.connection_rate_limit),
        ("service_connection_rate_limit", frontend.service_connection_rate_limit),
        ("packet_rate_limit", frontend.packet_rate_limit),
    ]
}

fn remove_backends(spec: &LbSpec, observed: &Observed, prune: bool, steps: &mut Vec<Step>) {
    let wanted = |backend: &wire::Backend| spec.backends.iter().any(|wanted: &BackendSpec| wanted.name == backend.name);
    for current in observed.backends.iter().filter(|backend| !wanted(backend)) {
        let (action, calls) = if prune {
            (Action::Remove, vec![Call::Delete("backends", current.id.as_uuid())])
        } else {
            (Action::Extra, Vec::new())
        };
        steps.push(Step::new(action, "backend", &current.name, Vec::new(), calls));
    }
}

impl Step {
    /// A step.
    pub(super) fn new(
        action: Action,
        kind: &'static str,
        name: &str,
        changes: Vec<FieldChange>,
        calls: Vec<Call>,
    ) -> Self {
        Self { action, kind, name: name.to_owned(), changes, calls }
    }

    /// An update when there are changes.
    pub(super) fn of_changes(kind: &'static str, name: &str, changes: Vec<FieldChange>, calls: Vec<Call>) -> Self {
        if changes.is_empty() {
            return Self::new(Action::Unchanged, kind, name, changes, Vec::new());
        }
        Self::new(Action::Update, kind, name, changes, calls)
    }
}

/// A field that differs.
pub(super) fn change(field: &str, from: &str, to: &str) -> Option<FieldChange> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (from != to).then(|| FieldChange { field: field.to_owned(), from: some(from), to: some(to) })
}

/// A field of something new.
pub(super) fn set(field: &str, to: &str) -> FieldChange {
    FieldChange { field: field.to_owned(), from: None, to: Some(to.to_owned()) }
}

/// A duration as a file writes it; empty for none.
pub(super) fn duration(duration: Option<std::time::Duration>) -> String {
    duration.map_or_else(String::new, |duration| humantime_serde::re::humantime::format_duration(duration).to_string())
}
