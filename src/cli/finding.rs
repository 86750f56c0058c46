//! How findings are shown.

use std::process::ExitCode;

use crate::{
    finding::{Finding, Severity, worst},
    terminal::{
        output::{harmless, harmless_lines},
        table::{Cell, Table, Tone},
    },
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
            // Names in it come from a server, perhaps one that nobody trusts yet.
            let advice = harmless_lines(&lines.join("\n")).replace('\n', "\n  ");
            text.push_str(&format!(
                "\n{}: {}\n  {advice}\n",
                harmless(&finding.code),
                harmless(&finding.summary)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::finding::{Finding, Severity};

    #[test]
    fn names_of_a_foreign_server_do_nothing_to_the_terminal() {
        let evil = "a\x1b]0;title\x07\nSP099: forged\r";
        let finding = Finding {
            code: evil.to_owned().into(),
            ..Finding::bad("SP050", Severity::Critical, evil, evil).fixed_by(evil)
        };
        let text = render(&[finding]);
        let is_obeyed = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(is_obeyed), "{text:?}");
        // What is one line stays one, and advice stays below it.
        assert!(!text.contains("\nSP099"), "{text:?}");
    }

    #[test]
    fn advice_of_several_lines_is_printed_in_lines() {
        let finding =
            Finding::bad("SP001", Severity::Warning, "what", "one\ntwo").fixed_by("three");
        let text = render(&[finding]);
        assert!(
            text.ends_with("\nSP001: what\n  one\n  two\n  fix: three\n"),
            "{text:?}"
        );
    }
}
