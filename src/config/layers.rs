//! Flags, environment and file, each read into the same shape: values by key, and their origin.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use figment::{
    Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{
    catalogue::{self, Kind, PREFIX, SETTINGS, Setting},
    problem::{Origin, Problem},
    suggest,
    switch::parse_switch,
};

/// Where each value that somebody set came from.
pub(super) type Origins = BTreeMap<&'static str, Origin>;

/// What the commands read besides settings: which file has them, and the token of the node that they ask.
const OTHERS: [&str; 2] = ["STARLING_CONFIG", "STARLING_HTTP_TOKEN_FILE"];

/// A secret's file is a line, not a document.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// One source of settings.
#[derive(Debug, Default)]
pub(super) struct Layer {
    name: &'static str,
    values: BTreeMap<&'static str, Value>,
    pub(super) origins: Origins,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut sections = Dict::new();
        for (key, value) in &self.values {
            let Some((section, name)) = key.split_once('.') else {
                continue;
            };
            let section = sections
                .entry(section.to_owned())
                .or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, section) = section {
                section.insert(name.to_owned(), value.clone());
            }
        }
        Ok(Profile::Default.collect(sections))
    }
}

impl Layer {
    /// What the command line says: flag names without dashes, each with its values.
    pub(super) fn from_flags(flags: &[(String, Vec<String>)]) -> Self {
        let mut layer = Self {
            name: "flags",
            ..Self::default()
        };
        for (flag, texts) in flags {
            let setting = SETTINGS.iter().find(|setting| setting.flag == Some(flag));
            if let Some(setting) = setting {
                layer.set_texts(setting, texts, Origin::Flag { flag: flag.clone() });
            }
        }
        layer
    }

    /// What the environment says.
    pub(super) fn from_environment(variables: &BTreeMap<String, String>) -> Self {
        let mut layer = Self {
            name: "environment",
            ..Self::default()
        };
        let mut known = OTHERS.map(str::to_owned).to_vec();
        for setting in SETTINGS {
            let mut names = setting.variables();
            if setting.kind == Kind::Secret {
                names.extend(
                    setting
                        .variables()
                        .iter()
                        .map(|name| format!("{name}_FILE")),
                );
            }
            // An empty variable is an unset one: what compose files make of `${X:-}`.
            let set: Vec<&String> = names
                .iter()
                .filter(|name| variables.get(*name).is_some_and(|text| !text.is_empty()))
                .collect();
            if let [first, second, ..] = set.as_slice() {
                layer.problems.push(Problem {
                    key: setting.key.to_owned(),
                    origin: Origin::Environment {
                        variable: (*first).clone(),
                    },
                    message: format!("{second} says the same"),
                    fix: "set one of them".to_owned(),
                });
            }
            if let Some(name) = set.first() {
                layer.set_variable(setting, name, &variables[*name]);
            }
            known.extend(names);
        }
        layer.find_strangers(variables, &known);
        layer
    }

