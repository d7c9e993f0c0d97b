//! An agent killed while it writes: every acknowledged operation is there, the next one is whole or absent.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lb_userspace::ledger::{ChainHash, Ledger, SqliteLedger};
use lb_userspace::model::Generation;
use rand::RngExt;

use super::{create, lb, owner, proposal};

const KILLS: usize = 60;
const LEDGER: &str = "SNOWSHED_TEST_LEDGER";
const WRITER: &str = "ledger::kill::a_writer_acknowledges_every_operation_it_appends";

/// Also the child of the test below, which sets the variable: then it appends until it is killed.
#[test]
fn a_writer_acknowledges_every_operation_it_appends() {
    match std::env::var_os(LEDGER) {
        Some(path) => write(Path::new(&path), usize::MAX),
        None => {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("ledger.db");
            write(&path, 3);
            assert_eq!(SqliteLedger::open(&path).unwrap().snapshot().generation(), Generation(3));
        }
    }
}

fn write(path: &Path, count: usize) {
    let ledger = SqliteLedger::open(path).unwrap();
    let mut out = std::io::stdout();
    for number in 0..count {
        let changes = (0..=number % 7).map(|part| create(lb(&format!("lb-{number}-{part}"), owner(1)))).collect();
        let operation = ledger.append(proposal(&ledger.snapshot(), changes)).unwrap();
        writeln!(out, "\nack {} {}", operation.generation, operation.hash).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_writer_killed_at_any_moment_loses_nothing_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut random = rand::rng();
    let mut total = Generation(0);
    let mut unacknowledged = 0;
    for round in 0..KILLS {
        let acknowledged = killed_writer(&path, random.random_range(0..12), random.random_range(0..200_000));
        let ledger = SqliteLedger::open(&path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let last = acknowledged.last().map_or(total, |(generation, _)| *generation);
        total = ledger.snapshot().generation();
        assert!(total == last || total.0 == last.0 + 1, "round {round}: acknowledged {last}, the ledger has {total}");
        unacknowledged += u32::from(total != last);
        let first = acknowledged.first().map_or(last, |(generation, _)| Generation(generation.0 - 1));
        let stored = ledger.operations(first, usize::MAX).unwrap();
        for (operation, (generation, hash)) in stored.iter().zip(&acknowledged) {
            assert_eq!((operation.generation, &operation.hash.to_string()), (*generation, hash), "round {round}");
        }
        for operation in &stored {
            let parts = operation.changes.len();
            assert!((1..=7).contains(&parts), "operation {} is torn", operation.generation);
        }
        assert_ne!(ledger.snapshot().head(), ChainHash::GENESIS);
    }
    assert!(total.0 > KILLS as u64, "the writers wrote: {total}");
    eprintln!("{KILLS} kills, {total} operations, {unacknowledged} kills between commit and acknowledgement");
}

/// Starts a writer, kills it some spins after so many acknowledgements, and gives what it acknowledged.
fn killed_writer(path: &Path, acknowledgements: usize, spins: u32) -> Vec<(Generation, String)> {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", WRITER, "--nocapture", "--test-threads=1"])
        .env(LEDGER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = Vec::new();
    // The first one means that the ledger is open: from then on any moment is a moment of writing.
    for line in lines.by_ref() {
        acknowledged.extend(parse(&line));
        if acknowledged.len() > acknowledgements {
            break;
        }
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    acknowledged.extend(lines.filter_map(|line| parse(&line)));
    child.wait().unwrap();
    acknowledged
}

/// An acknowledgement; a line cut off by the kill is none.
fn parse(line: &str) -> Option<(Generation, String)> {
    let (generation, hash) = line.strip_prefix("ack ")?.split_once(' ')?;
    (hash.len() == 64).then(|| (Generation(generation.parse().unwrap()), hash.to_owned()))
}
