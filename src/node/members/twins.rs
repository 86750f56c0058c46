//! Whether another process has this node's key, as peers see it.
//!
//! Of two such processes the overlay knows one, and the other hears nothing through the directory. But
//! whoever is connected with both can tell each of them, see `network::Other`.

use std::{collections::BTreeMap, time::Duration};

use crate::{identity::NodeId, node::peer_protocol::Seen};

/// What a peer says holds this long: it is asked with every heartbeat, and may miss one.
const HOLDS: Duration = Duration::from_secs(12);

/// Once nobody has seen it for this long, the log says that it is over: one that is shut out comes and goes.
const OVER_AFTER: Duration = Duration::from_secs(60);

/// The peers whose word is kept.
const PEERS_MAX: usize = 64;

/// What peers say.
#[derive(Debug, Default)]
pub(in crate::node) struct Twins {
    words: BTreeMap<NodeId, (Duration, Seen)>,
    /// It was told, and was last there at this time.
    there: Option<Duration>,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum News {
    /// There is another one now. Who sees it where, if a peer does.
    Begun(Option<(NodeId, String)>),
    /// There is none any more.
    Over,
}

impl Twins {
    /// `peer` says that it sees this one, or none.
    pub(in crate::node) fn told(&mut self, peer: NodeId, seen: Option<Seen>, now: Duration) {
        self.words.retain(|_, (heard, _)| now < *heard + HOLDS);
        match seen {
            None => drop(self.words.remove(&peer)),
            Some(seen) if self.words.contains_key(&peer) || self.words.len() < PEERS_MAX => {
                self.words.insert(peer, (now, seen));
            }
            Some(_) => {}
        }
    }

    /// Who sees it, and what.
    pub(in crate::node) fn words(&self, now: Duration) -> impl Iterator<Item = (&NodeId, &Seen)> {
        let holds = move |heard: Duration| now < heard + HOLDS;
        let words = self.words.iter();
        words
            .filter(move |(_, (heard, _))| holds(*heard))
            .map(|(peer, (_, seen))| (peer, seen))
    }

    /// What is to be told, once each time. `is_heard`: the directory has heard it speak.
    pub(in crate::node) fn news(&mut self, is_heard: bool, now: Duration) -> Option<News> {
        let word = self.words(now).next();
        let word = word.map(|(peer, seen)| (peer.clone(), seen.address.clone()));
        if is_heard || word.is_some() {
            let was_there = self.there.replace(now).is_some();
            return (!was_there).then_some(News::Begun(word));
        }
        let is_over = |last: &mut Duration| now >= *last + OVER_AFTER;
        self.there.take_if(is_over).map(|_| News::Over)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{News, Seen, Twins};
    use crate::identity::{NodeId, Run, Site};

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn peer(name: &str) -> NodeId {
        name.parse::<NodeId>().unwrap()
    }

    fn seen(site: i64) -> Option<Seen> {
        Some(Seen {
            run: Run::new(9).unwrap(),
            address: "there".to_owned(),
            site: Site::new(site),
        })
    }

    #[test]
    fn it_is_told_once_and_over_when_nobody_sees_it_any_more() {
        let mut twins = Twins::default();
        assert_eq!(twins.news(false, at(0)), None);
        twins.told(peer("a"), seen(7), at(1));
        twins.told(peer("b"), seen(7), at(2));
        let there = (peer("a"), "there".to_owned());
        assert_eq!(twins.news(false, at(2)), Some(News::Begun(Some(there))));
        assert_eq!(twins.news(true, at(2)), None);
        assert!(
            twins
                .words(at(2))
                .all(|(_, seen)| seen.site == Site::new(7))
        );
        twins.told(peer("a"), None, at(5));
        assert_eq!(twins.news(false, at(5)), None, "b sees it");
        assert_eq!(twins.words(at(13)).count(), 1);
        assert_eq!(twins.words(at(14)).count(), 0, "b is silent");
        assert_eq!(twins.news(false, at(14)), None, "it may come back");
        twins.told(peer("a"), seen(7), at(20));
        assert_eq!(twins.news(false, at(20)), None, "that is no news");
        twins.told(peer("a"), None, at(21));
        assert_eq!(twins.news(false, at(79)), None);
        assert_eq!(twins.news(false, at(80)), Some(News::Over));
        assert_eq!(twins.news(false, at(81)), None);
        assert_eq!(twins.news(true, at(90)), Some(News::Begun(None)));
    }
}
