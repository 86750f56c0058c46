//! Collects what the sections find wrong with themselves.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{
    duration::format_duration,
    layers::Origins,
    problem::{Origin, Problem},
};

/// Given to each section in turn; remembers every complaint together with the value's source.
pub(super) struct Check<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(origins: &'a Origins) -> Self {
        Self {
            origins,
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn fail(&mut self, key: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            message: message.into(),
            fix: fix.into(),
        });
    }

    /// `value` lies in `range`.
    pub(super) fn within(&mut self, key: &str, value: u32, range: RangeInclusive<u32>) {
        if !range.contains(&value) {
            self.out_of_range(key, value, range.start(), range.end());
        }
    }

    /// `value` lies in `range`.
    pub(super) fn lasting(&mut self, key: &str, value: Duration, range: RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let [value, low, high] = [value, *range.start(), *range.end()].map(format_duration);
            self.out_of_range(key, value, low, high);
        }
    }

    /// `value` does not exceed the value of another setting.
    pub(super) fn at_most(&mut self, key: &str, value: u32, (other, bound): (&str, u32)) {
        if value > bound {
            self.fail(
                key,
                format!("{value} is more than {other}, which is {bound}"),
                format!("lower it to {bound} or less, or raise {other}"),
            );
        }
    }

    fn out_of_range(
        &mut self,
        key: &str,
        value: impl Display,
        low: impl Display,
        high: impl Display,
    ) {
        self.fail(
            key,
            format!("{value} is out of range"),
            format!("use a value from {low} to {high}"),
        );
    }
}
