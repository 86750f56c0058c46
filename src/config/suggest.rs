//! What somebody may have meant who named a setting that there is not.

use super::catalogue::{self, SETTINGS};

/// Advice for a variable that is none, in the form that it was written in.
pub(super) fn for_variable(key: &str) -> String {
    let Some(setting) = nearest(key).and_then(catalogue::find) else {
        return "`starling config show` lists the settings".to_owned();
    };
    let variables = setting.variables();
    let meant = if key.contains('.') {
        variables.first()
    } else {
        variables.last()
    };
    format!("did you mean {}?", meant.map_or("", String::as_str))
}

/// Advice for a key that is none.
pub(super) fn for_key(key: &str) -> String {
    match nearest(key) {
        Some(key) => format!("did you mean `{key}`?"),
        None => "remove it; `starling config show` lists the settings".to_owned(),
    }
}

/// The setting whose key, or whose bare name, is closest to what was written.
fn nearest(key: &str) -> Option<&'static str> {
    let name = key.rsplit('.').next().unwrap_or(key);
    SETTINGS
        .iter()
        .map(|setting| {
            // A flag may be called otherwise than its key: `--adopt-store` sets `store.adopt`.
            let flag = setting.flag.unwrap_or_default().replace('-', "_");
            let by_name = distance(setting.name(), name).min(distance(&flag, name));
            // The section breaks a tie, so that `log.levle` does not become another `level`.
            let elsewhere = usize::from(!key.starts_with(setting.section()));
            (
                2 * by_name.min(distance(setting.key, key)) + elsewhere,
                setting.key,
            )
        })
        .min()
        // A third of the name may be wrong, or two letters of a short one; doubled, and one for the section,
        // as the distances are. More, and nonsense would be answered with a guess.
        .filter(|(distance, _)| *distance <= 2 * (name.len() / 3).max(2) + 1)
        .map(|(_, key)| key)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("abc", "abc", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_setting_and_nonsense_none() {
        for (written, meant) in [
            ("node.clustr", Some("node.cluster")),
            ("cluster", Some("node.cluster")),
            ("network.cluster", Some("node.cluster")),
            ("log.levle", Some("log.level")),
            ("store.shared_bufers", Some("store.shared_buffers")),
            ("data_dir", Some("node.data_dir")),
            ("flux_capacitor", None),
        ] {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }
}
