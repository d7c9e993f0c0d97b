//! The incident report as Markdown.

use std::fmt::Write as _;

use super::Report;

/// Most organizations that are listed by id.
const NAMED: usize = 50;

/// The report as people read it.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# Incident report\n\n{} to {}\n", report.since, report.until);
    let impact = &report.impact;
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line("\n## Impact\n".to_owned());
    line(format!(
        "- {} load balancers of {} organizations: {} deleted ({} of them are back), {} quarantined",
        impact.load_balancers,
        impact.organizations.len(),
        impact.deleted,
        impact.back,
        impact.quarantined
    ));
    let dependents: Vec<String> = impact.dependents.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let dependents = if dependents.is_empty() { "none registered".to_owned() } else { dependents.join(", ") };
    line(format!("- dependents: {dependents}"));
    line(format!("- operations: {} by people, {} by the agent itself", impact.by_people, impact.automatic));
    line("\n## Durations\n".to_owned());
    let (contained, back) = report.durations.seconds();
    let seconds =
        |seconds: Option<f64>| seconds.map_or_else(|| "not in this time".to_owned(), |it| format!("{it:.1} s"));
    let began = report.durations.began_at.map_or_else(|| "nothing was hit".to_owned(), |at| at.to_string());
    line(format!("- first load balancer hit: {began}"));
    line(format!("- until a freeze contained it: {}", seconds(contained)));
    line(format!("- until the last one was back: {}", seconds(back)));
    if !impact.organizations.is_empty() {
        line("\n## Organizations\n".to_owned());
        line("| organization | load balancers |\n|---|---|".to_owned());
        for (organization, count) in impact.organizations.iter().take(NAMED) {
            line(format!("| {organization} | {count} |"));
        }
        if impact.organizations.len() > NAMED {
            line(format!("| {} more | |", impact.organizations.len() - NAMED));
        }
    }
    line("\n## Timeline\n".to_owned());
    line("| time | operation | by | what |\n|---|---|---|---|".to_owned());
    for entry in &report.timeline {
        let number = entry.operation.map_or_else(String::new, |number| number.to_string());
        let by = if entry.automatic { format!("{} (automatic)", entry.by) } else { entry.by.clone() };
        line(format!("| {} | {number} | {} | {}: {} |", entry.at, cell(&by), entry.kind, cell(&entry.what)));
    }
    if report.left_off > 0 {
        line(format!(
            "\n{} entries were left off: what did harm or contained it stayed before the rest, and the newest before the \
             oldest. Ask for a shorter time to see them.",
            report.left_off
        ));
    }
    line("\n## Packets\n".to_owned());
    if report.packets_dropped.is_empty() {
        line("No packet was dropped for want of a way, a server or a table since the program was loaded.".to_owned());
    }
    for (reason, count) in &report.packets_dropped {
        line(format!("- {reason}: {count} since the program was loaded"));
    }
    line("\n## Not known\n".to_owned());
    for unknown in &report.unknown {
        // Writing to a string does not fail.
        let _written = writeln!(text, "- {unknown}");
    }
    text
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
