//! A ledger that was torn or tampered with is refused, with the reason, and no byte of it is changed.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lb_userspace::ledger::{ChainHash, Ledger, LedgerError, SqliteLedger};
use lb_userspace::model::Generation;
use rand::RngExt;

use super::{create, fill, lb, mode, owner, proposal};

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    /// A ledger of some operations, closed; with its write-ahead log still beside it when asked for.
    fn filled(operations: usize, keep_wal: bool) -> (Self, ChainHash) {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        let ledger = SqliteLedger::open(&files.path()).unwrap();
        fill(&ledger, operations);
        let head = ledger.snapshot().head();
        let copies: Vec<(PathBuf, Vec<u8>)> = if keep_wal {
            files.all().into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
        } else {
            Vec::new()
        };
        drop(ledger);
        for (path, bytes) in copies {
            std::fs::write(path, bytes).unwrap();
        }
        (files, head)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    fn wal(&self) -> PathBuf {
        self.directory.path().join("ledger.db-wal")
    }

    fn all(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> =
            std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| !path.to_string_lossy().ends_with("-shm"));
        all.sort();
        all
    }

    fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.all().into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap()));
        files.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    /// Runs SQL on the file as somebody with the `sqlite3` command would.
    fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn refusal(&self, what: &str) -> (Generation, String) {
        let before = self.bytes();
        let error = SqliteLedger::open(&self.path()).map(|ledger| ledger.snapshot().generation()).expect_err(what);
        assert!(before == self.bytes(), "{what}: a refused ledger is left as it is");
        let text = error.to_string();
        let LedgerError::NotIntact { generation, remedy, .. } = error else { panic!("{what}: {text}") };
        assert!(remedy.contains("backup") && text.contains("ledger.db"), "{what}: {text}");
        (generation, text)
    }
}

const UNPROTECT: &str = "DROP TRIGGER operations_stay; DROP TRIGGER operations_never_change;";

/// Puts the triggers back as they were, so that only the chain can tell.
fn around(sql: &str, files: &Files) -> String {
    let connection = rusqlite::Connection::open(files.path()).unwrap();
    let triggers: Vec<String> = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE name IN ('operations_stay', 'operations_never_change')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    format!("{UNPROTECT} {sql}; {}", triggers.join(";"))
}

#[test]
fn the_engine_itself_refuses_to_change_delete_or_replace_an_operation() {
    let (files, _) = Files::filled(3, false);
    let connection = rusqlite::Connection::open(files.path()).unwrap();
    for (sql, why) in [
        ("UPDATE operations SET body = x'00' WHERE generation = 2", "never changed"),
        ("DELETE FROM operations", "never deleted"),
        ("INSERT INTO operations SELECT 9, previous, hash, body FROM operations WHERE generation = 3", "in order"),
        ("INSERT INTO operations SELECT 4, previous, hash, body FROM operations WHERE generation = 3", "in order"),
        ("INSERT OR REPLACE INTO operations SELECT * FROM operations WHERE generation = 2", "in order"),
    ] {
        let error = connection.execute(sql, []).expect_err(sql).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    }
}

#[test]
fn a_tampered_chain_is_refused_with_the_generation_that_does_not_fit() {
    for (sql, generation, what) in [
        ("DELETE FROM operations WHERE generation = 3", 3, "missing"),
        ("DELETE FROM operations WHERE generation > 4", 5, "generation 5 was acknowledged"),
        ("DELETE FROM operations", 1, "was acknowledged"),
        ("UPDATE operations SET hash = zeroblob(32) WHERE generation = 2", 2, "does not match its hash"),
        ("UPDATE operations SET previous = zeroblob(32) WHERE generation = 4", 4, "does not build on"),
        (
            "UPDATE operations SET body = CAST(replace(CAST(body AS TEXT), 'lb-1', 'lb-9') AS BLOB) WHERE generation = 2",
            2,
            "does not match its hash",
        ),
        ("UPDATE operations SET generation = 77 WHERE generation = 5", 5, "missing"),
    ] {
        let (files, _) = Files::filled(5, false);
        files.tamper(&around(sql, &files));
        let (at, text) = files.refusal(sql);
        assert_eq!(at, Generation(generation), "{sql}: {text}");
        assert!(text.contains(what), "{sql}: {text}");
    }
}

#[test]
fn a_ledger_without_its_protecting_triggers_is_refused() {
    let (files, _) = Files::filled(2, false);
    files.tamper(UNPROTECT);
    assert!(files.refusal("no triggers").1.contains("triggers"));
}

#[test]
fn a_missing_or_empty_file_is_never_taken_for_a_new_ledger() {
    let (files, _) = Files::filled(2, false);
    std::fs::write(files.path(), b"").unwrap();
    assert!(files.refusal("emptied").1.contains("missing or empty"));
    std::fs::remove_file(files.path()).unwrap();
    let error = SqliteLedger::open(&files.path()).expect_err("removed").to_string();
    assert!(error.contains("missing or empty"), "{error}");
}

