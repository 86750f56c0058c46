//! What goes to standard output and standard error, and in which form.

use std::{
    fmt::Display,
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints `text` on standard output, with a newline at its end.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    // At the end of the process nobody would hear that the reader has gone.
    out.flush()?;
    Ok(())
}

/// Prints `value` as indented JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints `text` on standard error; there is nowhere to go with a failure of that. Errors carry what servers
/// and nodes have said, so control characters are replaced.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless_lines(text));
}

/// The reader of our output went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        // Whoever printed may have said in words of their own what for.
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Text of foreign origin, safe for a terminal: control characters would be obeyed.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// [`harmless`] text that may have several lines. A server's words have tabs in them.
pub(crate) fn harmless_lines(text: &str) -> String {
    let lines = text.lines().map(|line| harmless(&line.replace('\t', " ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// So many of what `word` names in the singular.
pub(crate) fn plural(count: impl Display + Copy, word: &str) -> String {
    let count = count.to_string();
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {word}{ending}")
}

/// The end of a PeerId: its beginning is the same for all.
pub(crate) fn short(peer_id: &str) -> String {
    const SHOWN: usize = 8;
    let count = peer_id.chars().count();
    // A mark in the place of one letter would shorten nothing.
    if count <= SHOWN + 1 {
        return harmless(peer_id);
    }
    let tail: String = peer_id.chars().skip(count - SHOWN).collect();
    format!("…{}", harmless(&tail))
}

#[cfg(test)]
mod tests {
    use super::plural;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(plural(0, "node"), "0 nodes");
        assert_eq!(plural(1_i64, "data link"), "1 data link");
        assert_eq!(plural(11_u64, "operation"), "11 operations");
    }
}
