//! Why a peer could not be reached, in words an operator can act on.

use std::{error::Error, fmt, io};

use libp2p::{PeerId, core::transport::timeout::TransportTimeoutError, quic, swarm::DialError};

/// Why an address did not lead to a peer of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nobody answered.
    Unreachable(String),
    /// The name in the address does not resolve.
    Unresolved(String),
    /// Somebody answered who is not the peer that the address names.
    WrongPeer {
        /// Who answered.
        found: PeerId,
    },
    /// The connection closed during the handshake: somebody who stops, or is too busy; if it goes on,
    /// [`Handshake`](Self::Handshake).
    Closed(String),
    /// Somebody answered, but no encrypted connection came about: not a node, or one with
    /// another swarm key.
    Handshake(String),
    /// A peer answered that does not speak our cluster's protocols.
    OtherCluster(String),
    /// A limit of our own forbade the connection.
    Denied(String),
}

impl Cause {
    /// Names the kind of the cause: the same for every occurrence.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable(_) => Kind::Unreachable,
            Self::Unresolved(_) => Kind::Unresolved,
            Self::WrongPeer { .. } => Kind::WrongPeer,
            Self::Closed(_) => Kind::Closed,
            Self::Handshake(_) => Kind::Handshake,
            Self::OtherCluster(_) => Kind::OtherCluster,
            Self::Denied(_) => Kind::Denied,
        }
    }

    /// Whether somebody answered.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.needs_operator() || self.kind() == Kind::Closed
    }

    /// Whether only an operator can mend it, so that there is no use in trying again soon.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self.kind() {
            Kind::WrongPeer | Kind::Handshake | Kind::OtherCluster => true,
            Kind::Unreachable | Kind::Unresolved | Kind::Closed | Kind::Denied => false,
        }
    }

    /// What mends it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self.kind() {
            Kind::Unreachable => {
                "see that a node runs there, and that its address and port can be reached from here"
            }
            Kind::Unresolved => "correct the name, or this machine's resolver",
            Kind::WrongPeer => "correct the address's /p2p part or leave it out",
            Kind::Closed => "nothing yet: it is tried again at once",
            Kind::Handshake => "start both with the same --swarm-key, or both without one",
            Kind::OtherCluster => "start both with the same --cluster",
            Kind::Denied => "see network.listen and the limits of this node",
        }
    }
}

/// The kind of a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the variant of `Cause` with its name")]
pub enum Kind {
    Unreachable,
    Unresolved,
    WrongPeer,
    Closed,
    Handshake,
    OtherCluster,
    Denied,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) => write!(f, "nobody answers: {what}"),
            Self::Unresolved(what) => write!(f, "the name does not resolve: {what}"),
            Self::WrongPeer { found } => write!(
                f,
                "another peer answers there: {found}; correct the address's /p2p part or leave \
                 it out"
            ),
            Self::Closed(what) => write!(f, "the connection closes during the handshake: {what}"),
            Self::Handshake(what) => write!(
                f,
                "somebody answers, but the handshake fails: {what}; is it a node with the same \
                 swarm key?"
            ),
            Self::OtherCluster(what) => write!(f, "the peer there is not of our cluster: {what}"),
            Self::Denied(what) => write!(f, "refused on our side: {what}"),
        }
    }
}

/// What a failed dial means. `None`: there was no address but our own.
#[must_use]
pub fn of_dial(error: &DialError) -> Option<Cause> {
    Some(match error {
        // The swarm takes the addresses that we listen on off the list.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => return None,
        DialError::WrongPeerId { obtained, .. } => Cause::WrongPeer { found: *obtained },
        DialError::Denied { cause } => Cause::Denied(cause.to_string()),
        DialError::Transport(errors) => {
            let mut causes = errors.iter().map(|(_, error)| of_transport(error));
            let first = causes.next();
            // If somebody answers at one of several addresses, that says more.
            causes
                .chain(first.clone())
                .find(Cause::is_answered)
                .or(first)
                .unwrap_or_else(|| Cause::Unreachable("no address".to_owned()))
        }
        DialError::Aborted | DialError::DialPeerConditionFalse(_) => {
            Cause::Unreachable(error.to_string())
        }
    })
}

