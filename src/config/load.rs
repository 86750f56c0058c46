//! Merges the layers into one validated [`Config`].

use std::{collections::BTreeMap, path::PathBuf};

use figment::{Figment, providers::Serialized, value::Value};

use super::{
    Config, Secret,
    catalogue::{Kind, SETTINGS, Setting},
    check::Check,
    layers::{Layer, Origins},
    problem::{Error, Origin, Problem},
};

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags, without their dashes, and the values given to each.
    pub flags: Vec<(String, Vec<String>)>,
    /// Environment variables; those that do not begin with `STARLING_` are ignored.
    pub environment: BTreeMap<String, String>,
    /// The configuration file of `--config`; without it `STARLING_CONFIG` counts.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Only this process's environment.
    #[must_use]
    pub fn from_environment() -> Self {
        // A variable that is not UTF-8 is kept, garbled, so that its setting is refused by name.
        let environment = std::env::vars_os()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text))
            .filter(|(name, _)| name.starts_with(super::catalogue::PREFIX))
            .map(|(name, text)| (name, text.to_string_lossy().into_owned()))
            .collect();
        Self {
            environment,
            ..Self::default()
        }
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each value that is not the default came from.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What looks like a mistake and is none for certain.
    pub warnings: Vec<String>,
}

/// What the layers say together, and what is wrong with single values.
struct Merged {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    /// Lists that have lost what cannot be read of them; the rest is still to be judged.
    sifted: Vec<&'static str>,
}

/// Flag > environment > file > default.
fn merge(sources: &Sources) -> Merged {
    let file = sources.file.clone().or_else(|| {
        sources
            .environment
            .get("STARLING_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    // From the weakest to the strongest.
    let layers: Vec<Layer> = file
        .iter()
        .map(|path| Layer::from_file(path))
        .chain([
            Layer::from_environment(&sources.environment),
            Layer::from_flags(&sources.flags),
        ])
        .collect();

    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    let mut origins = Origins::new();
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    for mut layer in layers {
        origins.append(&mut layer.origins);
        problems.append(&mut layer.problems);
        warnings.append(&mut layer.warnings);
        figment = figment.merge(layer);
    }

    let (config, sifted) = extract(figment, &origins, &mut problems);
    Merged {
        config,
        origins,
        problems,
        warnings,
        sifted,
    }
}

/// The password for a server that is named elsewhere, on the command line or by a running node: of all
/// settings only this one counts, and only what is wrong with it.
///
/// # Errors
///
/// The password's file cannot be read, or it is given twice.
pub fn store_password(sources: &Sources) -> Result<Option<Secret>, Error> {
    let Merged {
        config,
        mut problems,
        ..
    } = merge(sources);
    // A mistake elsewhere keeps nobody from examining a server.
    problems.retain(|problem| problem.key == "store.password");
    if problems.is_empty() {
        Ok(config.store.password)
    } else {
        Err(Error { problems })
    }
}

/// Merges and validates: flag > environment > file > default.
///
/// # Errors
///
/// Names everything that is wrong, not just the first thing.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let Merged {
        mut config,
        origins,
        mut problems,
        warnings,
        sifted,
    } = merge(sources);
    // First the defaults are fitted to what was set: only what somebody set is to blame then.
    config.resolve(&origins);
    let mut check = Check::new(&origins);
    config.check(&mut check);
    // A value of the wrong type was replaced by the default, which has nothing to answer for.
    let replaced = problems.iter().map(|problem| problem.key.clone());
    let unusable: Vec<String> = replaced
        .filter(|key| !sifted.contains(&key.as_str()))
        .collect();
    problems.extend(
        check
            .into_problems()
            .into_iter()
            .filter(|new| !unusable.contains(&new.key)),
    );
    if problems.is_empty() {
        Ok(Loaded {
            config,
            origins,
            warnings,
        })
    } else {
        Err(Error { problems })
    }
}

/// Reads the merged values; one of the wrong type is reported and its default taken, so that the
/// next one is found too. Of a list only the wrong items go: the keys of lists that have others are returned, too.
fn extract(
    mut figment: Figment,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) -> (Config, Vec<&'static str>) {
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let mut sifted = Vec::new();
    // Each round mends one setting, so there are no more rounds than settings.
    for _ in SETTINGS {
        let error = match figment.extract::<Config>() {
            Ok(config) => return (config, sifted),
            Err(error) => error,
        };
        let path = error.path.join(".");
        let setting = SETTINGS.iter().find(|setting| {
            path.strip_prefix(setting.key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let Some(setting) = setting else { break };
        let (errors, usable) = sift(&figment, &defaults, setting, error);
        problems.extend(
            errors
                .iter()
                .map(|error| complaint(setting, origins, error)),
        );
        if !usable.is_empty() {
            sifted.push(setting.key);
            figment = figment.merge((setting.key, usable));
        } else if let Ok(default) = defaults.find_value(setting.key) {
            figment = figment.merge((setting.key, default));
        }
    }
    (Config::default(), sifted)
}

/// What is wrong with each item of a list, and the items that can be read. Of any other value there are no
/// items: `error` is what is wrong with it.
fn sift(
    figment: &Figment,
    defaults: &Figment,
    setting: &Setting,
    error: figment::Error,
) -> (Vec<figment::Error>, Vec<Value>) {
    let mut errors = Vec::new();
    let mut usable = Vec::new();
    if setting.kind == Kind::List
        && let Ok(Value::Array(_, items)) = figment.find_value(setting.key)
    {
        for item in items {
            let alone = defaults.clone().merge((setting.key, vec![item.clone()]));
            match alone.extract::<Config>() {
                Ok(_) => usable.push(item),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() {
        (vec![error], Vec::new())
    } else {
        (errors, usable)
    }
}

fn complaint(setting: &Setting, origins: &Origins, error: &figment::Error) -> Problem {
    Problem {
        key: setting.key.to_owned(),
        origin: origins.get(setting.key).cloned().unwrap_or(Origin::Default),
        message: match (setting.kind, &error.kind) {
            // Its own complaints are written not to repeat it; the format's would.
            (Kind::Secret, figment::error::Kind::Message(message)) => message.clone(),
            (Kind::Secret, _) => "is not a text".to_owned(),
            (_, kind) => kind.to_string(),
        },
        fix: format!("give {} ({})", setting.value, setting.help),
    }
}

impl Config {
    /// Fills in what depends on the machine or on other settings.
    fn resolve(&mut self, origins: &Origins) {
        self.node.resolve();
        self.network.resolve();
        self.overlay.resolve(origins);
        self.replication.resolve(origins);
    }

    fn check(&self, check: &mut Check<'_>) {
        self.node.check(check);
        self.network.check(check);
        self.overlay.check(check);
        self.store.check(check);
        self.replication.check(check);
        self.http.check(check);
        self.log.check(check);
    }
}
