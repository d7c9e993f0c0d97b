//! What the kernels said, in tables.

use ::tests::tally::Tally;
use ::tests::vm::{Program, Verdict};
use anyhow::Result;
use comfy_table::Table;

use super::machine::Outcome;
use crate::table::{align_right, table};

/// One kernel's run.
#[derive(Debug)]
pub struct Report {
    /// Version of the kernel.
    pub kernel: String,
    /// What the machine did, or why it was ended.
    pub outcome: Result<Outcome>,
    /// Of the whole run, the writing of the initramfs included.
    pub seconds: u64,
}

/// Sum over the kernels. A machine without a verdict, a job that could not be done, and the target `least` not run whole
/// for want of time, count as one failure each.
pub fn tally(reports: &[Report], least: &str) -> Tally {
    let mut sum = Tally::default();
    for report in reports {
        sum += of_kernel(report);
        let lacks = report.outcome.as_ref().is_ok_and(|outcome| outcome.verdict.unrun.contains_key(least));
        sum.failed += u64::from(lacks);
    }
    sum
}

/// What the time did not suffice for, a line for each kernel and target.
pub fn unrun(reports: &[Report]) -> Vec<String> {
    let mut lines = Vec::new();
    for report in reports {
        let Ok(outcome) = &report.outcome else { continue };
        for (target, tests) in &outcome.verdict.unrun {
            lines.push(format!("Linux {}: {tests} tests of {target}", report.kernel));
        }
    }
    lines
}

fn of_kernel(report: &Report) -> Tally {
    match &report.outcome {
        Ok(outcome) => {
            let mut tally = outcome.verdict.tally();
            tally.failed += u64::from(outcome.verdict.error.is_some());
            tally
        }
        Err(_) => Tally { passed: 0, failed: 1 },
    }
}

/// A row for each kernel, a row for each of its programs, and what was measured.
pub fn tables(reports: &[Report]) -> String {
    let mut kernels = table(&["kernel", "passed", "failed", "boot s", "total s", "by target"]);
    let mut text = String::new();
    for report in reports {
        let tally = of_kernel(report);
        let (boot, targets) = match &report.outcome {
            Ok(outcome) => (format!("{:.1}", outcome.boot.as_secs_f64()), targets(&outcome.verdict)),
            Err(_) => ("–".to_owned(), "ended by the host".to_owned()),
        };
        let numbers = [tally.passed.to_string(), tally.failed.to_string(), boot, report.seconds.to_string()];
        kernels.add_row([vec![report.kernel.clone()], numbers.to_vec(), vec![targets]].concat());
    }
    align_right(&mut kernels, 1..5);
    text.push_str(&kernels.to_string());
    if let Some(programs) = verifier(reports) {
        text.push_str(&format!("\n\nThe verifier: instructions walked / bytes of stack\n{programs}"));
    }
    for report in reports {
        let Ok(outcome) = &report.outcome else { continue };
        for measure in &outcome.verdict.measures {
            text.push_str(&format!("\n{}: {measure}", report.kernel));
        }
        if let Some(error) = &outcome.verdict.error {
            text.push_str(&format!("\n{}: the init could not do its job: {error}", report.kernel));
        }
    }
    text
}

/// A row for each program, a column for each kernel; nothing when no kernel told any.
fn verifier(reports: &[Report]) -> Option<Table> {
    let of = |report: &Report| -> Vec<Program> {
        report.outcome.as_ref().map(|outcome| outcome.verdict.programs.clone()).unwrap_or_default()
    };
    let all: Vec<Vec<Program>> = reports.iter().map(of).collect();
    let mut names: Vec<&str> = all.iter().flatten().map(|program| program.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let header: Vec<&str> = std::iter::once("program").chain(reports.iter().map(|r| r.kernel.as_str())).collect();
    let mut table = table(&header);
    for name in names {
        let cell = |programs: &Vec<Program>| {
            let program = programs.iter().find(|program| program.name == name);
            program.map_or("–".to_owned(), |program| format!("{} / {}", program.instructions, program.stack))
        };
        table.add_row(std::iter::once(name.to_owned()).chain(all.iter().map(cell)));
    }
    align_right(&mut table, 1..reports.len() + 1);
    Some(table)
}

fn targets(verdict: &Verdict) -> String {
    let words = verdict.targets.iter().map(|(name, tally)| {
        let failed = if tally.failed == 0 { String::new() } else { format!(" ({} FAILED)", tally.failed) };
        let unrun = verdict.unrun.get(name).map_or_else(String::new, |tests| format!(" ({tests} NOT RUN)"));
        format!("{name} {}{failed}{unrun}", tally.passed)
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(kernel: &str, outcome: Result<Outcome>) -> Report {
        Report { kernel: kernel.to_owned(), outcome, seconds: 7 }
    }

    #[test]
    fn a_machine_without_a_verdict_is_a_failure_and_stands_in_the_table() {
        let verdict = Verdict {
            targets: vec![("maps".to_owned(), Tally { passed: 3, failed: 0 })],
            programs: vec![Program { name: "snowshed".to_owned(), instructions: 1234, stack: 56 }],
            ..Verdict::default()
        };
        let second = Duration::from_secs(1);
        let good = report("6.1", Ok(Outcome { verdict: verdict.clone(), boot: second }));
        let unfinished = Verdict { error: Some("no veth".to_owned()), ..verdict };
        let reports = [
            good,
            report("7.3", Err(anyhow::anyhow!("panic"))),
            report("6.12", Ok(Outcome { verdict: unfinished, boot: second })),
        ];
        assert_eq!(tally(&reports, "maps"), Tally { passed: 6, failed: 2 });
        let text = tables(&reports);
        for words in ["maps 3", "ended by the host", "1234 / 56", "no veth"] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
    }
    #[test]
    fn what_the_time_did_not_suffice_for_is_told_and_a_failure_only_of_the_least() {
        let verdict = Verdict {
            targets: vec![
                ("dataplane".to_owned(), Tally { passed: 9, failed: 0 }),
                ("e2e".to_owned(), Tally::default()),
            ],
            unrun: [("e2e".to_owned(), 14)].into(),
            ..Verdict::default()
        };
        let reports = [report("6.1", Ok(Outcome { verdict, boot: Duration::from_secs(1) }))];
        assert_eq!(unrun(&reports), ["Linux 6.1: 14 tests of e2e"]);
        assert!(tables(&reports).contains("e2e 0 (14 NOT RUN)"));
        assert_eq!(tally(&reports, "dataplane"), Tally { passed: 9, failed: 0 });
        assert_eq!(tally(&reports, "e2e"), Tally { passed: 9, failed: 1 });
    }
}