#[test]
fn a_log_whose_witness_was_taken_away_is_refused_until_somebody_vouches_for_its_end() {
    let (files, _) = Files::filled(5, false);
    files.tamper(&around("DELETE FROM operations WHERE generation > 3", &files));
    for empty in [true, false] {
        let witness = files.path().with_extension("db.head");
        if empty {
            std::fs::write(&witness, "").unwrap()
        } else {
            std::fs::remove_file(&witness).unwrap()
        }
        let error = SqliteLedger::open(&files.path()).expect_err("no witness");
        let text = error.to_string();
        let LedgerError::NotIntact { generation, remedy, .. } = error else { panic!("{text}") };
        assert!(generation == Generation(3) && text.contains("witness") && remedy.contains("backup"), "{text}");
        // The remedy works as it is printed.
        let command = remedy.split('`').find(|part| part.starts_with("echo ")).unwrap();
        if !empty {
            assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
        }
    }
    assert_eq!(SqliteLedger::open(&files.path()).unwrap().snapshot().generation(), Generation(3));
}

#[test]
fn a_lost_write_ahead_log_is_refused() {
    let (files, _) = Files::filled(4, true);
    std::fs::remove_file(files.wal()).unwrap();
    assert!(files.refusal("no write-ahead log").1.contains("acknowledged"));
}

#[test]
fn what_is_no_ledger_is_refused() {
    for content in
        [&b"not a database, but long enough to be taken for one, were it not for its first bytes ........"[..], b"x"]
    {
        let files = Files { directory: tempfile::tempdir().unwrap() };
        std::fs::write(files.path(), content).unwrap();
        let before = std::fs::read(files.path()).unwrap();
        SqliteLedger::open(&files.path()).expect_err("not a ledger");
        assert_eq!(before, std::fs::read(files.path()).unwrap());
    }
    let files = Files { directory: tempfile::tempdir().unwrap() };
    rusqlite::Connection::open(files.path()).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    let error = SqliteLedger::open(&files.path()).expect_err("another database").to_string();
    assert!(error.contains("no Snowshed ledger"), "{error}");
}

/// Opens a damaged ledger: refused, or the very same log as before. Never a shorter or another one.
fn is_refused_or_whole(files: &Files, head: ChainHash, what: &str) -> bool {
    match SqliteLedger::open(&files.path()) {
        Ok(ledger) => {
            assert_eq!(ledger.snapshot().head(), head, "{what}: opened, but as another log");
            false
        }
        Err(error) => {
            assert!(matches!(error, LedgerError::NotIntact { .. }), "{what}: {error:?}");
            true
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused_and_never_read_as_a_shorter_log() {
    let mut random = rand::rng();
    let mut refused = 0;
    for keep_wal in [false, true] {
        for _ in 0..30 {
            let (files, head) = Files::filled(12, keep_wal);
            let path = if keep_wal { files.wal() } else { files.path() };
            let len = std::fs::metadata(&path).unwrap().len();
            let cut = random.random_range(0..len);
            std::fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            refused +=
                u32::from(is_refused_or_whole(&files, head, &format!("{} cut at {cut} of {len}", path.display())));
        }
    }
    assert!(refused >= 55, "almost every cut loses something: {refused} of 60 were refused");
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_harmless_and_never_changes_the_log() {
    let mut random = rand::rng();
    let mut refused = 0;
    for keep_wal in [false, true] {
        let (files, head) = Files::filled(12, keep_wal);
        let intact = files.bytes();
        for _ in 0..100 {
            for (path, bytes) in &intact {
                std::fs::write(path, bytes).unwrap();
            }
            let path = if keep_wal { files.wal() } else { files.path() };
            flip(&path, &mut random);
            refused += u32::from(is_refused_or_whole(&files, head, &path.display().to_string()));
        }
    }
    assert!(refused >= 50, "a flip in used space is noticed: {refused} of 200 were");
}

fn flip(path: &Path, random: &mut impl rand::Rng) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let at = random.random_range(0..file.metadata().unwrap().len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << random.random_range(0..8);
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn a_write_ahead_log_with_an_unacknowledged_torn_tail_opens_without_it() {
    let (files, head) = Files::filled(4, true);
    let file = std::fs::File::options().append(true).open(files.wal()).unwrap();
    std::io::Write::write_all(&mut &file, &[0xab; 3000]).unwrap();
    let ledger = SqliteLedger::open(&files.path()).unwrap();
    assert_eq!(ledger.snapshot().head(), head);
    ledger.append(proposal(&ledger.snapshot(), vec![create(lb("after", owner(1)))])).unwrap();
}

#[test]
fn a_second_agent_cannot_open_the_ledger() {
    let (files, _) = Files::filled(1, false);
    let first = SqliteLedger::open(&files.path()).unwrap();
    let error = SqliteLedger::open(&files.path()).expect_err("in use");
    assert!(matches!(error, LedgerError::InUse { .. }) && error.to_string().contains("another agent"), "{error}");
    drop(first);
    SqliteLedger::open(&files.path()).unwrap();
}

#[test]
fn an_agent_waits_for_one_that_is_being_killed() {
    let (files, _) = Files::filled(1, false);
    let dying = SqliteLedger::open(&files.path()).unwrap();
    let path = files.path();
    std::thread::scope(|scope| {
        let next = scope.spawn(move || SqliteLedger::open(&path).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!next.is_finished(), "it neither waits nor is refused");
        drop(dying);
        next.join().unwrap().unwrap();
    });
}

#[test]
fn only_the_owner_can_read_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/by/the/agent/ledger.db");
    let ledger = SqliteLedger::open(&path).unwrap();
    fill(&ledger, 1);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
