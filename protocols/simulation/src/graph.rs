//! The overlay as a graph, and what is measured on it.

use rand::{Rng, RngExt, seq::SliceRandom};

use crate::{Membership, NodeId, Observer, World};

/// Who has whom as a neighbour, among the living. Nodes are numbered anew, without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    names: Vec<NodeId>,
    starts: Vec<u32>,
    arcs: Vec<u32>,
    /// Arcs that lead to nodes that are not alive.
    dangling: usize,
}

/// Distances from a sample of nodes, in links.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paths {
    /// Mean length of the shortest paths from a sampled node to each other one that it reaches; 0 without any.
    pub mean: f64,
    /// The longest of them: how far the network reaches from its least central sampled node; 0 without any.
    pub longest: u32,
}

impl Graph {
    /// The graph of the living.
    pub fn of<P: Membership, O: Observer<P>>(world: &World<P, O>) -> Self {
        Self::of_some(world, |_| true)
    }

    /// The graph of those of the living that are `wanted`.
    pub fn of_some<P: Membership, O: Observer<P>>(
        world: &World<P, O>,
        wanted: impl Fn(NodeId) -> bool,
    ) -> Self {
        let alive = || world.alive().filter(|(id, _)| wanted(*id));
        let names = alive().map(|(id, _)| id).collect();
        let machines = alive().map(|(_, machine)| machine);
        Self::from_views(names, machines, |machine, peers| machine.neighbors(peers))
    }

    /// The graph of `names`, in order; `neighbors` adds those of a node, in order, to a list, for each of
    /// `nodes` in turn.
    pub fn from_views<N>(
        names: Vec<NodeId>,
        nodes: impl Iterator<Item = N>,
        neighbors: impl Fn(N, &mut Vec<NodeId>),
    ) -> Self {
        let mut place = vec![u32::MAX; names.last().map_or(0, |last| *last as usize + 1)];
        for (at, name) in (0..).zip(&names) {
            place[*name as usize] = at;
        }
        let mut graph = Self {
            names,
            starts: vec![0],
            arcs: Vec::new(),
            dangling: 0,
        };
        let mut peers = Vec::new();
        for node in nodes {
            peers.clear();
            neighbors(node, &mut peers);
            for peer in &peers {
                match place.get(*peer as usize) {
                    Some(at) if *at != u32::MAX => graph.arcs.push(*at),
                    _ => graph.dangling += 1,
                }
            }
            graph.close();
        }
        graph
    }

    /// A random graph in which each of `nodes` has `degree` neighbours: the best that a protocol without
    /// knowledge of the whole can come to. (Stubs are paired at random; loops and repeated links are
    /// exchanged away.) `nodes` times `degree` should be even, else one node has one less.
    pub fn random_regular<R: Rng>(nodes: u32, degree: u32, rng: &mut R) -> Self {
        let mut stubs: Vec<u32> = (0..nodes)
            .flat_map(|node| std::iter::repeat_n(node, degree as usize))
            .collect();
        stubs.shuffle(rng);
        if stubs.len() % 2 == 1 {
            stubs.pop();
        }
        let mut links: Vec<[u32; 2]> = stubs.chunks_exact(2).map(|two| [two[0], two[1]]).collect();
        // Bounded: where nearly all pairs are linked, there may be no way without a bad one.
        for _ in 0..1000 {
            // An exchange may make another bad one, so all are looked at anew.
            let bad = repeated(&links);
            if bad.is_empty() {
                break;
            }
            for at in bad {
                let other = rng.random_range(0..links.len());
                let ([a, b], [c, d]) = (links[at], links[other]);
                (links[at], links[other]) = ([a, d], [c, b]);
            }
        }
        let mut peers = vec![Vec::new(); nodes as usize];
        for [a, b] in links {
            peers[a as usize].push(b);
            peers[b as usize].push(a);
        }
        let mut graph = Self {
            names: (0..nodes).collect(),
            starts: vec![0],
            arcs: Vec::new(),
            dangling: 0,
        };
        for mut all in peers {
            all.sort_unstable();
            graph.arcs.append(&mut all);
            graph.close();
        }
        graph
    }

