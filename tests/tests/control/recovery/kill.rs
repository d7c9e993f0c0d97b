//! Recoveries killed while they are made: each is whole or absent, and doing it again finishes it, once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lb_userspace::faults::{Faults, Layer};
use lb_userspace::ledger::{Ledger, SqliteLedger};
use lb_userspace::model::{Generation, Scope};
use lb_userspace::recovery::{Reversal, restore};
use rand::RngExt;

use super::{append, at, delete, reversal_of};
use crate::ledger::{create, lb, owner};

/// Load balancers of the incident.
const LBS: usize = 1574;
const KILLS: usize = 6;
const LEDGER: &str = "SNOWSHED_TEST_UNDO_LEDGER";
const STEP: &str = "SNOWSHED_TEST_UNDO_STEP";
const UNDOER: &str = "recovery::kill::an_undo_of_1574_deletions_is_one_operation";

/// Also the child of the test below, which sets the variable: then it undoes what the other made.
#[test]
fn an_undo_of_1574_deletions_is_one_operation() {
    if let Some(path) = std::env::var_os(LEDGER) {
        let step = std::env::var(STEP).unwrap();
        return do_and_say(Path::new(&path), Step::ALL.into_iter().find(|it| it.word() == step).unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    avalanche(&path);
    do_and_say(&path, Step::Undo);
    let ledger = SqliteLedger::open(&path).unwrap();
    assert_eq!(ledger.snapshot().generation(), Generation(3));
    assert_eq!(ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).count(), LBS);
}

/// A recovery of the deletion of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The deletion is taken back.
    Undo,
    /// The undo of the deletion is taken back: everything is deleted again.
    UndoOfUndo,
    /// Everything becomes what it was before the deletion.
    Restore,
}

impl Step {
    const ALL: [Self; 3] = [Self::Undo, Self::UndoOfUndo, Self::Restore];

    const fn word(self) -> &'static str {
        match self {
            Self::Undo => "undo",
            Self::UndoOfUndo => "undo-of-undo",
            Self::Restore => "restore",
        }
    }

    /// Generation before it, and how many live before and after it.
    const fn expected(self) -> (u64, usize, usize) {
        match self {
            Self::Undo | Self::Restore => (2, 0, LBS),
            Self::UndoOfUndo => (3, LBS, 0),
        }
    }

    fn reversal(self, ledger: &SqliteLedger) -> Reversal {
        match self {
            Self::Undo => reversal_of(ledger, Generation(2), at(100)),
            Self::UndoOfUndo => reversal_of(ledger, Generation(3), at(200)),
            Self::Restore => {
                let past = restore::at_generation(ledger, Generation(1)).unwrap();
                let scope = Scope::Project { project: owner(1).project };
                restore::restore(&past, &ledger.snapshot(), &scope, at(100))
            }
        }
    }
}

/// Makes 1574 load balancers in one operation and deletes them in another.
fn avalanche(path: &Path) {
    let ledger = SqliteLedger::open_with_faults(path, Faults::without(&[Layer::Engine])).unwrap();
    let lbs: Vec<_> = (0..LBS).map(|number| lb(&format!("lb-{number}"), owner(1))).collect();
    append(&ledger, "lb.create", lbs.iter().cloned().map(create).collect());
    let snapshot = ledger.snapshot();
    append(&ledger, "lb.delete", lbs.iter().map(|lb| delete(&snapshot, lb, at(50))).collect());
}

fn do_and_say(path: &Path, step: Step) {
    // Deleting everything anew is more than the engine lets through.
    let ledger = SqliteLedger::open_with_faults(path, Faults::without(&[Layer::Engine])).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    out.flush().unwrap();
    let reversal = step.reversal(&ledger);
    assert!(reversal.conflicts.is_empty());
    if !reversal.changes.is_empty() {
        append(&ledger, step.word(), reversal.changes);
    }
    writeln!(out, "\ndone").unwrap();
    out.flush().unwrap();
}

#[test]
fn a_recovery_killed_at_any_moment_is_whole_or_absent_and_is_finished_by_doing_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = rand::rng();
    for step in Step::ALL {
        let (before, live_before, live_after) = step.expected();
        let (mut whole, mut absent) = (0, 0);
        for round in 0..KILLS {
            let path = directory.path().join(format!("ledger-{}-{round}.db", step.word()));
            avalanche(&path);
            if step == Step::UndoOfUndo {
                do_and_say(&path, Step::Undo);
            }
            kill_an_undoer(&path, step, random.random_range(0..60_000));
            let look = || {
                let ledger = SqliteLedger::open(&path).unwrap();
                let live = ledger.snapshot().lbs().filter(|lb| lb.times.is_live()).count();
                (ledger.snapshot().generation().0, live)
            };
            match look() {
                state if state == (before, live_before) => absent += 1,
                state if state == (before + 1, live_after) => whole += 1,
                other => panic!("{step:?}, round {round}: generation and live ones are {other:?}"),
            }
            for _ in 0..2 {
                do_and_say(&path, step);
                assert_eq!(look(), (before + 1, live_after), "{step:?}, round {round}: it is made once");
            }
        }
        eprintln!("{step:?}: {KILLS} kills: {whole} after the operation was made, {absent} before");
    }
}

/// Starts a recovery and kills it so many microseconds after its ledger is open.
fn kill_an_undoer(path: &Path, step: Step, microseconds: u64) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", UNDOER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, path)
        .env(STEP, step.word())
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
