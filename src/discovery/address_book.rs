//! Peers known from earlier, on disk: the way back in for a node that lost everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use super::address;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "peers.json";
/// Most peers remembered; the one seen least recently makes room.
pub const PEERS_MAX: usize = 256;
/// Most addresses of one peer; the least recently confirmed makes room.
pub const ADDRESSES_MAX: usize = 8;

/// 256 peers with 8 addresses of 64 bytes need some 200 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const FORMAT: u32 = 1;
/// Changes are written this long after the first of them, all at once.
const DEBOUNCE: Duration = Duration::from_secs(5);
/// Pause after a write that failed: a full disk is not emptied in seconds.
const RETRY: Duration = Duration::from_secs(60);
/// That a peer was seen again is worth a write only if it was last seen longer ago than this:
/// an idle node does not write.
const SEEN_GRAIN_SECONDS: u64 = 3600;
/// When somebody was seen of whom only others speak: tried last, and the first to make room.
const NEVER: u64 = 0;

/// The address book.
#[derive(Debug)]
pub struct AddressBook {
    cluster: String,
    me: PeerId,
    entries: BTreeMap<PeerId, Entry>,
    /// When changes are to be written.
    due: Option<Duration>,
    /// Who was tried since all were: the others have their turn first.
    tried: BTreeSet<PeerId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The one confirmed last comes first.
    addresses: Vec<Multiaddr>,
    /// When it was last a neighbour: Unix seconds, or [`NEVER`].
    seen: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    cluster: String,
    peers: Vec<StoredPeer>,
}

#[derive(Serialize, Deserialize)]
struct StoredPeer {
    peer_id: String,
    addresses: Vec<Multiaddr>,
    seen: u64,
}

/// Why a file is not an address book of ours.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not what we write.
    #[error("it is corrupt: {0}")]
    Corrupt(#[from] serde_json::Error),
    /// A newer program wrote it.
    #[error("its format is {0}, newer than this program knows")]
    Newer(u32),
    /// It holds peers of another cluster.
    #[error("it belongs to cluster {0:?}")]
    OtherCluster(String),
}

impl AddressBook {
    /// An empty book.
    #[must_use]
    pub fn new(me: PeerId, cluster: String) -> Self {
        Self {
            cluster,
            me,
            entries: BTreeMap::new(),
            due: None,
            tried: BTreeSet::new(),
        }
    }

    /// Reads the book at `path`. A file that cannot be used is moved aside, so that its content
    /// is not lost, and reported with the place it was moved to; the node starts with an empty
    /// book.
    #[must_use]
    pub fn load(path: &Path, me: PeerId, cluster: &str) -> (Self, Option<(Unusable, PathBuf)>) {
        let mut book = Self::new(me, cluster.to_owned());
        match read(path, cluster) {
            Ok(peers) => {
                for stored in peers {
                    if let Ok(peer) = stored.peer_id.parse() {
                        book.put(peer, stored.addresses, stored.seen);
                    }
                }
                (book, None)
            }
            Err(Unusable::Io(error)) if error.kind() == ErrorKind::NotFound => (book, None),
            Err(unusable) => {
                let mut aside = path.as_os_str().to_owned();
                aside.push(".unusable");
                let aside = PathBuf::from(aside);
                // If it cannot be moved it is replaced at the next write; the warning is out.
                drop(std::fs::rename(path, &aside));
                (book, Some((unusable, aside)))
            }
        }
    }

    /// `peer` is a neighbour, reached at these addresses, the best first.
    pub fn met(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, unix: u64, now: Duration) {
        let before = self.entries.get(&peer).cloned();
        self.put(peer, addresses, unix);
        let changed = match (&before, self.entries.get(&peer)) {
            (Some(before), Some(after)) => {
                before.addresses != after.addresses
                    || after.seen.saturating_sub(before.seen) >= SEEN_GRAIN_SECONDS
            }
            // In a full book it may have been the one that made room.
            (None, after) => after.is_some(),
            (Some(_), None) => true,
        };
        if changed {
            self.due.get_or_insert(now + DEBOUNCE);
        } else if let (Some(before), Some(entry)) = (before, self.entries.get_mut(&peer)) {
            // Counted from what was written, or a peer that is seen all the time would never be written.
            entry.seen = before.seen;
        }
    }

