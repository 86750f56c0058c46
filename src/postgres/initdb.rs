//! Makes the data directory, whole or not at all.

use std::fs::{self, File};

use super::{
    SUPERUSER,
    account::Account,
    binaries::Binaries,
    conf,
    diagnosis::{self, Context},
    error::Error,
    layout::{Layout, UNFINISHED},
    process_group::ProcessGroup,
};

/// What is in the place of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or an empty folder.
    Nothing,
    /// A data directory that we made, by this major version.
    Ours(u32),
}

/// Looks at the data directory; an error if it is something that we must not touch.
pub(super) fn inspect(layout: &Layout) -> Result<Found, Error> {
    let data = &layout.data;
    match fs::read_dir(data) {
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(Found::Nothing);
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(Error::io("read", data, error)),
    }
    let not_ours = |reason| Error::NotOurs {
        dir: data.clone(),
        reason,
    };
    let version = fs::read_to_string(data.join("PG_VERSION"))
        .map_err(|_| not_ours("it has no PG_VERSION, so it is no data directory"))?;
    // Every server has the other file; this one only we write.
    if !data.join(conf::OURS).exists() {
        return Err(not_ours(
            "it has no starling.conf: it is another server's data directory",
        ));
    }
    let major = version
        .trim()
        .parse()
        .map_err(|_| not_ours("its PG_VERSION is unreadable"))?;
    Ok(Found::Ours(major))
}

/// Refuses a data directory of another major version than the programs.
pub(super) fn require_same_major(
    layout: &Layout,
    data: u32,
    binaries: &Binaries,
) -> Result<(), Error> {
    if data == binaries.version.major {
        return Ok(());
    }
    Err(Error::MajorVersionDiffers {
        dir: layout.data.clone(),
        data,
        programs: binaries.version,
        bin: binaries.dir.clone(),
    })
}

/// Makes the data directory under another name and renames it when all is there, so that a crash in
/// the middle leaves nothing that looks like one. What an earlier crash left is removed. `initdb` ends when
/// `group` is cancelled.
pub(super) fn create(
    layout: &Layout,
    binaries: &Binaries,
    account: &Account,
    context: &Context<'_>,
    group: &ProcessGroup,
) -> Result<(), Error> {
    remove_unfinished(layout)?;
    let made = initialise(layout, binaries, account, context, group);
    if made.is_err() {
        // The first error is the one to report; what stays is removed by the next attempt.
        let _ = remove_unfinished(layout);
    }
    made
}

fn initialise(
    layout: &Layout,
    binaries: &Binaries,
    account: &Account,
    context: &Context<'_>,
    group: &ProcessGroup,
) -> Result<(), Error> {
    run(layout, binaries, account, context, group)?;
    // Before the rename: without our file the directory would be taken for that of another server.
    conf::include(&layout.unfinished, account)?;
    fs::rename(&layout.unfinished, &layout.data)
        .and_then(|()| File::open(&layout.base)?.sync_all())
        .map_err(|error| Error::io("rename to", &layout.data, error))
}

/// Runs `initdb`, with the first set of locale options that this system knows.
fn run(
    layout: &Layout,
    binaries: &Binaries,
    account: &Account,
    context: &Context<'_>,
    group: &ProcessGroup,
) -> Result<(), Error> {
    let mut attempts = locales(binaries.version.major).iter().peekable();
    while let Some(locale) = attempts.next() {
        let mut command = account.command(&binaries.initdb(), &layout.base);
        command
            .arg("--pgdata")
            .arg(&layout.unfinished)
            .args([
                "--username",
                SUPERUSER,
                "--encoding",
                "UTF8",
                "--data-checksums",
            ])
            .args([
                "--auth-local",
                "peer",
                "--auth-host",
                "scram-sha-256",
                "--no-instructions",
            ])
            .args(*locale);
        let (status, words) = group
            .run(&mut command)
            .map_err(|error| Error::io("run", &binaries.initdb(), error))?;
        if status.success() {
            return Ok(());
        }
        let unknown_locale = words.contains("invalid locale") || words.contains("locale name");
        // A system need not know every locale. The next set sorts alike, and knows the case of fewer letters.
        if unknown_locale && attempts.peek().is_some() {
            remove_unfinished(layout)?;
            continue;
        }
        return Err(
            diagnosis::diagnose(&words, context).unwrap_or_else(|| Error::Initdb {
                status: status.to_string(),
                output: diagnosis::tail(&words),
            }),
        );
    }
    Ok(())
}

/// Text sorts by code point on every node, whatever system it runs on; letters beyond ASCII still
/// know their upper and lower case, where the system or PostgreSQL itself can do it.
fn locales(major: u32) -> &'static [&'static [&'static str]] {
    const BUILT_IN: &[&str] = &[
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ];
    const LIBC: &[&str] = &["--locale=C", "--lc-ctype=C.UTF-8"];
    const PLAIN: &[&str] = &["--locale=C"];
    if major >= 17 {
        &[BUILT_IN, PLAIN]
    } else {
        &[LIBC, PLAIN]
    }
}

/// Removes what `initdb` has left, of this start and of earlier ones.
fn remove_unfinished(layout: &Layout) -> Result<(), Error> {
    let listing = |error| Error::io("list", &layout.base, error);
    for entry in fs::read_dir(&layout.base).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(UNFINISHED) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Err(error) if path == layout.unfinished => {
                return Err(Error::io("remove", &path, error));
            }
            // An earlier start's may still be written to. It is in nobody's way, and the next start removes it.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        (dir, layout)
    }

    #[test]
    fn each_start_has_a_folder_of_its_own_and_removes_those_of_earlier_ones() {
        let (dir, earlier) = layout();
        let layout = Layout::new(dir.path()).unwrap();
        assert_ne!(earlier.unfinished, layout.unfinished);
        let plain = layout.base.join("data.unfinished");
        for left in [&plain, &earlier.unfinished, &layout.unfinished] {
            fs::create_dir_all(left.join("base")).unwrap();
        }
        fs::create_dir_all(&layout.data).unwrap();
        remove_unfinished(&layout).unwrap();
        let left: Vec<_> = fs::read_dir(&layout.base).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(layout.data.exists());
    }

    #[test]
    fn no_folder_and_an_empty_folder_are_nothing() {
        let (_dir, layout) = layout();
        assert_eq!(inspect(&layout).unwrap(), Found::Nothing);
        fs::create_dir_all(&layout.data).unwrap();
        assert_eq!(inspect(&layout).unwrap(), Found::Nothing);
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let (_dir, layout) = layout();
        fs::create_dir_all(&layout.data).unwrap();
        fs::write(layout.data.join("photo.jpg"), "").unwrap();
        assert!(matches!(inspect(&layout), Err(Error::NotOurs { .. })));
        fs::write(layout.data.join("PG_VERSION"), "15\n").unwrap();
        assert!(matches!(inspect(&layout), Err(Error::NotOurs { .. })));
        fs::write(layout.data.join(conf::OURS), "").unwrap();
        assert_eq!(inspect(&layout).unwrap(), Found::Ours(15));
    }
}
