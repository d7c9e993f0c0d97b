//! The table on the screen, and `target/bench/dataplane.json`.

use std::path::Path;

use serde::Serialize;

use crate::programs::Program;

/// One measurement.
#[derive(Serialize)]
pub struct Row {
    program: &'static str,
    mode: &'static str,
    flows: u32,
    ns_per_packet: f64,
    ns_over_empty: f64,
    /// Million packets per second and CPU, of the program alone.
    mpps: f64,
}

impl Row {
    pub fn new(program: &Program, flows: u32, ns: f64, empty: f64) -> Self {
        let over = ns - empty;
        let mpps = if over > 0.0 { tenth(1000.0 / over) } else { 0.0 };
        Self {
            program: program.name,
            mode: program.mode,
            flows,
            ns_per_packet: tenth(ns),
            ns_over_empty: tenth(over),
            mpps,
        }
    }
}

/// The middle of several values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn print(rows: &[Row]) {
    println!(
        "{:22} {:5} {:>9} {:>10} {:>11} {:>7} {:>9}",
        "program", "mode", "flows", "ns/packet", "over empty", "Mpps", "×minimal"
    );
    for row in rows {
        let minimal = rows.iter().find(|other| other.program == "minimal_encapsulator" && other.flows == row.flows);
        let ratio =
            minimal.filter(|_| row.mode != "none").map_or(f64::NAN, |other| row.ns_over_empty / other.ns_over_empty);
        let ratio = if ratio.is_nan() { String::new() } else { format!("{ratio:.2}") };
        let Row { program, mode, flows, ns_per_packet, ns_over_empty, mpps } = row;
        println!("{program:22} {mode:5} {flows:>9} {ns_per_packet:>10.1} {ns_over_empty:>11.1} {mpps:>7.1} {ratio:>9}");
    }
}

pub fn write(rows: &[Row]) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench/dataplane.json"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(rows).unwrap()).unwrap();
    println!("\n{}", path.canonicalize().unwrap().display());
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
