//! Of whom a store asks whether it is what it was, and when enough have answered.
//!
//! One good answer proves nothing: the peer may have been away when the store wrote what it has forgotten.
//! So all are asked that are known to be alive. A neighbour is connected and can answer; if one does not,
//! the store goes on as another site, which is always right. Other members may be out of our reach, or gone
//! since they were heard of. Who lives is heard of within a heartbeat, and with it how far it has our site:
//! after that time they are not waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{identity::NodeId, vector::Seq};

/// After this time a member that is no neighbour and says nothing counts as absent: more than a heartbeat
/// (5 s) and the way of what it brings.
const ABSENT_AFTER: Duration = Duration::from_secs(6);

/// Pause before a member that is no neighbour is asked again: it has to be dialled each time.
const REDIAL: Duration = Duration::from_secs(1);

/// Who may know of our site besides the neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// A neighbour has told which members there are.
    pub is_known: bool,
    /// Those that were heard of lately, neighbours or not.
    pub alive: BTreeSet<NodeId>,
    /// Those whose store has never been up: they know nothing of anybody.
    pub storeless: BTreeSet<NodeId>,
    /// The highest checkpoint of our site that any member says it has, and who says so.
    pub vouched: Option<(Seq, NodeId)>,
}

impl Members {
    /// Of whom an answer is wanted.
    fn who_may_know<'a>(
        &'a self,
        neighbors: &'a BTreeSet<NodeId>,
    ) -> impl Iterator<Item = &'a NodeId> {
        let all = neighbors.union(&self.alive);
        all.filter(|peer| !self.storeless.contains(*peer))
    }
}

/// What came of asking one peer, unless it denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It knows nothing that we do not.
    Good,
    /// It cannot say now.
    Cannot,
    /// It was not reached, or said nothing.
    Silent,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Ask again.
    Wait,
    /// The store is what it was.
    Confirmed,
    /// It must go on as another site. Why.
    Another(String),
}

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Panel {
    answers: BTreeMap<NodeId, (Answer, Duration)>,
}

impl Panel {
    /// `peer` was asked, and this came of it.
    pub(super) fn answered(&mut self, peer: NodeId, answer: Answer, now: Duration) {
        self.answers.insert(peer, (answer, now));
    }

    /// Who is to be asked now.
    pub(super) fn due(
        &self,
        neighbors: &BTreeSet<NodeId>,
        members: &Members,
        now: Duration,
    ) -> Vec<NodeId> {
        let is_due = |peer: &&NodeId| match self.answers.get(*peer) {
            None => true,
            Some((Answer::Good, _)) => false,
            // A neighbour is connected: to ask it again costs a message.
            Some((_, asked)) => neighbors.contains(*peer) || now >= *asked + REDIAL,
        };
        let all = members.who_may_know(neighbors);
        all.filter(is_due).cloned().collect()
    }

