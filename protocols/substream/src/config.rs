//! Whether the values of a configuration fit together.

/// A configuration that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A capacity, length or period that must not be zero is.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// The first value must not exceed the second.
    #[error("{0} must not exceed {1}")]
    Exceeds(&'static str, &'static str),
}

/// Looks at values that must not be zero: each by name, and whether it is.
///
/// # Errors
///
/// Names the first one that is zero.
pub fn check_nonzero(
    values: impl IntoIterator<Item = (&'static str, bool)>,
) -> Result<(), ConfigError> {
    match values.into_iter().find(|(_, is_zero)| *is_zero) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}

/// Looks at pairs of values of which the first must not exceed the second: both by name, and whether they
/// are in order.
///
/// # Errors
///
/// Names the first pair that is not.
pub fn check_ordered(
    pairs: impl IntoIterator<Item = (&'static str, &'static str, bool)>,
) -> Result<(), ConfigError> {
    match pairs.into_iter().find(|(_, _, in_order)| !in_order) {
        Some((left, right, _)) => Err(ConfigError::Exceeds(left, right)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_named() {
        assert_eq!(check_nonzero([("a", false), ("b", false)]), Ok(()));
        let zeros = [("a", false), ("b", true), ("c", true)];
        assert_eq!(check_nonzero(zeros), Err(ConfigError::Zero("b")));
        assert_eq!(check_ordered([("a", "b", true)]), Ok(()));
        let pairs = [("a", "b", true), ("b", "c", false), ("c", "d", false)];
        assert_eq!(check_ordered(pairs), Err(ConfigError::Exceeds("b", "c")));
    }
}
