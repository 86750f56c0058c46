//! Finds PostgreSQL's server programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{error::Error, version::Version};

/// Folders that distributions use and do not put on `PATH`. A `*` stands for a version; where
/// several match, the newest goes first.
const USUAL_FOLDERS: [&str; 10] = [
    "/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
    "/usr/pgsql-*/bin",                                   // RPMs of postgresql.org
    "/usr/lib/postgresql*/bin",                           // openSUSE
    "/usr/lib64/postgresql-*/bin",                        // Gentoo
    "/usr/libexec/postgresql*",                           // Alpine
    "/usr/local/pgsql/bin",                               // built from source
    "/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
    "/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
];

/// The package manager's command per family of systems, by `ID` or `ID_LIKE` of os-release.
const INSTALL_COMMANDS: [(&str, &str); 8] = [
    ("debian", "apt-get install postgresql"),
    ("ubuntu", "apt-get install postgresql"),
    ("fedora", "dnf install postgresql-server"),
    ("rhel", "dnf install postgresql-server"),
    ("alpine", "apk add postgresql"),
    ("arch", "pacman -S postgresql"),
    ("suse", "zypper install postgresql-server"),
    ("gentoo", "emerge dev-db/postgresql"),
];

/// A folder with `initdb` and `postgres` of a version that we support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The version that `postgres` says it is.
    pub(super) version: Version,
}

impl Binaries {
    /// Finds the programs: in `named` if given, else by `pg_config`, on `PATH` and in the usual
    /// folders, in this order.
    ///
    /// With `data_major`, the major version of an existing data directory, programs of that version
    /// are preferred to others: a newer PostgreSQL installed beside the one in use changes nothing.
    pub(super) fn find(named: Option<&Path>, data_major: Option<u32>) -> Result<Self, Error> {
        if let Some(dir) = named {
            let found = Self::inspect(dir).map_err(|reason| Error::BinariesUnusable {
                dir: dir.to_owned(),
                reason,
            })?;
            return found.new_enough();
        }
        let looked = candidates();
        let found: Vec<_> = looked
            .iter()
            .filter_map(|dir| Self::inspect(dir).ok())
            .collect();
        // However old: it is refused by its version then, which says more than that others cannot read it.
        let matching = found
            .iter()
            .find(|found| Some(found.version.major) == data_major);
        let usable = found
            .iter()
            .find(|found| found.version.major >= Version::OLDEST_MAJOR);
        if let Some(best) = matching.or(usable) {
            return best.clone().new_enough();
        }
        match found.into_iter().max_by_key(|found| found.version) {
            Some(newest) => newest.new_enough(),
            None => Err(Error::BinariesMissing {
                looked,
                install: install_command(),
            }),
        }
    }

    /// The program that makes a data directory.
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    /// The server.
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    fn inspect(dir: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !dir.join(program).is_file() {
                return Err(format!("there is no {program}"));
            }
        }
        // Absolute, because the programs are started in another working directory.
        let dir = dir.canonicalize().map_err(|error| error.to_string())?;
        let output = Command::new(dir.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|error| format!("postgres does not run: {error}"))?;
        let banner = String::from_utf8_lossy(&output.stdout);
        let version = Version::parse_banner(&banner).ok_or_else(|| {
            let words = String::from_utf8_lossy(&output.stderr);
            format!(
                "postgres --version does not say a version ({})",
                words.trim()
            )
        })?;
        Ok(Self { dir, version })
    }

    fn new_enough(self) -> Result<Self, Error> {
        if self.version.major >= Version::OLDEST_MAJOR {
            return Ok(self);
        }
        Err(Error::BinariesTooOld {
            found: self.version,
            dir: self.dir,
            install: install_command(),
        })
    }
}

