//! Yardsticks for the bench, and aids for the tests. Never loaded by the product.
#![no_std]
#![no_main]

#[path = "bench/empty.rs"]
mod empty;
#[path = "bench/generate.rs"]
mod generate;
#[path = "bench/minimal.rs"]
mod minimal;
#[path = "bench/poison.rs"]
mod poison;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
