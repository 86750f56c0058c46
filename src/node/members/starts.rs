//! Which starts of other nodes have written as which site.
//!
//! Two processes with copies of one store must not both write as its site. So a store asks before it is
//! opened, and names the starts that its record knows of. A peer that has heard of a later one, or that
//! sees another process with the same key, denies it.

use std::collections::BTreeMap;

use crate::{
    directory::Directory,
    identity::{Lineage, NodeId, Run, Site, Start},
    network,
};

/// The sites of a node that are remembered: it has one at a time, and each process with its key another.
const SITES_MAX: usize = 8;

/// The starts of a site that are remembered. There is one at a time unless copies of a store were used.
const STARTS_MAX: usize = 8;

/// The nodes whose starts are remembered: as many as the directory holds.
const NODES_MAX: usize = 4096;

/// Whether a node's store may be used as its site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Verdict {
    /// Nothing is known that speaks against it.
    Fine,
    /// There may be another process with the node's key; a moment later that is known.
    Unsure,
    /// It must go on as another site. Why.
    Denied(String),
}

/// A site, and the starts that have written as it.
#[derive(Debug)]
struct Written {
    site: Site,
    starts: Vec<Start>,
}

/// All that was heard.
#[derive(Debug, Default)]
pub(in crate::node) struct Starts {
    nodes: BTreeMap<NodeId, Vec<Written>>,
}

impl Starts {
    /// `start` of `node` writes as `site`.
    pub(in crate::node) fn learn(&mut self, node: &NodeId, site: Site, start: Start) {
        if !self.nodes.contains_key(node) && self.nodes.len() >= NODES_MAX {
            self.nodes.pop_first();
        }
        let sites = self.nodes.entry(node.clone()).or_default();
        let known = match sites.iter().position(|it| it.site == site) {
            Some(known) => known,
            None => {
                if sites.len() >= SITES_MAX {
                    // The one learned first: a node does not return to a site that it gave up.
                    sites.remove(0);
                }
                sites.push(Written {
                    site,
                    starts: Vec::new(),
                });
                sites.len() - 1
            }
        };
        let starts = &mut sites[known].starts;
        if !starts.contains(&start) {
            starts.push(start);
            // The latest are kept: it is by those that a copy from before them shows.
            starts.sort_unstable();
            let excess = starts.len().saturating_sub(STARTS_MAX);
            starts.drain(..excess);
        }
    }

    /// Takes in what all nodes say of themselves.
    pub(in crate::node) fn learn_all(&mut self, directory: &Directory) {
        for record in directory.members() {
            if let (Some(site), Some(start)) = (record.site, record.start()) {
                self.learn(&record.node, site, start);
            }
        }
    }

    /// The site as which `run` of `node` writes.
    pub(in crate::node) fn site_of(&self, node: &NodeId, run: Run) -> Option<Site> {
        let sites = self.nodes.get(node)?;
        let writes = |it: &&Written| it.starts.iter().any(|start| start.run == run);
        // A process that went on as another site has written as several; the last one counts.
        sites.iter().rfind(writes).map(|it| it.site)
    }

