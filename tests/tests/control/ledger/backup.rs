//! Backups: consistent while the ledger is written, reported unverified until they were opened, restored only where
//! no living ledger is overwritten, and never half.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use lb_userspace::ledger::backup::{BackupError, Backups, was_restored};
use lb_userspace::ledger::{Ledger, LedgerError, SqliteLedger};
use lb_userspace::model::Generation;
use rand::RngExt;

use super::{create, fill, lb, owner, proposal};

const LEDGER: &str = "SNOWSHED_TEST_RESTORE_LEDGER";
const RESTORER: &str = "ledger::backup::a_restore_puts_a_destroyed_ledger_back";
const KILLS: usize = 25;

struct Place {
    _directory: tempfile::TempDir,
    ledger: PathBuf,
    backups: Backups,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("state/ledger.db");
    let backups = Backups::new(directory.path().join("backups"));
    Place { ledger, backups, _directory: directory }
}

fn second(number: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + number).unwrap()
}

fn destroy(ledger: &Path) {
    std::fs::remove_dir_all(ledger.parent().unwrap()).unwrap();
}

#[test]
fn a_backup_of_a_ledger_that_is_being_written_is_whole_and_unverified_until_it_was_opened() {
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    fill(&ledger, 5);
    let made = std::thread::scope(|scope| {
        scope.spawn(|| fill(&ledger, 40));
        place.backups.create(&place.ledger, second(1)).unwrap()
    });
    assert!((5..=45).contains(&made.generation.0), "{made:?}");
    assert_eq!(place.backups.list().unwrap(), std::slice::from_ref(&made));
    assert_eq!(made.verified_at, None, "nobody has opened it yet");
    let verified = place.backups.verify(&made.name, second(2)).unwrap();
    assert_eq!(verified.verified_at, Some(second(2)));
    assert_eq!(place.backups.list().unwrap(), [verified]);
}

#[test]
fn a_damaged_backup_is_refused_with_what_does_not_fit_and_nothing_is_restored() {
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    fill(&ledger, 20);
    drop(ledger);
    let made = place.backups.create(&place.ledger, second(1)).unwrap();
    let copy = place._directory.path().join("backups").join(&made.name).join("ledger.db");
    let good = std::fs::read(&copy).unwrap();
    for (at, what) in [(good.len() / 2, "is not the file that was written"), (0, "is not the file that was written")] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&copy, &bad).unwrap();
        let error = place.backups.verify(&made.name, second(2)).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        destroy(&place.ledger);
        assert!(place.backups.restore(&made.name, &place.ledger, true, second(3)).is_err());
        assert!(!place.ledger.exists(), "nothing was put there");
        std::fs::create_dir_all(place.ledger.parent().unwrap()).unwrap();
    }
    let missing = place.backups.verify("../backups", second(2)).unwrap_err();
    assert!(matches!(missing, BackupError::NoSuch { .. }), "{missing}");
}

#[test]
fn a_living_ledger_is_not_overwritten_and_what_is_replaced_is_kept() {
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    fill(&ledger, 3);
    let made = place.backups.create(&place.ledger, second(1)).unwrap();
    fill(&ledger, 2);
    let error = place.backups.restore(&made.name, &place.ledger, true, second(2)).unwrap_err();
    assert!(matches!(error, BackupError::Ledger(LedgerError::InUse { .. })), "an agent runs on it: {error}");
    drop(ledger);
    let before = std::fs::read(&place.ledger).unwrap();
    let error = place.backups.restore(&made.name, &place.ledger, false, second(3)).unwrap_err();
    assert!(error.to_string().contains("holds a ledger at generation 5: restoring generation 3"), "{error}");
    assert_eq!(std::fs::read(&place.ledger).unwrap(), before);

    let done = place.backups.restore(&made.name, &place.ledger, true, second(4)).unwrap();
    assert_eq!(done.generation, Generation(3));
    assert!(was_restored(&place.ledger));
    assert_eq!(std::fs::read(&done.moved_aside[0]).unwrap(), before, "the old one is kept");
    assert_eq!(SqliteLedger::open(&place.ledger).unwrap().snapshot().generation(), Generation(3));
}

/// Also the child of the test below, which sets the variable: then it restores what the other destroyed.
#[test]
fn a_restore_puts_a_destroyed_ledger_back() {
    if let Some(path) = std::env::var_os(LEDGER) {
        let ledger = PathBuf::from(path);
        let backups = Backups::new(ledger.parent().unwrap().with_file_name("backups"));
        let newest = backups.list().unwrap()[0].name.clone();
        let mut out = std::io::stdout();
        writeln!(out, "\nbegun").unwrap();
        out.flush().unwrap();
        backups.restore(&newest, &ledger, true, second(9)).unwrap();
        return;
    }
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    fill(&ledger, 3);
    for key in ["hash_key", "token_key"] {
        std::fs::write(place.ledger.with_file_name(key), key).unwrap();
    }
    let made = place.backups.create(&place.ledger, second(1)).unwrap();
    drop(ledger);
    destroy(&place.ledger);
    place.backups.restore(&made.name, &place.ledger, false, second(2)).unwrap();
    assert_eq!(SqliteLedger::open(&place.ledger).unwrap().snapshot().generation(), Generation(3));
    for key in ["hash_key", "token_key"] {
        assert_eq!(std::fs::read(place.ledger.with_file_name(key)).unwrap(), key.as_bytes());
    }
}

