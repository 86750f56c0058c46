//! A value that a variable of a scenario takes.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Value;

/// A value that a variable of a scenario takes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// Yes or no.
    Flag(bool),
    /// A number; 2 and 2.0 are the same.
    Number(f64),
    /// A name, such as that of a protocol.
    Word(String),
}

impl Setting {
    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Flag(_) | Self::Word(_) => None,
        }
    }

    /// As it would be written in the place of the variable.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Flag(flag) => Value::Boolean(*flag),
            Self::Word(word) => Value::String(word.clone()),
            // TOML tells 2 from 2.0, and a number of nodes must be whole.
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
                Value::Integer(*number as i64)
            }
            Self::Number(number) => Value::Float(*number),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(to, "{flag}"),
            Self::Number(number) => write!(to, "{number}"),
            Self::Word(word) => write!(to, "{word}"),
        }
    }
}
