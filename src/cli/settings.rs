//! The flags that set configuration: one for each setting of the catalogue that has one.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, builder::ValueParser};
use serde_json::Value;

use crate::config::{
    self, Config, Loaded, Sources,
    catalogue::{Kind, SETTINGS, Setting},
};

/// Sections whose settings most people never touch: only `--help` lists them, not `-h`.
const ADVANCED: [&str; 2] = ["overlay", "replication"];

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct SettingFlags {
    file: Option<PathBuf>,
    flags: Vec<(String, Vec<String>)>,
}

impl SettingFlags {
    /// The configuration, with the environment and the file below the flags.
    pub(super) fn load(self) -> Result<Loaded, config::Error> {
        let mut sources = Sources::from_environment();
        sources.flags = self.flags;
        sources.file = self.file;
        config::load(&sources)
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .help("Configuration file, TOML [env: STARLING_CONFIG]");
        let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
        SETTINGS
            .iter()
            .filter_map(|setting| Some(argument(setting, setting.flag?, &defaults)))
            .fold(command.arg(file), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>("config").cloned();
        self.flags = SETTINGS
            .iter()
            .filter_map(|setting| {
                let flag = setting.flag?;
                let values = matches.get_many::<String>(flag)?.cloned().collect();
                Some((flag.to_owned(), values))
            })
            .collect();
        Ok(())
    }
}

fn argument(setting: &Setting, flag: &'static str, defaults: &Value) -> Arg {
    let action = if setting.kind == Kind::List {
        ArgAction::Append
    } else {
        ArgAction::Set
    };
    let mut help = setting.help.to_owned();
    if let Some(default) = show(&defaults[setting.section()][setting.name()], setting.kind) {
        help.push_str(&format!(" [default: {default}]"));
    }
    // No parser for values: the configuration judges those of flags, variables and file alike, all at once.
    Arg::new(flag)
        .long(flag)
        .value_name(setting.value)
        .help(help)
        .help_heading(setting.section())
        .action(action)
        .hide_short_help(ADVANCED.contains(&setting.section()))
}

fn show(default: &Value, kind: Kind) -> Option<String> {
    match default {
        // The node's name, which is filled in on each machine: its help says with what.
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(on) if kind == Kind::Switch => Some(if *on { "on" } else { "off" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Some(items.join(" "))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
