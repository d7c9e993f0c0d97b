//! The engine alone keeps what must not be purged: its checks, the triggers of its file without them; and what is killed while it
//! purges has purged all or nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::http::Method;
use jiff::Timestamp;
use lb_userspace::ledger::backup::Backups;
use lb_userspace::ledger::{Change, Ledger, MemoryLedger, Operation, Proposal, SqliteLedger};
use lb_userspace::model::{Actor, Document, Generation, Lb, Name, TokenId, What};
use lb_userspace::purge;
use rand::RngExt;
use serde_json::{Value, json};

use super::super::{Api, Ids, text};
use super::{RETENTION, hours, look_at};

const LEDGER: &str = "SNOWSHED_TEST_PURGE_LEDGER";
const PURGER: &str = "api::purges::engine::a_purged_ledger_is_opened_again_and_a_backup_made_before_has_all_of_it";
const KILLS: usize = 12;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hours(hour)).unwrap()
}

/// A log of everything until a purge was carried out, and the one before the last is its announcement.
async fn history() -> Vec<Operation> {
    let api = Api::new();
    let ids = Ids::create_with_acl(&api).await;
    api.ok(Method::POST, "/lbs", &json!({"name": "stays"})).await;
    api.delete(&ids.path("/lbs/{lb}")).await;
    look_at(&api, hours(6 * 24));
    look_at(&api, hours(7 * 24));
    let all = api.ledger.operations(Generation(0), usize::MAX).unwrap();
    assert_eq!(all.last().unwrap().verb, "purge.apply");
    all
}

/// What was proposed.
fn proposed(operation: &Operation) -> Proposal {
    Proposal {
        expected: Generation(operation.generation.0 - 1),
        actor: operation.actor.clone(),
        scope: operation.scope.clone(),
        verb: operation.verb.clone(),
        reason: operation.reason.clone(),
        at: operation.at,
        attempt: None,
        plan: operation.plan,
        changes: operation.changes.clone(),
    }
}

fn replay(ledger: &dyn Ledger, operations: &[Operation]) {
    for operation in operations {
        ledger.append(proposed(operation)).unwrap();
    }
}

/// What is altered of a proposal.
type Forgery<'a> = (&'a str, &'a dyn Fn(&mut Proposal));

