//! The control API: the real router over a ledger, without sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use lb_userspace::api::{self, CaptureError, CaptureOrder, Captures, Context, Explain, ExplainError, Requests};
use lb_userspace::authority::{Bootstrap, TokenKey, bootstrap};
use lb_userspace::delivery::{Address, Outbox, SigningKey, Targets};
use lb_userspace::explain::ConnectionId;
use lb_userspace::faults::Faults;
use lb_userspace::guard::Limits;
use lb_userspace::health::HealthView;
use lb_userspace::ledger::{Authorized, ChainHash, Ledger, MemoryLedger};
use lb_userspace::model::{LbId, Name, OrganizationId, Owner, Pools, ProjectId, Reach, Role};
use lb_userspace::observe::{Events, LiveTraffic, Rate, Traffic};
use lb_userspace::plan::{ServiceAddress, Tables};
use lb_userspace::reconcile::{Backlog, Status};
use lb_userspace::recovery::heal::{self, Heal};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;
use uuid::Uuid;

mod absent;
mod abuse;
mod access;
mod acls;
mod advice;
mod bad_input;
mod bad_query;
mod capture;
mod conflicts;
mod containment;
mod coverage;
mod cursors;
mod deliveries;
mod dependents;
mod events;
mod fields;
mod healing;
mod hold;
mod idempotency;
mod incident;
mod killed;
mod lifecycle;
mod limits;
mod openapi;
mod operations;
mod parity;
mod persons;
mod purges;
mod recovery;
mod recovery_plans;
mod rehearsals;
mod selectors;
mod sockets;
mod stats;
mod status;
mod subscribers;
mod tenancy;
mod tls;
mod versions;

const ZONE: &str = "fr-par-1";

fn owner(number: u128) -> Owner {
    Owner {
        organization: OrganizationId::from_uuid(Uuid::from_u128(number + 1000)),
        project: ProjectId::from_uuid(Uuid::from_u128(number)),
    }
}

const TOKEN_KEY: TokenKey = TokenKey::new([7; 32]);

/// Operations that [`tenants`] takes: organization, project and token of each of two, and one token.
const TENANTS: u64 = 7;

/// Two tenants with a token each, `secret-one` and `secret-two`, and an operator's, `secret-operator`.
fn tenants(ledger: &dyn Ledger) {
    let project = |number| Reach::Project { owner: owner(number) };
    let tokens = [
        ("one", "secret-one", Role::ProjectEditor, project(1)),
        ("two", "secret-two", Role::ProjectEditor, project(2)),
        ("operator", "secret-operator", Role::Operator, Reach::Fleet),
    ];
    let tokens = tokens.map(|(name, secret, role, reach)| {
        let name = Name::try_from(name.to_owned()).unwrap();
        Bootstrap { name, role, reach, digest: TOKEN_KEY.digest(secret) }
    });
    bootstrap(ledger, &tokens, jiff::Timestamp::UNIX_EPOCH).unwrap();
}

/// What a project may have.
const LIMITS: Limits = Limits {
    lbs_per_project: 3,
    ips_per_project: 6,
    frontends_per_lb: 3,
    backends_per_lb: 3,
    servers_per_backend: 4,
    subscribers_per_project: 3,
    acls_per_frontend: 4,
    acl_prefixes_per_frontend: 100_000,
};

/// An API over a ledger, and what stands behind it.
struct Api {
    ledger: Arc<dyn Ledger>,
    router: axum::Router,
    status: watch::Sender<Status>,
    tables: watch::Sender<Arc<Tables>>,
    health: watch::Sender<Arc<HealthView>>,
    requests: Arc<Requests>,
    events: Arc<Events>,
    outbox: Arc<Outbox>,
    /// The clock, seconds since 1970.
    seconds: Arc<AtomicI64>,
    traffic: Live,
    /// What the scoreboard reads.
    edge: watch::Sender<Arc<Status>>,
    backlog: watch::Sender<Arc<Backlog>>,
}

/// Live traffic as a test says it is.
#[derive(Clone, Default)]
struct Live(Arc<Mutex<BTreeMap<LbId, Rate>>>);