    /// What follows at `now`, the time since the first question.
    pub(super) fn decide(
        &self,
        neighbors: &BTreeSet<NodeId>,
        members: &Members,
        now: Duration,
        limit: Duration,
    ) -> Decision {
        let is_good = |peer: &NodeId| {
            let answer = self.answers.get(peer);
            answer.is_some_and(|(answer, _)| *answer == Answer::Good)
        };
        let is_absent = |peer: &NodeId| {
            let answer = self.answers.get(peer);
            let is_silent = answer.is_none_or(|(answer, _)| *answer == Answer::Silent);
            // A neighbour is connected: silent or not, it is there and may know.
            // A limit that is shorter would be over before anybody counted as absent.
            is_silent && !neighbors.contains(peer) && now >= ABSENT_AFTER.min(limit)
        };
        let all = members.who_may_know(neighbors);
        let missing: Vec<&str> = all
            .filter(|peer| !is_good(peer) && !is_absent(peer))
            .map(|peer| peer.as_str())
            .collect();
        let has_good = self.answers.keys().any(is_good);
        // Until a neighbour has told which members there are, it is not known who has yet to answer.
        if has_good && missing.is_empty() && members.is_known {
            Decision::Confirmed
        } else if now < limit {
            Decision::Wait
        } else if has_good {
            Decision::Another(format!(
                "not all peers could say within {limit:?} whether it is an older copy of itself; missing: {}",
                missing.join(", ")
            ))
        } else {
            Decision::Another(format!(
                "no peer could say within {limit:?} whether it is an older copy of itself"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{Answer, Decision, Members, Panel};
    use crate::identity::NodeId;

    const LIMIT: Duration = Duration::from_secs(15);

    fn names(names: &[&str]) -> BTreeSet<NodeId> {
        names
            .iter()
            .map(|name| name.parse::<NodeId>().unwrap())
            .collect()
    }

    fn members(alive: &[&str]) -> Members {
        Members {
            is_known: true,
            alive: names(alive),
            storeless: BTreeSet::new(),
            vouched: None,
        }
    }

    fn panel(answers: &[(&str, Answer)]) -> Panel {
        let mut panel = Panel::default();
        for (name, answer) in answers {
            panel.answered(name.parse::<NodeId>().unwrap(), *answer, Duration::ZERO);
        }
        panel
    }

    /// Neighbours a and b, and c that is alive elsewhere.
    fn decide(answers: &[(&str, Answer)], seconds: u64) -> &'static str {
        let now = Duration::from_secs(seconds);
        let (neighbors, members) = (names(&["a", "b"]), members(&["a", "c"]));
        match panel(answers).decide(&neighbors, &members, now, LIMIT) {
            Decision::Wait => "wait",
            Decision::Confirmed => "confirmed",
            Decision::Another(why) if why.starts_with("no peer could say") => "nobody",
            Decision::Another(why) if why.ends_with("missing: b") => "b is missing",
            Decision::Another(why) if why.ends_with("missing: c") => "c is missing",
            Decision::Another(why) => panic!("{why}"),
        }
    }

    #[test]
    fn all_that_live_have_to_say_so_and_not_only_the_first() {
        use Answer::{Cannot, Good, Silent};
        for (answers, seconds, expected) in [
            (&[][..], 0, "wait"),
            (&[("a", Good)], 0, "wait"),
            (&[("a", Good), ("b", Good)], 0, "wait"),
            (&[("a", Good), ("b", Good), ("c", Good)], 0, "confirmed"),
            // Who is no neighbour may be gone, or out of reach; its vector was told.
            (&[("a", Good), ("b", Good), ("c", Silent)], 5, "wait"),
            (&[("a", Good), ("b", Good), ("c", Silent)], 6, "confirmed"),
            (&[("a", Good), ("b", Good), ("c", Cannot)], 14, "wait"),
            (
                &[("a", Good), ("b", Good), ("c", Cannot)],
                15,
                "c is missing",
            ),
            // A neighbour is there.
            (&[("a", Good), ("b", Silent), ("c", Good)], 14, "wait"),
            (
                &[("a", Good), ("b", Silent), ("c", Good)],
                15,
                "b is missing",
            ),
            (
                &[("a", Good), ("b", Cannot), ("c", Silent)],
                15,
                "b is missing",
            ),
            (&[("a", Silent), ("b", Cannot)], 15, "nobody"),
            (&[], 15, "nobody"),
        ] {
            assert_eq!(decide(answers, seconds), expected, "{answers:?} {seconds}");
        }
    }

    #[test]
    fn members_have_to_be_known_and_who_has_gone_counts_with_what_it_said() {
        let good = panel(&[("a", Answer::Good)]);
        let unknown = Members::default();
        let now = Duration::ZERO;
        let decide = |panel: &Panel, neighbors: &[&str], members: &Members| {
            panel.decide(&names(neighbors), members, now, LIMIT)
        };
        assert_eq!(decide(&good, &["a"], &unknown), Decision::Wait);
        assert_eq!(decide(&good, &["a"], &members(&[])), Decision::Confirmed);
        assert_eq!(decide(&good, &[], &members(&[])), Decision::Confirmed);
        assert_eq!(decide(&good, &["b"], &members(&[])), Decision::Wait);
    }

    #[test]
    fn who_has_never_had_a_store_is_neither_asked_nor_waited_for() {
        let members = Members {
            storeless: names(&["b", "d"]),
            ..members(&["a", "d"])
        };
        let neighbors = names(&["a", "b"]);
        let nobody = Panel::default();
        let due = nobody.due(&neighbors, &members, Duration::ZERO);
        assert_eq!(due, Vec::from_iter(names(&["a"])));
        let decide = |panel: Panel| panel.decide(&neighbors, &members, Duration::ZERO, LIMIT);
        assert_eq!(decide(panel(&[("a", Answer::Good)])), Decision::Confirmed);
        assert_eq!(decide(nobody), Decision::Wait);
    }

    #[test]
    fn who_said_good_is_not_asked_again_and_others_are_not_dialled_all_the_time() {
        let panel = panel(&[
            ("a", Answer::Good),
            ("b", Answer::Cannot),
            ("c", Answer::Silent),
        ]);
        let (neighbors, members) = (names(&["a", "b"]), members(&["c", "d"]));
        let due = |millis| panel.due(&neighbors, &members, Duration::from_millis(millis));
        assert_eq!(due(100), Vec::from_iter(names(&["b", "d"])));
        assert_eq!(due(1_000), Vec::from_iter(names(&["b", "c", "d"])));
    }
}