    fn close(&mut self) {
        let end = u32::try_from(self.arcs.len()).expect("fewer than 2^32 links");
        self.starts.push(end);
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a node in its world.
    pub fn name(&self, node: u32) -> NodeId {
        self.names[node as usize]
    }

    /// The neighbours of a node, in order.
    pub fn peers(&self, node: u32) -> &[u32] {
        let at = node as usize;
        &self.arcs[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    fn nodes(&self) -> impl Iterator<Item = u32> {
        (0..).take(self.len())
    }

    /// Arcs that lead to nodes that are not alive.
    pub fn dangling(&self) -> usize {
        self.dangling
    }

    /// How many nodes have how many neighbours.
    pub fn degrees(&self) -> Vec<usize> {
        let mut count = Vec::new();
        for node in self.nodes() {
            let degree = self.peers(node).len();
            if count.len() <= degree {
                count.resize(degree + 1, 0);
            }
            count[degree] += 1;
        }
        count
    }

    /// How many nodes know how many of the others, seen from those that are known.
    pub fn in_degrees(&self) -> Vec<usize> {
        let mut known = vec![0usize; self.len()];
        for peer in &self.arcs {
            known[*peer as usize] += 1;
        }
        let mut count = vec![0; known.iter().max().map_or(0, |most| most + 1)];
        for degree in known {
            count[degree] += 1;
        }
        count
    }

    /// Arcs that are not answered by one in the other direction.
    pub fn asymmetric(&self) -> usize {
        self.nodes()
            .flat_map(|node| self.peers(node).iter().map(move |peer| (node, *peer)))
            .filter(|(node, peer)| self.peers(*peer).binary_search(node).is_err())
            .count()
    }

    /// Arcs between nodes that `side` tells apart.
    pub fn across(&self, side: impl Fn(NodeId) -> u8) -> usize {
        self.nodes()
            .flat_map(|node| self.peers(node).iter().map(move |peer| (node, *peer)))
            .filter(|(a, b)| side(self.name(*a)) != side(self.name(*b)))
            .count()
    }

    /// The sizes of the components, largest first. An arc joins its ends, whichever way it leads.
    pub fn components(&self) -> Vec<usize> {
        let mut root: Vec<u32> = self.nodes().collect();
        fn find(root: &mut [u32], mut at: u32) -> u32 {
            while root[at as usize] != at {
                // Halves the path on the way, so that long ones do not stay.
                let up = root[root[at as usize] as usize];
                root[at as usize] = up;
                at = up;
            }
            at
        }
        for node in self.nodes() {
            for at in self.starts[node as usize]..self.starts[node as usize + 1] {
                let (a, b) = (
                    find(&mut root, node),
                    find(&mut root, self.arcs[at as usize]),
                );
                root[a.max(b) as usize] = a.min(b);
            }
        }
        let mut sizes = vec![0; self.len()];
        for node in self.nodes() {
            sizes[find(&mut root, node) as usize] += 1;
        }
        sizes.retain(|size| *size > 0);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    /// Average clustering coefficient: the share of a node's pairs of neighbours that are neighbours.
    pub fn clustering(&self) -> f64 {
        let sum: f64 = self.nodes().map(|node| self.clustering_of(node)).sum();
        sum / self.len().max(1) as f64
    }

    fn clustering_of(&self, node: u32) -> f64 {
        let peers = self.peers(node);
        let linked = |a: u32, b: u32| self.peers(a).binary_search(&b).is_ok();
        let mut links = 0u32;
        for a in peers {
            for b in peers {
                links += u32::from(a != b && linked(*a, *b));
            }
        }
        // Each pair counts twice, as it does among the links above.
        let pairs = peers.len() * peers.len().saturating_sub(1);
        f64::from(links) / pairs.max(1) as f64
    }

    /// Exact distances, in links along the arcs, from `sources` nodes drawn by `rng` (from all, if there are no
    /// more) to every node that they reach. What cannot be reached is left out: look at
    /// [`Graph::components`] first, for islands make paths shorter. A breadth-first search per source: its
    /// cost is `sources` times all nodes and arcs.
    pub fn paths<R: Rng>(&self, sources: usize, rng: &mut R) -> Paths {
        let mut from: Vec<u32> = self.nodes().collect();
        from.shuffle(rng);
        from.truncate(sources);
        let mut sum = 0u64;
        let mut count = 0u64;
        let mut longest = 0;
        let mut distance = vec![u32::MAX; self.len()];
        let mut open = Vec::new();
        for source in from {
            distance.fill(u32::MAX);
            distance[source as usize] = 0;
            open.clear();
            open.push(source);
            let mut at = 0;
            while let Some(node) = open.get(at).copied() {
                at += 1;
                let far = distance[node as usize];
                sum += u64::from(far);
                longest = longest.max(far);
                for peer in self.peers(node) {
                    if distance[*peer as usize] == u32::MAX {
                        distance[*peer as usize] = far + 1;
                        open.push(*peer);
                    }
                }
            }
            // Without the way from the source to itself.
            count += open.len() as u64 - 1;
        }
        Paths {
            mean: sum as f64 / count.max(1) as f64,
            longest,
        }
    }
}

/// Places of links that are loops or that come a second time.
fn repeated(links: &[[u32; 2]]) -> Vec<usize> {
    let mut sorted: Vec<(u32, u32, usize)> = links
        .iter()
        .enumerate()
        .map(|(at, [a, b])| (*a.min(b), *a.max(b), at))
        .collect();
    sorted.sort_unstable();
    let loops = sorted.iter().filter(|(a, b, _)| a == b).map(|(.., at)| *at);
    let twice = sorted
        .windows(2)
        .filter(|two| (two[0].0, two[0].1) == (two[1].0, two[1].1) && two[0].0 != two[0].1)
        .map(|two| two[1].2);
    let mut bad: Vec<usize> = loops.chain(twice).collect();
    bad.sort_unstable();
    bad
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::Graph;

    fn graph(peers: &[&[u32]]) -> Graph {
        let mut graph = Graph {
            names: (0..u32::try_from(peers.len()).unwrap()).collect(),
            starts: vec![0],
            arcs: Vec::new(),
            dangling: 0,
        };
        for all in peers {
            graph.arcs.extend_from_slice(all);
            graph.close();
        }
        graph
    }

    #[test]
    fn measures_of_small_graphs_are_those_done_by_hand() {
        let mut rng = SmallRng::seed_from_u64(1);
        // A triangle with a tail, and a lonely node.
        let tailed = graph(&[&[1, 2], &[0, 2], &[0, 1, 3], &[2], &[]]);
        assert_eq!(tailed.degrees(), [1, 1, 2, 1]);
        assert_eq!(tailed.components(), [4, 1]);
        assert_eq!(tailed.asymmetric(), 0);
        let expected = (1.0 + 1.0 + 1.0 / 3.0) / 5.0;
        assert!((tailed.clustering() - expected).abs() < 1e-12);
        let paths = tailed.paths(5, &mut rng);
        assert_eq!(paths.longest, 2);
        // Twelve ordered pairs: eight neighbours, four at two hops.
        assert!((paths.mean - 16.0 / 12.0).abs() < 1e-12);
        let crooked = graph(&[&[1], &[2], &[0]]);
        assert_eq!(crooked.asymmetric(), 3);
        assert_eq!(crooked.components(), [3]);
        assert_eq!(crooked.across(|node| u8::from(node == 0)), 2);
    }

    #[test]
    fn a_random_regular_graph_is_regular_and_has_the_published_measures() {
        let mut rng = SmallRng::seed_from_u64(1);
        let graph = Graph::random_regular(1000, 5, &mut rng);
        assert_eq!(graph.degrees(), [0, 0, 0, 0, 0, 1000]);
        assert_eq!((graph.asymmetric(), graph.components().len()), (0, 1));
        let paths = graph.paths(1000, &mut rng);
        // OVERLAY: N=1k d=5: ASP 4.70, eccentricity 7.
        assert!((4.65..4.75).contains(&paths.mean), "{paths:?}");
        assert!((7..=8).contains(&paths.longest), "{paths:?}");
        assert!(graph.clustering() < 0.008);
    }
}
