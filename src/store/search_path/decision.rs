//! What to do about the path, of what was found. Pure.

use super::{PathStanding, SearchPath};

/// What earlier versions set, whatever had been there, and without a record.
const UNRECORDED: &str = "crdv, \"$user\", public";

/// More names than this say nothing more.
const NAMES_MAX: usize = 8;

/// What the server says of the path of its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) database: String,
    /// The database's own setting.
    pub(super) current: Option<String>,
    /// It leads to schema `crdv`.
    pub(super) names_ours: bool,
    pub(super) record: Option<Record>,
    /// What holds where the database has no setting; `None` where that may not be seen.
    pub(super) server: Option<String>,
    /// Without ours, the path leads to no schema that exists.
    pub(super) is_bare: bool,
    pub(super) is_owner: bool,
    /// Names of ours that others have, too.
    pub(super) collisions: Vec<String>,
}

/// What we set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) value: String,
    /// What was there before.
    pub(super) former: Option<String>,
    /// It came here with a dump: the database in which it was made is another one.
    pub(super) is_of_another: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Restore(Option<String>),
    Set {
        former: Option<String>,
        value: String,
    },
}

/// Why the functions are not on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NotOwner,
    Unseen,
    ChangedSince,
    Colliding,
    Bare,
}

impl Found {
    /// If what is set is ours: what was there before.
    fn ours(&self) -> Option<Option<String>> {
        let current = self.current.as_deref()?;
        match &self.record {
            Some(record) if record.value == current => Some(record.former.clone()),
            // What was there before that is not known: nothing, as far as anybody can tell.
            _ if current == UNRECORDED => Some(None),
            _ => None,
        }
    }

    /// What there would be without us.
    fn former(&self) -> Option<String> {
        self.ours().unwrap_or_else(|| self.current.clone())
    }

    /// The path that ours is joined to, as far as it can be told.
    pub(super) fn base(&self) -> Option<String> {
        // Where the server's setting may not be seen, ours still shows what it was joined to.
        let stripped = || {
            let set = self.ours().and(self.current.as_deref())?;
            let base = set.strip_suffix(", crdv");
            base.or_else(|| set.strip_prefix("crdv, "))
                .map(str::to_owned)
        };
        self.former()
            .or_else(|| self.server.clone())
            .or_else(stripped)
    }

    fn was_changed_since(&self) -> bool {
        // A record that came with a dump says nothing of this database.
        let is_recorded = matches!(&self.record, Some(record) if !record.is_of_another);
        is_recorded && self.ours().is_none()
    }
}

pub(super) fn decide(found: &Found, wish: SearchPath) -> (Step, PathStanding) {
    let ours = found.ours();
    let refrain = |why| PathStanding::Refrained(describe(found, why));
    // What somebody set after us is not taken back.
    let unset = |standing| match &ours {
        Some(former) if found.is_owner => (Step::Restore(former.clone()), standing),
        _ => (Step::Keep, standing),
    };
    if wish == SearchPath::Off {
        return unset(PathStanding::Off);
    }
    // Somebody has put it there.
    if ours.is_none() && found.names_ours {
        return (Step::Keep, PathStanding::On);
    }
    // To set a path is to replace the server's, so that has to be known.
    let Some(base) = found.base() else {
        return (Step::Keep, refrain(Why::Unseen));
    };
    let value = match wish {
        SearchPath::First => join("crdv", &base),
        SearchPath::Off | SearchPath::Last | SearchPath::Polite => join(&base, "crdv"),
    };
    let is_set = ours.is_some() && found.record.is_some();
    if is_set && found.current.as_deref() == Some(value.as_str()) {
        // Decided before: a name that others took since means theirs.
        return (Step::Keep, PathStanding::On);
    }
    // Nobody asked for it, so what is in doubt is left alone.
    if wish == SearchPath::Polite {
        if found.was_changed_since() {
            return (Step::Keep, refrain(Why::ChangedSince));
        } else if !found.collisions.is_empty() {
            return unset(refrain(Why::Colliding));
        } else if found.is_bare {
            return unset(refrain(Why::Bare));
        }
    }
    if !found.is_owner {
        return (Step::Keep, refrain(Why::NotOwner));
    }
    let former = found.former();
    (Step::Set { former, value }, PathStanding::On)
}

/// Why, and what to do instead.
fn describe(found: &Found, why: Why) -> String {
    let database = &found.database;
    let reason = match why {
        Why::NotOwner => format!("only the owner of database {database} may set its search_path"),
        Why::Unseen => format!(
            "the role may not see which search_path database {database} has from its server"
        ),
        Why::ChangedSince => {
            format!("somebody has changed the search_path of database {database} since")
        }
        Why::Colliding => format!(
            "the search_path of database {database} is left alone, because it has names of its own that \
             schema crdv has, too: {}",
            list(&found.collisions)
        ),
        Why::Bare => format!(
            "the search_path of database {database} is left alone, because no schema on it exists, and \
             new tables would land in crdv"
        ),
    };
    let path = found.base().map_or_else(
        || "[what is there], crdv".to_owned(),
        |base| join(&base, "crdv"),
    );
    // To ask for it helps only where it was left alone because nobody did.
    let instead = match why {
        Why::NotOwner | Why::Unseen => "",
        Why::ChangedSince | Why::Colliding | Why::Bare => "; or start with --search-path last",
    };
    format!(
        "{reason}; call functions as crdv.mapAdd, or say in the sessions that use them: set search_path = \
         {path}{instead}"
    )
}

fn list(names: &[String]) -> String {
    let shown = names.len().min(NAMES_MAX);
    let more = match names.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names[..shown].join(", "))
}

fn join(first: &str, second: &str) -> String {
    if first.trim().is_empty() || second.trim().is_empty() {
        return format!("{first}{second}");
    }
    format!("{first}, {second}")
}

#[cfg(test)]
mod tests;