#[test]
fn a_restore_killed_at_any_moment_leaves_no_ledger_that_is_less_than_the_old_or_the_new_one() {
    let mut random = rand::rng();
    let (mut old, mut refused, mut new) = (0, 0, 0);
    for round in 0..KILLS {
        let place = place();
        let ledger = SqliteLedger::open(&place.ledger).unwrap();
        fill(&ledger, 3);
        place.backups.create(&place.ledger, second(1)).unwrap();
        fill(&ledger, 2);
        drop(ledger);
        kill_a_restorer(&place.ledger, random.random_range(0..9_000));
        match SqliteLedger::open(&place.ledger) {
            Ok(ledger) if ledger.snapshot().generation() == Generation(5) => old += 1,
            Ok(ledger) => {
                assert_eq!(ledger.snapshot().generation(), Generation(3), "round {round}");
                new += 1;
            }
            Err(LedgerError::NotIntact { .. }) => refused += 1,
            Err(error) => panic!("round {round}: {error}"),
        }
        let newest = place.backups.list().unwrap()[0].name.clone();
        place.backups.restore(&newest, &place.ledger, true, second(10)).unwrap();
        assert_eq!(SqliteLedger::open(&place.ledger).unwrap().snapshot().generation(), Generation(3), "round {round}");
    }
    eprintln!("{KILLS} kills: {old} before, {refused} in the middle (the ledger was refused), {new} after");
}

fn kill_a_restorer(ledger: &Path, microseconds: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", RESTORER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, ledger)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "begun"));
    std::thread::sleep(std::time::Duration::from_micros(microseconds));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_ledger_whose_file_is_destroyed_refuses_changes_and_can_still_be_saved_through_the_open_file() {
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    fill(&ledger, 4);
    ledger.check().unwrap();
    std::fs::write(place.ledger.with_file_name("token_key"), "key").unwrap();
    place.backups.create(&place.ledger, second(1)).unwrap();
    destroy(&place.ledger);
    assert!(ledger.check().unwrap_err().to_string().contains("the file is gone"));
    let change = create(lb("late", owner(1)));
    let error = ledger.append(proposal(&ledger.snapshot(), vec![change.clone()])).unwrap_err();
    assert!(matches!(error, LedgerError::Destroyed { .. }), "{error}");
    assert_eq!(ledger.snapshot().generation(), Generation(4), "what is read stays as it was");
    let saved = place.backups.create_from(&ledger, second(5)).unwrap();
    assert_eq!(saved.generation, Generation(4), "nothing was lost");
    let key = place._directory.path().join("backups").join(&saved.name).join("token_key");
    assert_eq!(std::fs::read(key).unwrap(), b"key", "the key comes from the backup before");

    std::fs::create_dir_all(place.ledger.parent().unwrap()).unwrap();
    for (text, what) in [("", "another file stands in its place"), ("x", "another file stands in its place")] {
        std::fs::write(&place.ledger, text).unwrap();
        assert!(ledger.check().unwrap_err().to_string().contains(what));
    }
}

#[test]
fn a_ledger_that_is_cut_off_or_overwritten_in_place_refuses_changes() {
    for (text, what) in [("", "it was cut off"), ("no database, but as long as a header", "it was overwritten")] {
        let place = place();
        let ledger = SqliteLedger::open(&place.ledger).unwrap();
        fill(&ledger, 2);
        std::fs::write(&place.ledger, text).unwrap();
        let error = ledger.append(proposal(&ledger.snapshot(), vec![create(lb("late", owner(1)))])).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn pruning_keeps_the_newest_ones_and_the_newest_verified_one() {
    let place = place();
    let ledger = SqliteLedger::open(&place.ledger).unwrap();
    let names: Vec<String> = (0..5)
        .map(|number| {
            fill(&ledger, 1);
            place.backups.create(&place.ledger, second(number)).unwrap().name
        })
        .collect();
    place.backups.verify(&names[1], second(9)).unwrap();
    let mut removed = place.backups.prune(2).unwrap();
    removed.sort();
    assert_eq!(removed, [names[0].clone(), names[2].clone()]);
    let kept: Vec<String> = place.backups.list().unwrap().into_iter().map(|backup| backup.name).collect();
    assert_eq!(kept, [names[4].clone(), names[3].clone(), names[1].clone()]);
}