    /// Others speak of `peer`. It is remembered, but not as seen, and only if there is room.
    pub fn heard_of(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, now: Duration) {
        // Hearsay must not push out somebody who was a neighbour.
        let room = self.entries.len() < PEERS_MAX;
        if !self.entries.contains_key(&peer) && room && peer != self.me {
            self.put(peer, addresses, NEVER);
            if self.entries.contains_key(&peer) {
                self.due.get_or_insert(now + DEBOUNCE);
            }
        }
    }

    /// `peer` left for good, or does not belong to us.
    pub fn forget(&mut self, peer: &PeerId, now: Duration) {
        if self.entries.remove(peer).is_some() {
            self.due.get_or_insert(now + DEBOUNCE);
        }
    }

    /// Somebody else is at this address of `peer`. The last one is kept: without any the peer could not be
    /// tried at all.
    pub fn strayed(&mut self, peer: &PeerId, address: &Multiaddr, now: Duration) {
        let (address, _) = address::split_peer(address);
        let Some(entry) = self.entries.get_mut(peer) else {
            return;
        };
        if entry.addresses.len() > 1 && entry.addresses.contains(&address) {
            entry.addresses.retain(|known| *known != address);
            self.due.get_or_insert(now + DEBOUNCE);
        }
    }

    /// What is known of `peer`.
    #[must_use]
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.entries
            .get(peer)
            .map(|entry| entry.addresses.clone())
            .unwrap_or_default()
    }

    /// Everyone, without their addresses.
    pub fn everyone(&self) -> impl Iterator<Item = &PeerId> {
        self.entries.keys()
    }

    /// Everyone, the one seen last first.
    #[must_use]
    pub fn peers(&self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.seen));
        all.into_iter()
            .map(|(peer, entry)| (*peer, entry.addresses.clone()))
            .collect()
    }

    /// Up to `count` peers to try, of those for which `suits` holds: the ones not tried for longest, of these
    /// the ones seen last.
    pub fn candidates(
        &mut self,
        count: usize,
        suits: impl Fn(&PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let suitable = |(peer, _): &(PeerId, _)| suits(peer);
        let mut chosen: Vec<_> = self.untried().filter(suitable).take(count).collect();
        if chosen.len() < count {
            let taken: BTreeSet<PeerId> = chosen.iter().map(|(peer, _)| *peer).collect();
            // All had their turn: the next begins, and nobody is named twice in one answer.
            self.tried.clear();
            let more = self.untried().filter(suitable);
            let more = more.filter(|(peer, _)| !taken.contains(peer));
            let more: Vec<_> = more.take(count - chosen.len()).collect();
            chosen.extend(more);
        }
        self.tried.extend(chosen.iter().map(|(peer, _)| *peer));
        chosen
    }

    /// When the book is to be written, if it has changed.
    #[must_use]
    pub fn write_due(&self) -> Option<Duration> {
        self.due
    }

    /// The content to write, if it has changed; what is given out counts as written.
    pub fn take_changes(&mut self) -> Option<Vec<u8>> {
        self.due.take()?;
        let peers = self
            .entries
            .iter()
            .map(|(peer, entry)| StoredPeer {
                peer_id: peer.to_base58(),
                addresses: entry.addresses.clone(),
                seen: entry.seen,
            })
            .collect();
        let stored = Stored {
            format: FORMAT,
            cluster: self.cluster.clone(),
            peers,
        };
        serde_json::to_vec_pretty(&stored).ok()
    }

    /// A write failed: try again later.
    pub fn write_failed(&mut self, now: Duration) {
        self.due = Some(now + RETRY);
    }

    fn untried(&self) -> impl Iterator<Item = (PeerId, Vec<Multiaddr>)> {
        self.peers()
            .into_iter()
            .filter(|(peer, _)| !self.tried.contains(peer))
    }

    fn put(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, seen: u64) {
        let known = self.entries.get(&peer);
        let seen = known.map_or(seen, |entry| entry.seen.max(seen));
        let mut merged: Vec<Multiaddr> = Vec::new();
        let known = known
            .map(|entry| entry.addresses.clone())
            .unwrap_or_default();
        for address in addresses.into_iter().chain(known) {
            let (address, _) = address::split_peer(&address);
            if merged.len() < ADDRESSES_MAX && !address.is_empty() && !merged.contains(&address) {
                merged.push(address);
            }
        }
        // Others speak of us, too; and who has no address cannot be tried.
        if peer == self.me || merged.is_empty() {
            return;
        }
        self.entries.insert(
            peer,
            Entry {
                addresses: merged,
                seen,
            },
        );
        if self.entries.len() > PEERS_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.seen);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.entries.remove(&oldest);
            }
        }
    }
}

