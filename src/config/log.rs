//! `[log]`: what is logged, and how.

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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
        const FIX: &str =
            "use error, warn, info, debug or trace, or target=level pairs with commas between";
        if let Err(error) = EnvFilter::builder().parse(&self.level) {
            let level = self.level.escape_debug();
            let message = format!("`{level}` is not a list of log levels: {error}");
            check.fail("log.level", message, FIX);
        } else if let Some(word) = self.misspelt() {
            let word = word.escape_debug();
            check.fail("log.level", format!("`{word}` is not a log level"), FIX);
        }
    }

    /// The filter takes a word that is no level for a target and shows all of it, and nothing else: a
    /// slip of a finger would silence the log.
    fn misspelt(&self) -> Option<&str> {
        let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
        let mut words = self.level.split(',').map(str::trim);
        // Whoever writes a path, a level or a span with it means a target.
        words.find(|word| !word.is_empty() && !word.contains(['=', '[', ':']) && !is_level(word))
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn a_word_that_is_no_level_is_found() {
        let misspelt = |level: &str| {
            let log = Log {
                level: level.to_owned(),
                ..Log::default()
            };
            log.misspelt().map(str::to_owned)
        };
        for good in [
            "info",
            "WARN",
            "off",
            "info,starling=debug",
            "warn, hyparview::state",
            "3",
        ] {
            assert_eq!(misspelt(good), None, "{good}");
        }
        assert_eq!(misspelt("inof").as_deref(), Some("inof"));
        assert_eq!(misspelt("starling=debug,wran").as_deref(), Some("wran"));
    }
}
