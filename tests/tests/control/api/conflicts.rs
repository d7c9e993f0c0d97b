//! Quotas, deleted parents, full pools, and others who write at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::http::{Method, StatusCode};
use lb_userspace::guard::Limits;
use lb_userspace::ledger::{Change, Ledger, LedgerError, MemoryLedger, Operation, Proposal, Snapshot};
use lb_userspace::model::{Actor, Document, Generation, Ip, IpId, Scope, Tags, Times};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Api, Ids, owner, text};

/// A ledger in which somebody else is first, so many times.
struct Contended {
    inner: MemoryLedger,
    others: AtomicU8,
}

impl Contended {
    fn new(others: u8) -> Self {
        let inner = MemoryLedger::new();
        super::tenants(&inner);
        Self { inner, others: AtomicU8::new(others) }
    }

    fn be_first(&self, number: u8) {
        let owner = owner(2);
        let ip = Ip {
            id: IpId::new(),
            owner,
            address: [192, 0, 2, 100 + number].into(),
            lb: None,
            reverse: String::new(),
            tags: Tags::default(),
            times: Times::created(jiff::Timestamp::UNIX_EPOCH),
        };
        let proposal = Proposal {
            expected: self.inner.snapshot().generation(),
            actor: Actor::editor("another", owner),
            scope: Scope::Project { project: owner.project },
            verb: "ip.create".to_owned(),
            reason: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            attempt: None,
            plan: None,
            changes: vec![Change { before: None, after: Document::Ip(ip) }],
        };
        self.inner.append(proposal).unwrap();
    }
}

impl Ledger for Contended {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.subscribe()
    }

    fn append(&self, proposal: Proposal) -> Result<Arc<Operation>, LedgerError> {
        if let Ok(left) = self.others.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            self.be_first(left);
        }
        self.inner.append(proposal)
    }

    fn operations(&self, after: Generation, limit: usize) -> Result<Vec<Operation>, LedgerError> {
        self.inner.operations(after, limit)
    }
}

