//! The system user that runs the server.
//!
//! PostgreSQL refuses to run as root. Started by root, we run it as an ordinary user and give that
//! user the server's folders; started by an ordinary user, we run it as that user.

use std::{
    env, fs, io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid, User};

use super::{binaries::Binaries, error::Error};

/// A system user, and whether becoming it takes a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// Its name, as `peer` authentication will see it.
    pub(super) name: String,
    uid: Uid,
    gid: Gid,
    home: PathBuf,
    switch: bool,
}

impl Account {
    /// Chooses the user.
    ///
    /// As root: `run_as` if configured; else the owner of an existing server folder, so that a user
    /// `postgres` created later changes nothing; else `postgres` if there is one; else the owner of
    /// the node's data directory; else `nobody`. Never root.
    pub(super) fn choose(
        run_as: Option<&str>,
        server_dir: &Path,
        data_dir: &Path,
    ) -> Result<Self, Error> {
        let current = Uid::effective();
        // Only root can become somebody else.
        if !current.is_root() {
            let user = by_uid(current)?;
            return match run_as {
                Some(wanted) if wanted != user.name => Err(Error::NotRoot {
                    wanted: wanted.to_owned(),
                    current: user.name,
                }),
                _ => Ok(Self::of(user, false)),
            };
        }
        if let Some(wanted) = run_as {
            let user = by_name(wanted)?.ok_or_else(|| Error::NoAccount {
                reason: format!("there is no user {wanted}"),
            })?;
            return Self::unprivileged(user);
        }
        let owner = |dir: &Path| -> Option<User> {
            let uid = fs::metadata(dir).ok()?.uid();
            // What root owns names nobody who could run a server.
            (uid != 0)
                .then(|| User::from_uid(Uid::from_raw(uid)).ok().flatten())
                .flatten()
        };
        if let Some(user) = owner(server_dir) {
            return Self::unprivileged(user);
        }
        if let Some(user) = by_name("postgres")? {
            return Self::unprivileged(user);
        }
        if let Some(user) = owner(data_dir) {
            return Self::unprivileged(user);
        }
        let user = by_name("nobody")?.ok_or_else(|| Error::NoAccount {
            reason: "there is neither a user postgres nor a user nobody".to_owned(),
        })?;
        Self::unprivileged(user)
    }

    fn unprivileged(user: User) -> Result<Self, Error> {
        if user.uid.is_root() {
            return Err(Error::NoAccount {
                reason: "PostgreSQL does not run as root".to_owned(),
            });
        }
        Ok(Self::of(user, true))
    }

