//! Any bytes as a frame: `tests/tests/corpus/harness.rs` says what must hold.
#![no_main]

#[path = "../../tests/corpus/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::frame(bytes));
