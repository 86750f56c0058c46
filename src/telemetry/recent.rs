//! What the log has warned of lately, kept for the status.
//!
//! Whatever is logged as a warning or an error by this program is seen by a layer of its own,
//! whatever level the log shows, and ends up in the status: nothing has to be remembered where it is
//! logged. Conditions that last have fields of their own there and findings that come and go with
//! them; this is for what has happened, and it fades.
//!
//! Where the program sees that what it warned of has ended, it says so in an event of any level with the field
//! [`OVER`], the beginning of the warning's message, and the fields that say what that was about.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

use crate::api::{LogLevel, LogWarning, timestamp};

/// The most that are kept; the one that was not repeated for longest makes room.
const KEPT_MAX: usize = 32;
/// What was not repeated for this long is over.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// The most bytes that are kept of a message, of its fields, and of what it is about.
const TEXT_MAX: usize = 600;
/// Fields that tell one occasion of a message from another; the rest differs from time to time.
const SUBJECTS: [&str; 10] = [
    "peer", "node", "host", "address", "path", "file", "link", "key", "step", "role",
];
/// The field of an event that ends a warning.
const OVER: &str = "over";
/// Our crates.
const OURS: [&str; 4] = ["starling", "hyparview", "plumtree", "substream"];

/// The process's own: logs are the process's, too.
static RECENT: Mutex<Recent> = Mutex::new(Recent::new());

/// Sees every warning and error of ours, and what ends them.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Of ours each has its line in docs/observability.md, which a test holds; libraries say what they like.
    Watcher.with_filter(filter_fn(|metadata| {
        let is_told = is_warning(metadata) || metadata.fields().field(OVER).is_some();
        is_told && is_ours(metadata.target())
    }))
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN
}

/// What was warned of within the last hour, the newest last.
#[must_use]
pub fn recent() -> Vec<LogWarning> {
    lock().kept(SystemTime::now())
}

/// How many warnings and errors there were since the start.
#[must_use]
pub fn totals() -> [(LogLevel, u64); 2] {
    let recent = lock();
    [
        (LogLevel::Warn, recent.warnings),
        (LogLevel::Error, recent.errors),
    ]
}

