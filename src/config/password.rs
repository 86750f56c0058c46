//! Where libpq looks for a password that the connection string lacks.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio_postgres::config::Host;
use tracing::warn;

use super::secret::Secret;

/// `PGPASSWORD` and the password file, as libpq knows them; the driver itself reads neither.
#[derive(Debug, Default)]
pub struct PasswordSources {
    password: Option<Secret>,
    file: Option<PathBuf>,
}

impl PasswordSources {
    /// What this process's environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// What the variables given by `lookup` name.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let password = lookup("PGPASSWORD").and_then(|text| text.into_string().ok());
        let file = lookup("PGPASSFILE")
            .map(PathBuf::from)
            .or_else(|| lookup("HOME").map(|home| Path::new(&home).join(".pgpass")));
        Self {
            password: password.filter(|text| !text.is_empty()).map(Secret::new),
            file,
        }
    }

    /// The password for `config`, if either place has one.
    #[must_use]
    pub fn find(&self, config: &tokio_postgres::Config) -> Option<Secret> {
        self.password.clone().or_else(|| self.find_in_file(config))
    }

    fn find_in_file(&self, config: &tokio_postgres::Config) -> Option<Secret> {
        let file = self.file.as_deref()?;
        let metadata = std::fs::metadata(file).ok()?;
        // libpq does not use such a file either.
        if metadata.permissions().mode() & 0o077 != 0 {
            warn!(file = %file.display(), "password file ignored: others can read it; chmod 600 mends it");
            return None;
        }
        let addresses = config.get_hostaddrs();
        let host = match (config.get_hosts().first(), addresses.first()) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (None, Some(address)) => address.to_string(),
            // libpq looks for the default socket directory under this name.
            (Some(Host::Unix(_)), _) | (None, None) => "localhost".to_owned(),
        };
        let port = config
            .get_ports()
            .first()
            .copied()
            .unwrap_or(5432)
            .to_string();
        let user = config.get_user().unwrap_or_default();
        // A database that is not named has the user's name, to libpq and to the server.
        let wanted = [&*host, &port, config.get_dbname().unwrap_or(user), user];
        find_line(&std::fs::read_to_string(file).ok()?, wanted)
    }
}

/// The password of the first line of a password file whose four fields match.
fn find_line(content: &str, wanted: [&str; 4]) -> Option<Secret> {
    content
        .lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = split_fields(line)?;
            let (password, pattern) = fields.split_last()?;
            let matches = pattern
                .iter()
                .zip(wanted)
                .all(|(field, wanted)| field == "*" || field == wanted);
            matches.then(|| Secret::new(password.clone()))
        })
}

/// Five fields with colons between; a backslash keeps the next character as it is.
fn split_fields(line: &str) -> Option<[String; 5]> {
    let mut fields: [String; 5] = Default::default();
    let mut at = 0;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => fields[at].extend(chars.next()),
            // The fifth is the rest of the line, as for libpq: a password may have colons.
            ':' if at < 4 => at += 1,
            c => fields[at].push(c),
        }
    }
    (at == 4).then_some(fields)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{PasswordSources, Secret, find_line};

    #[test]
    fn the_first_matching_line_of_a_password_file_counts() {
        let file =
            "# a comment\nbroken line\nh:5432:d:other:no\n*:*:d:u:a\\:b\\\\c\nh:5432:d:u:late\n";
        let found = find_line(file, ["h", "5432", "d", "u"]);
        assert_eq!(found, Some(Secret::new("a:b\\c")));
        assert_eq!(find_line(file, ["h", "5432", "d", "nobody"]), None);
    }

    #[test]
    fn a_server_without_a_name_is_looked_up_by_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "localhost:*:*:*:no\n192.0.2.7:*:*:*:geheim\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let sources = PasswordSources::from_variables(|name| {
            (name == "PGPASSFILE").then(|| path.clone().into_os_string())
        });
        let config = "hostaddr=192.0.2.7 user=u".parse().unwrap();
        assert_eq!(sources.find(&config), Some(Secret::new("geheim")));
    }

    #[test]
    fn the_variable_beats_the_file_and_an_empty_one_is_none() {
        let config: tokio_postgres::Config = "postgresql://u@h/d".parse().unwrap();
        let set = |text: &'static str| {
            PasswordSources::from_variables(move |name| (name == "PGPASSWORD").then(|| text.into()))
        };
        assert_eq!(set("geheim").find(&config), Some(Secret::new("geheim")));
        assert_eq!(set("").find(&config), None);
    }
}