    /// What the file says.
    pub(super) fn from_file(path: &Path) -> Self {
        let mut layer = Self {
            name: "file",
            ..Self::default()
        };
        let whole = |message: String, fix: &str| Problem {
            key: "config".to_owned(),
            origin: Origin::File {
                path: path.to_owned(),
                key: String::new(),
            },
            message,
            fix: fix.to_owned(),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                // One problem among others: what flags and environment say is judged in the same run.
                layer.problems.push(whole(
                    format!("cannot be read: {error}"),
                    "name an existing file with --config or STARLING_CONFIG, or leave it out",
                ));
                return layer;
            }
        };
        match Toml::string(&text).data() {
            Ok(mut data) => {
                layer.set_table(path, &data.remove(&Profile::Default).unwrap_or_default());
            }
            Err(error) => layer.problems.push(whole(
                format!("is not TOML: {}", error.kind.to_string().trim_end()),
                "correct the line; `starling config show` prints a file in the right form",
            )),
        }
        layer
    }

    fn set_variable(&mut self, setting: &'static Setting, name: &str, text: &str) {
        let origin = Origin::Environment {
            variable: name.to_owned(),
        };
        if setting.kind == Kind::Secret && name.ends_with("_FILE") {
            self.set_secret_file(setting, text, origin);
        } else if setting.kind == Kind::List {
            // No item of a list, an address or a host name, has commas or blanks in it.
            let items: Vec<String> = text
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect();
            self.set_texts(setting, &items, origin);
        } else {
            self.set_texts(setting, &[text.to_owned()], origin);
        }
    }

    fn set_texts(&mut self, setting: &'static Setting, texts: &[String], origin: Origin) {
        let last = || texts.last().cloned().unwrap_or_default();
        let value = match setting.kind {
            Kind::Text | Kind::Secret => Value::from(last()),
            Kind::List => Value::from(texts.to_vec()),
            Kind::Number => match last().trim().parse::<u64>() {
                Ok(number) => Value::from(number),
                Err(_) => {
                    let message = format!("`{}` is not a whole number", last().escape_debug());
                    return self.refuse(setting.key, origin, message, "give a number such as 5");
                }
            },
            Kind::Switch => match parse_switch(&last()) {
                Some(on) => Value::from(on),
                None => {
                    let message = format!("`{}` is neither on nor off", last().escape_debug());
                    return self.refuse(setting.key, origin, message, "say on or off");
                }
            },
        };
        self.set(setting, value, origin);
    }

    fn set_table(&mut self, path: &Path, table: &Dict) {
        for (section, fields) in table {
            let origin = |key: &str| Origin::File {
                path: path.to_owned(),
                key: key.to_owned(),
            };
            let known = catalogue::sections().any(|known| known == section);
            let Value::Dict(_, fields) = fields else {
                // At the top of a file stand sections only. A setting that has lost its own is found by its
                // bare name.
                let message = if known {
                    "is a section, not a value"
                } else {
                    "unknown key"
                };
                let fix = if known {
                    format!("write [{section}] and the settings under it")
                } else {
                    suggest::for_key(section)
                };
                self.refuse(section, origin(section), message.to_owned(), &fix);
                continue;
            };
            if !known {
                let fix = format!(
                    "the sections are {}",
                    catalogue::sections().collect::<Vec<_>>().join(", ")
                );
                self.refuse(section, origin(section), "unknown section".to_owned(), &fix);
                continue;
            }
            for (name, value) in fields {
                let key = format!("{section}.{name}");
                self.set_field(&key, value, origin(&key));
            }
        }
    }

    fn set_field(&mut self, key: &str, value: &Value, origin: Origin) {
        let secret = key
            .strip_suffix("_file")
            .and_then(catalogue::find)
            .filter(|setting| setting.kind == Kind::Secret);
        match (catalogue::find(key), secret, value) {
            // A file's values have types; whether one is the right one shows when all layers are merged.
            (Some(setting), ..) => self.set(setting, value.clone(), origin),
            // Keys come in order, so the value's before its file's. Which of two secrets is meant is not guessed.
            (None, Some(setting), _) if self.values.contains_key(setting.key) => {
                let given = self.origins[setting.key].clone();
                let message = format!("{key} says the same");
                self.refuse(setting.key, given, message, "set one of them");
            }
            (None, Some(setting), Value::String(_, file)) => {
                self.set_secret_file(setting, file, origin);
            }
            (None, Some(_), _) => {
                self.refuse(
                    key,
                    origin,
                    "is not a path".to_owned(),
                    "name a file, in quotes",
                );
            }
            (None, None, _) => {
                self.refuse(
                    key,
                    origin,
                    "unknown key".to_owned(),
                    &suggest::for_key(key),
                );
            }
        }
    }

    fn set_secret_file(&mut self, setting: &'static Setting, file: &str, origin: Origin) {
        match read_secret(Path::new(file)) {
            Ok(text) => self.set(
                setting,
                // Editors and secret stores end a line; blanks may belong to the secret.
                Value::from(text.trim_end_matches(['\r', '\n'])),
                origin,
            ),
            Err(error) => {
                let message = format!("cannot read `{file}`: {error}");
                let fix = "name a readable file that holds the value and nothing else";
                self.refuse(setting.key, origin, message, fix);
            }
        }
    }

    fn set(&mut self, setting: &'static Setting, value: Value, origin: Origin) {
        self.values.insert(setting.key, value);
        self.origins.insert(setting.key, origin);
    }

    fn refuse(&mut self, key: &str, origin: Origin, message: String, fix: &str) {
        let problem = Problem {
            key: key.to_owned(),
            origin,
            message,
            fix: fix.to_owned(),
        };
        self.problems.push(problem);
    }

    /// Variables that begin like ours and are none. One with a section in it can only be a
    /// mistake; another may be somebody else's, and is only remarked on.
    fn find_strangers(&mut self, variables: &BTreeMap<String, String>, known: &[String]) {
        for (name, text) in variables {
            let Some(tail) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if text.is_empty() || known.contains(name) || is_service_link(tail) {
                continue;
            }
            let key = tail.to_ascii_lowercase().replacen("__", ".", 1);
            let fix = suggest::for_variable(&key);
            if tail.contains("__") {
                let origin = Origin::Environment {
                    variable: name.clone(),
                };
                self.refuse(&key, origin, "unknown key".to_owned(), &fix);
            } else {
                self.warnings
                    .push(format!("unknown environment variable {name}: {fix}"));
            }
        }
    }
}

/// The bound is on what is read: a pipe or a device says nothing of its size.
fn read_secret(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is too large for a secret"));
    }
    Ok(text)
}

/// Kubernetes announces a service called `starling` in variables such as `STARLING_SERVICE_HOST`
/// and `STARLING_PORT_7400_TCP`.
fn is_service_link(tail: &str) -> bool {
    tail == "PORT"
        || ["PORT_", "SERVICE_"]
            .iter()
            .any(|start| tail.starts_with(start))
        || ["_SERVICE_", "_PORT_"]
            .iter()
            .any(|inside| tail.contains(inside))
        || tail.ends_with("_PORT")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::{Layer, SECRET_BYTES_MAX, is_service_link, read_secret};

    #[test]
    fn what_the_commands_read_of_the_environment_is_known() {
        let says = |name: &str| {
            let variables = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            let layer = Layer::from_environment(&variables);
            (layer.warnings.len(), layer.problems.len())
        };
        assert_eq!(says("STARLING_HTTP_TOKEN_FILE"), (0, 0));
        assert_eq!(says("STARLING_CONFIG"), (0, 0));
        assert_eq!(says("STARLING_HTTP_TOKEN_FILES"), (1, 0));
    }

    #[test]
    fn a_secret_is_read_up_to_its_bound_whatever_it_is_read_from() {
        // It says that it is empty, and has no end.
        let error = read_secret(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let bound = usize::try_from(SECRET_BYTES_MAX).unwrap();
        std::fs::write(&path, "s".repeat(bound)).unwrap();
        assert_eq!(read_secret(&path).unwrap().len(), bound);
    }

    #[test]
    fn variables_of_a_service_called_starling_are_not_ours() {
        for tail in [
            "PORT",
            "PORT_7400_TCP_ADDR",
            "SERVICE_HOST",
            "HTTP_SERVICE_PORT",
            "HTTP_PORT",
        ] {
            assert!(is_service_link(tail), "{tail}");
        }
        assert!(!is_service_link("CLUSTR"));
    }
}