fn refused(operations: &[Operation], forgeries: &[Forgery<'_>]) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = SqliteLedger::open(&directory.path().join("ledger.db")).unwrap();
    let memory = MemoryLedger::new();
    let (last, before) = operations.split_last().unwrap();
    for ledger in [&sqlite as &dyn Ledger, &memory] {
        replay(ledger, before);
        let head = ledger.snapshot().head();
        for (why, alter) in forgeries {
            let mut proposal = proposed(last);
            alter(&mut proposal);
            let error = ledger.append(proposal).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
            assert_eq!(ledger.snapshot().head(), head);
        }
        ledger.append(proposed(last)).unwrap();
    }
}

/// The same at another time.
fn retime(proposal: &mut Proposal, now: Timestamp) {
    proposal.at = now;
    for change in &mut proposal.changes {
        if let Document::Measure(measure) = &mut change.after
            && let What::Purge(purge) = &mut measure.what
        {
            purge.applied_at = Some(now);
        }
        if change.purges() {
            change.after.times_mut().purged_at = Some(now);
        }
    }
}

fn drop_first(proposal: &mut Proposal, is_it: impl Fn(&Change) -> bool) {
    let at = proposal.changes.iter().position(is_it).unwrap();
    proposal.changes.remove(at);
}

#[tokio::test]
async fn the_engine_lets_nothing_be_purged_but_what_was_announced_when_its_time_has_come() {
    let operations = history().await;
    let live = operations.iter().flat_map(|operation| &operation.changes).find_map(|change| match &change.after {
        Document::Lb(lb) if lb.name.as_str() == "stays" => Some(lb.clone()),
        _ => None,
    });
    let live = live.unwrap();
    let of_live = |after: Lb| Change { before: Some(Document::Lb(live.clone())), after: Document::Lb(after) };
    let purge = of_live(Lb { times: live.times.purged(at(7 * 24)), ..live.clone() });
    let rename = of_live(Lb { name: Name::try_from("renamed".to_owned()).unwrap(), ..live.clone() });
    let token = |proposal: &mut Proposal| proposal.actor.token = Some(TokenId::new());
    refused(
        &operations,
        &[
            ("is not carried out before", &|proposal| retime(proposal, at(7 * 24 - 1))),
            ("has expired", &|proposal| retime(proposal, at(9 * 24))),
            ("what no purge announced", &|proposal| {
                proposal.plan = None;
                drop_first(proposal, |change| matches!(change.after, Document::Measure(_)));
            }),
            ("by the agent only", &token),
            ("by the agent only", &|proposal| "lb.delete".clone_into(&mut proposal.verb)),
            ("not exactly what", &|proposal| {
                drop_first(proposal, |change| matches!(change.after, Document::Frontend(_)));
            }),
            ("not exactly what", &|proposal| proposal.changes.push(purge.clone())),
            ("is not in the purge", &|proposal| proposal.changes.push(rename.clone())),
            ("leaves 1 documents behind", &|proposal| {
                drop_first(proposal, |change| matches!(change.after, Document::Ip(_)));
            }),
            ("does not note", &|proposal| drop_first(proposal, |change| matches!(change.after, Document::Measure(_)))),
            ("while it purges it", &|proposal| {
                for change in &mut proposal.changes {
                    if let Document::Lb(lb) = &mut change.after {
                        lb.protected = true;
                    }
                }
            }),
        ],
    );
}

#[tokio::test]
async fn the_engine_lets_no_purge_be_announced_that_is_too_soon_of_nothing_or_a_tokens() {
    let operations = history().await;
    let purge = |proposal: &mut Proposal, alter: &dyn Fn(&mut lb_userspace::model::Purge)| {
        for change in &mut proposal.changes {
            if let Document::Measure(measure) = &mut change.after
                && let What::Purge(purge) = &mut measure.what
            {
                alter(purge);
            }
        }
    };
    let token = |proposal: &mut Proposal| {
        proposal.actor = Actor { token: Some(TokenId::new()), ..proposal.actor.clone() };
    };
    refused(
        &operations[..operations.len() - 1],
        &[
            ("stands for less than 24 hours", &|proposal| purge(proposal, &|it| it.not_before = at(7 * 24 - 1))),
            ("of nothing", &|proposal| purge(proposal, &|it| it.documents.clear())),
            ("of nothing", &|proposal| purge(proposal, &|it| it.applied_at = Some(at(6 * 24)))),
            ("only the agent purges", &token),
            ("keeps for more than 72 hours", &|proposal| {
                if let Document::Measure(measure) = &mut proposal.changes[0].after {
                    measure.expires_at = Some(at(30 * 24));
                }
            }),
        ],
    );
}

/// What is altered of an operation's bytes.
type Alteration<'a> = &'a dyn Fn(&mut Value);

/// Appends bytes to the log behind the back of the engine.
fn forge(path: &Path, body: &Value) -> Result<(), String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let newest = "SELECT generation, hash FROM operations ORDER BY generation DESC LIMIT 1";
    let (generation, hash): (i64, Vec<u8>) =
        connection.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let body = serde_json::to_vec(body).unwrap();
    let inserted =
        connection.execute("INSERT INTO operations VALUES (?1, ?2, zeroblob(32), ?3)", (generation + 1, hash, body));
    inserted.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_triggers_of_the_file_alone_refuse_what_was_not_announced_for_a_day_not_deleted_or_too_much() {
    let operations = history().await;
    let directory = tempfile::tempdir().unwrap();
    let [path, whole] = ["ledger.db", "whole.db"].map(|name| directory.path().join(name));
    replay(&SqliteLedger::open(&path).unwrap(), &operations[..operations.len() - 1]);
    replay(&SqliteLedger::open(&whole).unwrap(), &operations);
    let connection = rusqlite::Connection::open(&whole).unwrap();
    let newest = "SELECT body FROM operations ORDER BY generation DESC LIMIT 1";
    let body: Vec<u8> = connection.query_row(newest, [], |row| row.get(0)).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let of_lb = body["changes"].as_array().unwrap().iter().position(|change| change["after"]["kind"] == "lb").unwrap();
    let other = operations.iter().find(|operation| operation.verb == "lb.create").unwrap();
    let forgeries: [(&str, Alteration<'_>); 5] = [
        ("no purge", &|body| body["plan"] = Value::Null),
        ("another's", &|body| body["plan"] = json!(other.id)),
        ("too soon", &|body| body["at"] = json!("1970-01-07T23:59:59Z")),
        ("alive", &|body| body["changes"][of_lb]["before"]["document"]["times"]["deleted_at"] = Value::Null),
        ("too many", &|body| {
            let change = body["changes"][of_lb].clone();
            body["changes"].as_array_mut().unwrap().extend(std::iter::repeat_n(change, 100));
        }),
    ];
    for (what, alter) in forgeries {
        let mut body = body.clone();
        alter(&mut body);
        let error = forge(&path, &body).expect_err(what);
        assert!(error.contains("announced for a day"), "{what}: {error}");
    }
    forge(&path, &body).expect("what was announced");
}

/// A ledger in which a purge of 60 load balancers can be carried out on the seventh day.
async fn announced(path: &Path) {
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(path).unwrap());
    let limits = lb_userspace::guard::Limits::default();
    let api = Api::with(Arc::clone(&ledger), limits);
    for number in 0..60 {
        // As fast as the budget of removals lets it.
        api.seconds.store(number * 60, std::sync::atomic::Ordering::SeqCst);
        let lb = api.ok(Method::POST, "/lbs", &json!({"name": format!("lb-{number}")})).await;
        api.delete(&format!("/lbs/{}", text(&lb, "/id"))).await;
    }
    let looked = purge::look(&*ledger, RETENTION, false, at(6 * 24 + 1)).unwrap();
    assert_eq!(looked.operations.len(), 1);
}

/// Generation and load balancers, after the chain was verified.
fn state(path: &Path) -> (u64, usize) {
    let snapshot = SqliteLedger::open(path).unwrap().snapshot();
    (snapshot.generation().0, snapshot.lbs().count())
}

/// Also the child of the test below, which sets the variable: then it purges what the other announced.
#[tokio::test]
async fn a_purged_ledger_is_opened_again_and_a_backup_made_before_has_all_of_it() {
    if let Some(path) = std::env::var_os(LEDGER) {
        let ledger = SqliteLedger::open(Path::new(&path)).unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "\nopen").unwrap();
        out.flush().unwrap();
        purge::look(&ledger, RETENTION, false, at(7 * 24 + 1)).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (path, backups) = (directory.path().join("state/ledger.db"), Backups::new(directory.path().join("backups")));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    announced(&path).await;
    let (generation, _) = state(&path);
    let made = backups.create(&path, at(7 * 24)).unwrap();
    {
        let ledger = SqliteLedger::open(&path).unwrap();
        purge::look(&ledger, RETENTION, false, at(7 * 24 + 1)).unwrap();
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.lbs().count(), snapshot.ips().filter(|ip| ip.lb.is_some()).count()), (0, 0));
        assert_eq!(snapshot.ips().filter(|ip| ip.times.is_live()).count(), 60, "the addresses are the tenant's still");
    }
    assert_eq!(state(&path), (generation + 1, 0));
    backups.restore(&made.name, &path, true, at(7 * 24 + 2)).unwrap();
    assert_eq!(state(&path), (generation, 60));
}