impl LiveTraffic for Live {
    fn of(&self, lbs: &BTreeSet<LbId>) -> Result<BTreeMap<LbId, Rate>, String> {
        let rates = self.0.lock().unwrap();
        Ok(rates.iter().filter(|(lb, _)| lbs.contains(lb)).map(|(lb, rate)| (*lb, *rate)).collect())
    }
}

/// Explains that it was asked.
struct Echo;

impl Explain for Echo {
    fn explain(
        &self,
        client: SocketAddr,
        service: ServiceAddress,
        connection_id: Option<ConnectionId>,
    ) -> BoxFuture<'_, Result<Value, ExplainError>> {
        let mut answer = json!({"client": client.to_string(), "service": service.address.to_string()});
        if let Some(id) = connection_id {
            answer["connection_id"] = json!(id.to_string());
        }
        Box::pin(async move { Ok(answer) })
    }
}

/// Captures what was asked for, in words; of port 9 somebody else does already.
struct Camera;

impl Captures for Camera {
    fn begin(&self, order: CaptureOrder) -> BoxFuture<'_, Result<BoxStream<'static, Bytes>, CaptureError>> {
        Box::pin(async move {
            if order.wanted.port == Some(9) {
                return Err(CaptureError::Busy { by: "ops".to_owned(), until: jiff::Timestamp::UNIX_EPOCH });
            }
            let words = Bytes::from(serde_json::to_vec(&format!("{order:?}")).unwrap());
            Ok(futures_util::stream::iter([words]).boxed())
        })
    }
}

impl Api {
    fn new() -> Self {
        Self::over(Arc::new(MemoryLedger::new()))
    }

    fn over(ledger: Arc<dyn Ledger>) -> Self {
        Self::with(ledger, LIMITS)
    }

    fn with(ledger: Arc<dyn Ledger>, limits: Limits) -> Self {
        Self::with_faults(ledger, limits, Faults::default())
    }

    /// An API of an edge that tells these of its alarms.
    fn telling(alarm_targets: Vec<Address>) -> Self {
        Self::build(Arc::new(MemoryLedger::new()), LIMITS, Faults::default(), alarm_targets)
    }

    fn with_faults(ledger: Arc<dyn Ledger>, limits: Limits, faults: Faults) -> Self {
        Self::build(ledger, limits, faults, Vec::new())
    }

    fn build(ledger: Arc<dyn Ledger>, limits: Limits, faults: Faults, alarm_targets: Vec<Address>) -> Self {
        tenants(&*ledger);
        let traffic = Live::default();
        let status = watch::Sender::new(Status::default());
        let (edge, backlog) = (watch::Sender::default(), watch::Sender::default());
        let tables = watch::Sender::default();
        let health = watch::Sender::new(Arc::new(HealthView::default()));
        let requests: Arc<Requests> = Arc::default();
        let events: Arc<Events> = Arc::default();
        let seconds: Arc<AtomicI64> = Arc::default();
        let now = Arc::clone(&seconds);
        let outbox = Arc::new(Outbox::in_memory(alarm_targets).unwrap());
        let context = Context {
            ledger: Authorized::new(Arc::clone(&ledger)),
            status: status.subscribe(),
            tables: tables.subscribe(),
            health: health.subscribe(),
            requests: Arc::clone(&requests),
            events: Arc::clone(&events),
            limits,
            pools: Pools::new(["192.0.2.0/24", "2001:db8::/64"].map(|network| network.parse().unwrap()))
                .on_edge(["198.51.100.250".parse().unwrap()].into()),
            zone: ZONE.to_owned(),
            token_key: TOKEN_KEY,
            last_used: Arc::default(),
            throttle: Arc::default(),
            clock: Arc::new(move || jiff::Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap()),
            traffic: Arc::new(|| Ok(Traffic::default())),
            metrics: Arc::new(|| "snowshed_up 1\n# EOF\n".to_owned()),
            live_traffic: Arc::new(traffic.clone()),
            faults,
            delivery: api::Delivery {
                outbox: Arc::clone(&outbox),
                key: SigningKey::new([9; 32]),
                targets: Targets::default(),
                sends_email: true,
                expects_denial: false,
            },
            explain: Arc::new(Echo),
            captures: Arc::new(Camera),
            heal: Arc::new(Heal::new(heal::Sources {
                ledger: Arc::clone(&ledger),
                status: edge.subscribe(),
                backlog: backlog.subscribe(),
                tables: tables.subscribe(),
                health: health.subscribe(),
                ways_to_vips: watch::Sender::default().subscribe(),
                traffic: Arc::new(traffic.clone()),
            })),
        };
        Self {
            ledger,
            router: api::router(context),
            status,
            tables,
            health,
            requests,
            events,
            traffic,
            seconds,
            edge,
            backlog,
            outbox,
        }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        (status, body)
    }

