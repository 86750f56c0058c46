//! Quoting for the statements that take no parameters.

/// A SQL identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A SQL string literal, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        // The blank keeps the letter from joining a word before it.
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A libpq connection string out of keywords and values.
pub(crate) fn conninfo<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pair = |(key, value): (&str, &str)| {
        format!(
            // Backslashes first, or those that are put before quotes would be doubled as well.
            "{key}='{}'",
            value.replace('\\', "\\\\").replace('\'', "\\'")
        )
    };
    pairs.into_iter().map(pair).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{conninfo, identifier, literal};

    #[test]
    fn nothing_breaks_out_of_its_quotes() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("o'clock"), "'o''clock'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
        assert_eq!(
            conninfo([("host", "a b"), ("password", r"x'\y")]),
            r"host='a b' password='x\'\\y'"
        );
    }

    proptest::proptest! {
        #[test]
        fn a_connection_string_is_read_back_as_it_was(password in "[ -~]{0,40}") {
            let text = conninfo([("host", "h"), ("password", &password)]);
            let config: tokio_postgres::Config = text.parse().unwrap();
            proptest::prop_assert_eq!(config.get_password().unwrap(), password.as_bytes());
        }
    }
}