/// Every folder worth a look, best first, each once.
fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !dir.is_empty() {
            folders.push(PathBuf::from(dir));
        }
    }
    // Those with a server only: where nothing is found, the error lists all that was searched.
    if let Some(path) = env::var_os("PATH") {
        folders.extend(env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()));
    }
    folders.extend(
        USUAL_FOLDERS
            .iter()
            .flat_map(|pattern| expand(Path::new(pattern))),
    );
    let mut unique: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !unique.contains(&folder) {
            unique.push(folder);
        }
    }
    unique
}

/// The folders that match `pattern`, newest version first; the pattern itself when none does, so
/// that a report of where we looked shows it.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let is_wild =
        |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().contains('*');
    let Some(position) = pattern.components().position(|part| is_wild(&part)) else {
        return vec![pattern.to_owned()];
    };
    let base: PathBuf = pattern.components().take(position).collect();
    let rest: PathBuf = pattern.components().skip(position + 1).collect();
    let wild: String = pattern
        .components()
        .nth(position)
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .unwrap_or_default();
    let (prefix, suffix) = wild.split_once('*').unwrap_or((&wild, ""));
    let mut matches: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(&base)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let numbers: Option<Vec<u32>> = version.split('.').map(|n| n.parse().ok()).collect();
            Some((numbers?, base.join(name).join(&rest)))
        })
        .collect();
    // By number: as text 9.6 would be newer than 17.
    matches.sort_by(|a, b| b.cmp(a));
    if matches.is_empty() {
        return vec![pattern.to_owned()];
    }
    matches.into_iter().map(|(_, folder)| folder).collect()
}

/// The command that installs PostgreSQL on this system.
fn install_command() -> String {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17".to_owned();
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    install_command_of(&release).to_owned()
}

fn install_command_of(os_release: &str) -> &'static str {
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    families
        .iter()
        .find_map(|family| INSTALL_COMMANDS.iter().find(|(id, _)| id == family))
        .map_or(
            "your package manager (PostgreSQL 15 or newer, server package)",
            |(_, c)| *c,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes stand-ins for the two programs that only know how to say a version.
    fn plant(dir: &Path, version: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(dir).unwrap();
        for program in ["initdb", "postgres"] {
            let path = dir.join(program);
            fs::write(
                &path,
                format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn the_newest_usual_folder_goes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "17", "not-a-version"] {
            fs::create_dir_all(root.path().join(version).join("bin")).unwrap();
        }
        let found = expand(&root.path().join("*/bin"));
        let expected: Vec<_> = ["17", "15", "9.6"]
            .iter()
            .map(|v| root.path().join(v).join("bin"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_pattern_without_a_match_is_reported_as_it_is() {
        let pattern = Path::new("/nonexistent/postgresql/*/bin");
        assert_eq!(expand(pattern), vec![pattern.to_owned()]);
    }

    #[test]
    fn a_named_folder_without_the_programs_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(dir.path()), None).unwrap_err();
        assert!(matches!(error, Error::BinariesUnusable { .. }), "{error}");
        assert!(error.to_string().contains("there is no initdb"), "{error}");
    }

    #[test]
    fn an_old_version_is_refused_with_the_installing_command() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), "14.9");
        let error = Binaries::find(Some(dir.path()), None).unwrap_err();
        assert!(matches!(error, Error::BinariesTooOld { .. }), "{error}");
        assert!(error.to_string().contains("14.9"), "{error}");
    }

    #[test]
    fn a_named_folder_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), "18.4");
        let found = Binaries::find(Some(dir.path()), Some(15)).unwrap();
        assert_eq!(
            found.version,
            Version {
                major: 18,
                minor: 4
            }
        );
    }

    #[test]
    fn the_installing_command_fits_the_system() {
        assert_eq!(
            install_command_of("ID=debian\n"),
            "apt-get install postgresql"
        );
        assert_eq!(
            install_command_of("NAME=x\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            "dnf install postgresql-server"
        );
        assert!(install_command_of("").contains("15 or newer"));
    }
}
