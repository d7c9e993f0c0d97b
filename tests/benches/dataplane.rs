//! `cargo xtask bench dataplane`: nanoseconds per packet of the load balancer, beside its yardsticks, in one run.
//!
//! Two veth ends in a network namespace of this process. The generator runs on live frames of `BPF_PROG_TEST_RUN` and
//! sends them out of one end; the program under test is attached to the other in native mode and sends them back, where
//! they are dropped. The kernel itself takes the time of each program run (`kernel.bpf_stats_enabled`); what an empty
//! program takes is the cost of taking it. Programs and numbers of flows take turns, round after round, and medians
//! count: other work on the machine then weighs on all alike.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench speaks to its user, and stops where it cannot go on"
)]

#[path = "dataplane/features.rs"]
mod features;
#[path = "dataplane/lab.rs"]
mod lab;
#[path = "dataplane/programs.rs"]
mod programs;
#[path = "dataplane/report.rs"]
mod report;

use lab::Traffic;
use programs::Program;
use report::Row;

const FLOWS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, packets) = if quick { (3, 200_000) } else { (9, 1_000_000) };
    let mut lab = lab::Lab::new();
    let mut programs = Program::all(&lab);
    let (features, mut with_features) = (features::all(), [false, true].map(|it| features::program(&lab, it)));
    // Times of (program, flows), one per round.
    let mut times = vec![[const { Vec::<f64>::new() }; FLOWS.len()]; programs.len()];
    let mut feature_times = vec![Vec::<f64>::new(); features.len()];
    for _ in 0..rounds {
        for (column, flows) in FLOWS.into_iter().enumerate() {
            for (row, program) in programs.iter_mut().enumerate() {
                // Twice around the flows first: caches and tables are then as they stay, and translated flows are open.
                lab.run(program, flows, (packets / 4).max(2 * flows));
                times[row][column].push(lab.run(program, flows, packets));
            }
        }
        for (feature, times) in features.iter().zip(&mut feature_times) {
            let program = &mut with_features[usize::from(feature.captures)];
            // Where every packet opens a flow, there is room for so many of them in all.
            let is_fresh = feature.traffic.flows == Traffic::NONE_TWICE;
            let packets = if is_fresh { packets.min(100_000) } else { packets };
            lab.run_traffic(program, &feature.traffic, packets / 4);
            times.push(lab.run_traffic(program, &feature.traffic, packets));
        }
    }
    with_features.iter_mut().for_each(features::check);
    let medians = times.iter().map(|columns| columns.clone().map(report::median)).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for (program, columns) in programs.iter().zip(&medians) {
        for (column, flows) in FLOWS.into_iter().enumerate() {
            rows.push(Row::new(program, flows, columns[column], medians[0][column]));
        }
    }
    let at = FLOWS.iter().position(|flows| *flows == features::FLOWS).unwrap();
    for (feature, times) in features.iter().zip(feature_times) {
        rows.push(Row::of_feature(feature.name, report::median(times), medians[0][at]));
    }
    report::print(&rows);
    report::write(&rows);
}
