//! At rest, everybody reaches everybody (R7): no partition and no crash leaves islands.

use crate::Graph;

pub(super) fn check(graph: &Graph) -> Result<(), String> {
    match graph.components().as_slice() {
        [] | [_] => Ok(()),
        [largest, rest @ ..] => Err(format!(
            "whole: {} components, {} nodes outside the largest of {largest}",
            rest.len() + 1,
            rest.iter().sum::<usize>()
        )),
    }
}
