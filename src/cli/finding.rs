//! How findings are shown.

use std::process::ExitCode;

use crate::{
    finding::{Finding, Severity, worst},
    terminal::table::{Cell, Table, Tone},
};

/// 0 ok, 1 warning, 2 critical, 3 unknown.
pub(super) fn exit_code(findings: &[Finding]) -> ExitCode {
    ExitCode::from(worst(findings).exit_code())
}

/// The findings as a table; below it, why the bad ones matter and what mends them.
pub(super) fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(&["code", "result", "what"]);
    for finding in findings {
        let (name, tone) = match finding.severity {
            Severity::Ok => ("ok", Tone::Good),
            Severity::Unknown => ("unknown", Tone::Warning),
            Severity::Warning => ("warning", Tone::Warning),
            Severity::Critical => ("critical", Tone::Bad),
        };
        table.row([
            Cell::from(&*finding.code),
            Cell::new(name, tone),
            Cell::from(finding.summary.as_str()),
        ]);
    }
    let mut text = table.for_stdout();
    // Not in the table: advice has several lines, and a command is copied from here.
    for finding in findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
    {
        let mut lines = Vec::new();
        if !finding.detail.is_empty() {
            lines.push(finding.detail.clone());
        }
        if let Some(fix) = &finding.fix {
            lines.push(format!("fix: {fix}"));
        }
        if !lines.is_empty() {
            let advice = lines.join("\n").replace('\n', "\n  ");
            text.push_str(&format!(
                "\n{}: {}\n  {advice}\n",
                finding.code, finding.summary
            ));
        }
    }
    text
}
