//! An undo killed while it is made: it is whole or absent, and doing it again finishes it, once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lb_userspace::faults::{Faults, Layer};
use lb_userspace::ledger::{Ledger, SqliteLedger};
use lb_userspace::model::Generation;
use rand::RngExt;

use super::{append, at, delete, reversal_of};
use crate::ledger::{create, lb, owner};

/// Load balancers of the incident.
const LBS: usize = 1574;
const KILLS: usize = 8;
const LEDGER: &str = "SNOWSHED_TEST_UNDO_LEDGER";
const UNDOER: &str = "recovery::kill::an_undo_of_1574_deletions_is_one_operation";

/// Also the child of the test below, which sets the variable: then it undoes what the other made.
#[test]
fn an_undo_of_1574_deletions_is_one_operation() {
    if let Some(path) = std::env::var_os(LEDGER) {
        return undo_and_say(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    avalanche(&path);
    undo_and_say(&path);
    let ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(ledger.snapshot().generation(), Generation(3));
    assert_eq!(ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).count(), LBS);
}

/// Makes 1574 load balancers in one operation and deletes them in another.
fn avalanche(path: &Path) {
    let ledger = SqliteLedger::open_with_faults(path, Faults::without(&[Layer::Engine])).unwrap();
    let lbs: Vec<_> = (0..LBS).map(|number| lb(&format!("lb-{number}"), owner(1))).collect();
    append(&ledger, "lb.create", lbs.iter().cloned().map(create).collect());
    let snapshot = ledger.snapshot();
    append(&ledger, "lb.delete", lbs.iter().map(|lb| delete(&snapshot, lb, at(50))).collect());
}

fn undo_and_say(path: &Path) {
    let ledger = SqliteLedger::open(path).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    out.flush().unwrap();
    let reversal = reversal_of(&ledger, Generation(2), at(100));
    assert!(reversal.conflicts.is_empty());
    if !reversal.changes.is_empty() {
        append(&ledger, "undo", reversal.changes);
    }
    writeln!(out, "\ndone").unwrap();
    out.flush().unwrap();
}

#[test]
fn an_undo_killed_at_any_moment_is_whole_or_absent_and_is_finished_by_doing_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = rand::rng();
    let (mut whole, mut absent) = (0, 0);
    for round in 0..KILLS {
        let path = directory.path().join(format!("ledger-{round}.db"));
        avalanche(&path);
        kill_an_undoer(&path, random.random_range(0..60_000));
        {
            let ledger = SqliteLedger::open(&path).unwrap();
            let live = ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).count();
            match ledger.snapshot().generation() {
                Generation(2) => assert_eq!(live, 0, "round {round}: the undo is absent"),
                Generation(3) => assert_eq!(live, LBS, "round {round}: the undo is whole"),
                other => panic!("round {round}: generation {other}"),
            }
            if live == 0 { absent += 1 } else { whole += 1 }
        }
        undo_and_say(&path);
        let ledger = SqliteLedger::open(&path).unwrap();
        assert_eq!(ledger.snapshot().generation(), Generation(3), "round {round}: it is made once");
        assert_eq!(ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).count(), LBS);
    }
    eprintln!("{KILLS} kills: {whole} after the operation was made, {absent} before");
}

/// Starts an undo and kills it so many microseconds after its ledger is open.
fn kill_an_undoer(path: &Path, microseconds: u64) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", UNDOER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "open"), "the undoer opened its ledger");
    std::thread::sleep(std::time::Duration::from_micros(microseconds));
    child.kill().unwrap();
    child.wait().unwrap();
}
