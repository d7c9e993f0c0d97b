//! The table on the screen, and `target/bench/dataplane.json`.

use std::path::Path;

use serde::Serialize;

use crate::features::FLOWS;
use crate::programs::Program;

/// One measurement.
#[derive(Serialize)]
pub struct Row {
    program: &'static str,
    mode: &'static str,
    /// What the service has that a plain one has not; rows of features only.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'static str>,
    flows: u32,
    ns_per_packet: f64,
    ns_over_empty: f64,
    /// Million packets per second and CPU, of the program alone.
    mpps: f64,
}

impl Row {
    pub fn new(program: &Program, flows: u32, ns: f64, empty: f64) -> Self {
        Self::of(program.name, program.mode, None, flows, [ns, empty])
    }

    /// The product with a feature.
    pub fn of_feature(feature: &'static str, ns: f64, empty: f64) -> Self {
        let mode = if feature.starts_with("nat") { "nat" } else { "ipip" };
        Self::of("snowshed", mode, Some(feature), FLOWS, [ns, empty])
    }

    fn of(
        program: &'static str,
        mode: &'static str,
        feature: Option<&'static str>,
        flows: u32,
        [ns, empty]: [f64; 2],
    ) -> Self {
        let over = ns - empty;
        let mpps = if over > 0.0 { tenth(1000.0 / over) } else { 0.0 };
        Self { program, mode, feature, flows, ns_per_packet: tenth(ns), ns_over_empty: tenth(over), mpps }
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
    let minimal = |row: &Row| {
        let minimal = rows.iter().find(|other| other.program == "minimal_encapsulator" && other.flows == row.flows);
        let ratio = minimal.filter(|_| row.mode != "none").map(|other| row.ns_over_empty / other.ns_over_empty);
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
    };
    for row in rows.iter().filter(|row| row.feature.is_none()) {
        let Row { program, mode, flows, ns_per_packet, ns_over_empty, mpps, .. } = row;
        let ratio = minimal(row);
        println!("{program:22} {mode:5} {flows:>9} {ns_per_packet:>10.1} {ns_over_empty:>11.1} {mpps:>7.1} {ratio:>9}");
    }
    let plain = rows.iter().find(|row| row.feature.is_some()).map_or(0.0, |row| row.ns_over_empty);
    println!(
        "\n{:40} {:>11} {:>11} {:>9}",
        format!("feature, at {FLOWS} flows"),
        "over empty",
        "over plain",
        "×minimal"
    );
    for row in rows {
        let Some(feature) = row.feature else { continue };
        let over = row.ns_over_empty;
        println!("{feature:40} {over:>11.1} {:>+11.1} {:>9}", over - plain, minimal(row));
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
