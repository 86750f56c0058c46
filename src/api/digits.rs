//! Numbers of 64 bits as JSON strings: readers that take numbers for doubles, most of them, change them
//! beyond 2^53. What earlier versions wrote as numbers is read as well.

use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Digits {
    Number(i64),
    Text(String),
}

impl Digits {
    pub(super) fn value<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Self::Number(value) => Ok(value),
            Self::Text(text) => text
                .parse()
                .map_err(|_| E::custom(format!("not a number: {text:?}"))),
        }
    }
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Digits::deserialize(deserializer)?.value()
}

/// Vectors, whose numbers are written likewise.
pub(crate) mod vector {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Digits;
    use crate::{
        identity::Site,
        vector::{Seq, Vector},
    };

    /// For `#[serde(with)]`.
    pub(crate) fn serialize<S: Serializer>(
        vector: &Vector,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(vector.iter().map(|(site, seq)| (site, seq.to_string())))
    }

    /// For `#[serde(with)]`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vector, D::Error> {
        BTreeMap::<Site, Digits>::deserialize(deserializer)?
            .into_iter()
            .map(|(site, seq)| Ok((site, Seq::new(seq.value()?))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::vector::{Vector, tests};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "super")]
        site: i64,
        #[serde(with = "super::vector")]
        vector: Vector,
    }

    #[test]
    fn large_numbers_keep_their_digits_and_numbers_of_earlier_versions_are_read() {
        let numbers = Numbers {
            site: i64::MAX,
            vector: tests::vector(&[(7, i64::MAX - 1)]),
        };
        let json = serde_json::to_string(&numbers).unwrap();
        let expected = r#"{"site":"9223372036854775807","vector":{"7":"9223372036854775806"}}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Numbers>(&json).unwrap(), numbers);
        let earlier = json
            .replace(":\"", ":")
            .replace("\",", ",")
            .replace("\"}", "}");
        assert_eq!(serde_json::from_str::<Numbers>(&earlier).unwrap(), numbers);
        let wrong = json.replace("9223372036854775807", "x");
        assert!(serde_json::from_str::<Numbers>(&wrong).is_err());
    }
}
