//! The fuzzer's harness over its corpus, and over frames that are almost right: `tests/fuzz` runs it guided by coverage.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod harness;

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Frames made from each one of the corpus.
const MUTANTS: usize = 4_000;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frames");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_frame_of_the_corpus_holds_what_must_hold_of_any() {
    let corpus = corpus();
    assert!(corpus.len() >= 8, "the corpus is gone: {} frames", corpus.len());
    for (name, bytes) in &corpus {
        // Whole, and cut anywhere.
        for end in 0..=bytes.len() {
            check(name, &bytes[..end]);
        }
    }
}

#[test]
fn frames_that_are_almost_right_hold_what_must_hold_of_any() {
    let mut random = StdRng::seed_from_u64(1);
    for (name, original) in corpus() {
        for number in 0..tests::vm::scaled(MUTANTS) {
            let mut bytes = original.clone();
            for _ in 0..random.random_range(1..5) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = [0, 0xff, 0x45, 0x81, random.random()][random.random_range(0..5)];
            }
            if random.random_ratio(1, 4) {
                bytes.extend((0..16).map(|_| random.random::<u8>()));
            }
            check(&format!("mutant {number} of {name}"), &bytes);
        }
    }
}

/// A failure is named, so that the frame can be kept as a file of the corpus.
fn check(name: &str, bytes: &[u8]) {
    let outcome = std::panic::catch_unwind(|| harness::frame(bytes));
    assert!(outcome.is_ok(), "{name}: {bytes:02x?}");
}
