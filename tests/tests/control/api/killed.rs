//! The agent's process killed while it undeletes: what was answered is back with its addresses, and nothing is back by half.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use lb_userspace::guard::Limits;
use lb_userspace::ledger::{Ledger, SqliteLedger};
use lb_userspace::model::{Ip, Lb, Times};
use rand::RngExt;
use serde_json::json;

use super::{Api, text};

const LEDGER: &str = "SNOWSHED_TEST_UNDELETE_LEDGER";
const UNDELETER: &str = "api::killed::what_was_deleted_is_brought_back_one_by_one";
const LBS: usize = 18;
const KILLS: usize = 12;

/// An API over a ledger in a file.
fn over(path: &Path) -> Api {
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(path).unwrap());
    Api::with(ledger, Limits::default())
}

/// Load balancers, each with an address, all deleted with it.
async fn deleted(path: &Path) -> Vec<(Lb, Ip)> {
    let api = over(path);
    let mut ids = Vec::new();
    for number in 0..LBS {
        let lb = api.ok(Method::POST, "/lbs", &json!({"name": format!("lb-{number}")})).await;
        ids.push(text(&lb, "/id").to_owned());
    }
    let snapshot = api.ledger.snapshot();
    let whole = snapshot.lbs().map(|lb| (Lb::clone(lb), Ip::clone(snapshot.ips_of(lb.id).next().unwrap()))).collect();
    for id in ids {
        api.delete(&format!("/lbs/{id}?release_ip=true")).await;
    }
    whole
}

/// Brings back one after the other, and says each that was answered.
async fn undelete_all(path: &Path) {
    let api = over(path);
    let mut out = std::io::stdout();
    let mut say = |line: &str| {
        writeln!(out, "\n{line}").unwrap();
        out.flush().unwrap();
    };
    say("open");
    let lbs: Vec<_> = api.ledger.snapshot().lbs().map(|lb| lb.id).collect();
    for lb in lbs {
        let (status, answer) = api.call(Method::POST, &format!("/lbs/{lb}/undelete"), None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        say(&format!("back {lb}"));
    }
}

/// Also the child of the test below, which sets the variable: then it brings back what the other deleted.
#[tokio::test]
async fn what_was_deleted_is_brought_back_one_by_one() {
    if let Some(path) = std::env::var_os(LEDGER) {
        return undelete_all(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let whole = deleted(&path).await;
    undelete_all(&path).await;
    assert_eq!(back(&path, &whole), LBS);
}

/// How many are back to the byte, with their address; every other one is deleted with its address.
fn back(path: &Path, whole: &[(Lb, Ip)]) -> usize {
    let snapshot = SqliteLedger::open(path).unwrap().snapshot();
    let is_back = |(lb, ip): &&(Lb, Ip)| {
        let (lb_now, ip_now) = (snapshot.lb(lb.id).unwrap(), snapshot.ip(ip.id).unwrap());
        if lb_now.times.is_live() {
            assert_eq!((&**lb_now, &**ip_now), (lb, ip), "to the byte, and whole");
            return true;
        }
        assert_eq!(lb_now.times.deleted_at, ip_now.times.deleted_at, "deleted as a whole");
        let alive = |times: Times| Times { deleted_at: None, ..times };
        assert_eq!(alive(lb_now.times), lb.times);
        false
    };
    whole.iter().filter(is_back).count()
}

#[tokio::test]
async fn an_undelete_killed_at_any_moment_is_whole_or_absent_and_what_was_answered_is_back() {
    let base = tempfile::tempdir().unwrap();
    let whole = deleted(&base.path().join("ledger.db")).await;
    let mut counts = Vec::new();
    for round in 0..KILLS {
        let directory = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(base.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
        }
        let path = directory.path().join("ledger.db");
        let answered = kill_an_undeleter(&path, rand::rng().random_range(0..40_000));
        let there = back(&path, &whole);
        assert!(
            (answered..=answered + 1).contains(&there),
            "round {round}: {answered} were answered, {there} are back"
        );
        counts.push(there);
        undelete_all(&path).await;
        assert_eq!(back(&path, &whole), LBS, "round {round}: it is finished by doing it again");
    }
    eprintln!("{KILLS} kills, so many of {LBS} were back: {counts:?}");
}

/// Kills an undeleter so many microseconds after its ledger is open; how many it said were back.
fn kill_an_undeleter(path: &Path, microseconds: u64) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", UNDELETER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"), "the undeleter opened its ledger");
    std::thread::sleep(std::time::Duration::from_micros(microseconds));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter(|line| line.starts_with("back ")).count()
}