    /// Whether `node` may write as `site`, or go on to if it `is_confirmed`. `others` are the processes
    /// with its key that are seen besides the one that asks.
    pub(in crate::node) fn judge(
        &self,
        node: &NodeId,
        site: Site,
        lineage: &Lineage,
        is_confirmed: bool,
        others: &[network::Other],
    ) -> Verdict {
        let sites = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        let known = sites.iter().find(|it| it.site == site);
        let starts = known.map(|it| it.starts.as_slice()).unwrap_or_default();
        if let Some(later) = starts.iter().find(|start| !lineage.may_hold(**start)) {
            return Verdict::Denied(format!(
                "start {} of site {site} is not known to the data directory: it is a copy from before \
                 that start",
                later.run
            ));
        }
        // Who writes as another site is none of this one's business.
        let mut rivals = others.iter().filter(|other| {
            let writes_as = self.site_of(node, other.run);
            // One that writes as nothing yet may be a copy, and keeps back a store that still asks. A
            // confirmed one goes on, whoever tries.
            writes_as == Some(site) || (writes_as.is_none() && !is_confirmed)
        });
        if let Some(rival) = rivals.clone().find(|rival| rival.is_proven) {
            return Verdict::Denied(format!(
                "another process runs with a copy of this node's key, seen at {}",
                rival.address
            ));
        }
        // It may be an earlier run of the asker, with its connection half open; the next ping tells.
        if !is_confirmed && rivals.next().is_some() {
            return Verdict::Unsure;
        }
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::{STARTS_MAX, Starts, Verdict};
    use crate::{
        identity::{Lineage, NodeId, Run, Site, Start},
        network::Other,
    };

    fn run(number: u64) -> Run {
        Run::new(number).unwrap()
    }

    fn lineage(runs: &[u64]) -> Lineage {
        let mut lineage = Lineage::default();
        for number in runs {
            lineage.started(run(*number));
        }
        lineage
    }

    fn node() -> NodeId {
        "n".parse::<NodeId>().unwrap()
    }

    fn site(number: i64) -> Site {
        Site::new(number).unwrap()
    }

    fn other(number: u64, is_proven: bool) -> Other {
        Other {
            run: run(number),
            address: "there".to_owned(),
            is_proven,
        }
    }

    /// What is known: the starts that have written, as (site, generation, run).
    fn known(starts: &[(i64, u64, u64)]) -> Starts {
        let mut known = Starts::default();
        for (of, generation, number) in starts {
            let start = Start {
                generation: *generation,
                run: run(*number),
            };
            known.learn(&node(), site(*of), start);
        }
        known
    }

    fn verdict(known: &Starts, runs: &[u64], is_confirmed: bool, others: &[Other]) -> &'static str {
        let lineage = lineage(runs);
        match known.judge(&node(), site(1), &lineage, is_confirmed, others) {
            Verdict::Fine => "fine",
            Verdict::Unsure => "unsure",
            Verdict::Denied(why) if why.contains("copy from before") => "copy",
            Verdict::Denied(why) if why.contains("seen at there") => "rival",
            Verdict::Denied(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_restart_is_fine_and_a_copy_from_before_it_is_not() {
        let nothing = Starts::default();
        assert_eq!(verdict(&nothing, &[1], false, &[]), "fine");
        let second = known(&[(1, 1, 1), (1, 2, 2)]);
        for (runs, expected) in [
            (&[1, 2][..], "fine"),
            (&[1, 2, 3], "fine"),
            (&[1, 2, 3, 4], "fine"),
            (&[1, 3], "copy"),
            (&[1, 3, 4, 5], "copy"),
            (&[1], "copy"),
        ] {
            assert_eq!(verdict(&second, runs, false, &[]), expected, "{runs:?}");
            assert_eq!(verdict(&second, runs, true, &[]), expected, "{runs:?}");
        }
        // What is remembered of another site says nothing.
        assert_eq!(verdict(&known(&[(7, 2, 2)]), &[1, 3], false, &[]), "fine");
    }

    #[test]
    fn of_two_copies_that_were_both_used_neither_goes_on() {
        let both = known(&[(1, 1, 1), (1, 2, 2), (1, 2, 3)]);
        assert_eq!(verdict(&both, &[1, 2], true, &[]), "copy");
        assert_eq!(verdict(&both, &[1, 3], true, &[]), "copy");
    }

    #[test]
    fn a_copy_of_a_store_in_use_is_denied_while_the_original_lives() {
        let original = known(&[(1, 1, 1)]);
        let copy = &[1, 2][..];
        assert_eq!(verdict(&original, copy, false, &[other(1, true)]), "rival");
        assert_eq!(
            verdict(&original, copy, false, &[other(1, false)]),
            "unsure"
        );
        // The original goes on whoever tries.
        assert_eq!(verdict(&original, &[1], true, &[other(2, true)]), "fine");
        // Unless both have written: then their numbers may be the same.
        let both = known(&[(1, 1, 1), (1, 2, 2)]);
        assert_eq!(verdict(&both, copy, true, &[other(1, true)]), "rival");
        assert_eq!(verdict(&both, &[1], true, &[other(2, true)]), "copy");
    }

    #[test]
    fn the_original_may_restart_beside_a_clone_that_is_another_site() {
        let clone = known(&[(1, 1, 1), (7, 1, 9)]);
        assert_eq!(clone.site_of(&node(), run(9)), Some(site(7)));
        assert_eq!(verdict(&clone, &[1, 2], false, &[other(9, true)]), "fine");
        assert_eq!(verdict(&clone, &[1, 2], false, &[other(8, true)]), "rival");
    }

    #[test]
    fn memory_is_bounded() {
        let mut starts = Starts::default();
        for of in 1..=20 {
            for number in 1..=100 {
                let start = Start {
                    generation: number,
                    run: run(number),
                };
                starts.learn(&node(), site(of), start);
            }
        }
        let sites = &starts.nodes[&node()];
        assert_eq!(sites.len(), super::SITES_MAX);
        assert!(sites.iter().all(|it| it.starts.len() == STARTS_MAX));
    }
}