fn lock() -> MutexGuard<'static, Recent> {
    // An entry is worth reading even after a panic elsewhere.
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` and keeps what it warns of, as it is kept of the program.
#[cfg(test)]
pub(crate) fn watch(work: impl FnOnce()) {
    use tracing_subscriber::layer::SubscriberExt as _;
    let subscriber = tracing_subscriber::registry().with(layer());
    tracing::subscriber::with_default(subscriber, work);
}

fn is_ours(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or_default();
    OURS.contains(&root)
}

struct Watcher;

impl<S: Subscriber> Layer<S> for Watcher {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let (mut recent, now) = (lock(), SystemTime::now());
        if !said.over.is_empty() {
            recent.end(&said, now);
        }
        if is_warning(event.metadata()) {
            recent.note(event.metadata(), said, now);
        }
    }
}

/// An event in words.
#[derive(Debug, Default)]
struct Said {
    message: String,
    detail: String,
    subject: String,
    /// The beginning of the message that is over; empty if none is.
    over: String,
}

impl Said {
    fn field(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => {
                self.message.clear();
                push(&mut self.message, value);
            }
            OVER => push(&mut self.over, value),
            name => {
                let space = if self.detail.is_empty() { "" } else { " " };
                for part in [space, name, "=", value] {
                    push(&mut self.detail, part);
                }
                if SUBJECTS.contains(&name) {
                    push(&mut self.subject, value);
                    push(&mut self.subject, "\n");
                }
            }
        }
    }
}

/// As much of `more` as there is room for.
fn push(text: &mut String, more: &str) {
    let room = TEXT_MAX.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room)]);
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format!("{value:?}"));
    }
}

#[derive(Debug)]
struct Entry {
    callsite: Identifier,
    subject: String,
    level: LogLevel,
    message: String,
    detail: String,
    first: SystemTime,
    last: SystemTime,
    count: u64,
    /// When it was said to be over.
    over: Option<SystemTime>,
}

#[derive(Debug)]
struct Recent {
    /// In the order of their last occurrence.
    entries: Vec<Entry>,
    warnings: u64,
    errors: u64,
}

impl Recent {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            warnings: 0,
            errors: 0,
        }
    }

    fn note(&mut self, metadata: &Metadata<'_>, said: Said, now: SystemTime) {
        let level = if *metadata.level() == Level::ERROR {
            self.errors += 1;
            LogLevel::Error
        } else {
            self.warnings += 1;
            LogLevel::Warn
        };
        let callsite = metadata.callsite();
        let is_same = |old: &Entry| old.callsite == callsite && old.subject == said.subject;
        let known = self.entries.iter().position(is_same);
        // Before there is a look at the room: what is repeated takes none of another's.
        let before = known.map(|place| self.entries.remove(place));
        // What comes back begins anew.
        let before = before.filter(|entry| entry.over.is_none());
        if self.entries.len() >= KEPT_MAX {
            self.entries.remove(0);
        }
        self.entries.push(Entry {
            callsite,
            level,
            first: before.as_ref().map_or(now, |entry| entry.first),
            count: before.map_or(0, |entry| entry.count) + 1,
            subject: said.subject,
            message: said.message,
            detail: said.detail,
            last: now,
            over: None,
        });
    }

    /// What was said with this beginning of nothing else than this event is about is over.
    fn end(&mut self, said: &Said, now: SystemTime) {
        for entry in &mut self.entries {
            let mut subjects = entry.subject.lines();
            if entry.over.is_none()
                && entry.message.starts_with(&said.over)
                && subjects.all(|about| said.subject.lines().any(|one| one == about))
            {
                entry.over = Some(now);
            }
        }
    }

    fn kept(&mut self, now: SystemTime) -> Vec<LogWarning> {
        let is_over = |entry: &Entry| {
            now.duration_since(entry.last)
                // A clock that was set back makes nothing old.
                .is_ok_and(|age| age >= KEPT_FOR)
        };
        self.entries.retain(|entry| !is_over(entry));
        let told = |entry: &Entry| LogWarning {
            level: entry.level,
            message: entry.message.clone(),
            detail: entry.detail.clone(),
            first: timestamp(entry.first),
            last: timestamp(entry.last),
            count: entry.count,
            over: entry.over.map(timestamp),
        };
        self.entries.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tracing::{Level, event};

    use super::{KEPT_FOR, KEPT_MAX, TEXT_MAX, lock, recent, watch};
    use crate::api::{LogLevel, LogWarning};

    /// Tests of one process share the register: each has a message of its own.
    fn about(message: &str) -> Vec<LogWarning> {
        let mut all = recent();
        all.retain(|warning| warning.message == message);
        all
    }

    #[test]
    fn warnings_and_errors_of_ours_are_kept_and_nothing_else() {
        watch(|| {
            event!(Level::WARN, peer = "p", error = %"it broke", "a warning of a test");
            event!(Level::ERROR, size = 7, "an error of a test");
            event!(Level::INFO, "no warning of a test");
            event!(target: "libp2p_swarm", Level::ERROR, "a stranger's error");
            event!(target: "hyparview::state", Level::WARN, "a protocol's warning");
        });
        let warning = about("a warning of a test").remove(0);
        assert_eq!(warning.level, LogLevel::Warn);
        assert_eq!(warning.detail, "peer=p error=it broke");
        let error = about("an error of a test").remove(0);
        assert_eq!(
            (error.level, error.detail.as_str()),
            (LogLevel::Error, "size=7")
        );
        assert!(about("no warning of a test").is_empty());
        assert!(about("a stranger's error").is_empty());
        assert_eq!(about("a protocol's warning").len(), 1);
    }

    #[test]
    fn what_is_repeated_is_one_entry_for_each_subject_and_shows_the_last_words() {
        watch(|| {
            for (peer, pause) in [("p", 1), ("q", 1), ("p", 2)] {
                event!(Level::WARN, peer, pause, "a repeated warning of a test");
            }
        });
        let told = about("a repeated warning of a test");
        let told: Vec<_> = told.iter().map(|w| (w.detail.as_str(), w.count)).collect();
        assert_eq!(told, [("peer=q pause=1", 1), ("peer=p pause=2", 2)]);
    }

    #[test]
    fn what_is_over_is_told_so_and_begins_anew_when_it_comes_back() {
        const TEXT: &str = "cannot reach a test; will keep trying";
        let fails = |address: &str| event!(Level::WARN, address, error = "nobody", "{TEXT}");
        let told = || {
            let told = about(TEXT).into_iter();
            told.map(|one| (one.detail, one.count, one.over.is_some()))
                .collect::<Vec<_>>()
        };
        let entry = |address: &str, count, is_over| {
            let detail = format!("address={address} error=nobody");
            (detail, count, is_over)
        };
        watch(|| {
            for address in ["a", "b", "b"] {
                fails(address);
            }
            // Another matter, another place, and a message that begins otherwise.
            event!(
                Level::INFO,
                address = "c",
                over = "cannot reach a test",
                "reached"
            );
            event!(Level::INFO, address = "a", over = "cannot dial", "reached");
            event!(target: "libp2p_swarm", Level::INFO, address = "a", over = "cannot", "reached");
        });
        assert_eq!(told(), [entry("a", 1, false), entry("b", 2, false)]);
        watch(|| {
            event!(
                Level::DEBUG,
                peer = "p",
                address = "b",
                over = "cannot reach a test",
                "reached"
            );
        });
        assert_eq!(told(), [entry("a", 1, false), entry("b", 2, true)]);
        assert!(about("reached").is_empty(), "it is no warning");
        watch(|| fails("b"));
        assert_eq!(told(), [entry("a", 1, false), entry("b", 1, false)]);
    }

    #[test]
    fn what_is_kept_of_an_event_is_bounded() {
        let long = "ü".repeat(TEXT_MAX);
        watch(|| {
            event!(Level::WARN, peer = %long, error = %long, other = %long, "a long warning of a test {long}");
        });
        let all = recent();
        let told = |told: &&LogWarning| told.message.starts_with("a long warning of a test ");
        let warning = all.iter().find(told).unwrap();
        assert!(warning.message.len() <= TEXT_MAX);
        assert!(warning.detail.len() <= TEXT_MAX);
        assert!(warning.detail.starts_with("peer=ü"), "{}", warning.detail);
        let entry = lock();
        let entry = entry
            .entries
            .iter()
            .find(|entry| entry.message == warning.message);
        assert!(entry.unwrap().subject.len() <= TEXT_MAX);
    }

    #[test]
    fn the_register_is_bounded_and_fades() {
        watch(|| {
            for number in 0..KEPT_MAX * 2 {
                event!(Level::WARN, node = number, "one of many warnings of a test");
            }
        });
        assert!(recent().len() <= KEPT_MAX);
        let later = SystemTime::now() + KEPT_FOR + Duration::from_secs(1);
        assert!(lock().kept(later).is_empty());
    }
}
