//! Prints a configuration: as a file that can be used, or as JSON.

use serde_json::{Map, Value, json};

use super::{
    catalogue::{self, SETTINGS},
    load::Loaded,
    problem::Origin,
    secret::MASK,
};

/// The width of lines before their remarks, at most: a longer line pushes its own remark aside and not all of
/// them. Of a terminal of 80 columns more than thirty are left for where the value comes from.
const REMARKS_AT_MOST: usize = 44;

/// As a configuration file; each line says where the value came from. Secrets are masked.
#[must_use]
pub fn to_toml(loaded: &Loaded) -> String {
    let values = values(loaded);
    let lines: Vec<(&str, String)> = SETTINGS
        .iter()
        .map(|setting| {
            let value = &values[setting.section()][setting.name()];
            // JSON's strings, numbers, booleans and lists of them are TOML's.
            let line = match value {
                // TOML has no word for nothing.
                Value::Null => format!("# {} =", setting.name()),
                // What is masked is no value: the file would set it.
                Value::String(text) if text.contains(MASK) => {
                    format!("# {} = {value}", setting.name())
                }
                value => format!("{} = {value}", setting.name()),
            };
            (setting.key, line)
        })
        .collect();
    let width = lines
        .iter()
        .map(|(_, line)| line.chars().count())
        .max()
        .unwrap_or(0)
        .min(REMARKS_AT_MOST);
    let mut text = String::new();
    for section in catalogue::sections() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[{section}]\n"));
        for (key, line) in lines
            .iter()
            .filter(|(key, _)| key.split('.').next() == Some(section))
        {
            let origin = loaded.origins.get(key).unwrap_or(&Origin::Default);
            text.push_str(&format!("{line:width$}  # {origin}\n"));
        }
    }
    text
}

/// As JSON: the sections, and under `origins` where each value came from. Secrets are masked.
#[must_use]
pub fn to_json(loaded: &Loaded) -> Value {
    let mut value = values(loaded);
    let origins: Map<String, Value> = SETTINGS
        .iter()
        .map(|setting| {
            let origin = loaded.origins.get(setting.key).unwrap_or(&Origin::Default);
            (setting.key.to_owned(), json!(origin.to_string()))
        })
        .collect();
    value["origins"] = Value::Object(origins);
    value
}

fn values(loaded: &Loaded) -> Value {
    // Nothing in it can fail to serialise; an empty object would only print less.
    serde_json::to_value(&loaded.config).unwrap_or_else(|_| json!({}))
}