/// An error, what it wraps, what that wraps, and so on: the layers of a transport each wrap the
/// one below.
pub(crate) fn layers<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn below<'a>(layer: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        // An I/O error skips what it wraps when it is asked for its source.
        match layer
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => layer.source(),
        }
    }
    std::iter::successors(Some(error), |layer| below(*layer))
}

fn of_transport(error: &(dyn Error + 'static)) -> Cause {
    let mut words = String::new();
    for layer in layers(error) {
        // TCP turns its own time-out into an I/O error: this one is of the handshakes above it.
        if let Some(TransportTimeoutError::<io::Error>::Timeout) = layer.downcast_ref() {
            return Cause::Handshake("it does not end".to_owned());
        }
        // QUIC connects by its handshake: without an answer nobody may be there at all.
        if let Some(quic::Error::HandshakeTimedOut) = layer.downcast_ref() {
            return Cause::Unreachable("no answer in time".to_owned());
        }
        // One that wraps another is only a layer; the cause is the innermost.
        if let Some(error) = layer
            .downcast_ref::<io::Error>()
            .filter(|it| it.get_ref().is_none())
        {
            return of_io(error);
        }
        words = layer.to_string();
    }
    Cause::Handshake(words)
}

fn of_io(error: &io::Error) -> Cause {
    use io::ErrorKind as Kind;
    match error.kind() {
        // Only after a connection was there:
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::UnexpectedEof
        | Kind::BrokenPipe => Cause::Closed(error.to_string()),
        Kind::InvalidData => Cause::Handshake(error.to_string()),
        _ => Cause::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use libp2p::{
        PeerId,
        core::transport::{TransportError, timeout::TransportTimeoutError},
        swarm::DialError,
    };

    use super::{Cause, Kind, of_dial};

    fn wrapped(error: io::Error) -> TransportError<io::Error> {
        TransportError::Other(io::Error::other(TransportTimeoutError::Other(
            io::Error::other(error),
        )))
    }

    fn kind(errors: Vec<TransportError<io::Error>>) -> Kind {
        let address = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let errors = errors
            .into_iter()
            .map(|error| (libp2p::Multiaddr::clone(&address), error))
            .collect();
        of_dial(&DialError::Transport(errors)).unwrap().kind()
    }

    #[test]
    fn the_root_decides() {
        assert_eq!(
            kind(vec![wrapped(io::ErrorKind::ConnectionRefused.into())]),
            Kind::Unreachable
        );
        assert_eq!(
            kind(vec![wrapped(io::ErrorKind::UnexpectedEof.into())]),
            Kind::Closed
        );
        let late = TransportTimeoutError::<io::Error>::Timeout;
        assert_eq!(
            kind(vec![TransportError::Other(io::Error::other(late))]),
            Kind::Handshake
        );
        assert_eq!(
            kind(vec![wrapped(io::ErrorKind::TimedOut.into())]),
            Kind::Unreachable
        );
    }

    #[test]
    fn an_answer_at_one_address_says_more_than_silence_at_another() {
        let refused = || wrapped(io::ErrorKind::ConnectionRefused.into());
        let broken = || wrapped(io::ErrorKind::ConnectionReset.into());
        assert_eq!(kind(vec![refused(), broken(), refused()]), Kind::Closed);
        assert_eq!(kind(vec![broken(), refused()]), Kind::Closed);
        assert_eq!(kind(vec![]), Kind::Unreachable);
    }

    #[test]
    fn ourselves_is_no_failure_and_another_peer_is_named() {
        let address: libp2p::Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(
            of_dial(&DialError::LocalPeerId {
                address: address.clone()
            }),
            None
        );
        let found = PeerId::random();
        let cause = of_dial(&DialError::WrongPeerId {
            obtained: found,
            address,
        })
        .unwrap();
        assert_eq!(cause, Cause::WrongPeer { found });
        assert!(cause.to_string().contains(&found.to_string()));
    }
}
