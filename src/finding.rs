//! What a check found, of a server or of a node, in one form for everything that is checked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How bad a finding is, from good to bad.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    #[default]
    Ok,
    /// It could not be found out.
    Unknown,
    /// It works, but worse than it could, or it will not for long.
    Warning,
    /// The store does not work like this, or may lose data.
    Critical,
}

impl Severity {
    /// The exit code that monitoring systems expect of a check.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code: `SP` and a number about a server, see [`crate::postgres::doctor`]; `SN` about a node.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// What is the case, in one line.
    pub summary: String,
    /// Why it matters; empty when all is well.
    pub detail: String,
    /// The exact command that mends it, if one does.
    pub fix: Option<String>,
}

impl Finding {
    /// What is the case and why it matters, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        match self.detail.as_str() {
            "" => self.summary.clone(),
            detail => format!("{}: {detail}", self.summary),
        }
    }

    /// What mends it, if that is SQL.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        let verbs = ["alter ", "create ", "drop ", "grant ", "revoke ", "select "];
        self.fix
            .as_deref()
            .filter(|fix| verbs.iter().any(|verb| fix.starts_with(verb)))
    }

    /// Whether a node must not start on such a server. Who does not answer is asked again, and clocks
    /// are set by and by, and judged by neighbours, too. What was altered in a store its node mends.
    #[must_use]
    pub fn forbids(&self) -> bool {
        self.severity == Severity::Critical && !["SP000", "SP040", "SP050"].contains(&&*self.code)
    }

    /// About a node; its codes begin with `SN`, as those about a server do with `SP`.
    pub(crate) fn of_node(
        code: &'static str,
        severity: Severity,
        summary: impl Into<String>,
        fix: Option<&str>,
    ) -> Self {
        Self {
            severity,
            fix: fix.map(str::to_owned),
            ..Self::ok(code, summary)
        }
    }

    pub(crate) fn ok(code: &'static str, summary: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            severity: Severity::Ok,
            summary: summary.into(),
            detail: String::new(),
            fix: None,
        }
    }

    pub(crate) fn bad(
        code: &'static str,
        severity: Severity,
        summary: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            detail: detail.into(),
            ..Self::ok(code, summary)
        }
    }

    pub(crate) fn fixed_by(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }
}

/// The worst of `findings`; good if there are none.
#[must_use]
pub fn worst(findings: &[Finding]) -> Severity {
    findings
        .iter()
        .map(|finding| finding.severity)
        .max()
        .unwrap_or_default()
}