fn read(path: &Path, cluster: &str) -> Result<Vec<StoredPeer>, Unusable> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    let stored: Stored = serde_json::from_slice(&bytes)?;
    if stored.format > FORMAT {
        return Err(Unusable::Newer(stored.format));
    }
    if stored.cluster != cluster {
        return Err(Unusable::OtherCluster(stored.cluster));
    }
    Ok(stored.peers)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use libp2p::{Multiaddr, PeerId};

    use super::{ADDRESSES_MAX, AddressBook, PEERS_MAX, Unusable};

    const NOW: Duration = Duration::from_secs(1);

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn book() -> AddressBook {
        AddressBook::new(PeerId::random(), "starling".to_owned())
    }

    #[test]
    fn an_address_of_somebody_else_goes_and_the_last_one_stays() {
        let mut book = AddressBook::new(PeerId::random(), "c".to_owned());
        let peer = PeerId::random();
        let [one, two]: [Multiaddr; 2] =
            ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"].map(|text| text.parse().unwrap());
        book.met(peer, vec![one.clone(), two.clone()], 1, Duration::ZERO);
        let full = one.with_p2p(peer).unwrap();
        book.strayed(&peer, &full, Duration::ZERO);
        assert_eq!(book.addresses(&peer), std::slice::from_ref(&two));
        book.strayed(&peer, &two, Duration::ZERO);
        assert_eq!(book.addresses(&peer), [two]);
    }

    #[test]
    fn it_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let mut book = book();
        let (a, b) = (PeerId::random(), PeerId::random());
        book.met(
            a,
            vec![address(1).with_p2p(a).unwrap(), address(2)],
            100,
            NOW,
        );
        book.met(b, vec![address(3)], 200, NOW);
        fs::write(&path, book.take_changes().unwrap()).unwrap();

        let (loaded, warning) = AddressBook::load(&path, book.me, "starling");
        assert!(warning.is_none());
        assert_eq!(
            loaded.peers(),
            [(b, vec![address(3)]), (a, vec![address(1), address(2)])],
            "the one seen last comes first"
        );
    }

    #[test]
    fn a_missing_file_is_an_empty_book() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let (book, warning) = AddressBook::load(&path, PeerId::random(), "starling");
        assert!(book.peers().is_empty() && warning.is_none());
    }

    #[test]
    fn an_unusable_file_is_moved_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        let mut other = AddressBook::new(PeerId::random(), "other".to_owned());
        other.met(PeerId::random(), vec![address(1)], 1, NOW);
        let other = other.take_changes().unwrap();
        let newer = br#"{"format":2,"cluster":"starling","peers":[]}"#.to_vec();
        for content in [b"{".to_vec(), vec![0; 10], Vec::new(), newer, other] {
            fs::write(&path, &content).unwrap();
            let (book, warning) = AddressBook::load(&path, PeerId::random(), "starling");
            let (_, aside) = warning.unwrap();
            assert!(book.peers().is_empty());
            assert!(!path.exists());
            assert_eq!(fs::read(aside).unwrap(), content);
        }
        fs::create_dir(&path).unwrap();
        let (_, warning) = AddressBook::load(&path, PeerId::random(), "starling");
        assert!(matches!(warning, Some((Unusable::Io(_), _))));
    }

    #[test]
    fn it_is_bounded_and_never_holds_ourselves() {
        let mut book = book();
        for second in 0..PEERS_MAX + 10 {
            book.met(PeerId::random(), vec![address(second)], second as u64, NOW);
        }
        assert_eq!(book.peers().len(), PEERS_MAX);
        let newest = book.peers()[0].0;
        book.met(newest, (0..50).map(address).collect(), 1_000, NOW);
        assert_eq!(book.addresses(&newest).len(), ADDRESSES_MAX);
        assert_eq!(book.addresses(&newest)[0], address(0), "the best first");
        book.met(book.me, vec![address(1)], 2_000, NOW);
        assert!(book.addresses(&book.me).is_empty());
        let stranger = PeerId::random();
        book.heard_of(stranger, vec![address(1)], NOW);
        assert!(
            book.addresses(&stranger).is_empty(),
            "hearsay drives nobody out"
        );
    }

    #[test]
    fn who_is_known_by_hearsay_comes_after_all_who_were_seen_and_makes_room_for_them() {
        let mut book = book();
        let stranger = PeerId::random();
        let neighbours: Vec<PeerId> = (0..PEERS_MAX).map(|_| PeerId::random()).collect();
        for (second, peer) in (1..).zip(&neighbours[1..]) {
            book.met(*peer, vec![address(1)], second, NOW);
        }
        book.heard_of(stranger, vec![address(2)], NOW);
        assert_eq!(book.peers().len(), PEERS_MAX);
        assert_eq!(book.peers()[PEERS_MAX - 1].0, stranger, "tried last");
        // Its clock is behind: it was seen all the same.
        book.met(neighbours[0], vec![address(3)], 1, NOW);
        assert!(book.addresses(&stranger).is_empty());
        for peer in &neighbours {
            assert!(!book.addresses(peer).is_empty(), "{peer} was a neighbour");
        }
    }

    #[test]
    fn an_idle_node_does_not_write() {
        let mut book = book();
        let peer = PeerId::random();
        book.met(peer, vec![address(1)], 100, NOW);
        assert!(book.write_due().is_some_and(|due| due > NOW));
        book.take_changes().unwrap();
        book.met(peer, vec![address(1)], 200, NOW);
        assert!(book.take_changes().is_none());
        book.met(peer, vec![address(1)], 100 + 3600, NOW);
        assert!(book.take_changes().is_some());
        book.met(peer, vec![address(2)], 100 + 3601, NOW);
        assert!(book.take_changes().is_some());
        book.forget(&peer, NOW);
        assert!(book.take_changes().is_some());
        book.forget(&peer, NOW);
        assert!(book.take_changes().is_none());
    }

    #[test]
    fn all_get_their_turn_before_any_gets_a_second() {
        let mut book = book();
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        for (seen, peer) in peers.iter().enumerate() {
            book.met(*peer, vec![address(seen)], seen as u64, NOW);
        }
        let mut turn = |count| -> Vec<PeerId> {
            book.candidates(count, |_| true)
                .into_iter()
                .map(|(peer, _)| peer)
                .collect()
        };
        assert_eq!(turn(2), [peers[4], peers[3]]);
        assert_eq!(turn(2), [peers[2], peers[1]]);
        assert_eq!(turn(2), [peers[0], peers[4]]);
        assert_eq!(turn(9).len(), 5);
        let others = book.candidates(9, |peer| *peer != peers[1]);
        assert_eq!(others.len(), 4, "but for those that do not suit");
        assert!(others.iter().all(|(peer, _)| *peer != peers[1]));
    }
}
