//! `on` and `off`, for settings that are a `bool` inside.

use serde::{Deserializer, de};

/// Reads `on`, `off`, `true` or `false`.
pub(super) fn parse_switch(text: &str) -> Option<bool> {
    match text.trim() {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("on or off")
        }
        // A file may have TOML's own word, or in quotes what a flag takes.
        fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
            parse_switch(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    from.deserialize_any(Visitor)
}