#[tokio::test]
async fn a_purge_killed_at_any_moment_is_whole_or_absent_and_is_finished_by_the_next_look() {
    let base = tempfile::tempdir().unwrap();
    announced(&base.path().join("ledger.db")).await;
    let (generation, _) = state(&base.path().join("ledger.db"));
    let (mut whole, mut absent) = (0, 0);
    for round in 0..KILLS {
        let directory = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(base.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
        }
        let path = directory.path().join("ledger.db");
        kill_a_purger(&path, rand::rng().random_range(0..20_000));
        match state(&path) {
            found if found == (generation, 60) => absent += 1,
            found if found == (generation + 1, 0) => whole += 1,
            other => panic!("round {round}: generation and load balancers are {other:?}"),
        }
        purge::look(&SqliteLedger::open(&path).unwrap(), RETENTION, false, at(7 * 24 + 1)).unwrap();
        assert_eq!(state(&path), (generation + 1, 0), "round {round}: once");
    }
    eprintln!("{KILLS} kills: {whole} after the purge, {absent} before");
}

fn kill_a_purger(path: &Path, microseconds: u64) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", PURGER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"), "the purger opened its ledger");
    std::thread::sleep(std::time::Duration::from_micros(microseconds));
    child.kill().unwrap();
    child.wait().unwrap();
}
