//! Aligned columns.

use std::io::stdout;

use super::output::harmless;
use crate::telemetry::wants_colour;

/// How a cell is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("\x1b[32m"),
            Self::Warning => Some("\x1b[33m"),
            Self::Bad => Some("\x1b[31m"),
        }
    }
}

/// One cell. Control characters in it are replaced.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: harmless(&text.into()),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under heads. A head that begins with `>` aligns its column to the right.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As standard output wants it: in colour on a terminal.
    pub(crate) fn for_stdout(&self) -> String {
        self.render(wants_colour(&stdout()))
    }

    fn render(&self, colour: bool) -> String {
        let heads: Vec<Cell> = self
            .heads
            .iter()
            // The mark is for us; widths are those of what is shown.
            .map(|head| head.trim_start_matches('>').to_uppercase().into())
            .collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let widths: Vec<usize> = (0..heads.len())
            .map(|i| {
                lines()
                    .filter_map(|line| line.get(i))
                    .map(width)
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in lines() {
            let mut out = String::new();
            for (i, (cell, column)) in line.iter().zip(&widths).enumerate() {
                // Apart from the text: to a formatter colours are letters, and they take no room.
                let gap = " ".repeat(column - width(cell));
                let shown = match cell.tone.code().filter(|_| colour) {
                    Some(code) => format!("{code}{}\x1b[0m", cell.text),
                    None => cell.text.clone(),
                };
                let right = self.heads[i].starts_with('>');
                out.push_str(&if right { gap + &shown } else { shown + &gap });
                out.push_str("  ");
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Characters, not bytes; wide scripts may still be off by a little.
fn width(cell: &Cell) -> usize {
    cell.text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{Cell, Table, Tone};

    #[test]
    fn columns_are_aligned_and_plain_without_colour() {
        let mut table = Table::new(&["name", ">lag", "state"]);
        table.row([
            Cell::from("a"),
            Cell::from("12"),
            Cell::new("ready", Tone::Good),
        ]);
        table.row([
            Cell::from("größer"),
            Cell::from("3"),
            Cell::new("gone", Tone::Bad),
        ]);
        assert_eq!(
            table.render(false),
            "NAME    LAG  STATE\na        12  ready\ngrößer    3  gone\n"
        );
        assert!(table.render(true).contains("\x1b[31mgone\x1b[0m"));
    }

    #[test]
    fn a_foreign_name_cannot_steer_the_terminal() {
        let mut table = Table::new(&["name"]);
        table.row([Cell::from("\x1b[2Jx\ny")]);
        assert_eq!(table.render(false), "NAME\n\u{fffd}[2Jx\u{fffd}y\n");
    }
}
