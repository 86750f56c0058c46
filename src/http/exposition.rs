//! The two text formats of metrics: `OpenMetrics`, and the older one of Prometheus for scrapers that know
//! nothing else.

/// The content type of what our registry writes.
pub(super) const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of what [`classic`] makes of it.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `OpenMetrics` text in the older format.
///
/// There, a family has the name of its samples, suffix included, and types and lines that it does not
/// know are errors: a scraper refuses the whole page for one of them.
pub(super) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut family = ("", "");
    for line in open.lines() {
        // The fourth is the rest: a help text has blanks of its own.
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            // The type comes second: the help, whose name depends on it, has to wait.
            (Some("#"), Some("HELP"), Some(name), help) => {
                family = (name, help.unwrap_or_default());
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if family.0 == name {
                    text.push_str(&format!("# HELP {name}{suffix} {}\n", family.1));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            // Samples: they have the suffix already, and look alike in both.
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn families_have_the_names_of_their_samples_and_nothing_is_unknown() {
        let open = [
            "# HELP a_shuffles Shuffles, all of them.",
            "# TYPE a_shuffles counter",
            "a_shuffles_total{node=\"n x\"} 3",
            "# HELP a_build The program.",
            "# TYPE a_build info",
            "a_build_info{version=\"1\"} 1",
            "# HELP a_lag_seconds Time.",
            "# TYPE a_lag_seconds gauge",
            "# UNIT a_lag_seconds seconds",
            "a_lag_seconds 0.5",
            "# EOF",
        ];
        let expected = [
            "# HELP a_shuffles_total Shuffles, all of them.",
            "# TYPE a_shuffles_total counter",
            "a_shuffles_total{node=\"n x\"} 3",
            "# HELP a_build_info The program.",
            "# TYPE a_build_info gauge",
            "a_build_info{version=\"1\"} 1",
            "# HELP a_lag_seconds Time.",
            "# TYPE a_lag_seconds gauge",
            "a_lag_seconds 0.5",
            "",
        ];
        assert_eq!(classic(&open.join("\n")), expected.join("\n"));
    }
}
