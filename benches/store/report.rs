//! Figures under names, as tables or as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// One line of a table.
type Figures = Vec<(&'static str, f64)>;

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    sections: BTreeMap<&'static str, Vec<(String, Figures)>>,
}

impl Report {
    /// Adds a line; all lines of a section have the same columns.
    pub fn add(&mut self, section: &'static str, name: String, figures: Figures) {
        self.sections
            .entry(section)
            .or_default()
            .push((name, figures));
    }

    pub fn print(&self) {
        for (section, lines) in &self.sections {
            print!("\n{section:44}");
            for (column, _) in &lines[0].1 {
                print!(" {column:>16}");
            }
            println!();
            for (name, figures) in lines {
                print!("{name:44}");
                for (_, figure) in figures {
                    let digits = if figure.abs() < 1000.0 { 2 } else { 0 };
                    print!(" {figure:16.digits$}");
                }
                println!();
            }
        }
    }

    pub fn json(&self) -> Value {
        let line = |figures: &Figures| -> Map<String, Value> {
            (figures.iter())
                .map(|(column, figure)| ((*column).to_owned(), json!(figure)))
                .collect()
        };
        let section = |lines: &Vec<(String, Figures)>| -> Map<String, Value> {
            (lines.iter())
                .map(|(name, figures)| (name.clone(), line(figures).into()))
                .collect()
        };
        (self.sections.iter())
            .map(|(name, lines)| ((*name).to_owned(), section(lines).into()))
            .collect::<Map<String, Value>>()
            .into()
    }
}

/// The middle one; of two, the greater.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