    /// A request with the token of a project.
    async fn call_as(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let uri = if path.starts_with("/snowshed") { path.to_owned() } else { format!("/lb/v1/zones/{ZONE}{path}") };
        let request = Request::builder().method(method).uri(uri).header("X-Auth-Token", token);
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.call_as("secret-one", method, path, body).await
    }

    /// A request that must succeed.
    async fn ok(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method.clone(), path, Some(body)).await;
        assert!(status.is_success(), "{method} {path} {body}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {answer}");
        answer
    }

    async fn delete(&self, path: &str) {
        let (status, answer) = self.call(Method::DELETE, path, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "DELETE {path}: {answer}");
    }

    fn head(&self) -> ChainHash {
        self.ledger.snapshot().head()
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

/// Ids of one of each resource.
struct Ids {
    lb: String,
    ip: String,
    backend: String,
    frontend: String,
    /// Of no rule, unless one was made.
    acl: String,
    /// Of no subscriber, unless one was made.
    subscriber: String,
}

impl Ids {
    /// A load balancer with an address, a backend of two servers and a frontend on port 80.
    async fn create(api: &Api) -> Self {
        let lb = api.ok(Method::POST, "/lbs", &json!({"name": "web"})).await;
        let id = text(&lb, "/id").to_owned();
        let backend = json!({
            "name": "pool", "forward_protocol": "tcp", "forward_port": 80, "forwarding": "ipip",
            "servers": [{"address": "10.0.0.1", "weight": 3}, {"address": "10.0.0.2"}],
        });
        let backend = api.ok(Method::POST, &format!("/lbs/{id}/backends"), &backend).await;
        let backend = text(&backend, "/id").to_owned();
        let frontend = json!({"name": "http", "inbound_port": 80, "backend_id": backend});
        let frontend = api.ok(Method::POST, &format!("/lbs/{id}/frontends"), &frontend).await;
        let acl = "11111111-1111-4111-8111-111111111111".to_owned();
        Self {
            ip: text(&lb, "/ip/0/id").to_owned(),
            lb: id,
            backend,
            frontend: text(&frontend, "/id").to_owned(),
            subscriber: acl.clone(),
            acl,
        }
    }

    /// The same, an access rule that denies 10.9.0.0/16, and a subscriber.
    async fn create_with_acl(api: &Api) -> Self {
        let ids = Self::create(api).await;
        let acl =
            json!({"name": "rule", "index": 5, "action": {"type": "deny"}, "match": {"ip_subnet": ["10.9.0.0/16"]}});
        let acl = api.ok(Method::POST, &ids.path("/frontends/{frontend}/acls"), &acl).await;
        let subscriber = json!({"name": "ops", "webhook_config": {"uri": "https://example.org/hook"}});
        let subscriber = api.ok(Method::POST, "/subscribers", &subscriber).await;
        Self { acl: text(&acl, "/id").to_owned(), subscriber: text(&subscriber, "/id").to_owned(), ..ids }
    }

    /// A path with the ids in the places of `{lb}`, `{ip}`, `{backend}` and `{frontend}`.
    fn path(&self, path: &str) -> String {
        path.replace("{lb}", &self.lb)
            .replace("{ip}", &self.ip)
            .replace("{backend}", &self.backend)
            .replace("{frontend}", &self.frontend)
            .replace("{acl}", &self.acl)
            .replace("{subscriber}", &self.subscriber)
    }
}