#[tokio::test]
async fn a_change_is_proposed_anew_fifteen_times_and_then_given_up() {
    for (others, expected) in [(1, StatusCode::OK), (15, StatusCode::OK), (16, StatusCode::SERVICE_UNAVAILABLE)] {
        let api = Api::over(Arc::new(Contended::new(others)));
        let (status, answer) = api.call(Method::POST, "/lbs", Some(&json!({"name": "web"}))).await;
        assert_eq!(status, expected, "{others} others: {answer}");
        let is_made = expected == StatusCode::OK;
        assert_eq!(api.ledger.snapshot().generation().0 - super::TENANTS, u64::from(others) + u64::from(is_made));
        if !is_made {
            assert_eq!(text(&answer, "/type"), "unavailable");
            assert!(text(&answer, "/help_message").contains("nothing was changed"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_quota_that_is_reached_is_refused_with_its_numbers() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    for port in [81, 82] {
        let backend = json!({"name": "x", "forward_protocol": "tcp", "forward_port": port});
        let backend = api.ok(Method::POST, &ids.path("/lbs/{lb}/backends"), &backend).await;
        let frontend = json!({"name": "x", "inbound_port": port, "backend_id": backend["id"]});
        api.ok(Method::POST, &ids.path("/lbs/{lb}/frontends"), &frontend).await;
    }
    for number in 0..2 {
        api.ok(Method::POST, "/lbs", &json!({"name": format!("{number}"), "assign_flexible_ip": false})).await;
    }
    for _ in 0..5 {
        api.ok(Method::POST, "/ips", &json!({})).await;
    }
    let webhook =
        |number: usize| json!({"name": format!("{number}"), "webhook_config": {"uri": "https://example.org/"}});
    let there = api.get("/subscribers").await["total_count"].as_u64().unwrap();
    for number in there..3 {
        api.ok(Method::POST, "/subscribers", &webhook(usize::try_from(number).unwrap())).await;
    }
    let head = api.head();
    let udp = json!({"name": "x", "forward_protocol": "udp", "forward_port": 80});
    let frontend = json!({"name": "x", "inbound_port": 83, "backend_id": ids.backend});
    let servers = json!({"server_ip": ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"]});
    for (method, path, body, resource, quota) in [
        (Method::POST, "/lbs", json!({"name": "x", "assign_flexible_ip": false}), "lbs", 3),
        (Method::POST, "/ips", json!({}), "lb_ips", 6),
        (Method::POST, "/subscribers", webhook(3), "lb_subscribers", 3),
        (Method::POST, "/lbs/{lb}/backends", udp, "lb_backends", 3),
        (Method::PUT, "/backends/{backend}/servers", servers, "lb_servers", 4),
    ] {
        let (status, problem) = api.call(method, &ids.path(path), Some(&body)).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::FORBIDDEN, "quotas_exceeded"), "{problem}");
        assert_eq!((text(&problem, "/details/0/resource"), &problem["details"][0]["quota"]), (resource, &json!(quota)));
    }
    let (status, _) = api.call(Method::POST, &ids.path("/lbs/{lb}/frontends"), Some(&frontend)).await;
    assert!(status.is_client_error());
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn ranges_of_ports_do_not_overlap_and_one_port_may_stand_within() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let path = ids.path("/lbs/{lb}/frontends");
    let range = |first: u16, last: u16| json!({"name": format!("r{first}"), "inbound_port": first, "inbound_port_end": last, "backend_id": ids.backend});
    let one = api.ok(Method::POST, &path, &range(79, 8999)).await;
    assert_eq!((&one["inbound_port"], &one["inbound_port_end"]), (&json!(79), &json!(8999)));
    let (status, problem) = api.call(Method::POST, &path, Some(&range(8999, 9000))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let help = text(&problem, "/details/0/help_message");
    assert!(help.contains("8999/tcp would be in the ranges of the frontends r79 (79-8999, "), "{help}");
    api.ok(Method::POST, &path, &range(9000, 9001)).await;

    // What a client that knows nothing of ranges writes: the range stays with its first port, and goes with it.
    let path = format!("/frontends/{}", text(&one, "/id"));
    let put = |port: u16| json!({"name": "plain", "inbound_port": port, "backend_id": ids.backend});
    let kept = api.ok(Method::PUT, &path, &put(79)).await;
    assert_eq!((text(&kept, "/name"), &kept["inbound_port_end"]), ("plain", &json!(8999)));
    let shorter = api.ok(Method::PATCH, &path, &json!({"inbound_port_end": 8998})).await;
    assert_eq!(shorter["inbound_port_end"], json!(8998));
    let moved = json!({"inbound_port": 7000, "inbound_port_end": 7001});
    let moved = api.ok(Method::PATCH, &path, &moved).await;
    assert_eq!((&moved["inbound_port"], &moved["inbound_port_end"]), (&json!(7000), &json!(7001)));
    let nat = json!({"name": "pool", "forward_protocol": "tcp", "forward_port": 80, "forwarding": "nat"});
    api.ok(Method::PUT, &ids.path("/backends/{backend}"), &nat).await;
    let single = api.ok(Method::PUT, &path, &put(81)).await;
    assert_eq!((&single["inbound_port"], &single["inbound_port_end"]), (&json!(81), &json!(null)));
}

#[tokio::test]
async fn nothing_below_a_deleted_load_balancer_is_changed() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    let spare = api.ok(Method::POST, "/ips", &json!({"is_ipv6": true})).await;
    let head = api.head();
    let backend = json!({"name": "x", "forward_protocol": "tcp", "forward_port": 80});
    let frontend = json!({"name": "x", "inbound_port": 80, "backend_id": ids.backend});
    for (method, path, body) in [
        (Method::PUT, "/lbs/{lb}".to_owned(), json!({"name": "x"})),
        (Method::POST, "/lbs/{lb}/backends".to_owned(), backend.clone()),
        (Method::POST, "/lbs/{lb}/frontends".to_owned(), frontend.clone()),
        (Method::PUT, "/frontends/{frontend}".to_owned(), frontend),
        (Method::DELETE, "/frontends/{frontend}".to_owned(), json!({})),
        (Method::PUT, "/backends/{backend}".to_owned(), backend),
        (Method::DELETE, "/backends/{backend}".to_owned(), json!({})),
        (Method::POST, "/backends/{backend}/servers".to_owned(), json!({"server_ip": ["10.0.0.9"]})),
        (Method::PATCH, format!("/ips/{}", text(&spare, "/id")), json!({"lb_id": ids.lb})),
    ] {
        let (status, problem) = api.call(method.clone(), &ids.path(&path), Some(&body)).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::CONFLICT, "transient_state"), "{method} {path}");
        assert_eq!(text(&problem, "/current_state"), "to_delete");
    }
    assert_eq!(api.head(), head);
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let api = Api::new();
    let ids = Ids::create(&api).await;
    let head = api.head();
    for path in ["/backends/{backend}", "/ips/{ip}"] {
        let (status, problem) = api.call(Method::DELETE, &ids.path(path), None).await;
        assert_eq!((status, text(&problem, "/type")), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
        assert_eq!(text(&problem, "/precondition"), "resource_still_in_use");
    }
    let other = api.ok(Method::POST, "/lbs", &json!({"name": "other", "assign_flexible_ip": false})).await;
    let moved = json!({"lb_id": other["id"]});
    let (status, _) = api.call(Method::PATCH, &ids.path("/ips/{ip}"), Some(&moved)).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    assert_ne!(api.head(), head, "only the other load balancer was made");
    assert_eq!(text(&api.get(&ids.path("/ips/{ip}")).await, "/lb_id"), ids.lb);
}

#[tokio::test]
async fn a_type_is_a_class_of_quotas_and_nothing_migrates_to_one_that_it_does_not_fit() {
    let api = Api::with(Arc::new(MemoryLedger::new()), Limits::default());
    let ids = Ids::create(&api).await;
    api.ok(Method::PATCH, &ids.path("/backends/{backend}"), &json!({"forwarding": "nat"})).await;
    let migrate = async |kind: &str| {
        let path = ids.path("/lbs/{lb}/migrate");
        api.call(Method::POST, &path, Some(&json!({"type": kind}))).await
    };
    let frontend = |number: u16| json!({"name": "x", "inbound_port": 1000 + number, "backend_id": ids.backend});
    let frontends = ids.path("/lbs/{lb}/frontends");
    for number in 1..50 {
        api.ok(Method::POST, &frontends, &frontend(number)).await;
    }
    let quota = |(status, problem): (StatusCode, Value)| {
        let detail = &problem["details"][0];
        (status.as_u16(), text(detail, "/resource").to_owned(), detail["quota"].as_u64(), detail["current"].as_u64())
    };
    let refused = api.call(Method::POST, &frontends, Some(&frontend(50))).await;
    assert_eq!(quota(refused), (403, "lb_frontends".to_owned(), Some(50), Some(50)));
    assert_eq!(migrate("LB-GP-M").await.0, StatusCode::OK);
    api.ok(Method::POST, &frontends, &frontend(50)).await;
    let servers = |count: usize| json!({"server_ip": (0..count).map(|it| format!("10.2.{}.{}", it / 250, it % 250 + 1)).collect::<Vec<_>>()});
    api.ok(Method::PUT, &ids.path("/backends/{backend}/servers"), &servers(500)).await;
    let refused = api.call(Method::PUT, &ids.path("/backends/{backend}/servers"), Some(&servers(501))).await;
    assert_eq!(quota(refused), (403, "lb_servers".to_owned(), Some(500), Some(500)));
    let head = api.head();
    let (status, problem) = migrate("LB-S").await;
    let told: Vec<&str> = problem["details"].as_array().unwrap().iter().map(|it| text(it, "/resource")).collect();
    assert_eq!((status, told, api.head()), (StatusCode::FORBIDDEN, vec!["lb_frontends"], head), "{problem}");
    assert_eq!(migrate("LB-GP-XL").await.0, StatusCode::OK);
    let small =
        api.ok(Method::POST, "/lbs", &json!({"name": "wide", "type": "LB-GP-M", "assign_flexible_ip": false})).await;
    let small = format!("/lbs/{}", text(&small, "/id"));
    let mut pool = servers(201);
    pool.as_object_mut().unwrap().extend([
        ("name".to_owned(), json!("wide")),
        ("forward_protocol".to_owned(), json!("tcp")),
        ("forward_port".to_owned(), json!(80)),
    ]);
    api.ok(Method::POST, &format!("{small}/backends"), &pool).await;
    let refused = api.call(Method::POST, &format!("{small}/migrate"), Some(&json!({"type": "LB-S"}))).await;
    assert_eq!(quota(refused), (403, "lb_servers".to_owned(), Some(200), Some(201)));
    let types = api.get("/lb-types").await;
    assert!(text(&types, "/lb_types/0/description").contains("50 frontends"), "{types}");
}

#[tokio::test]
async fn an_empty_pool_is_out_of_stock_and_nothing_is_made() {
    let limits = Limits { ips_per_project: 1000, lbs_per_project: 1000, ..Limits::default() };
    let api = Api::with(Arc::new(MemoryLedger::new()), limits);
    for _ in 0..254 {
        api.ok(Method::POST, "/ips", &json!({})).await;
    }
    let head = api.head();
    let (status, problem) = api.call(Method::POST, "/lbs", Some(&json!({"name": "web"}))).await;
    assert_eq!((status, text(&problem, "/type")), (StatusCode::SERVICE_UNAVAILABLE, "out_of_stock"));
    assert!(text(&problem, "/message").contains("192.0.2.0/24"), "{problem}");
    assert_eq!(api.head(), head);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_at_the_same_time_are_all_made_and_no_address_is_given_twice() {
    let limits = Limits { ips_per_project: 100, lbs_per_project: 100, ..Limits::default() };
    let api = Arc::new(Api::with(Arc::new(MemoryLedger::new()), limits));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let api = Arc::clone(&api);
        tasks.spawn(async move {
            let lb = api.ok(Method::POST, "/lbs", &json!({"name": format!("lb-{number}")})).await;
            text(&lb, "/ip/0/ip_address").to_owned()
        });
    }
    let addresses: std::collections::BTreeSet<String> = tasks.join_all().await.into_iter().collect();
    assert_eq!(addresses.len(), 8);
    assert_eq!(api.ledger.snapshot().generation().0 - super::TENANTS, 8);
}