    fn of(user: User, switch: bool) -> Self {
        Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            home: user.dir,
            switch,
        }
    }

    /// A command that runs `program` as this user, in `dir`, in a clean environment.
    ///
    /// Switching drops all supplementary groups: the server needs none, and must not keep root's.
    /// Settings that PostgreSQL would take from the environment are removed, and messages are in
    /// English, because we read them.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("PG") || name_text.starts_with("LC_") {
                command.env_remove(&name);
            }
        }
        command.env_remove("LANGUAGE").env("LC_ALL", "C");
        if self.switch {
            // The server's own connections to peers look for certificates at home; where they may not
            // look, they go on without TLS.
            command.env("HOME", &self.home);
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }

    /// Fails unless this user can run the programs and enter `dir`; opens `data_dir`, which is
    /// ours, to passers-by when that is what is missing.
    pub(super) fn require_access(
        &self,
        binaries: &Binaries,
        data_dir: &Path,
        dir: &Path,
    ) -> Result<(), Error> {
        let can_run_in = |place: &Path| {
            let mut command = self.command(&binaries.postgres(), place);
            command
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        };
        // Where everybody may be, so that what fails here is the program and not the way to the folder.
        can_run_in(Path::new("/")).map_err(|error| Error::BinariesUnusable {
            dir: binaries.dir.clone(),
            reason: format!("user {} cannot run postgres: {error}", self.name),
        })?;
        if can_run_in(dir).is_ok() {
            return Ok(());
        }
        if self.switch {
            // Entering is not reading: what lies inside keeps its own modes.
            let open = |meta: fs::Metadata| {
                let mode = meta.permissions().mode() | 0o011;
                fs::set_permissions(data_dir, fs::Permissions::from_mode(mode))
            };
            fs::metadata(data_dir)
                .and_then(open)
                .map_err(|error| Error::io("open", data_dir, error))?;
        }
        can_run_in(dir)
            .map(|_| ())
            .map_err(|error| match self.closed_folder(dir) {
                Some(folder) => Error::FolderClosed {
                    account: self.name.clone(),
                    folder,
                },
                None => Error::io("enter", dir, error),
            })
    }

    /// Makes `dir` if need be, owned by this user and closed to all others but root.
    pub(super) fn own_folder(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        self.own(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(|error| Error::io("set the mode of", dir, error))
    }

    /// Gives one file or folder to this user.
    pub(super) fn own(&self, path: &Path) -> Result<(), Error> {
        if !self.switch {
            return Ok(());
        }
        chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|error| Error::io("change the owner of", path, error))
    }

    /// Gives a whole tree to this user, if its top is not already. The top goes last, so that an
    /// interrupted change is taken up again.
    pub(super) fn own_tree(&self, top: &Path) -> Result<(), Error> {
        if !self.switch || self.owns(top) {
            return Ok(());
        }
        let failed = |error: io::Error| Error::io("change the owner of the files in", top, error);
        let mut folders = vec![top.to_owned()];
        let mut seen = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_symlink() {
                    // The link itself: what it leads to may lie outside of the tree.
                    std::os::unix::fs::lchown(
                        entry.path(),
                        Some(self.uid.as_raw()),
                        Some(self.gid.as_raw()),
                    )
                    .map_err(failed)?;
                } else {
                    self.own(&entry.path())?;
                }
            }
            seen.push(folder);
        }
        seen.iter().rev().try_for_each(|folder| self.own(folder))
    }

    /// Whether this user owns `path` and it is no symbolic link.
    pub(super) fn owns(&self, path: &Path) -> bool {
        fs::symlink_metadata(path)
            .is_ok_and(|meta| meta.uid() == self.uid.as_raw() && !meta.is_symlink())
    }

    /// The user's number, for names that must differ between users.
    pub(super) fn number(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The first folder on the way to `dir` whose mode does not let this user pass.
    fn closed_folder(&self, dir: &Path) -> Option<PathBuf> {
        let mut way: Vec<&Path> = dir.ancestors().collect();
        way.reverse();
        way.into_iter()
            .find(|folder| {
                fs::metadata(folder).is_ok_and(|meta| {
                    // As for the kernel: the first class that fits decides, though another may allow more.
                    let bit = if meta.uid() == self.uid.as_raw() {
                        0o100
                    } else if meta.gid() == self.gid.as_raw() {
                        0o010
                    } else {
                        0o001
                    };
                    meta.mode() & bit == 0
                })
            })
            .map(Path::to_owned)
    }
}

fn by_name(name: &str) -> Result<Option<User>, Error> {
    User::from_name(name).map_err(|error| Error::NoAccount {
        reason: format!("cannot look up user {name}: {error}"),
    })
}

fn by_uid(uid: Uid) -> Result<User, Error> {
    // PostgreSQL itself insists on a name: `initdb` and `peer` authentication look it up.
    User::from_uid(uid)
        .ok()
        .flatten()
        .ok_or_else(|| Error::NoAccount {
            reason: format!("the user with number {uid} has no name on this system (/etc/passwd)"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = Account::choose(None, &dir.path().join("postgres"), dir.path()).unwrap();
        assert_ne!(chosen.number(), 0);
        let error = Account::choose(Some("root"), dir.path(), dir.path()).unwrap_err();
        assert!(
            matches!(error, Error::NoAccount { .. } | Error::NotRoot { .. }),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_user_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Account::choose(Some("no-such-user"), dir.path(), dir.path()).unwrap_err();
        assert!(error.to_string().contains("no-such-user"), "{error}");
    }

    #[test]
    fn the_owner_of_an_existing_server_folder_goes_on_running_it() {
        if !Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let server = dir.path().join("postgres");
        fs::create_dir(&server).unwrap();
        chown(&server, Some(nobody.uid.as_raw()), None).unwrap();
        assert_eq!(
            Account::choose(None, &server, dir.path()).unwrap().name,
            "nobody"
        );
    }

    #[test]
    fn the_closed_folder_is_named() {
        if !Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = dir.path().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let account = Account::choose(None, &inner, &inner).unwrap();
        assert_eq!(account.closed_folder(&inner), Some(closed));
    }
}
