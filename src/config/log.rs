//! `[log]`: what is logged, and how.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::check::Check;

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or levels per target, such as
    /// `info,starling::replication=debug`. Defaults to `info`.
    pub level: String,
    /// How a line looks. Defaults to `text`.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Log {
    pub(super) fn check(&self, check: &mut Check<'_>) {
        if let Err(error) = EnvFilter::builder().parse(&self.level) {
            check.fail(
                "log.level",
                format!(
                    "`{}` is not a list of log levels: {error}",
                    self.level.escape_debug()
                ),
                "use error, warn, info, debug or trace, or target=level pairs with commas between",
            );
        }
    }
}
